"""The Model Registry over the wire: groups, versions, approval, tags."""

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from .conformance.steps import first_message, rule
from .localcloud_requests import unique

INFERENCE = {
    "Containers": [{"Image": "test/stub:1", "ModelDataUrl": "s3://test-bucket/model.tar.gz"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["application/json"],
}


def group(cloud: Cloud, **more: object) -> str:
    name = unique("Group")
    cloud.client("sagemaker").create_model_package_group(ModelPackageGroupName=name, **more)
    return name


def test_versions_count_up_and_are_described(localcloud: Cloud) -> None:
    sagemaker, name = localcloud.client("sagemaker"), group(localcloud)
    arns = [
        sagemaker.create_model_package(
            ModelPackageGroupName=name,
            InferenceSpecification=INFERENCE,
            CustomerMetadataProperties={"rmse": "12.5", "uri": "s3://a/b_c:d=e+f-g@h"},
        )["ModelPackageArn"]
        for _ in range(2)
    ]
    assert arns == [
        f"arn:aws:sagemaker:us-east-1:{localcloud.account}:model-package/{name}/{version}" for version in (1, 2)
    ]
    package = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert package["ModelPackageVersion"] == 2
    assert package["ModelPackageGroupName"] == name
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelPackageStatus"] == "Completed"
    assert package["CustomerMetadataProperties"]["rmse"] == "12.5"
    assert package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == "s3://test-bucket/model.tar.gz"
    sagemaker.delete_model_package(ModelPackageName=arns[1])
    third = sagemaker.create_model_package(ModelPackageGroupName=name)["ModelPackageArn"]
    assert third.endswith("/3")


def test_approval_is_changed_and_listed(localcloud: Cloud) -> None:
    sagemaker, name = localcloud.client("sagemaker"), group(localcloud)
    arns = [sagemaker.create_model_package(ModelPackageGroupName=name)["ModelPackageArn"] for _ in range(3)]
    sagemaker.update_model_package(
        ModelPackageArn=arns[1],
        ModelApprovalStatus="Approved",
        ApprovalDescription="looks good",
        CustomerMetadataProperties={"by": "me"},
    )
    package = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (package["ModelApprovalStatus"], package["ApprovalDescription"]) == ("Approved", "looks good")
    assert package["CustomerMetadataProperties"] == {"by": "me"}
    sagemaker.update_model_package(ModelPackageArn=arns[1], CustomerMetadataPropertiesToRemove=["by"])
    assert "by" not in sagemaker.describe_model_package(ModelPackageName=arns[1]).get("CustomerMetadataProperties", {})

    listed = sagemaker.list_model_packages(ModelPackageGroupName=name, ModelApprovalStatus="Approved")
    assert [item["ModelPackageArn"] for item in listed["ModelPackageSummaryList"]] == [arns[1]]
    assert "ModelPackageName" not in listed["ModelPackageSummaryList"][0]  # AWS lists versions without a name
    newest = sagemaker.list_model_packages(
        ModelPackageGroupName=name, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )
    assert newest["ModelPackageSummaryList"][0]["ModelPackageArn"] == arns[2]
    paginator = sagemaker.get_paginator("list_model_packages")
    pages = list(paginator.paginate(ModelPackageGroupName=name, PaginationConfig={"PageSize": 2}))
    assert [len(page["ModelPackageSummaryList"]) for page in pages] == [2, 1]


def test_events_say_what_was_registered_and_what_was_changed(localcloud: Cloud) -> None:
    sagemaker, name = localcloud.client("sagemaker"), group(localcloud)
    pattern = {"source": ["aws.sagemaker"], "detail": {"ModelPackageGroupName": [name]}}
    url = rule(localcloud, pattern)
    arn = sagemaker.create_model_package(ModelPackageGroupName=name, InferenceSpecification=INFERENCE)[
        "ModelPackageArn"
    ]
    created = first_message(localcloud, url)
    assert created["detail-type"] == "SageMaker Model Package State Change"
    assert created["resources"] == [arn]
    detail = created["detail"]
    assert (detail["ModelPackageArn"], detail["ModelPackageVersion"]) == (arn, 1)
    assert (detail["ModelPackageStatus"], detail["ModelApprovalStatus"]) == ("Completed", "PendingManualApproval")
    assert detail["UpdatedModelPackageFields"] == []
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="good")
    approved = first_message(localcloud, url)["detail"]
    assert approved["ModelApprovalStatus"] == "Approved"
    assert set(approved["UpdatedModelPackageFields"]) == {"ModelApprovalStatus", "ApprovalDescription"}
    modified = sagemaker.describe_model_package(ModelPackageName=arn)["LastModifiedTime"].timestamp()
    assert approved["LastModifiedTime"] == pytest.approx(modified * 1000, abs=1)
    assert approved["LastModifiedTime"] >= detail["LastModifiedTime"] > 1_700_000_000_000
    sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={"note": "x"})
    edited = first_message(localcloud, url)["detail"]
    assert (edited["ModelApprovalStatus"], edited["UpdatedModelPackageFields"]) == (
        "Approved",
        ["CustomerMetadataProperties"],
    )


