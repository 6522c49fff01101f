"""CloudFormation's types of serving: AWS::SageMaker::Model, EndpointConfig and Endpoint.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_SageMaker.html: models and configurations are
replaced by any change but that of their tags; an endpoint is updated in place, and the stack waits until it is in
service. Ref gives the ARN of each, GetAtt its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud import hooks
from localcloud.errors import ApiError
from localcloud.sagemaker.provisioning import Props, ProvisioningFailed, Resource, check_replaceable, generated_name
from localcloud.sagemaker.service import SageMaker

LOOK_SECONDS = 0.2


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
        types[each.cloudformation] = ServingResource(sagemaker, each).handlers
    ours = frozenset(each.cloudformation for each in (MODEL, CONFIG, ENDPOINT))

    def on_worker_thread(runs_on_worker_thread: Callable[[str], bool]) -> Callable[[str], bool]:
        return lambda resource_type: resource_type in ours or runs_on_worker_thread(resource_type)

    hooks.replace("cloudformation.in_thread", on_worker_thread)


class ServingResource(Resource):
    """Creates, changes and deletes resources of one type."""

    def __init__(self, sagemaker: SageMaker, its: Type) -> None:
        super().__init__(sagemaker)
        self._its = its

    def create(self, logical_id: str, props: Props, stack_name: str) -> tuple[str, dict[str, Any]]:
        """Create it, and wait for an endpoint; answers ARN and attributes."""
        its = self._its
        name = props.get(its.name) or generated_name(stack_name, logical_id)
        self.call(f"Create{its.noun}", {**props, its.name: name})
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
            check_replaceable(its.name, old, new)
            created = self.create(logical_id or name, new, stack_name)
            hooks.get("cloudformation.replaced")(self.delete, physical_id, old)
            return created
        self.retag(physical_id, old, new)
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
            self.perform(f"Delete{its.noun}", {its.name: name})
            while its is ENDPOINT:
                self.perform("DescribeEndpoint", {its.name: name})
                time.sleep(LOOK_SECONDS)
        except ApiError as error:
            if "Could not find" not in error.message:
                raise ProvisioningFailed(error.message) from error

    def _update_endpoint(self, name: str, props: Props) -> None:
        request = {each: props[each] for each in ENDPOINT.in_place if each in props}
        wanted = request["EndpointConfigName"]
        self.call("UpdateEndpoint", {**request, "EndpointName": name})
        described = self._settled(name)
        if described["EndpointConfigName"] != wanted.rsplit("/", 1)[-1]:
            raise ProvisioningFailed(described.get("FailureReason", f"Endpoint {name} was not updated."))

    def _settled(self, name: str) -> dict[str, Any]:
        while True:
            described = self.perform("DescribeEndpoint", {"EndpointName": name})
            if described["EndpointStatus"] in ("InService", "Failed"):
                return described
            time.sleep(LOOK_SECONDS)

    def _describe(self, name: str) -> dict[str, Any]:
        return self.call(f"Describe{self._its.noun}", {self._its.name: name})
