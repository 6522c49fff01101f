"""Taking in uploads: what is accepted, quarantined, versioned and started."""

from __future__ import annotations

import gzip
import itertools
import json

import pytest
from control_plane import training
from control_plane.datasets import read_files
from control_plane.ingestion import IngestResult, ingest, wants_training
from control_plane.manifest import Manifest
from control_plane.quarantine import KEY_LIMIT_BYTES

from tests.conftest import Trio, make_trio, table
from tests.unit.conftest import Stack

SEQUENCE = itertools.count(1)


def put(stack: Stack, name: str, body: bytes, **extra: object) -> IngestResult:
    """Upload a file and deliver its event."""
    return deliver(stack, name, stack.upload(name, body, **extra), f"{next(SEQUENCE):016X}")


def deliver(stack: Stack, name: str, version_id: str, sequencer: str) -> IngestResult:
    return ingest(
        stack.settings,
        bucket=stack.settings.bucket_name,
        key=f"data/raw/{name}",
        version_id=version_id,
        sequencer=sequencer,
    )


def put_trio(stack: Stack, trio: Trio) -> list[IngestResult]:
    return [put(stack, name, body) for name, body in trio.files.items()]


def test_complete_trio_starts_one_execution_with_the_version_in_its_name(stack: Stack) -> None:
    first, second, third = put_trio(stack, make_trio())

    assert (first.outcome, second.outcome, third.outcome) == ("waiting", "waiting", "started")
    assert "test_FD001.txt, RUL_FD001.txt" in first.message
    [execution] = stack.executions()
    assert execution["name"] == f"FD001-{third.dataset_version[:12]}-1"
    described = stack.stepfunctions.describe_execution(executionArn=third.execution_arn)
    assert json.loads(described["input"]) == {
        "fleet": "FD001",
        "dataset_version": third.dataset_version,
        "attempt": 1,
        "trigger": "upload",
        "overrides": {},
    }


def test_manifest_names_files_versions_hashes_and_counts(stack: Stack) -> None:
    version = put_trio(stack, make_trio(engines=3))[-1].dataset_version

    manifest = Manifest.model_validate_json(stack.read(f"data/versions/{version}.json"))
    assert manifest.version == version
    assert manifest.problems == []
    assert {role: (f.rows, f.engines) for role, f in manifest.files.items()} == {
        "train": (18, 3),
        "test": (12, 3),
        "RUL": (3, 3),
    }
    for role, file in manifest.files.items():
        assert stack.read(manifest.pinned[role]) == make_trio(engines=3).files[file.name]
        assert file.version_id
        assert len(file.sha256) == 64


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_gives_the_same_version_and_one_run(stack: Stack, order: tuple[int, ...]) -> None:
    files = list(make_trio().files.items())
    results = [put(stack, *files[k]) for k in order]

    assert [r.outcome for r in results] == ["waiting", "waiting", "started"]
    assert len(stack.executions()) == 1


def test_compressed_upload_is_the_same_version_as_plain_text(stack: Stack) -> None:
    plain = put_trio(stack, make_trio())[-1]
    packed = put(stack, "train_FD001.txt.gz", gzip.compress(make_trio().train))

    assert packed.dataset_version == plain.dataset_version
    assert len(stack.executions()) == 1


def test_uploading_the_same_files_again_starts_nothing_and_alerts_nobody(stack: Stack) -> None:
    put_trio(stack, make_trio())
    results = put_trio(stack, make_trio())

    assert {r.outcome for r in results} <= {"running", "already"}
    assert len(stack.executions()) == 1
    assert stack.alerts() == []


def test_repeated_and_late_events_change_nothing(stack: Stack) -> None:
    old = stack.upload("train_FD001.txt", table(altitude="0.0001"))
    new = stack.upload("train_FD001.txt", make_trio().train)
    deliver(stack, "train_FD001.txt", new, "0055AED6DCD90281E6")
    put(stack, "test_FD001.txt", make_trio().test)
    started = put(stack, "RUL_FD001.txt", make_trio().rul)

    again = deliver(stack, "train_FD001.txt", new, "0055AED6DCD90281E6")
    late = deliver(stack, "train_FD001.txt", old, "0055AED6DCD90281E5")
    longer = deliver(stack, "train_FD001.txt", old, "0055AED6DCD90281E500")

    assert again.dataset_version == late.dataset_version == longer.dataset_version == started.dataset_version
    assert len(stack.executions()) == 1


