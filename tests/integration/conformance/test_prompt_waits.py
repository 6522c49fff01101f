"""localcloud.fidelity.prompt_waits."""

from pathlib import Path

from localcloud import daemon
from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

from .steps import events_of, machine


def threads(cloud: Cloud) -> int:
    return len(list(Path(f"/proc/{cloud.running.pid}/task").iterdir()))


def waiting(cloud: Cloud) -> tuple[int, list[str]]:
    """Forty executions that wait for an hour, and how many threads there are with theirs."""
    arn = machine(cloud, {"Hold": {"Type": "Wait", "Seconds": 3600, "End": True}}, "Hold")
    client = cloud.client("stepfunctions")
    executions = [client.start_execution(stateMachineArn=arn)["executionArn"] for _ in range(40)]
    for execution in executions:
        wait_for(lambda: len(events_of(cloud, execution)) == 2)  # noqa: B023 - called at once
    together = threads(cloud)
    assert together >= 40
    return together, executions


def test_stopped_executions_wait_no_longer(localcloud: Cloud) -> None:
    together, executions = waiting(localcloud)
    for execution in executions:
        localcloud.client("stepfunctions").stop_execution(executionArn=execution)
    # Some that are not theirs may have come since.
    wait_for(lambda: threads(localcloud) <= together - 30)


def test_nothing_waits_after_a_reset(tmp_path: Path) -> None:
    with running_localcloud(tmp_path / "own") as cloud:
        cloud.role("job-role")
        together, _executions = waiting(cloud)
        daemon.reset(cloud.running.directory)
        wait_for(lambda: threads(cloud) <= together - 30)
