"""Requests and responses against AWS's model: constraints, wording, types."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import StructureShape

from localcloud.errors import ApiError, ValidationException
from localcloud.sagemaker.api import ResponseInvalid, _compile, parse_request, serialise_response, service_model


def input_of(operation: str) -> StructureShape:
    shape = service_model("sagemaker").operation_model(operation).input_shape
    assert shape is not None
    return shape


def refusal(operation: str, request: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        parse_request(input_of(operation), request)
    return error.value


def test_every_broken_constraint_is_named_at_once() -> None:
    error = refusal("CreateModelPackageGroup", {"ModelPackageGroupDescription": "x" * 1025})
    assert isinstance(error, ValidationException)
    assert error.message == (
        "2 validation errors detected: Value null at 'modelPackageGroupName' failed to satisfy constraint: Member must "
        f"not be null; Value '{'x' * 1025}' at 'modelPackageGroupDescription' failed to satisfy constraint: Member "
        "must have length less than or equal to 1024"
    )


def test_nested_members_and_list_items_have_paths() -> None:
    error = refusal("AddTags", {"ResourceArn": "arn", "Tags": [{"Key": "a", "Value": "b"}, {"Key": "", "Value": "c"}]})
    assert "at 'tags.2.member.key' failed to satisfy constraint" in error.message


def test_enumerations_and_ranges_are_checked() -> None:
    error = refusal("ListTrainingJobs", {"StatusEquals": "Done", "MaxResults": 101})
    assert "Member must satisfy enum value set: [InProgress, Completed" in error.message
    assert "Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than" in error.message


@pytest.mark.parametrize("request_", [{"TrainingJobName": 7}, [], {"TrainingJobName": ["a"]}])
def test_wrong_types_are_serialization_errors(request_: Any) -> None:
    assert refusal("DescribeTrainingJob", request_).code == "SerializationException"


def test_unknown_members_are_ignored_and_times_are_read() -> None:
    parsed = parse_request(input_of("ListTrainingJobs"), {"Nonsense": 1, "CreationTimeAfter": 1.5})
    assert parsed == {"CreationTimeAfter": datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)}


def test_every_pattern_of_the_model_can_be_enforced() -> None:
    model = service_model("sagemaker")
    patterns = {model.shape_for(name).metadata.get("pattern") for name in model.shape_names} - {None}
    assert [pattern for pattern in patterns if _compile(pattern) is None] == []


def test_response_is_checked_against_the_model() -> None:
    shape = service_model("sagemaker").operation_model("CreateTrainingJob").output_shape
    assert serialise_response(shape, {"TrainingJobArn": "arn"}) == {"TrainingJobArn": "arn"}
    for wrong in ({}, {"TrainingJobArn": "arn", "Nonsense": 1}, {"TrainingJobArn": 5}):
        with pytest.raises(ResponseInvalid):
            serialise_response(shape, wrong)


def test_response_has_times_as_seconds_and_drops_what_is_none() -> None:
    shape = service_model("sagemaker").operation_model("DescribeModelPackageGroup").output_shape
    response = {
        "ModelPackageGroupName": "g",
        "ModelPackageGroupArn": "a",
        "ModelPackageGroupDescription": None,
        "CreationTime": datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
    }
    answered = serialise_response(shape, response)
    assert answered["CreationTime"] == 1767225600.123
    assert "ModelPackageGroupDescription" not in answered
