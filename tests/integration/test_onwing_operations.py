"""An operator's commands on the real stack, one model server behind the other: what is done, and what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from onwing.cli import app
from onwing.errors import Exit
from onwing.predict import Engine
from onwing.project import find_project
from onwing.target import Options, Target, resolve
from onwing.traffic import Traffic
from tests.deployed import Deployed, until
from tests.packages import register, rows, version_of

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)

TIMEOUT = "1200"


class Operator:
    """Somebody at a terminal, with one fleet."""

    def __init__(self, deployed: Deployed, fleet: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deployed, self.fleet = deployed, fleet
        for name, value in deployed.cloud.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "200")

    def type(self, *arguments: str, code: Exit = Exit.OK, given: str | None = None) -> Result:
        """Run a command, which must end so."""
        result = CliRunner().invoke(app, list(arguments), input=given)
        assert result.exit_code == code, f"onwing {' '.join(arguments)}:\n{result.output}\n{result.stderr}"
        return result

    def read(self, *arguments: str) -> Any:
        """A command's JSON document."""
        return json.loads(self.type(*arguments, "--json").stdout)

    def new(self, **behaviour: Any) -> str:
        """A package that waits for approval; its name."""
        return f"{self.fleet}/{version_of(register(self.deployed, self.fleet, behaviour=behaviour))}"

    def serve(self) -> str:
        """A package that serves the fleet; its name."""
        name = self.new()
        said = self.type("approve", name, "--soak", "1", "--wait", "--timeout", TIMEOUT).output
        assert f"v{name.partition('/')[2]} is the champion of {self.fleet}" in said
        return name

    def serving(self) -> dict[str, float]:
        """Each variant's share of the traffic."""
        [endpoint] = self.read("endpoints", "--fleet", self.fleet)
        return {variant["name"]: variant["share"] for variant in endpoint["variants"]}

    @property
    def target(self) -> Target:
        """The cloud, as commands find it."""
        return resolve(Options(), find_project())

    def until_phase(self, phase: str) -> list[tuple[str, float]]:
        """Wait until the deployment under way is in this phase; the phases and shares on the way."""
        seen: list[tuple[str, float]] = []

        def look() -> bool | None:
            going = self.read("deployments", "--fleet", self.fleet)["under_way"].get(self.fleet)
            if going and (going["phase"], going["share"]) not in seen:
                seen.append((going["phase"], going["share"]))
            return True if going and going["phase"] == phase else None

        until(f"phase {phase} of {self.fleet}: {seen}", look, seconds=900)
        return seen

    def predicted(self) -> list[dict[str, Any]]:
        """What the endpoint says of two engines."""
        text = f"{rows(7, 30)}\n{rows(9, 100)}\n"
        result = self.type("predict", "-", "--fleet", self.fleet, "--json", given=text)
        found: list[dict[str, Any]] = json.loads(result.stdout)["predictions"]
        return found


