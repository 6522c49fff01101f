"""Drift as an operator sees it: real commands, the real monitoring job, simulated engines, the stub's model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from onwing.cli import app
from onwing.errors import Exit
from onwing.simulator import MARKER, simulate
from tests import captured
from tests.deployed import Deployed, until

from .test_model_quality import put_registered
from .test_onwing_operations import TIMEOUT, Operator, operator  # noqa: F401  (a fixture)

ENGINES = "12"


@pytest.fixture
def folder(tmp_path: Path, fleet: str) -> Path:
    """The engines that the baseline was fitted on, and others of their kind, by the fleet's name."""
    for role, path in simulate("FD001", tmp_path, engines=captured.ENGINES, seed=5).items():
        path.rename(tmp_path / f"{role}_{fleet}.txt")
    assert (tmp_path / MARKER).is_file()
    return tmp_path


def judged(fleet: str) -> tuple[int, dict[str, Any]]:
    """`onwing drift run`: its exit code and what it said of the champion's window, which has closed."""
    result = CliRunner().invoke(app, ["drift", "run", fleet, "--json", "--timeout", TIMEOUT])
    assert result.exit_code in (Exit.OK, Exit.DRIFT), result.output
    [window] = json.loads(result.stdout)["windows"]
    return result.exit_code, window


@pytest.mark.timeout(2400)
def test_a_change_is_injected_found_told_and_looked_at(
    deployed: Deployed,
    operator: Operator,  # noqa: F811
    folder: Path,
    tmp_path: Path,
) -> None:
    fleet = operator.fleet
    operator.type("drift", "status", fleet, code=Exit.NOT_FOUND)
    operator.serve()
    captured.put_baseline(deployed, fleet)
    [state] = operator.read("drift", "status", fleet)
    assert (state["state"], state["variant"], state["champion"]) == ("never", "v1", True)

    inject = ("drift", "inject", fleet, "--data", str(folder), "--engines", ENGINES)
    operator.type(*inject, "--scenario", "clean")
    code, clean = judged(fleet)
    assert (code, clean["outcome"], clean["window"]["engines"]) == (Exit.OK, "ok", int(ENGINES))
    again = operator.type("drift", "run", fleet, "--timeout", TIMEOUT, code=Exit.UNJUDGED)
    assert "nothing new" in again.output or "stays open" in again.output

    sent = operator.read(*inject, "--scenario", "bias", "--sensor", "s4", "--size", "3", "--seed", "2")
    assert (sent["scenario"], sent["traffic"]["failed"], len(sent["units"])) == ("bias", 0, int(ENGINES))
    code, changed = judged(fleet)
    assert (code, changed["outcome"]) == (Exit.DRIFT, "violations")

    decided = until(
        "the violations were decided on", lambda: operator.read("drift", "status", fleet)[0]["decision"], seconds=240
    )
    assert decided["window"]["id"] == changed["window"]["id"]
    assert decided["reasons"]
    alert = until(
        "the alert is recorded",
        lambda: next((a for a in operator.read("alerts", "--fleet", fleet) if a["kind"] == "drift"), None),
        seconds=240,
    )
    assert fleet in alert["subject"]
    assert "s4" in alert["message"]
    report = operator.type("drift", "report", fleet, "--out", str(tmp_path / "out"))
    assert "T50" in report.output
    assert "decided at" in report.output
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    [state] = operator.read("drift", "status", fleet)
    assert state["state"] == "violations"
    assert state["what_to_do"]

    status = operator.read("status")
    [covered] = [each for each in status["coverage"]["endpoints"] if each["fleet"] == fleet]
    failing = [check for check in covered["checks"] if not check["passed"] and check["check"] != "schedule"]
    assert failing == []


def last_cycles(deployed: Deployed, fleet: str) -> dict[int, int]:
    """The last cycle of each engine that v1 was asked about, from the predictions that monitoring has kept."""
    texts = [deployed.read(key).decode() for key in deployed.keys(f"monitoring/predictions/onwing-{fleet}/v1/")]
    asked = [line.split(",")[:2] for text in texts for line in text.splitlines()[1:]]
    found: dict[int, int] = {}
    for unit, cycle in asked:
        found[int(unit)] = max(found.get(int(unit), 0), int(cycle))
    return found


@pytest.mark.timeout(2400)
def test_ground_truth_is_compared_by_the_next_run(
    deployed: Deployed,
    operator: Operator,  # noqa: F811
    folder: Path,
    tmp_path: Path,
) -> None:
    fleet = operator.fleet
    package = operator.serve()
    captured.put_baseline(deployed, fleet)
    put_registered(deployed, {"package_arn": operator.read("models", "show", package)["package"]["arn"]})
    sent = operator.read("drift", "inject", fleet, "--scenario", "clean", "--data", str(folder), "--engines", ENGINES)
    judged(fleet)
    last = last_cycles(deployed, fleet)
    assert set(last) == set(sent["units"])
    path = tmp_path / "removals.csv"
    path.write_text("unit,cycle,rul\n" + "".join(f"{unit},{cycle},40\n" for unit, cycle in last.items()))
    operator.type("drift", "truth", fleet, str(path))

    def compared() -> dict[str, Any] | None:
        result = CliRunner().invoke(app, ["drift", "run", fleet, "--json", "--timeout", TIMEOUT])
        assert result.exit_code in (Exit.OK, Exit.DRIFT, Exit.UNJUDGED), result.output
        return next((each for each in json.loads(result.stdout)["windows"] if each["kind"] == "quality"), None)

    found = until("the truth was compared", compared, seconds=600)
    assert found["window"]["report"].startswith(f"monitoring/reports/onwing-{fleet}/v1/quality-")
    said = operator.type("drift", "report", fleet, "--quality", "--out", str(tmp_path / "quality")).output
    for expected in ("Measured", "Registered", "Limit", "RMSE", "mean error", "PHM08 per engine"):
        assert expected in said
    assert "model quality: " in operator.type("drift", "status", fleet).output
    assert (tmp_path / "quality" / "report.html").is_file()
