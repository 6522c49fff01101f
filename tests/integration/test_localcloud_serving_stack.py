"""Serving in CloudFormation: created, updated in place, rolled back, deleted."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, unique
from .serving import archive, invoke

TEMPLATE = (Path(__file__).parent / "localcloud_stack/serving.yaml").read_text()


def deploy(
    cloud: Cloud,
    name: str,
    artefact: str,
    said: str,
    label: str = "first",
    *,
    new: bool = False,
    template: str = TEMPLATE,
) -> Any:
    """Create or update the stack; its description once it has settled."""
    cloudformation = cloud.client("cloudformation")
    values = {"Artefact": artefact, "Said": said, "Role": ROLE, "Label": label}
    request = {
        "StackName": name,
        "TemplateBody": template,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
    }
    (cloudformation.create_stack if new else cloudformation.update_stack)(**request)

    def settled() -> Any:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    return wait_for(settled, 300)


def outputs(stack: Any) -> dict[str, str]:
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


@pytest.fixture
def artefact(localcloud: Cloud, bucket: str) -> str:
    key = f"{unique('stack')}/model.tar.gz"
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=archive())
    return f"s3://{bucket}/{key}"


def test_a_stack_serves_changes_and_leaves_nothing(localcloud: Cloud, artefact: str) -> None:
    sagemaker, name = localcloud.client("sagemaker"), unique("serving")
    stack = deploy(localcloud, name, artefact, "one", new=True)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    first = outputs(stack)
    assert first["EndpointArn"].endswith(f":endpoint/{first['EndpointName']}")
    assert ":model/" in first["ModelArn"]
    assert invoke(localcloud, first["EndpointName"])["name"] == "one"

    second = outputs(deploy(localcloud, name, artefact, "two", "second"))
    assert second["EndpointName"] == first["EndpointName"]
    assert second["ConfigName"] != first["ConfigName"]
    assert invoke(localcloud, first["EndpointName"])["name"] == "two"
    tags = sagemaker.list_tags(ResourceArn=first["EndpointArn"])["Tags"]
    assert {"Key": "label", "Value": "second"} in tags
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        sagemaker.describe_endpoint_config(EndpointConfigName=first["ConfigName"])
    assert len(sagemaker.list_models(NameContains=name)["Models"]) == 1

    localcloud.client("cloudformation").delete_stack(StackName=name)
    wait_for(lambda: not sagemaker.list_models(NameContains=name)["Models"])
    assert sagemaker.list_endpoints(NameContains=name)["Endpoints"] == []
    assert sagemaker.list_endpoint_configs(NameContains=name)["EndpointConfigs"] == []


def test_a_stack_whose_update_is_not_healthy_is_rolled_back(localcloud: Cloud, artefact: str) -> None:
    sagemaker, name = localcloud.client("sagemaker"), unique("serving")
    first = outputs(deploy(localcloud, name, artefact, "one", new=True))
    crashing = TEMPLATE.replace("NAME: !Ref Said", "NAME: !Ref Said, CRASH: !Ref Said")
    stack = deploy(localcloud, name, artefact, "two", template=crashing)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert invoke(localcloud, first["EndpointName"])["name"] == "one"
    described = sagemaker.describe_endpoint(EndpointName=first["EndpointName"])
    assert described["EndpointConfigName"] == first["ConfigName"]
    localcloud.client("cloudformation").delete_stack(StackName=name)
    wait_for(lambda: not sagemaker.list_endpoints(NameContains=name)["Endpoints"])


def test_a_stack_whose_endpoint_fails_is_rolled_back(localcloud: Cloud, artefact: str) -> None:
    name = unique("serving")
    crashing = TEMPLATE.replace("NAME: !Ref Said", "NAME: !Ref Said, CRASH: !Ref Said")
    stack = deploy(localcloud, name, artefact, "one", new=True, template=crashing)
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    events = localcloud.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    assert any("did not pass the ping health check" in each.get("ResourceStatusReason", "") for each in events)
    assert localcloud.client("sagemaker").list_models(NameContains=name)["Models"] == []
    assert localcloud.client("sagemaker").list_endpoints(NameContains=name)["Endpoints"] == []