@pytest.fixture
def operator(deployed: Deployed, fleet: str, monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(deployed, fleet, monkeypatch)


@pytest.fixture
def engines() -> list[Engine]:
    """Five engines with long histories."""
    return [Engine(0, rows(unit, 60).encode().splitlines()) for unit in range(1001, 1006)]


def test_approve_predict_and_roll_back_under_traffic(operator: Operator, engines: list[Engine]) -> None:
    fleet = operator.fleet
    operator.type("predict", "-", "--fleet", fleet, given=rows(1, 5), code=Exit.NOT_FOUND)
    operator.serve()
    assert [(each["unit"], each["cycle"], each["rul"]) for each in operator.predicted()] == [(9, 100, 25), (7, 30, 95)]
    refused = operator.type("predict", "-", "--fleet", fleet, given="1 1 0.5", code=Exit.FAILED)
    assert "3 columns" in refused.stderr

    second = operator.new()
    challenger = "v2"
    with Traffic(operator.target, f"onwing-{fleet}", engines, rate=20) as traffic:
        operator.type("approve", second, "--stages", "20", "--bake", "20", "--soak", "3600")
        phases = operator.until_phase("soak")
        assert "is approved already" in operator.type("approve", second).output
        # The phase is written down before the weights are shifted.
        until("all on v2", lambda: True if operator.serving() == {"v1": 0, challenger: 100} else None)
        until("v2 answers", lambda: True if challenger in traffic.so_far().variants else None)
        back = operator.read("rollback", fleet, "--yes", "--reason", "a test", "--timeout", TIMEOUT)
    assert ("canary", 20) in phases
    assert back["outcome"] == "rolled_back"
    assert (back["champion"], back["slow"]) == (1, False)
    assert operator.serving() == {"v1": 100}
    report = traffic.report
    assert report is not None
    assert (report.failed, report.errors) == (0, [])
    assert set(report.variants) == {"v1", challenger}
    models = {package["version"]: package for package in operator.read("models", "--fleet", fleet)}
    assert (models[1]["role"], models[2]["role"], models[2]["status"]) == ("champion", None, "Rejected")
    records = operator.read("deployments", "--fleet", fleet)["history"]
    assert {(record["kind"], record["version"], record["outcome"]) for record in records} >= {
        ("rollback", 2, "rolled_back"),
        ("deployment", 1, "promoted"),
    }
    assert operator.type("rollback", fleet, "--yes", code=Exit.NOT_FOUND), "v1 is the first model"


def test_a_bad_model_is_taken_back_and_may_be_approved_again_after_a_rejection(operator: Operator) -> None:
    operator.serve()
    bad = operator.new(mode="nan")
    said = operator.type("approve", bad, "--wait", "--timeout", TIMEOUT, code=Exit.GATE_MISSED).output
    assert "was taken back" in said
    assert "NaN" in said
    assert operator.serving() == {"v1": 100}
    again = operator.type("approve", bad).output
    assert "It was rejected before" in again
    watched = operator.type("deployments", "watch", operator.fleet, "--timeout", TIMEOUT, code=Exit.GATE_MISSED)
    assert "was taken back" in watched.output


def test_two_models_are_compared_until_somebody_decides(operator: Operator, engines: list[Engine]) -> None:
    fleet = operator.fleet
    operator.serve()
    operator.type("ab", "status", fleet, code=Exit.NOT_FOUND)
    second = operator.new(offset=3)
    started = operator.type("ab", "start", second, "--share", "40", "--wait", "--timeout", TIMEOUT).output
    assert "holds 40 % of the traffic beside v1 until somebody decides" in started
    with Traffic(operator.target, f"onwing-{fleet}", engines, rate=20) as traffic:
        until("both have answered", lambda: True if set(traffic.so_far().variants) == {"v1", "v2"} else None)
    compared = operator.read("ab", "status", fleet)
    challenger, champion = compared["sides"]
    assert (challenger["role"], challenger["variant"]["share"]) == ("challenger", 40)
    assert challenger["probe_rmse"] == pytest.approx(3)
    assert challenger["figures"]["invocations"] > 0
    assert champion["figures"]["errors_5xx"] == 0
    operator.type("ab", "stop", fleet, "--rollback", "--reason", "no better", "--wait", "--timeout", TIMEOUT)
    assert operator.serving() == {"v1": 100}


def test_a_person_rejects_what_is_under_way(operator: Operator) -> None:
    operator.serve()
    second = operator.new()
    operator.type("ab", "start", second, "--shadow", "--wait", "--timeout", TIMEOUT)
    said = operator.type("reject", second, "--comment", "second thoughts").output
    assert "will be stopped: all traffic goes back to v1" in said
    name = f"{operator.fleet}-v2-1"
    operator.type("watch", name, "--timeout", TIMEOUT, code=Exit.GATE_MISSED)
    until("v1 serves alone", lambda: True if operator.serving() == {"v1": 100} else None)


def test_an_endpoint_that_was_lost_comes_back(operator: Operator) -> None:
    fleet, sagemaker = operator.fleet, operator.deployed.client("sagemaker")
    operator.serve()
    before = operator.predicted()
    [written] = operator.read("backup", "--fleet", fleet)["backups"]
    config = sagemaker.describe_endpoint(EndpointName=f"onwing-{fleet}")["EndpointConfigName"]
    sagemaker.delete_endpoint(EndpointName=f"onwing-{fleet}")
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    until(
        "the endpoint is gone",
        lambda: None if sagemaker.list_endpoints(NameContains=f"onwing-{fleet}")["Endpoints"] else True,
    )
    planned = operator.type("restore", fleet, code=Exit.USAGE)
    assert f"create endpoint onwing-{fleet}" in planned.output
    operator.type("predict", "-", "--fleet", fleet, given=rows(1, 5), code=Exit.NOT_FOUND)
    restored = operator.read("restore", fleet, "--yes", "--timeout", TIMEOUT)
    assert (restored["outcome"], restored["champion"]) == ("recovered", 1)
    assert operator.predicted() == before
    assert written["key"] in [backup["key"] for backup in operator.read("restore", fleet, "--list")]
