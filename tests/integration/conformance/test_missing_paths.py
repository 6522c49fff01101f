"""localcloud.fidelity.missing_paths."""

import json

import pytest

from localcloud.testing import Cloud

from .steps import Json, run


@pytest.mark.parametrize(
    ("state", "field"),
    [
        ({"Parameters": {"inner": {"gone.$": "$.a.gone"}}}, "gone.$"),
        ({"Parameters": {"gone.$": "$$.Execution.Gone"}}, "gone.$"),
        ({"InputPath": "$.gone"}, "InputPath"),
        ({"OutputPath": "$.a.b.c"}, "OutputPath"),
    ],
)
def test_missing_field_fails_the_execution(localcloud: Cloud, state: Json, field: str) -> None:
    states = {"Pick": {"Type": "Pass", "End": True, **state}}
    execution = run(localcloud, states, "Pick", {"a": {"b": 1}}, QueryLanguage="JSONPath")
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Runtime")
    assert f"specified for the field '{field}' could not be found in the input" in execution["cause"]


def test_null_index_beyond_the_end_and_wildcard_are_no_failures(localcloud: Cloud) -> None:
    wanted = {"null.$": "$.null", "beyond.$": "$.list[5]", "all.$": "$.list[*].x", "id.$": "$$.Execution.Name"}
    states = {"Pick": {"Type": "Pass", "Parameters": wanted, "End": True}}
    execution = run(localcloud, states, "Pick", {"null": None, "list": [{"x": 1}]}, QueryLanguage="JSONPath")
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    output = json.loads(execution["output"])
    assert (output["null"], output["beyond"], output["all"]) == (None, None, [1])
