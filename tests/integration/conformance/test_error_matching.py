"""localcloud.fidelity.error_matching."""

import pytest

from localcloud.testing import Cloud

from .steps import Json, run

HUGE = "{% $pad('', 300000, 'x') %}"


def caught(cloud: Cloud, fault: Json, errors: list[str]) -> bool:
    """Whether a Catch for these errors catches what a branch fails with."""
    branch = {"StartAt": "Fault", "States": {"Fault": fault}}
    catch = [{"ErrorEquals": errors, "Next": "Caught"}]
    state = {"Type": "Parallel", "Branches": [branch], "Catch": catch, "End": True}
    return run(cloud, {"State": state, "Caught": {"Type": "Succeed"}}, "State")["status"] == "SUCCEEDED"


def failing(error: str) -> Json:
    return {"Type": "Fail", "Error": error}


@pytest.mark.parametrize(
    ("error", "errors", "expected"),
    [
        ("Any", ["States.ALL"], True),
        ("Any", ["States.TaskFailed"], True),
        ("States.Timeout", ["States.TaskFailed"], False),
        ("States.Timeout", ["States.ALL"], True),
        ("States.HeartbeatTimeout", ["States.Timeout"], True),
        ("States.HeartbeatTimeout", ["States.TaskFailed"], False),
        ("States.Runtime", ["States.ALL"], False),
        ("States.Runtime", ["States.TaskFailed"], False),
    ],
)
def test_wildcards_catch_what_they_say(localcloud: Cloud, error: str, errors: list[str], expected: bool) -> None:
    assert caught(localcloud, failing(error), errors) is expected


def test_data_limit_is_caught_by_its_name_only(localcloud: Cloud) -> None:
    huge = {"Type": "Pass", "Output": HUGE, "End": True}
    assert not caught(localcloud, huge, ["States.ALL"])
    assert caught(localcloud, huge, ["States.DataLimitExceeded"])
