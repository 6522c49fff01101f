"""Data Capture: requests and answers of an endpoint as JSON lines in S3.

docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html: a line has captureData (endpointInput,
endpointOutput), eventMetadata (eventId, inferenceTime, inferenceId and customAttributes when given) and eventVersion;
bodies are base64 unless CaptureContentTypeHeader lists their type; files are
{destination}/{endpoint}/{variant}/yyyy/mm/dd/hh/mm-ss-SSS-uuid.jsonl. AWS delivers within minutes, this within seconds.
"""

from __future__ import annotations

import base64
import json
import logging
import random
import re
import threading
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcloud.cloudwatch import metrics
from localcloud.jobs.platform import Platform
from localcloud.store import Scope

logger = logging.getLogger("localcloud.serving")

FLUSH_SECONDS = 3.0
MOST_RECORDS = 2_000  # in one file; so many at once are delivered without waiting
MOST_BYTES = 64 * 1024 * 1024  # waiting for delivery; what comes beyond is lost, and counted


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    variant: str
    body: bytes
    content_type: str | None
    answer: bytes
    answer_type: str | None
    inference_id: str | None
    custom_attributes: str | None
    when: datetime


class DataCapture:
    """What keeps the exchanges of one endpoint while one configuration serves it."""

    def __init__(
        self, platform: Platform, scope: Scope, endpoint: str, config: Mapping[str, Any], roles: Mapping[str, str]
    ) -> None:
        """``config``: DataCaptureConfig; ``roles``: each variant's execution role, under which it is written."""
        self._platform, self._scope, self._endpoint, self._roles = platform, scope, endpoint, roles
        self._share = config["InitialSamplingPercentage"] / 100
        self._modes = _modes(config)
        self._types = config.get("CaptureContentTypeHeader") or {}
        self._kms_key = config.get("KmsKeyId")
        match = re.fullmatch(r"(?:s3|https)://([^/]+)/?(.*)", config["DestinationS3Uri"])
        self._bucket, prefix = (match[1], match[2].strip("/")) if match else ("", "")
        self._prefix = f"{prefix}/" if prefix else ""
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], list[tuple[datetime, bytes]]] = defaultdict(list)
        self._bytes = self._records = 0
        self._wake = threading.Event()
        self._closed = False
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name=f"capture-{endpoint}", daemon=True)
        self._thread.start()

    def take(self, exchange: Exchange) -> None:
        """Keep this exchange, if the sample has it; returns at once."""
        if random.random() >= self._share:
            return
        written = json.dumps(line(exchange, self._modes, self._types), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            if self._closed or self._bytes + len(written) > MOST_BYTES:
                self._lose(1, exchange.variant, "there is no room to keep more")
                return
            self._waiting[exchange.variant, exchange.when.strftime("%Y/%m/%d/%H")].append((exchange.when, written))
            self._bytes += len(written)
            self._records += 1
            full = self._records >= MOST_RECORDS
        if full:
            self._wake.set()

    def close(self, *, deliver: bool = True) -> None:
        """Deliver what is left (unless nobody wants it) and stop."""
        with self._lock:
            self._closed = True
            if not deliver:
                self._waiting.clear()
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(10)

    def _run(self) -> None:
        while True:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            with self._lock:
                closed = self._closed
                waiting, self._waiting = self._waiting, defaultdict(list)
                self._bytes = self._records = 0
            for (variant, hour), records in waiting.items():
                for start in range(0, len(records), MOST_RECORDS):
                    self._write(variant, hour, records[start : start + MOST_RECORDS])
            if closed:
                return

    def _write(self, variant: str, hour: str, records: list[tuple[datetime, bytes]]) -> None:
        first = records[0][0]
        name = f"{first:%M-%S}-{first.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._kms_key} if self._kms_key else {}
        try:
            self._platform.s3(self._scope, self._roles[variant]).put_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}{self._endpoint}/{variant}/{hour}/{name}",
                Body=b"".join(written for _, written in records),
                **extra,
            )
        except Exception as error:  # noqa: BLE001 - the role may have gone, too; what comes later is still written
            with self._lock:
                self._lose(len(records), variant, str(error))

    def _lose(self, count: int, variant: str, why: str) -> None:
        """Count and say what is lost. The caller holds the lock."""
        self.lost += count
        dimensions = {"EndpointName": self._endpoint, "VariantName": variant}
        metrics.put(self._scope, "localcloud/Endpoints", "CaptureRecordsLost", count, "Count", dimensions)
        logger.warning("endpoint %s: %d captured records of %s are lost: %s", self._endpoint, count, variant, why)


def line(exchange: Exchange, modes: frozenset[str], types: Mapping[str, Any]) -> dict[str, Any]:
    """One captured record.

    Args:
        modes: "Input", "Output".
        types: CaptureContentTypeHeader.
    """
    captured: dict[str, Any] = {}
    if "Input" in modes:
        captured["endpointInput"] = _side("INPUT", exchange.body, exchange.content_type, types)
    if "Output" in modes:
        captured["endpointOutput"] = _side("OUTPUT", exchange.answer, exchange.answer_type, types)
    metadata: dict[str, Any] = {"eventId": str(uuid.uuid4())}
    if exchange.custom_attributes:
        metadata["customAttributes"] = [exchange.custom_attributes]
    if exchange.inference_id:
        metadata["inferenceId"] = exchange.inference_id
    metadata["inferenceTime"] = exchange.when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}


def _side(mode: str, body: bytes, content_type: str | None, types: Mapping[str, Any]) -> dict[str, Any]:
    data, encoding = _encoded(body, content_type, types)
    side = {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}
    return {name: value for name, value in side.items() if value is not None}


def _encoded(body: bytes, content_type: str | None, types: Mapping[str, Any]) -> tuple[str, str]:
    if content_type is not None:
        names = {content_type.lower(), content_type.split(";")[0].strip().lower()}
        for member, encoding in (("CsvContentTypes", "CSV"), ("JsonContentTypes", "JSON")):
            if names & {each.lower() for each in types.get(member, [])}:
                try:
                    return body.decode("utf-8"), encoding
                except UnicodeDecodeError:
                    break
    return base64.b64encode(body).decode("ascii"), "BASE64"


def _modes(config: Mapping[str, Any]) -> frozenset[str]:
    modes = {each["CaptureMode"] for each in config["CaptureOptions"]}
    return frozenset({"Input", "Output"}) if "InputAndOutput" in modes else frozenset(modes)