def test_changed_file_makes_a_new_version_and_changing_it_back_is_recognised(stack: Stack) -> None:
    first = put_trio(stack, make_trio())[-1]
    changed = put(stack, "train_FD001.txt", table(altitude="0.0002"))
    for execution in stack.executions():
        stack.stepfunctions.stop_execution(executionArn=execution["executionArn"])
    back = put(stack, "train_FD001.txt", make_trio().train)

    assert changed.outcome == "started"
    assert changed.dataset_version != first.dataset_version
    assert (back.outcome, back.dataset_version) == ("already", first.dataset_version)
    assert len(stack.executions()) == 2
    [alert] = stack.alerts()
    assert "not trained again" in alert["Subject"]
    assert "--again" in alert["Message"]


def test_version_that_was_superseded_before_training_is_run_when_it_comes_back(stack: Stack) -> None:
    first = put_trio(stack, make_trio())[-1]
    put(stack, "train_FD001.txt", table(altitude="0.0002"))
    stack.dynamodb.update_item(
        TableName=stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": f"VERSION#{first.dataset_version}"}},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "superseded"}},
    )
    back = put(stack, "train_FD001.txt", make_trio().train)

    assert back.outcome == "started"
    assert f"FD001-{first.dataset_version[:12]}-2" in {e["name"] for e in stack.executions()}


def test_claimed_attempt_whose_start_was_lost_is_started_by_the_next_delivery(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "_run", lambda *_: (_ for _ in ()).throw(ConnectionError("lost")))
        with pytest.raises(ConnectionError):
            put_trio(stack, make_trio())
    assert stack.executions() == []

    assert put(stack, "RUL_FD001.txt", make_trio().rul).outcome == "started"
    assert len(stack.executions()) == 1


def test_upload_after_the_first_waits_where_uploads_do_not_train(stack: Stack) -> None:
    stack.settings = stack.settings.model_copy(update={"train_on_upload": "DISABLED"})
    replaced = put_trio(stack, make_trio())[-1]
    first = put(stack, "train_FD001.txt", table(altitude="0.0001"))  # while the run before waits for the upload's end
    mark(stack, replaced.dataset_version, "superseded")
    mark(stack, first.dataset_version, "running")

    second = put(stack, "train_FD001.txt", table(altitude="0.0002"))
    again = deliver(stack, "train_FD001.txt", stack.upload("train_FD001.txt", table(altitude="0.0002")), "F" * 16)

    assert (replaced.outcome, first.outcome) == ("started", "started")
    assert (second.outcome, again.outcome) == ("kept", "kept")
    assert "onwing train --fleet FD001" in second.message
    assert stack.keys(f"data/versions/{second.dataset_version}.json")
    assert read_files(stack.settings.table_name, "FD001").dataset_version == second.dataset_version
    assert len(stack.executions()) == 2
    assert not wants_training(stack.settings, "FD001", second.dataset_version)
    assert wants_training(stack.settings, "FD002", second.dataset_version)


def mark(stack: Stack, version: str, status: str) -> None:
    """What the training machine writes down."""
    stack.dynamodb.update_item(
        TableName=stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": f"VERSION#{version}"}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": status}},
    )


def test_fleets_with_the_same_files_stay_apart(stack: Stack) -> None:
    first = put_trio(stack, make_trio("FD001"))[-1]
    second = put_trio(stack, make_trio("FD009"))[-1]

    assert first.dataset_version != second.dataset_version
    assert {e["name"].split("-")[0] for e in stack.executions()} == {"FD001", "FD009"}


def test_files_that_do_not_fit_together_are_named_in_the_manifest(stack: Stack) -> None:
    trio = make_trio(engines=3)
    put(stack, "train_FD001.txt", trio.train)
    put(stack, "test_FD001.txt", trio.test)
    result = put(stack, "RUL_FD001.txt", make_trio(engines=2).rul)

    [problem] = json.loads(stack.read(f"data/versions/{result.dataset_version}.json"))["problems"]
    assert "RUL_FD001.txt has 2 rows but test_FD001.txt has 3 engines" in problem


