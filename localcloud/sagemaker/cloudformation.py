"""CloudFormation types that MiniStack lacks, with create, update and delete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.errors import ApiError
from localcloud.sagemaker.service import SageMaker
from localcloud.serving import resources
from localcloud.serving.resources import ProvisioningFailed


def install(sagemaker: SageMaker) -> None:
    """Teach MiniStack's CloudFormation the types."""
    hooks.get("cloudformation.types")["AWS::SageMaker::ModelPackageGroup"] = ModelPackageGroup(sagemaker).handlers
    resources.install(sagemaker)


class ModelPackageGroup:
    """AWS::SageMaker::ModelPackageGroup.

    docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sagemaker-modelpackagegroup.html: name
    and description replace, tags and policy are changed in place; Ref gives the ARN.
    """

    def __init__(self, sagemaker: SageMaker) -> None:
        self._sagemaker = sagemaker

    @property
    def handlers(self) -> dict[str, Any]:
        """In the form that MiniStack wants."""
        return {
            "create": self.create,
            "update": self.update,
            "delete": self.delete,
            "update_with_logical_id": True,
        }

    def create(self, logical_id: str, props: Mapping[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        """Create the group; answers its ARN and attributes."""
        name = props.get("ModelPackageGroupName") or generated_name(stack_name, logical_id, 63)
        request = {"ModelPackageGroupName": name, "Tags": _tags(props)}
        if "ModelPackageGroupDescription" in props:
            request["ModelPackageGroupDescription"] = props["ModelPackageGroupDescription"]
        arn = self._call("CreateModelPackageGroup", request)["ModelPackageGroupArn"]
        self._set_policy(name, props)
        return arn, self._attributes(name)

    def update(
        self,
        physical_id: str,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        stack_name: str,
        logical_id: str | None = None,
    ) -> tuple[str, dict[str, Any]]:
        """Change tags and policy in place; anything else replaces the group."""
        replacing = ("ModelPackageGroupName", "ModelPackageGroupDescription")
        if any(old.get(name) != new.get(name) for name in replacing):
            if old.get("ModelPackageGroupName") == new.get("ModelPackageGroupName") and "ModelPackageGroupName" in new:
                raise ProvisioningFailed(
                    "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename "
                    f"{new['ModelPackageGroupName']} and update the stack again."
                )
            created = self.create(logical_id or physical_id, new, stack_name)
            self.delete(physical_id, old)
            return created
        name = physical_id.rsplit("/", 1)[-1]
        gone = {tag["Key"] for tag in _tags(old)} - {tag["Key"] for tag in _tags(new)}
        if gone:
            self._call("DeleteTags", {"ResourceArn": physical_id, "TagKeys": sorted(gone)})
        if _tags(new):
            self._call("AddTags", {"ResourceArn": physical_id, "Tags": _tags(new)})
        if "ModelPackageGroupPolicy" in old and "ModelPackageGroupPolicy" not in new:
            self._call("DeleteModelPackageGroupPolicy", {"ModelPackageGroupName": name})
        self._set_policy(name, new)
        return physical_id, self._attributes(name)

    def delete(self, physical_id: str, props: Mapping[str, Any]) -> None:
        """Delete the group; one that is gone already is no error, one with packages is."""
        try:
            self._perform("DeleteModelPackageGroup", {"ModelPackageGroupName": physical_id.rsplit("/", 1)[-1]})
        except ApiError as error:
            if "does not exist" not in error.message:
                raise ProvisioningFailed(error.message) from error

    def _set_policy(self, name: str, props: Mapping[str, Any]) -> None:
        policy = props.get("ModelPackageGroupPolicy")
        if policy is not None:
            text = policy if isinstance(policy, str) else json.dumps(policy)
            self._call("PutModelPackageGroupPolicy", {"ModelPackageGroupName": name, "ResourcePolicy": text})

    def _attributes(self, name: str) -> dict[str, Any]:
        group = self._call("DescribeModelPackageGroup", {"ModelPackageGroupName": name})
        return {
            "ModelPackageGroupArn": group["ModelPackageGroupArn"],
            "ModelPackageGroupStatus": group["ModelPackageGroupStatus"],
            "CreationTime": group["CreationTime"].isoformat(),
        }

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._perform(operation, request)
        except ApiError as error:
            raise ProvisioningFailed(error.message) from error

    def _perform(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return self._sagemaker.perform(hooks.current_scope(), operation, request)


def generated_name(stack_name: str, logical_id: str, most: int) -> str:
    """A physical name as CloudFormation makes them: stack, logical id and a hash."""
    suffix = hashlib.sha256(f"{stack_name}/{logical_id}".encode()).hexdigest()[:12]
    return f"{stack_name}-{logical_id}"[: most - len(suffix) - 1].rstrip("-") + f"-{suffix}"


def _tags(props: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"Key": tag["Key"], "Value": str(tag["Value"])} for tag in props.get("Tags", [])]
