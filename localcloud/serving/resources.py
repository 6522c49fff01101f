"""CloudFormation's types of serving: AWS::SageMaker::Model, EndpointConfig and Endpoint.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_SageMaker.html: models and configurations are
replaced by any change but that of their tags; an endpoint is updated in place, and the stack waits until it is in
service. Ref gives the ARN of each, GetAtt its name.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from localcloud import hooks
from localcloud.errors import ApiError, LocalcloudError
from localcloud.sagemaker.api import service_model
from localcloud.sagemaker.service import SageMaker

Props = Mapping[str, Any]

LOOK_SECONDS = 0.2
MOST_NAME = 63


class ProvisioningFailed(LocalcloudError):
    """A resource could not be created, changed or deleted; the text is the stack event's reason."""


@dataclass(frozen=True)
class Type:
    """One of the types.

    Args:
        noun: in its operations' names.
        in_place: properties that are changed without replacement, besides Tags.
    """

    noun: str
    in_place: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The property, member and attribute that holds the name."""
        return f"{self.noun}Name"

    @property
    def cloudformation(self) -> str:
        """The type's name in templates."""
        return f"AWS::SageMaker::{self.noun}"


MODEL = Type("Model")
CONFIG = Type("EndpointConfig")
ENDPOINT = Type(
    "Endpoint",
    frozenset(
        {
            *("EndpointConfigName", "DeploymentConfig", "RetainAllVariantProperties"),
            *("ExcludeRetainedVariantProperties", "RetainDeploymentConfig"),
        }
    ),
)


def install(sagemaker: SageMaker) -> None:
    """Teach MiniStack's CloudFormation the types; they wait, so they are provisioned off the event loop."""
    types = hooks.get("cloudformation.types")
    for each in (MODEL, CONFIG, ENDPOINT):
        types[each.cloudformation] = Resource(sagemaker, each).handlers
    ours = frozenset(each.cloudformation for each in (MODEL, CONFIG, ENDPOINT))

    def on_worker_thread(runs_on_worker_thread: Callable[[str], bool]) -> Callable[[str], bool]:
        return lambda resource_type: resource_type in ours or runs_on_worker_thread(resource_type)

    hooks.replace("cloudformation.in_thread", on_worker_thread)


class Resource:
    """Creates, changes and deletes resources of one type."""

    def __init__(self, sagemaker: SageMaker, its: Type) -> None:
        self._sagemaker = sagemaker
        self._its = its

    @property
    def handlers(self) -> dict[str, Any]:
        """In the form that MiniStack wants."""
        return {
            "create": self.create,
            "update": self.update,
            "delete": self.delete,
            "update_with_logical_id": True,
        }

    def create(self, logical_id: str, props: Props, stack_name: str) -> tuple[str, dict[str, Any]]:
        """Create it, and wait for an endpoint; answers ARN and attributes."""
        its = self._its
        name = props.get(its.name) or _generated(stack_name, logical_id)
        self._call(f"Create{its.noun}", {**props, its.name: name})
        arn = self._describe(name)[f"{its.noun}Arn"]
        if its is ENDPOINT and (described := self._settled(name))["EndpointStatus"] != "InService":
            self.delete(arn, props)  # a stack that is rolled back leaves nothing
            raise ProvisioningFailed(described.get("FailureReason", f"Endpoint {name} is not in service."))
        return arn, {its.name: name}

    def update(
        self, physical_id: str, old: Props, new: Props, stack_name: str, logical_id: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Change tags, and an endpoint's configuration, in place; anything else replaces the resource."""
        its = self._its
        name = physical_id.rsplit("/", 1)[-1]
        changed = {each for each in {*old, *new} if old.get(each) != new.get(each)} - {"Tags"}
        if changed - its.in_place:
            if its.name in new and old.get(its.name) == new[its.name]:
                raise ProvisioningFailed(
                    "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename "
                    f"{new[its.name]} and update the stack again."
                )
            created = self.create(logical_id or name, new, stack_name)
            hooks.get("cloudformation.replaced")(self.delete, physical_id, old)
            return created
        gone = {tag["Key"] for tag in old.get("Tags", [])} - {tag["Key"] for tag in new.get("Tags", [])}
        if gone:
            self._call("DeleteTags", {"ResourceArn": physical_id, "TagKeys": sorted(gone)})
        if new.get("Tags"):
            self._call("AddTags", {"ResourceArn": physical_id, "Tags": new["Tags"]})
        if changed:
            self._update_endpoint(name, new)
        return physical_id, {its.name: name}

    def delete(self, physical_id: str, props: Props) -> None:
        """Delete it, and wait until an endpoint is gone; one that is gone already is no error."""
        its = self._its
        name = physical_id.rsplit("/", 1)[-1]
        try:
            if its is ENDPOINT:
                self._settled(name)
            self._perform(f"Delete{its.noun}", {its.name: name})
            while its is ENDPOINT:
                self._perform("DescribeEndpoint", {its.name: name})
                time.sleep(LOOK_SECONDS)
        except ApiError as error:
            if "Could not find" not in error.message:
                raise ProvisioningFailed(error.message) from error

    def _update_endpoint(self, name: str, props: Props) -> None:
        request = {each: props[each] for each in ENDPOINT.in_place if each in props}
        wanted = request["EndpointConfigName"]
        self._call("UpdateEndpoint", {**request, "EndpointName": name})
        described = self._settled(name)
        if described["EndpointConfigName"] != wanted.rsplit("/", 1)[-1]:
            raise ProvisioningFailed(described.get("FailureReason", f"Endpoint {name} was not updated."))

    def _settled(self, name: str) -> dict[str, Any]:
        while True:
            described = self._perform("DescribeEndpoint", {"EndpointName": name})
            if described["EndpointStatus"] in ("InService", "Failed"):
                return described
            time.sleep(LOOK_SECONDS)

    def _describe(self, name: str) -> dict[str, Any]:
        return self._call(f"Describe{self._its.noun}", {self._its.name: name})

    def _call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._perform(operation, request)
        except ApiError as error:
            raise ProvisioningFailed(error.message) from error

    def _perform(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        shape = service_model("sagemaker").operation_model(operation).input_shape
        return self._sagemaker.perform(hooks.current_scope(), operation, _typed(shape, request))


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


def _generated(stack_name: str, logical_id: str) -> str:
    """A physical name as CloudFormation makes them, another one each time."""
    suffix = secrets.token_hex(6)
    return f"{stack_name}-{logical_id}"[: MOST_NAME - len(suffix) - 1].rstrip("-") + f"-{suffix}"
