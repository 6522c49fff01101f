"""CloudFormation's type of the registry: AWS::SageMaker::ModelPackageGroup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.errors import ApiError
from localcloud.sagemaker.provisioning import ProvisioningFailed, Resource, check_replaceable, generated_name
from localcloud.sagemaker.service import SageMaker


def install(sagemaker: SageMaker) -> None:
    """Teach MiniStack's CloudFormation the type."""
    hooks.get("cloudformation.types")["AWS::SageMaker::ModelPackageGroup"] = ModelPackageGroup(sagemaker).handlers


class ModelPackageGroup(Resource):
    """AWS::SageMaker::ModelPackageGroup.

    docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sagemaker-modelpackagegroup.html: name
    and description replace, tags and policy are changed in place; Ref gives the ARN.
    """

    def create(self, logical_id: str, props: Mapping[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        """Create the group; answers its ARN and attributes."""
        name = props.get("ModelPackageGroupName") or generated_name(stack_name, logical_id)
        request = {"ModelPackageGroupName": name, "Tags": props.get("Tags", [])}
        if "ModelPackageGroupDescription" in props:
            request["ModelPackageGroupDescription"] = props["ModelPackageGroupDescription"]
        arn = self.call("CreateModelPackageGroup", request)["ModelPackageGroupArn"]
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
            check_replaceable("ModelPackageGroupName", old, new)
            created = self.create(logical_id or physical_id, new, stack_name)
            self.delete(physical_id, old)
            return created
        name = physical_id.rsplit("/", 1)[-1]
        self.retag(physical_id, old, new)
        if "ModelPackageGroupPolicy" in old and "ModelPackageGroupPolicy" not in new:
            self.call("DeleteModelPackageGroupPolicy", {"ModelPackageGroupName": name})
        self._set_policy(name, new)
        return physical_id, self._attributes(name)

    def delete(self, physical_id: str, props: Mapping[str, Any]) -> None:
        """Delete the group; one that is gone already is no error, one with packages is."""
        try:
            self.perform("DeleteModelPackageGroup", {"ModelPackageGroupName": physical_id.rsplit("/", 1)[-1]})
        except ApiError as error:
            if "does not exist" not in error.message:
                raise ProvisioningFailed(error.message) from error

    def _set_policy(self, name: str, props: Mapping[str, Any]) -> None:
        policy = props.get("ModelPackageGroupPolicy")
        if policy is not None:
            text = policy if isinstance(policy, str) else json.dumps(policy)
            self.call("PutModelPackageGroupPolicy", {"ModelPackageGroupName": name, "ResourcePolicy": text})

    def _attributes(self, name: str) -> dict[str, Any]:
        group = self.call("DescribeModelPackageGroup", {"ModelPackageGroupName": name})
        return {
            "ModelPackageGroupArn": group["ModelPackageGroupArn"],
            "ModelPackageGroupStatus": group["ModelPackageGroupStatus"],
            "CreationTime": group["CreationTime"].isoformat(),
        }
