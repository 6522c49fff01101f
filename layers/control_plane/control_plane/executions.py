"""What has become of an execution of a state machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import ClientError

from control_plane import clients

RUNNING = ("RUNNING", "PENDING_REDRIVE")
FORGOTTEN = ("ExecutionDoesNotExist", "InvalidArn", "StateMachineDoesNotExist")


@dataclass(frozen=True)
class Execution:
    """An execution's status; UNKNOWN of one that does not exist: Step Functions keeps them for 90 days."""

    arn: str
    status: str
    stopped_at: datetime | None = None

    @property
    def is_running(self) -> bool:
        """Whether it still does something."""
        return self.status in RUNNING

    @property
    def name(self) -> str:
        """Its name."""
        return self.arn.rsplit(":", 1)[-1]


def arn_of(machine: str, name: str) -> str:
    """The ARN of an execution by its state machine's ARN and its name."""
    return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"


def describe(arn: str) -> Execution:
    """Look an execution up."""
    try:
        described = clients.stepfunctions().describe_execution(executionArn=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] in FORGOTTEN:
            return Execution(arn, "UNKNOWN")
        raise
    return Execution(arn, described["status"], described.get("stopDate"))
