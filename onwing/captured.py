"""Data Capture: wait until what was sent has been delivered, so that a run of monitoring judges all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from onwing.errors import OnwingError, WaitedTooLong
from onwing.stack import Stack
from onwing.target import Target
from onwing.traffic import Report

LOOK_SECONDS = 0.5
_SECOND = timedelta(seconds=1)  # S3's times, and the windows' ends, are whole seconds
_HOUR = timedelta(hours=1)


def wait(target: Target, stack: Stack, endpoint: str, sent: Report, timeout: float) -> None:
    """Wait until the capture holds every request that was answered, and a window that ends now has them.

    Of an endpoint that captures a sample, until nothing more comes.

    Raises:
        OnwingError: the endpoint captures nothing.
        WaitedTooLong: after `timeout` seconds.
    """
    where = f"s3://{stack.bucket}/{_prefix(endpoint)}"
    capture = target.client("sagemaker").describe_endpoint(EndpointName=endpoint).get("DataCaptureConfig", {})
    share = capture.get("CurrentSamplingPercentage", 0) if capture.get("EnableCapture") else 0
    if share == 0:
        raise OnwingError(
            f"{endpoint} captures none of its traffic: nothing can be judged.",
            where=where,
            todo="Deploy the stack with CapturePercentage above 0, then approve a model anew.",
        )
    delay = timedelta(seconds=float(stack.parameters.get("DeliveryDelaySeconds", "300")))
    deadline = time.monotonic() + timeout
    counted: dict[str, int] = {}
    newest = sent.started
    while True:
        for key, delivered in _delivered(target, stack, endpoint, sent):
            if key not in counted:
                body = target.client("s3").get_object(Bucket=stack.bucket, Key=key)["Body"].read()
                counted[key] = body.count(f'"{sent.inference_ids}'.encode())
                newest = max(newest, delivered)
        found = sum(counted.values())
        enough = found >= sent.answered or (found > 0 and share < 100)
        if enough and datetime.now(UTC) >= newest + delay + 2 * _SECOND:
            return
        if time.monotonic() >= deadline:
            raise WaitedTooLong(
                f"Of {sent.answered} requests that were answered, {found} have come to the capture.",
                where=where,
                todo="The rest may come later; `onwing drift run` judges what is there. "
                "`onwing status` says whether all is captured.",
            )
        time.sleep(LOOK_SECONDS)


def _prefix(endpoint: str) -> str:
    return f"monitoring/capture/{endpoint}/"


def _delivered(target: Target, stack: Stack, endpoint: str, sent: Report) -> Iterator[tuple[str, datetime]]:
    """The files that came since the first request: key, and when it came."""
    pages = target.client("s3").get_paginator("list_objects_v2")
    for variant in sent.variants:
        prefix = f"{_prefix(endpoint)}{variant}/"
        # Folders are hours; clocks may differ a little.
        after = f"{prefix}{sent.started - _HOUR:%Y/%m/%d/%H/}"
        for page in pages.paginate(Bucket=stack.bucket, Prefix=prefix, StartAfter=after):
            for item in page.get("Contents", []):
                if item["LastModified"] >= sent.started - _SECOND:
                    yield item["Key"], item["LastModified"]
