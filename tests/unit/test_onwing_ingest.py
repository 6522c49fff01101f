"""Uploading: what is chosen, what is sent, and what the control plane's own ingestion makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from control_plane import ingestion

from onwing import control, ingest
from onwing.errors import NotFound, UsageError
from onwing.ingest import Outcome, Upload
from onwing.stack import Stack
from onwing.target import Target

from .conftest import Stack as Deployed

SENSORS = "518.67 641.82 1589.70 1400.60 14.62 21.61 554.36 2388.06 9046.19 1.30 47.47 521.66 2388.02 8138.62 8.4195 \
0.03 392 2388 100.00 39.06 23.4190"


def rows(engines: int, cycles: int = 3) -> str:
    return "".join(
        f"{unit} {cycle} -0.0007 -0.0004 100.0 {SENSORS}\n"
        for unit in range(1, engines + 1)
        for cycle in range(1, cycles + 1)
    )


@pytest.fixture
def target() -> Target:
    return Target("us-east-1", "onwing", None, None, None, "testing")


@pytest.fixture
def described(stack: Deployed) -> Stack:
    outputs = {
        "BucketName": stack.settings.bucket_name,
        "TableName": stack.settings.table_name,
        "TrainingStateMachineArn": stack.settings.training_state_machine_arn,
    }
    return Stack("onwing", "CREATE_COMPLETE", outputs)


@pytest.fixture
def trio(tmp_path: Path) -> list[Path]:
    contents = {"train_T1.txt": rows(3), "test_T1.txt": rows(2), "RUL_T1.txt": "112\n98\n"}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in contents]


@pytest.fixture
def deliver(stack: Deployed) -> Callable[[Upload], None]:
    """What EventBridge and the function do with an upload."""
    sequence = itertools.count(1)

    def handle(upload: Upload) -> None:
        ingestion.ingest(
            stack.settings,
            bucket=stack.settings.bucket_name,
            key=upload.key,
            version_id=upload.version_id,
            sequencer=f"{next(sequence):016X}",
        )

    return handle


def send(target: Target, stack: Stack, files: list[Path], deliver: Callable[[Upload], None], **more: bool) -> Outcome:
    before = ingest.records(target, stack, ingest.fleets_of(files))
    uploads = ingest.upload(target, stack, files, **more)
    for upload in uploads:
        deliver(upload)
    return ingest.look(target, stack, uploads, before)


def test_a_complete_trio_is_accepted_and_starts_a_run(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    outcome = send(target, described, trio, deliver)
    assert [file.status for file in outcome.files] == ["accepted"] * 3
    fleet = outcome.fleets[0]
    assert (fleet.fleet, fleet.status, outcome.settled) == ("T1", "started", True)
    assert fleet.execution_arn.endswith(f":T1-{fleet.dataset_version[:12]}-1")


def test_an_incomplete_trio_says_what_is_missing(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    outcome = send(target, described, trio[:2], deliver)
    assert outcome.settled
    assert (outcome.fleets[0].status, outcome.fleets[0].missing) == ("incomplete", ["RUL"])


def test_the_same_files_again_while_their_run_goes_on(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    first = send(target, described, trio, deliver)
    second = send(target, described, trio, deliver)
    assert second.fleets[0].status == "running"
    assert second.fleets[0].execution_arn == first.fleets[0].execution_arn


def test_the_same_files_again_after_their_run_are_recognised(
    stack: Deployed, target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    first = send(target, described, trio, deliver)
    stack.stepfunctions.stop_execution(executionArn=first.fleets[0].execution_arn)
    assert send(target, described, trio, deliver).fleets[0].status == "already"


def test_a_changed_file_starts_a_new_run(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    first = send(target, described, trio, deliver)
    trio[2].write_text("111\n98\n")
    second = send(target, described, trio[2:], deliver)
    assert second.fleets[0].status == "started"
    assert second.fleets[0].dataset_version != first.fleets[0].dataset_version


def test_a_bad_file_is_quarantined_with_the_reason(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    trio[0].write_text(rows(3).replace("518.67", "NaN", 1))
    outcome = send(target, described, trio, deliver)
    bad = outcome.files[0]
    assert (bad.status, outcome.settled) == ("quarantined", True)
    assert "line 1" in bad.reason
    assert bad.report == "s3://onwing-bucket/data/quarantine/train_T1.txt.report.json"
    assert outcome.fleets[0].missing == ["train"]


def test_a_name_outside_the_pattern_is_sent_and_its_report_found(
    target: Target, described: Stack, tmp_path: Path, deliver: Callable[[Upload], None]
) -> None:
    odd = tmp_path / "train+FD 001%25ü.txt"
    odd.write_text("x")
    outcome = send(target, described, [odd], deliver)
    assert outcome.files[0].status == "quarantined"
    assert outcome.fleets == []


def test_an_old_report_on_the_same_name_is_not_taken_for_this_upload(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    good = trio[0].read_text()
    trio[0].write_text("")
    assert send(target, described, trio[:1], deliver).files[0].status == "quarantined"
    trio[0].write_text(good)
    assert send(target, described, trio[:1], deliver).files[0].status == "accepted"


def test_an_upload_that_nobody_looked_at_is_pending_until_time_is_over(
    target: Target, described: Stack, trio: list[Path]
) -> None:
    before = ingest.records(target, described, ["T1"])
    uploads = ingest.upload(target, described, trio)
    slept: list[float] = []
    outcome = ingest.wait(target, described, uploads, before, timeout=0, sleep=slept.append)
    assert not outcome.settled
    assert [file.status for file in outcome.files] == ["pending"] * 3
    assert slept == []


def test_simulated_files_say_so_in_the_bucket_and_in_the_table(
    stack: Deployed, target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    outcome = send(target, described, trio, deliver, simulated=True)
    head = stack.s3.head_object(Bucket="onwing-bucket", Key="data/raw/train_T1.txt")
    assert head["Metadata"] == {"simulated": "true"}
    assert outcome.fleets[0].simulated
    assert control.fleet(target, described, "T1").simulated


def test_the_control_table_is_read_as_the_control_plane_writes_it(
    target: Target, described: Stack, trio: list[Path], deliver: Callable[[Upload], None]
) -> None:
    send(target, described, trio, deliver)
    assert control.fleets(target, described) == ["T1"]
    record = control.fleet(target, described, "T1")
    assert record.files["train"].engines == 3
    assert record.settled
    assert record.newest is not None
    assert record.newest.attempt == 1
    assert control.fleet(target, described, "T2").missing == ["train", "test", "RUL"]


def test_of_a_folder_only_data_files_are_taken_and_the_plain_one_of_twins(tmp_path: Path) -> None:
    for name in ("train_A.txt", "train_A.txt.gz", "RUL_A.txt.gz", "readme.txt", ".hidden", "test_toolonganame.txt"):
        (tmp_path / name).write_text("x")
    chosen, skipped = ingest.collect([tmp_path])
    assert [path.name for path in chosen] == ["RUL_A.txt.gz", "train_A.txt"]
    assert [path.name for path in skipped] == ["readme.txt", "test_toolonganame.txt", "train_A.txt.gz"]


def test_a_file_named_outright_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    assert ingest.collect([tmp_path / "readme.txt"])[0] == [tmp_path / "readme.txt"]


def test_what_is_not_there_or_nothing_or_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ingest.collect([tmp_path / "none.txt"])
    with pytest.raises(UsageError, match="nothing to upload"):
        ingest.collect([tmp_path])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train_A.txt").write_text("x")
    with pytest.raises(UsageError, match="same name"):
        ingest.collect([tmp_path / "a", tmp_path / "b"])
