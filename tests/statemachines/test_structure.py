"""Every state machine, walked: what no linter of the template looks at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonata
import pytest

from tests.statemachines.definitions import (
    MACHINES,
    SUBSTITUTION,
    expressions,
    load_machine,
    load_template,
    targets,
    walk_states,
)

pytestmark = pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)

JSONPATH_FIELDS = {"InputPath", "OutputPath", "ResultPath", "ResultSelector", "Parameters", "ItemsPath", "Variable"}
# Where an error leads; and the tasks whose failure is no reason to give up what was achieved.
FAILURE_PATH = {"ExplainFailure", "HasTrials", "AlertFailure", "Failed", "ReturnLock"}
CARRIES_ON = {"ListFailedTrials", "RecordFailure", "AlertDeployed"}
CARRIES_ON |= {"HeedSilence", "DropOldAlarms", "DropOldConfigs", "DropOldModel", "BackUpAfter", "GiveLockBack"}
CARRIES_ON |= {"VerifyTraffic", "LookForAlarms", "RestoreAlarms", "FindAlarms", "DeleteAlarms", "FindConfigurations"}
CARRIES_ON |= {"FindModels", "DeleteConfigurations", "DeleteModels", "RejectPackage", "BackUp", "Unlock"}
# What each state machine calls beside the actions that share the integration's name.
SYNC_COMPANIONS = {
    "createProcessingJob": {"sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob"},
    "createHyperParameterTuningJob": {
        "sagemaker:DescribeHyperParameterTuningJob",
        "sagemaker:StopHyperParameterTuningJob",
    },
}
# Where the integration's name is not IAM's.
IAM_NAMES = {"sfn": "states"}
ACTIONS = {
    "transactGetItems": {"dynamodb:GetItem"},
    "listObjectsV2": {"s3:ListBucket"},
    "copyObject": {"s3:GetObject", "s3:PutObject"},
    "headObject": {"s3:GetObject"},
    "invoke": {"lambda:InvokeFunction"},
    "invokeEndpoint": {"sagemaker:InvokeEndpoint"},
}
TRANSACTED = {
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
    "Delete": "dynamodb:DeleteItem",
    "ConditionCheck": "dynamodb:ConditionCheckItem",
}
TAGGING = {"sagemaker": {"sagemaker:AddTags"}, "cloudwatch": {"cloudwatch:TagResource"}}


def test_statelint_finds_nothing(path: Path, tmp_path: Path) -> None:
    machine = load_machine(path)
    for _, state in walk_states(machine):
        if "Seconds" in state:
            state["Seconds"] = 1  # statelint does not know that it may be an expression
    plain = tmp_path / path.name
    plain.write_text(json.dumps(machine))
    result = subprocess.run(
        [Path(sys.executable).with_name("statelint"), plain], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stdout + result.stderr


def test_every_transition_resolves_and_nothing_is_unreachable(path: Path) -> None:
    machine = load_machine(path)
    reached, waiting = set(), [machine["StartAt"]]
    while waiting:
        name = waiting.pop()
        assert name in machine["States"], f"no state is called {name}"
        if name not in reached:
            reached.add(name)
            waiting += targets(machine["States"][name])
    assert reached == set(machine["States"])


def test_every_expression_parses_as_jsonata(path: Path) -> None:
    machine = load_machine(path)
    assert machine["QueryLanguage"] == "JSONata"
    for name, state in walk_states(machine):
        assert not JSONPATH_FIELDS & set(state), f"{name} mixes JSONPath into JSONata"
        assert '.$":' not in json.dumps(state), f"{name} has a JSONPath key"
        for expression in expressions(state):
            try:
                jsonata.Jsonata(expression)
            except jsonata.JException as error:
                pytest.fail(f"{name}: {expression}: {error}")


def test_every_variable_is_assigned_and_used(path: Path) -> None:
    machine = load_machine(path)
    assigned: set[str] = set()
    used: set[str] = set()
    local = {"states"}
    for _, state in walk_states(machine):
        for block in [state, *state.get("Catch", []), *state.get("Choices", [])]:
            assigned |= set(block.get("Assign", {}))
        for expression in expressions(state):
            used |= set(re.findall(r"\$([a-z_]\w*)\b(?!\()", expression))
            local |= set(re.findall(r"\$(\w+) :=", expression))
            for parameters in re.findall(r"function\(([^)]*)\)", expression):
                local |= set(re.findall(r"\$(\w+)", parameters))
    assert used - assigned - local == set(), "used, but never assigned"
    assert assigned - used == set(), "assigned, but never used"


def test_every_task_retries_with_backoff_jitter_and_a_ceiling(path: Path) -> None:
    for name, state in walk_states(load_machine(path)):
        if state["Type"] != "Task":
            continue
        retriers = [retrier for retrier in state.get("Retry", []) if retrier.get("MaxAttempts") != 0]
        assert retriers, f"{name} has no Retry"
        for retrier in retriers:
            assert retrier["BackoffRate"] > 1, name
            assert retrier["JitterStrategy"] == "FULL", name
            assert retrier["MaxDelaySeconds"] >= retrier["IntervalSeconds"], name


def test_every_task_leads_to_the_failure_path_on_any_error(path: Path) -> None:
    """Tasks inside a Map fail the Map, which has the Catch."""
    states = load_machine(path)["States"]
    for name, state in states.items():
        if state["Type"] not in ("Task", "Map", "Parallel"):
            continue
        last = state["Catch"][-1]
        assert last["ErrorEquals"] == ["States.ALL"], name
        allowed = FAILURE_PATH | ({state["Next"]} if name in CARRIES_ON else set())
        assert last["Next"] in allowed, name


def test_failure_path_alerts_before_it_fails(path: Path) -> None:
    states = load_machine(path)["States"]
    [failed] = [name for name, state in states.items() if state["Type"] == "Fail"]
    assert [name for name, state in states.items() if failed in targets(state)] == ["AlertFailure"]
    assert states["AlertFailure"]["Resource"].endswith("sns:publish")


def test_states_are_named_and_commented(path: Path) -> None:
    for name, state in walk_states(load_machine(path)):
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name), name
        if state["Type"] == "Task":
            assert state.get("Comment"), f"{name} has no Comment"


def _machine_resource(path: Path) -> dict[str, Any]:
    for resource in load_template()["Resources"].values():
        if resource["Properties"].get("DefinitionUri") == f"statemachines/{path.name}":
            return dict(resource["Properties"])
    pytest.fail(f"template.yaml does not deploy {path.name}")


def test_template_substitutes_what_the_definition_uses_and_no_more(path: Path) -> None:
    used = set(SUBSTITUTION.findall(path.read_text()))
    assert used == set(_machine_resource(path)["DefinitionSubstitutions"])


def test_role_allows_each_action_that_the_machine_calls(path: Path) -> None:
    resources = load_template()["Resources"]
    role = resources[_machine_resource(path)["Role"]["GetAtt"].split(".")[0]]["Properties"]
    policies = [policy["PolicyDocument"] for policy in role["Policies"]]
    policies += [resources[each["Ref"]]["Properties"]["PolicyDocument"] for each in role.get("ManagedPolicyArns", [])]
    allowed = {
        action.lower()
        for policy in policies
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    for name, state in walk_states(load_machine(path)):
        if state["Type"] == "Task":
            missing = {action for action in _needed(state) if action.lower() not in allowed}
            assert not missing, f"{name} needs {missing}"


def _needed(state: dict[str, Any]) -> set[str]:
    """The IAM actions behind a Task's resource."""
    service, operation = re.search(r"states:::(?:aws-sdk:)?(\w+):(\w+)", state["Resource"]).groups()  # type: ignore[union-attr]
    arguments = json.dumps(state["Arguments"])
    needed = {f"{IAM_NAMES.get(service, service)}:{operation[0].upper()}{operation[1:]}"}
    if operation == "transactWriteItems":
        needed = {action for item, action in TRANSACTED.items() if re.search(rf"['\"]{item}['\"]: ", arguments)}
        assert needed, arguments
    else:
        needed = ACTIONS.get(operation, needed)
    if re.search(r"['\"]Tags['\"]: ", arguments):
        needed = needed | TAGGING.get(service, set())
    if state["Resource"].endswith(".sync"):
        needed = needed | SYNC_COMPANIONS[operation] | {"iam:PassRole", "events:PutRule", "events:PutTargets"}
    if state["Resource"].endswith(".sync:2"):
        needed = needed | {"states:DescribeExecution", "states:StopExecution", "events:PutRule", "events:PutTargets"}
    return needed
