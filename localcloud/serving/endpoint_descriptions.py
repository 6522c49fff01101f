"""An endpoint as DescribeEndpoint and its events give it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from localcloud.sagemaker.api import project, service_model
from localcloud.serving.model_servers import Fleet
from localcloud.serving.plans import Variant
from localcloud.store import Record

Fleets = Mapping[str, Fleet]


def describe(record: Record, fleets: Fleets | None, most: int) -> Record:
    """DescribeEndpoint's answer.

    Args:
        record: the endpoint's; the caller holds the store's lock.
        fleets: what runs for it, by variant; None when nothing does.
        most: how many processes a variant has at most.
    """
    shape = service_model("sagemaker").operation_model("DescribeEndpoint").output_shape
    result: Record = copy.deepcopy(project(shape, record))  # type: ignore[arg-type]
    plan, pending, status = record["_plan"], record["_pending"], record["EndpointStatus"]
    if fleets is not None and status not in ("Creating", "Failed"):
        doing = [{"Status": "Updating", "StartTime": record["LastModifiedTime"]}]
        statuses = doing if status == "Updating" and not pending else None
        result["ProductionVariants"] = _summaries(plan["variants"], fleets, most, statuses)
        if plan["shadow"]:
            result["ShadowProductionVariants"] = _summaries(plan["shadow"], fleets, most, statuses)
    if pending:
        result["PendingDeploymentSummary"] = _pending(pending, most)
    if capture := plan["capture"]:
        enabled = capture.get("EnableCapture", True)
        result["DataCaptureConfig"] = {
            "EnableCapture": enabled,
            "CaptureStatus": "Started" if enabled and fleets is not None else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    if plan["metrics"]:
        result["MetricsConfig"] = copy.deepcopy(plan["metrics"])
    return result


def events(record: Record, described: Record, tags: Mapping[str, str], most: int) -> Iterator[tuple[str, Record]]:
    """The events of a change: detail type and detail; a second one while a deployment goes on.

    docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html

    Args:
        described: what ``describe`` gave.
    """
    variants = described.get("ProductionVariants") or _summaries(record["_plan"]["variants"], {}, most, None)
    detail: dict[str, Any] = {
        "EndpointName": record["EndpointName"],
        "EndpointArn": record["EndpointArn"],
        "EndpointConfigName": record["EndpointConfigName"],
        "ProductionVariants": variants,
        "EndpointStatus": spelled(record["EndpointStatus"]),
        "FailureReason": record.get("FailureReason"),
        "CreationTime": record["CreationTime"],
        "LastModifiedTime": record["LastModifiedTime"],
        "Tags": dict(tags),
    }
    yield "SageMaker Endpoint State Change", detail
    if pending := described.get("PendingDeploymentSummary"):
        yield "SageMaker Endpoint Deployment State Change", {**detail, "PendingDeploymentSummary": pending}


def spelled(status: str) -> str:
    """InService → IN_SERVICE, as events have it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", status).upper()


def _summaries(variants: Sequence[Variant], fleets: Fleets, most: int, statuses: list[Record] | None) -> list[Record]:
    return [
        summary(each, fleets[each["name"]].ready if each["name"] in fleets else 0, most, statuses) for each in variants
    ]


def _pending(pending: Record, most: int) -> Record:
    status = [{"Status": pending["status"], "StartTime": pending.get("changed", pending["start"])}]
    started = pending["status"] != "Creating"

    def summarised(variants: list[Variant]) -> list[Record]:
        result = []
        for variant in variants:
            its = summary(variant, variant["instances"] if started else 0, most, status)
            if not started:
                its["CurrentWeight"] = 0.0
            if variant["type"]:
                its["InstanceType"] = variant["type"]
            result.append(its)
        return result

    plan = pending["plan"]
    result: Record = {
        "EndpointConfigName": plan["config"],
        "ProductionVariants": summarised(plan["variants"]),
        "StartTime": pending["start"],
    }
    if plan["shadow"]:
        result["ShadowProductionVariants"] = summarised(plan["shadow"])
    return result


def summary(variant: Variant, ready: int, most: int, statuses: list[Record] | None = None) -> Record:
    """A ProductionVariantSummary.

    Args:
        ready: how many processes answer.
        most: how many processes a variant has at most on this machine; each stands for an equal part of the instances.
        statuses: VariantStatus.
    """
    processes = max(1, min(variant["instances"], most)) if variant["instances"] else 0
    present = variant["instances"] if ready >= processes else ready
    image = variant["served"]["Image"]
    result: Record = {
        "VariantName": variant["name"],
        "DeployedImages": [
            {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": variant["resolved"]},
        ],
        "CurrentWeight": variant["weight"],
        "DesiredWeight": variant["weight"],
    }
    if variant["serverless"]:
        result.update(CurrentServerlessConfig=variant["serverless"], DesiredServerlessConfig=variant["serverless"])
    else:
        result.update(CurrentInstanceCount=present, DesiredInstanceCount=variant["instances"])
    if statuses:
        result["VariantStatus"] = copy.deepcopy(statuses)
    return result
