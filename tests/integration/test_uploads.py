"""Uploads on the real template: events drive everything, whatever they bring and in whatever order."""

from __future__ import annotations

import gzip
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import make_trio, table
from tests.deployed import ROOT, Deployed, until
from tests.packages import fleet_items

SECONDS = 400  # for a training run, beside whatever else the machine does
pytestmark = pytest.mark.timeout(1800)


def test_three_files_at_once_with_repeated_events_make_one_run(deployed: Deployed, fleet: str) -> None:
    files = list(make_trio(fleet).files.items())
    with ThreadPoolExecutor(3) as pool:
        versions = dict(zip([n for n, _ in files], pool.map(lambda f: deployed.put(*f), files), strict=True))
    for name, version_id in versions.items():
        _send_event_again(deployed, f"data/raw/{name}", version_id)
    execution = deployed.ended(fleet, seconds=SECONDS)

    assert execution["output"]["outcome"] == "registered"
    assert len(deployed.executions(fleet)) == 1
    deployed.alert(f"{fleet}: model registered")
    assert deployed.alerts(f"{fleet}:")[0]["Subject"] == f"[onwing] {fleet}: model registered"


def _send_event_again(deployed: Deployed, key: str, version_id: str) -> None:
    event = json.loads((ROOT / "events/ingest_dataset.json").read_text())
    event["detail"]["bucket"]["name"] = deployed.outputs["BucketName"]
    event["detail"]["object"] |= {"key": key, "version-id": version_id}
    deployed.client("lambda").invoke(
        FunctionName=deployed.outputs["IngestFunctionName"], InvocationType="Event", Payload=json.dumps(event)
    )


def test_same_files_again_start_nothing_and_earlier_content_is_recognised(deployed: Deployed, fleet: str) -> None:
    trio = make_trio(fleet)
    deployed.put_trio(trio)
    first = deployed.ended(fleet, seconds=SECONDS)["output"]["dataset_version"]

    # One after the other: of a role's two keys the later upload counts, by times that S3 gives in seconds.
    for name, body in trio.files.items():
        _put_and_wait(deployed, fleet, name, body)
    _put_and_wait(deployed, fleet, f"train_{fleet}.txt.gz", gzip.compress(trio.train))
    _put_and_wait(deployed, fleet, f"train_{fleet}.txt", table(2, 7))
    second = deployed.ended(fleet, count=2, seconds=SECONDS)["output"]["dataset_version"]
    assert second != first

    deployed.put(f"train_{fleet}.txt", trio.train)
    message = deployed.alert(f"{fleet}: earlier content is back", first)["Message"]
    assert "not" in message
    assert len(deployed.executions(fleet)) == 2


def _put_and_wait(deployed: Deployed, fleet: str, name: str, body: bytes) -> None:
    """Upload a file, and wait until it is the one of its role that the control plane knows."""
    version_id, role = deployed.put(name, body), name.split("_")[0]

    def probe() -> bool | None:
        known = fleet_items(deployed, fleet)["DATASET"][f"{role}_file"]
        return True if known["version_id"] == version_id else None

    until(f"{name} is recorded", probe, seconds=SECONDS)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("truncated", make_trio().train[:-60]),
        ("nan", make_trio().train.replace(b"641.82", b"nan", 1)),
        ("columns", make_trio().train.replace(b" 23.4190  ", b"", 1)),
        ("gap", make_trio().train.replace(b"1 3 ", b"1 4 ", 1)),
        ("empty", b""),
        ("binary", b"\x7fELF\x00\x01" * 99),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_content_is_quarantined_with_report_and_alert(
    deployed: Deployed, fleet: str, name: str, body: bytes
) -> None:
    file = f"train_{fleet}.txt"
    deployed.put(file, body)
    message = deployed.alert(f"{file} quarantined")["Message"]

    report = json.loads(deployed.read(f"data/quarantine/{file}.report.json"))
    assert report["violations"][0]["file"] == file
    assert str(report["violations"][0]["rule"]) in message
    assert deployed.read(f"data/quarantine/{file}") == body
    until("the upload is moved away", lambda: not deployed.keys(f"data/raw/{file}") or None, seconds=SECONDS)
    assert deployed.executions(fleet) == []


@pytest.mark.parametrize(
    "name", ["train_{}+copy.txt", "train_{}%25.txt", "train {} (1).txt", "träin_{}.txt", "../{}.txt", "{}/train.txt"]
)
def test_name_outside_the_pattern_is_kept_and_reported(deployed: Deployed, fleet: str, name: str) -> None:
    name = name.format(fleet)
    deployed.put(name, make_trio().train)
    message = deployed.alert(fleet, "quarantined")["Message"]

    assert name in message
    report = json.loads(deployed.read(f"data/quarantine/{name}.report.json"))
    assert (report["file"], report["uploaded_as"]["key"]) == (name, f"data/raw/{name}")
    assert deployed.read(f"data/quarantine/{name}") == make_trio().train
    assert deployed.executions(fleet) == []


def test_two_fleets_run_side_by_side_and_do_not_touch_each_other(deployed: Deployed, fleet: str) -> None:
    other = f"{fleet}b"
    for one, two in itertools.zip_longest(make_trio(fleet).files.items(), make_trio(other).files.items()):
        deployed.put(*one)
        deployed.put(*two)
    # Executions of `fleet` are found by the dash after its name, so `other` is not among them.
    first, second = (deployed.ended(each, seconds=SECONDS)["output"] for each in (fleet, other))

    assert first["package_arn"].endswith(f"onwing-{fleet}/1")
    assert second["package_arn"].endswith(f"onwing-{other}/1")
    assert first["dataset_version"] != second["dataset_version"]


def test_simulated_files_are_marked_to_the_end(deployed: Deployed, fleet: str) -> None:
    for name, body in make_trio(fleet).files.items():
        deployed.put(name, body, Metadata={"simulated": "true"})
    package = deployed.ended(fleet, seconds=SECONDS)["output"]["package_arn"]

    described = deployed.client("sagemaker").describe_model_package(ModelPackageName=package)
    assert described["CustomerMetadataProperties"]["simulated"] == "true"
    assert "SIMULATED" in described["ModelPackageDescription"]
    assert "SIMULATED" in deployed.alert(f"{fleet}: model registered")["Message"]


def test_pinned_files_are_the_versions_that_were_checked(deployed: Deployed, fleet: str, tmp_path: Path) -> None:
    trio = make_trio(fleet)
    deployed.put_trio(trio)
    version = deployed.ended(fleet, seconds=SECONDS)["output"]["dataset_version"]
    deployed.put(f"test_{fleet}.txt", table(2, 9))
    deployed.ended(fleet, count=2, seconds=SECONDS)

    assert deployed.read(f"data/versions/{version}/test_{fleet}.txt") == trio.test
