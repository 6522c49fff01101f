"""Waiting for the capture of what was sent: until it is all there, and no longer."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from onwing import captured
from onwing.errors import OnwingError, WaitedTooLong
from onwing.stack import Stack
from onwing.traffic import Report

from .onwing_fakes import STACK, FakeClient, target_with

IDS = "onwing-traffic-1-"
STARTED = datetime.now(UTC) - timedelta(minutes=10)
NAME = "onwing-FD001"


def line(inference_id: str) -> bytes:
    return b'{"eventMetadata": {"inferenceId": "%s"}}\n' % inference_id.encode()


class Capture:
    """Capture files that come one at each look."""

    def __init__(self, *files: bytes, share: int = 100, enabled: bool = True, since: datetime = STARTED) -> None:
        self.files = {f"k{number}.jsonl": content for number, content in enumerate(files)}
        self.times = dict.fromkeys(self.files, since + timedelta(seconds=1))
        self.looks = 0
        self.s3 = FakeClient(list_objects_v2=self.list, get_object=self.get)
        described = {"DataCaptureConfig": {"EnableCapture": enabled, "CurrentSamplingPercentage": share}}
        self.target = target_with(s3=self.s3, sagemaker=FakeClient(describe_endpoint=described))

    def list(self, **_: Any) -> dict[str, Any]:
        self.looks += 1
        return {"Contents": [{"Key": key, "LastModified": self.times[key]} for key in list(self.files)[: self.looks]]}

    def get(self, Key: str, **_: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.files[Key])}

    def wait(self, answered: int, *, timeout: float = 60.0, delay: str = "1") -> None:
        sent = Report(
            STARTED, 1.0, 20.0, 20.0, answered, answered, 0, {"v2": answered}, [], None, {}, 0.0, inference_ids=IDS
        )
        stack = Stack("onwing", "", STACK.outputs, {"DeliveryDelaySeconds": delay})
        captured.wait(self.target, stack, NAME, sent, timeout)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "LOOK_SECONDS", 0.001)


def test_it_ends_when_the_last_request_is_there_and_each_file_is_read_once() -> None:
    capture = Capture(line(IDS + "0") + line("onwing-probe-1"), line("theirs"), line(IDS + "1"))
    capture.wait(2)
    assert capture.looks == 3
    assert [call["Key"] for call in capture.s3.called("get_object")] == ["k0.jsonl", "k1.jsonl", "k2.jsonl"]
    listed = capture.s3.called("list_objects_v2")[0]
    assert listed["Prefix"] == "monitoring/capture/onwing-FD001/v2/"
    assert listed["StartAfter"] == f"{listed['Prefix']}{STARTED - timedelta(hours=1):%Y/%m/%d/%H/}"


def test_a_window_that_is_opened_then_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture(line(IDS + "0"))
    each_look_a_second = SimpleNamespace(now=lambda _: STARTED + timedelta(seconds=capture.looks))
    monkeypatch.setattr(captured, "datetime", each_look_a_second)
    capture.wait(1)
    assert each_look_a_second.now(UTC) == capture.times["k0.jsonl"] + timedelta(seconds=3), "the stack's delay, and two"


def test_what_never_comes_is_counted_and_says_so() -> None:
    capture = Capture(line(IDS + "0"), line("theirs"))
    with pytest.raises(WaitedTooLong, match="Of 2 requests that were answered, 1 have come"):
        capture.wait(2, timeout=0.05)


def test_files_from_before_are_not_looked_into() -> None:
    capture = Capture(line(IDS + "0"), since=STARTED - timedelta(days=1))
    with pytest.raises(WaitedTooLong, match="0 have come"):
        capture.wait(1, timeout=0.02)
    assert capture.s3.called("get_object") == []


def test_of_a_sample_whatever_came_is_enough() -> None:
    Capture(line(IDS + "0"), share=50).wait(9)


@pytest.mark.parametrize("capture", [Capture(share=0), Capture(enabled=False)])
def test_nobody_waits_where_nothing_is_captured(capture: Capture) -> None:
    with pytest.raises(OnwingError, match="captures none of its traffic"):
        capture.wait(1)
