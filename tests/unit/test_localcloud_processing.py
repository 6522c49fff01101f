"""What a processing job may ask for beyond the plain one: Continuous outputs, AppManaged data."""

from collections.abc import Callable
from typing import Any

import pytest

from localcloud.containers.processes import ContainerSpec
from localcloud.errors import ValidationException
from localcloud.testing import wait_for

from .localcloud_bench import RESOURCES, Bench

Say = Callable[[str], None]


def output(mode: str, name: str = "out") -> dict[str, Any]:
    target = {"S3Uri": f"s3://bucket/{name}", "LocalPath": f"/opt/ml/processing/{name}", "S3UploadMode": mode}
    return {"OutputName": name, "S3Output": target}


def source(name: str = "in", **more: Any) -> dict[str, Any]:
    s3 = {"S3Uri": "s3://bucket/data/", "LocalPath": f"/opt/ml/processing/{name}", "S3DataType": "S3Prefix", **more}
    return {"InputName": name, "S3Input": s3}


def test_continuous_outputs_are_in_s3_while_the_job_runs_and_others_only_after_success(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Say) -> int:
        for name in ("live", "late"):
            (spec.base_dir / f"processing/{name}/part").write_text("1")
        wait_for(lambda: "s3://bucket/live/part" in bench.s3.uploads, 60)
        assert "s3://bucket/late/part" not in bench.s3.uploads
        (spec.base_dir / "processing/live/last").write_text("2")
        return 1

    bench.runtime.act = act
    outputs = [output("Continuous", "live"), output("EndOfJob", "late")]
    bench.process(ProcessingOutputConfig={"Outputs": outputs})
    assert bench.ended(kind="Processing")["FailureReason"].startswith("AlgorithmError")
    assert bench.s3.uploads == {"s3://bucket/live/part": b"1", "s3://bucket/live/last": b"2"}


def test_app_managed_data_is_left_to_the_application(bench: Bench) -> None:
    bench.process(
        ProcessingInputs=[{"InputName": "own", "AppManaged": True}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "own", "AppManaged": True}]},
    )
    assert bench.ended(kind="Processing")["ProcessingJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ProcessingInputs": [source(S3InputMode="Pipe")]}, "no Pipe mode for processing jobs"),
        ({"ProcessingInputs": [source(S3CompressionType="Gzip")]}, "Gzip can only be used in Pipe mode"),
        ({"ProcessingInputs": [source(LocalPath="/tmp/x")]}, "must begin with /opt/ml/processing/"),
        ({"ProcessingInputs": [source(), source()]}, "input names must be unique"),
        ({"ProcessingOutputConfig": {"Outputs": [output("EndOfJob")] * 2}}, "output names must be unique"),
        ({"ProcessingResources": {"ClusterConfig": {**RESOURCES, "InstanceCount": 2}}}, "localcloud is one machine"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_starts(bench: Bench, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationException) as error:
        bench.process(**wrong)
    assert message in error.value.message
