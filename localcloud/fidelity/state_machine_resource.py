"""AWS::StepFunctions::StateMachine's logging configuration can be described.

docs.aws.amazon.com/step-functions/latest/apireference/API_LoggingConfiguration.html; MiniStack keeps the template's
spelling (Level), which no SDK reads (level). Tracing is accepted only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks

TYPE = "AWS::StepFunctions::StateMachine"

Props = Mapping[str, Any]


def install() -> None:
    """Respell the configuration before MiniStack sees it."""
    handlers = hooks.get("cloudformation.types")[TYPE]
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, props: Props, stack_name: str) -> Any:
        return create(logical_id, _respelled(props), stack_name)

    def updated(physical_id: str, old: Props, new: Props, stack_name: str, *rest: Any) -> Any:
        return update(physical_id, _respelled(old), _respelled(new), stack_name, *rest)

    handlers.update(create=created, update=updated)


def _respelled(props: Props) -> dict[str, Any]:
    logging = props.get("LoggingConfiguration")
    if not isinstance(logging, Mapping) or "Level" not in logging:
        return dict(props)
    return {
        **props,
        "LoggingConfiguration": {
            "level": logging["Level"],
            "includeExecutionData": str(logging.get("IncludeExecutionData", False)).lower() == "true",
            "destinations": [
                {"cloudWatchLogsLogGroup": {"logGroupArn": item["CloudWatchLogsLogGroup"]["LogGroupArn"]}}
                for item in logging.get("Destinations", [])
            ],
        },
    }
