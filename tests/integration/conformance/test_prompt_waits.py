"""localcloud.fidelity.prompt_waits."""

from pathlib import Path

from localcloud.testing import Cloud, wait_for

from .steps import events_of, machine


def threads(cloud: Cloud) -> int:
    return len(list(Path(f"/proc/{cloud.running.pid}/task").iterdir()))


def test_stopped_executions_wait_no_longer(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = machine(localcloud, {"Hold": {"Type": "Wait", "Seconds": 3600, "End": True}}, "Hold")
    before = threads(localcloud)
    executions = [client.start_execution(stateMachineArn=arn)["executionArn"] for _ in range(40)]
    for execution in executions:
        wait_for(lambda: len(events_of(localcloud, execution)) == 2)  # noqa: B023 - called at once
    assert threads(localcloud) >= before + 30
    for execution in executions:
        client.stop_execution(executionArn=execution)
    wait_for(lambda: threads(localcloud) < before + 20, 30)
