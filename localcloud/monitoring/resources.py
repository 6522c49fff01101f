"""CloudFormation's types of Model Monitor: AWS::SageMaker::MonitoringSchedule and DataQualityJobDefinition.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sagemaker-monitoringschedule.html and
…-dataqualityjobdefinition.html: a schedule is changed in place but for its name, a definition is replaced by any change
but that of its tags. Ref gives the ARN of each.
"""

from __future__ import annotations

import time
from typing import Any

from localcloud import hooks
from localcloud.errors import ApiError
from localcloud.sagemaker.provisioning import Props, ProvisioningFailed, Resource, check_replaceable, generated_name
from localcloud.sagemaker.service import SageMaker

SCHEDULE = "AWS::SageMaker::MonitoringSchedule"
DEFINITION = "AWS::SageMaker::DataQualityJobDefinition"
LOOK_SECONDS = 0.5


def install(sagemaker: SageMaker) -> None:
    """Teach MiniStack's CloudFormation the types; a deletion may wait, so they are provisioned off the event loop."""
    types = hooks.get("cloudformation.types")
    types[SCHEDULE] = ScheduleResource(sagemaker).handlers
    types[DEFINITION] = DefinitionResource(sagemaker).handlers

    def on_worker_thread(runs_on_worker_thread: Any) -> Any:
        return lambda resource_type: resource_type in (SCHEDULE, DEFINITION) or runs_on_worker_thread(resource_type)

    hooks.replace("cloudformation.in_thread", on_worker_thread)


class ScheduleResource(Resource):
    """AWS::SageMaker::MonitoringSchedule."""

    def create(self, logical_id: str, props: Props, stack_name: str) -> tuple[str, dict[str, Any]]:
        """Create it; answers ARN and attributes."""
        name = props.get("MonitoringScheduleName") or generated_name(stack_name, logical_id)
        request = {
            "MonitoringScheduleName": name,
            "MonitoringScheduleConfig": props.get("MonitoringScheduleConfig", {}),
            "Tags": props.get("Tags", []),
        }
        arn = self.call("CreateMonitoringSchedule", request)["MonitoringScheduleArn"]
        return arn, self._attributes(name)

    def update(
        self, physical_id: str, old: Props, new: Props, stack_name: str, logical_id: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Change tags and configuration in place; another name replaces it."""
        name = physical_id.rsplit("/", 1)[-1]
        if old.get("MonitoringScheduleName") != new.get("MonitoringScheduleName"):
            created = self.create(logical_id or name, new, stack_name)
            hooks.get("cloudformation.replaced")(self.delete, physical_id, old)
            return created
        self.retag(physical_id, old, new)
        config = new.get("MonitoringScheduleConfig", {})
        if old.get("MonitoringScheduleConfig") != config:
            request = {"MonitoringScheduleName": name, "MonitoringScheduleConfig": config}
            self.call("UpdateMonitoringSchedule", request)
        return physical_id, self._attributes(name)

    def delete(self, physical_id: str, props: Props) -> None:
        """Stop it, wait for its last execution, and delete it; one that is gone already is no error."""
        request = {"MonitoringScheduleName": physical_id.rsplit("/", 1)[-1]}
        try:
            self.perform("StopMonitoringSchedule", request)
            while True:
                try:
                    self.perform("DeleteMonitoringSchedule", request)
                    return
                except ApiError as error:
                    if error.code != "ValidationException":
                        raise
                time.sleep(LOOK_SECONDS)
        except ApiError as error:
            if error.code != "ResourceNotFound":
                raise ProvisioningFailed(error.message) from error

    def _attributes(self, name: str) -> dict[str, Any]:
        found = self.call("DescribeMonitoringSchedule", {"MonitoringScheduleName": name})
        return {
            "MonitoringScheduleArn": found["MonitoringScheduleArn"],
            "CreationTime": found["CreationTime"].isoformat(),
            "LastModifiedTime": found["LastModifiedTime"].isoformat(),
        }


class DefinitionResource(Resource):
    """AWS::SageMaker::DataQualityJobDefinition."""

    def create(self, logical_id: str, props: Props, stack_name: str) -> tuple[str, dict[str, Any]]:
        """Create it; answers ARN and attributes."""
        name = props.get("JobDefinitionName") or generated_name(stack_name, logical_id)
        self.call("CreateDataQualityJobDefinition", {**props, "JobDefinitionName": name})
        found = self.call("DescribeDataQualityJobDefinition", {"JobDefinitionName": name})
        attributes = {
            "JobDefinitionArn": found["JobDefinitionArn"],
            "JobDefinitionName": name,
            "CreationTime": found["CreationTime"].isoformat(),
        }
        return found["JobDefinitionArn"], attributes

    def update(
        self, physical_id: str, old: Props, new: Props, stack_name: str, logical_id: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Change tags in place; anything else replaces it."""
        name = physical_id.rsplit("/", 1)[-1]
        if {key: old[key] for key in old if key != "Tags"} != {key: new[key] for key in new if key != "Tags"}:
            check_replaceable("JobDefinitionName", old, new)
            created = self.create(logical_id or name, new, stack_name)
            hooks.get("cloudformation.replaced")(self.delete, physical_id, old)
            return created
        self.retag(physical_id, old, new)
        return physical_id, {"JobDefinitionArn": physical_id, "JobDefinitionName": name}

    def delete(self, physical_id: str, props: Props) -> None:
        """Delete it; one that is gone already is no error."""
        try:
            self.perform("DeleteDataQualityJobDefinition", {"JobDefinitionName": physical_id.rsplit("/", 1)[-1]})
        except ApiError as error:
            if error.code != "ResourceNotFound":
                raise ProvisioningFailed(error.message) from error
