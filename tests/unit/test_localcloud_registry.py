"""The Model Registry: retries, limits and policies."""

import json
from pathlib import Path
from typing import Any

import pytest

from localcloud.errors import ConflictException, ResourceLimitExceeded, ValidationException
from localcloud.sagemaker.quotas import PACKAGE_GROUPS

from .localcloud_bench import Bench

CONTAINERS = {
    "Containers": [{"Image": "stub:1"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}


def register(bench: Bench, **more: Any) -> str:
    arn: str = bench.call("CreateModelPackage", ModelPackageGroupName="fleet", **more)["ModelPackageArn"]
    return arn


@pytest.fixture
def group(bench: Bench) -> Bench:
    bench.call("CreateModelPackageGroup", ModelPackageGroupName="fleet")
    return bench


def test_retried_registration_makes_one_version(group: Bench) -> None:
    first = register(group, ClientToken="token-1", InferenceSpecification=CONTAINERS)
    assert register(group, ClientToken="token-1", InferenceSpecification=CONTAINERS) == first
    assert register(group, ClientToken="token-2", InferenceSpecification=CONTAINERS) == first.replace("/1", "/2")


def test_update_says_in_its_event_what_it_changed(group: Bench) -> None:
    arn = register(group, InferenceSpecification=CONTAINERS)
    stage = {"Stage": "Development", "StageStatus": "InProgress"}
    group.call("UpdateModelPackage", ModelPackageArn=arn, ModelLifeCycle=stage, ModelPackageRegistrationType="Logged")
    group.sagemaker.platform.events.close()
    details = []
    while not group.events.empty():
        details.append(json.loads(group.events.get()["Detail"]))
    assert [sorted(detail["UpdatedModelPackageFields"]) for detail in details] == [
        [],
        ["ModelLifeCycle", "ModelPackageRegistrationType"],
    ]
    assert details[-1]["ModelLifeCycle"] == stage
    assert group.call("DescribeModelPackage", ModelPackageName=arn)["ModelPackageRegistrationType"] == "Logged"


def test_further_specifications_are_unique_and_fifteen_at_most(group: Bench) -> None:
    arn = register(group, InferenceSpecification=CONTAINERS)

    def add(*names: str) -> None:
        added = [{"Name": name, "Containers": [{"Image": "stub:1"}]} for name in names]
        group.call("UpdateModelPackage", ModelPackageArn=arn, AdditionalInferenceSpecificationsToAdd=added)

    add(*(f"s{number}" for number in range(14)))
    with pytest.raises(ValidationException, match="must be unique"):
        add("s1")
    with pytest.raises(ValidationException, match="at most 15"):
        add("one", "two")
    add("last")
    assert len(group.call("DescribeModelPackage", ModelPackageName=arn)["AdditionalInferenceSpecifications"]) == 15


def test_package_without_containers_can_be_described_with_others(group: Bench) -> None:
    arn = register(group, SourceUri="s3://bucket/model")
    answer = group.call("BatchDescribeModelPackage", ModelPackageArnList=[arn, arn.replace("/1", "/9")])
    assert answer["ModelPackageSummaries"][arn]["InferenceSpecification"] == {"Containers": []}
    assert list(answer["BatchDescribeModelPackageErrorMap"]) == [arn.replace("/1", "/9")]


def test_group_with_packages_stays(group: Bench) -> None:
    arn = register(group, InferenceSpecification=CONTAINERS)
    with pytest.raises(ConflictException, match="still contains Model Packages"):
        group.call("DeleteModelPackageGroup", ModelPackageGroupName="fleet")
    group.call("DeleteModelPackage", ModelPackageName=arn)
    group.call("DeleteModelPackageGroup", ModelPackageGroupName="fleet")


def test_policy_must_be_one(group: Bench) -> None:
    for wrong in ("no json", "{}", '{"Statement": []}'):
        with pytest.raises(ValidationException, match="Invalid resource policy"):
            group.call("PutModelPackageGroupPolicy", ModelPackageGroupName="fleet", ResourcePolicy=wrong)
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}'
    group.call("PutModelPackageGroupPolicy", ModelPackageGroupName="fleet", ResourcePolicy=policy)
    assert group.call("GetModelPackageGroupPolicy", ModelPackageGroupName="fleet")["ResourcePolicy"] == policy


def test_groups_have_a_quota(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={PACKAGE_GROUPS: 1})
    bench.call("CreateModelPackageGroup", ModelPackageGroupName="one")
    with pytest.raises(ResourceLimitExceeded, match="Model Package Groups allowed per account' is 1"):
        bench.call("CreateModelPackageGroup", ModelPackageGroupName="two")
    bench.sagemaker.close()