GOOD = make_trio().train
BAD = {
    "truncated": (GOOD[:-40], "columns"),
    "nan": (GOOD.replace(b"641.82", b"NaN", 1), "finite"),
    "25 columns": (GOOD.replace(b" 23.4190  \n", b"  \n", 1), "columns"),
    "gap in cycles": (GOOD.replace(b"1 3 ", b"1 4 ", 1), "cycle_sequence"),
    "empty": (b"", "empty"),
    "binary": (bytes(range(256)) * 40, "binary"),
    "cut off gzip": (gzip.compress(GOOD)[:-10], "gzip"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_quarantined_with_a_report_and_an_alert(stack: Stack, case: str) -> None:
    body, rule = BAD[case]
    result = put(stack, "train_FD001.txt", body)

    assert result.outcome == "quarantined"
    assert stack.keys("data/raw/") == []
    assert stack.read("data/quarantine/train_FD001.txt") == body
    report = json.loads(stack.read("data/quarantine/train_FD001.txt.report.json"))
    assert rule in {violation["rule"] for violation in report["violations"]}
    [alert] = stack.alerts()
    assert "quarantined" in alert["Subject"]
    assert "data/quarantine/train_FD001.txt.report.json" in alert["Message"]
    assert stack.executions() == []


def test_report_and_alert_name_line_column_and_rule(stack: Stack) -> None:
    put(stack, "train_FD001.txt", BAD["nan"][0])

    violation = json.loads(stack.read("data/quarantine/train_FD001.txt.report.json"))["violations"][0]
    assert (violation["file"], violation["line"], violation["column"]) == ("train_FD001.txt", 1, "s2")
    assert "train_FD001.txt, line 1, column s2" in stack.alerts()[0]["Message"]


def test_bad_upload_over_a_good_one_leaves_the_good_one_current(stack: Stack) -> None:
    put(stack, "train_FD001.txt", GOOD)
    put(stack, "train_FD001.txt", b"rubbish\n")

    assert stack.read("data/raw/train_FD001.txt") == GOOD


@pytest.mark.parametrize(
    "name",
    [
        "readme.md",
        "train_FD001.csv",
        "train_FD001 (1).txt",
        "train_FD001+copy.txt",
        "train_FD%25001.txt",
        "train_FDäöü.txt",
        "sub/train_FD001.txt",
        "../train_FD001.txt",
        "train_FD001.txt\n",
        "TRAIN_FD001.txt",
        "train_" + "x" * 900 + ".txt",
    ],
)
def test_name_outside_the_pattern_is_reported_not_guessed(stack: Stack, name: str) -> None:
    result = put(stack, name, GOOD)

    assert result.outcome == "quarantined"
    kept, report = sorted(stack.keys("data/quarantine/"), key=len)
    assert stack.read(kept) == GOOD
    assert json.loads(stack.read(report))["file"] == name
    assert len(report.encode()) <= KEY_LIMIT_BYTES
    assert len(stack.alerts()) == 1
    assert stack.executions() == []


def test_event_of_an_object_that_was_quarantined_before_does_nothing(stack: Stack) -> None:
    version_id = stack.upload("train_FD001.txt", b"rubbish\n")
    deliver(stack, "train_FD001.txt", version_id, "01")
    stack.alerts()

    assert deliver(stack, "train_FD001.txt", version_id, "01").outcome == "gone"
    assert stack.alerts() == []


def test_folder_marker_is_ignored(stack: Stack) -> None:
    assert put(stack, "", b"").outcome == "ignored"
    assert put(stack, "folder/", b"").outcome == "ignored"
    assert stack.alerts() == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_file_over_the_limit_is_versioned_and_left_to_the_processing_job(stack: Stack, pack: type) -> None:
    small = stack.settings.model_copy(update={"max_validated_bytes": 600})
    trio = make_trio()
    for name, body in trio.files.items():
        version_id = stack.upload(name, pack(body))
        result = ingest(
            small,
            bucket=small.bucket_name,
            key=f"data/raw/{name}",
            version_id=version_id,
            sequencer=f"{next(SEQUENCE):016X}",
        )

    manifest = Manifest.model_validate_json(stack.read(f"data/versions/{result.dataset_version}.json"))
    assert result.outcome == "started"
    assert not manifest.files["train"].validated
    assert manifest.files["RUL"].validated
    assert result.dataset_version == put(stack, "RUL_FD001.txt", trio.rul).dataset_version


def test_simulated_files_mark_the_manifest(stack: Stack) -> None:
    for name, body in make_trio().files.items():
        result = put(stack, name, body, Metadata={"simulated": "true"})

    assert json.loads(stack.read(f"data/versions/{result.dataset_version}.json"))["simulated"] is True
