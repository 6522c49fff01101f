"""The registry as an operator sees it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from onwing import models, status_view
from onwing.console import Output
from onwing.errors import NotFound, UsageError

from .onwing_fakes import STACK, VERSION, FakeClient, at, client_error, target_with

GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package/onwing-FD001"
GATES = [{"name": "rmse", "figure": 14.25, "threshold": 20.0, "passed": True}]
REPORT = {
    "gates": GATES,
    "bands": {"clipped": [{"band": "0-20", "engines": 7, "rmse": 3.21, "mae": 2.5, "bias": 0.1, "phm08": 4.0}]},
}


def package(number: int, **properties: str) -> dict[str, Any]:
    own = {
        "fleet": "FD001",
        "dataset_version": VERSION,
        "rmse": "14.250",
        "phm08": "321.000",
        "rmse_unclipped": "15.500",
        "phm08_unclipped": "400.000",
        "simulated": "false",
        "source_revision": "abc123",
        **properties,
    }
    return {
        "ModelPackageGroupName": "onwing-FD001",
        "ModelPackageVersion": number,
        "ModelPackageArn": f"{GROUP}/{number}",
        "CreationTime": at(number),
        "ModelApprovalStatus": "PendingManualApproval",
        "CustomerMetadataProperties": own,
        "InferenceSpecification": {"Containers": [{"Image": "image@sha256:1", "ModelDataUrl": "s3://b/model.tar.gz"}]},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "json", "S3Uri": "s3://b/eval/report.json"}}},
    }


def registry(**more: Any) -> FakeClient:
    answers: dict[str, Any] = {
        "list_model_package_groups": {
            "ModelPackageGroupSummaryList": [
                {"ModelPackageGroupName": "onwing-FD001"},
                {"ModelPackageGroupName": "other-onwing-x"},
            ]
        },
        "list_model_packages": lambda **_: {
            "ModelPackageSummaryList": [{"ModelPackageArn": f"{GROUP}/{number}"} for number in (12, 2)]
        },
        "describe_model_package": lambda ModelPackageName: package(int(ModelPackageName.rpartition("/")[2])),
    }
    return FakeClient(**answers | more)


def test_packages_of_the_project_come_with_their_figures() -> None:
    client = registry()
    found = models.packages(target_with(sagemaker=client), STACK)
    assert [item.name for item in found] == ["FD001/12", "FD001/2"]
    assert (found[0].rmse, found[0].phm08, found[0].rmse_unclipped, found[0].phm08_unclipped) == (14.25, 321, 15.5, 400)
    assert len(client.called("list_model_packages")) == 1, "another project's group is left alone"


def test_a_package_is_named_by_arn_or_fleet_and_version_or_fleet() -> None:
    target = target_with(sagemaker=registry())
    assert models.find(target, STACK, f"{GROUP}/2").version == 2
    assert models.find(target, STACK, "FD001/2").version == 2
    assert models.find(target, STACK, "FD001").version == 12


def test_what_is_not_there_is_not_found() -> None:
    target = target_with(sagemaker=registry())
    with pytest.raises(NotFound, match="FD001/3"):
        models.find(target, STACK, "FD001/3")
    with pytest.raises(UsageError):
        models.find(target, STACK, "FD001/latest")
    missing = registry(
        list_model_packages=client_error("ValidationException", "group does not exist"),
        describe_model_package=client_error("ValidationException", "does not exist"),
    )
    with pytest.raises(NotFound):
        models.find(target_with(sagemaker=missing), STACK, "FD009")
    with pytest.raises(NotFound):
        models.find(target_with(sagemaker=missing), STACK, f"{GROUP}/9")


def test_other_errors_of_aws_are_not_taken_for_absence() -> None:
    denied = registry(list_model_packages=client_error("AccessDeniedException"))
    with pytest.raises(Exception, match="AccessDenied"):
        models.packages(target_with(sagemaker=denied), STACK)


def test_the_report_is_read_where_the_package_points_and_may_be_gone() -> None:
    s3 = FakeClient(get_object=lambda **_: {"Body": io.BytesIO(json.dumps(REPORT).encode())})
    target = target_with(sagemaker=registry(), s3=s3)
    found = models.find(target, STACK, "FD001")
    assert models.report(target, found) == REPORT
    assert s3.calls[0][1] == {"Bucket": "b", "Key": "eval/report.json"}
    s3.answers["get_object"] = client_error("NoSuchKey")
    assert models.report(target, found) is None


def test_a_simulated_package_is_marked_and_its_lineage_shown() -> None:
    target = target_with(sagemaker=registry(describe_model_package=package(1, simulated="true")))
    found = models.find(target, STACK, "FD001")
    out = Output(console=Console(file=io.StringIO(), width=160, record=True))
    status_view.show_package(out, found, REPORT)
    text = out.console.export_text()
    assert "SIMULATED" in text
    assert VERSION in text
    assert "abc123" in text
    assert "s3://b/eval/report.json" in text
    assert "3.21" in text
    assert "✓ rmse 14.25, limit 20.00" in text


def test_a_package_without_figures_shows_dashes() -> None:
    bare = package(1)
    bare["CustomerMetadataProperties"] = {}
    found = models.find(target_with(sagemaker=registry(describe_model_package=bare)), STACK, "FD001")
    assert found.rmse is None
    assert found.fleet == "FD001", "from the group's name"
    out = Output(console=Console(file=io.StringIO(), width=160, record=True))
    out.show(status_view.packages_table([found]))
    assert "–" in out.console.export_text()
