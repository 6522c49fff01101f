"""What a CloudFormation type of SageMaker's is made of: its name, its calls, its tags, and how it fails."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from localcloud import hooks
from localcloud.errors import ApiError, LocalcloudError
from localcloud.sagemaker.api import service_model
from localcloud.sagemaker.service import SageMaker

Props = Mapping[str, Any]

MOST_NAME = 63


class ProvisioningFailed(LocalcloudError):
    """A resource could not be created, changed or deleted; the text is the stack event's reason."""


class Resource:
    """Base of the types; a subclass has create, update and delete."""

    def __init__(self, sagemaker: SageMaker) -> None:
        self._sagemaker = sagemaker

    @property
    def handlers(self) -> dict[str, Any]:
        """In the form that MiniStack wants."""
        return {
            **{name: getattr(self, name) for name in ("create", "update", "delete")},
            "update_with_logical_id": True,
        }

    def call(self, operation: str, request: Props) -> dict[str, Any]:
        """Perform an operation; what fails, fails the resource."""
        try:
            return self.perform(operation, request)
        except ApiError as error:
            raise ProvisioningFailed(error.message) from error

    def perform(self, operation: str, request: Props) -> dict[str, Any]:
        """Perform an operation as CloudFormation; raises ApiError."""
        shape = service_model("sagemaker").operation_model(operation).input_shape
        return self._sagemaker.perform(hooks.current_scope(), operation, _typed(shape, request))

    def retag(self, arn: str, old: Props, new: Props) -> None:
        """Change tags in place."""
        gone = {tag["Key"] for tag in old.get("Tags", [])} - {tag["Key"] for tag in new.get("Tags", [])}
        if gone:
            self.call("DeleteTags", {"ResourceArn": arn, "TagKeys": sorted(gone)})
        if new.get("Tags"):
            self.call("AddTags", {"ResourceArn": arn, "Tags": new["Tags"]})


def check_replaceable(name: str, old: Props, new: Props) -> None:
    """A resource whose name stands in the template cannot be replaced under it.

    Args:
        name: the property that holds the name.
    """
    if name in new and old.get(name) == new[name]:
        raise ProvisioningFailed(
            "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename "
            f"{new[name]} and update the stack again."
        )


def generated_name(stack_name: str, logical_id: str, most: int = MOST_NAME) -> str:
    """A physical name as CloudFormation makes them, another one each time: stack, logical id, and what is random."""
    suffix = secrets.token_hex(6)
    return f"{stack_name}-{logical_id}"[: most - len(suffix) - 1].rstrip("-") + f"-{suffix}"


def _typed(shape: Shape | None, value: Any) -> Any:
    """A template's value as the API wants it: templates may write numbers and truth values as text."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {
            name: _typed(shape.members[name], item) if name in shape.members else item for name, item in value.items()
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_typed(shape.member, item) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {name: _typed(shape.value, item) for name, item in value.items()}
    if shape is None:
        return value
    if shape.type_name == "string" and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        if shape.type_name == "boolean" and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if shape.type_name in ("integer", "long", "float", "double"):
            try:
                return float(value)
            except ValueError:
                return value
    return value