def test_group_with_packages_is_not_deleted(localcloud: Cloud) -> None:
    sagemaker, name = localcloud.client("sagemaker"), group(localcloud, ModelPackageGroupDescription="a fleet")
    assert sagemaker.describe_model_package_group(ModelPackageGroupName=name)["ModelPackageGroupStatus"] == "Completed"
    arn = sagemaker.create_model_package(ModelPackageGroupName=name)["ModelPackageArn"]
    with pytest.raises(ClientError, match="ConflictException"):
        sagemaker.delete_model_package_group(ModelPackageGroupName=name)
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=name)
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package_group(ModelPackageGroupName=name)


def test_groups_have_tags_and_versions_have_none(localcloud: Cloud) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = group(localcloud, Tags=[{"Key": "a", "Value": "1"}])
    arn = sagemaker.describe_model_package_group(ModelPackageGroupName=name)["ModelPackageGroupArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["b", "never-was"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    with pytest.raises(ClientError, match="ValidationException"):
        sagemaker.create_model_package(ModelPackageGroupName=name, Tags=[{"Key": "a", "Value": "1"}])
    package = sagemaker.create_model_package(ModelPackageGroupName=name)["ModelPackageArn"]
    with pytest.raises(ClientError, match="ValidationException"):
        sagemaker.add_tags(ResourceArn=package, Tags=[{"Key": "a", "Value": "1"}])
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.list_tags(ResourceArn=arn.replace(name, "never-was"))


@pytest.mark.parametrize(
    ("properties", "complaint"),
    [
        ({"k": "x" * 257}, "length less than or equal to 256"),
        ({"k": "no {braces}"}, "regular expression pattern"),
        ({f"k{number}": "v" for number in range(51)}, "less than or equal to 50"),
    ],
)
def test_properties_out_of_bounds_are_refused(localcloud: Cloud, properties: dict[str, str], complaint: str) -> None:
    sagemaker, name = localcloud.client("sagemaker"), group(localcloud)
    with pytest.raises(ClientError) as error:
        sagemaker.create_model_package(ModelPackageGroupName=name, CustomerMetadataProperties=properties)
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert complaint in error.value.response["Error"]["Message"]


def test_package_needs_a_group_or_a_name_that_exist(localcloud: Cloud) -> None:
    sagemaker = localcloud.client("sagemaker")
    for request, complaint in (
        ({}, "Missing ARN"),
        ({"ModelPackageName": "a", "ModelPackageGroupName": "b"}, "Cannot determine which one to use"),
        ({"ModelPackageGroupName": "never-was"}, "does not exist"),
    ):
        with pytest.raises(ClientError, match=complaint):
            sagemaker.create_model_package(**request)
    name = group(localcloud)
    with pytest.raises(ClientError, match="already exists"):
        sagemaker.create_model_package_group(ModelPackageGroupName=name)


def test_operation_that_is_missing_says_so(localcloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        localcloud.client("sagemaker").list_pipelines()
    assert error.value.response["Error"]["Code"] == "UnsupportedOperationException"
    assert "ListPipelines" in error.value.response["Error"]["Message"]
