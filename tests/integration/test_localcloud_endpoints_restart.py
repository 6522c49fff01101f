"""A localcloud of its own for each test: endpoints are served again after a restart, and quotas are kept."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from localcloud import daemon
from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

from .serving import config, endpoint, invoke, model, settled, variant
from .test_localcloud_capture import captured, capturing

IMAGES = Path(__file__).parent / "localcloud_images/stub.toml"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A localcloud that keeps its state."""
    with running_localcloud(tmp_path / "localcloud", images=[IMAGES], keep=True) as running:
        running.role("job-role")
        running.client("s3").create_bucket(Bucket="kept-bucket")
        yield running


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_endpoints_are_served_again_after_a_kill(cloud: Cloud) -> None:
    sagemaker = cloud.client("sagemaker")
    capture = capturing("kept-bucket", "captured")
    good = model(cloud, "kept-bucket", NAME="good")
    first = config(cloud, variant("v", good), variant("w", good), DataCaptureConfig=capture)
    name = endpoint(cloud, first)
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "w", "DesiredWeight": 0}]
    )
    settled(cloud, name)
    updating = endpoint(cloud, config(cloud, variant("v", good)))
    before = sagemaker.describe_endpoint(EndpointName=updating)["EndpointConfigName"]
    slow = config(cloud, variant("v", model(cloud, "kept-bucket", NAME="slow", START_SLEEP="100")))
    sagemaker.update_endpoint(EndpointName=updating, EndpointConfigName=slow)
    sagemaker.create_endpoint(EndpointName="creating", EndpointConfigName=slow)
    pid = invoke(cloud, name)["pid"]
    time.sleep(4)  # a snapshot is at most 2 s old
    cloud.kill()
    wait_for(lambda: gone(pid))
    cloud.start_again()

    described = settled(cloud, name)
    assert described["EndpointStatus"] == "InService"
    assert [each["CurrentWeight"] for each in described["ProductionVariants"]] == [1.0, 0.0]
    assert invoke(cloud, name)["name"] == "good"
    assert invoke(cloud, name)["pid"] != pid
    assert len(captured(cloud, "kept-bucket", f"captured/{name}/", 2)) >= 2

    described = settled(cloud, updating)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", before)
    assert "PendingDeploymentSummary" not in described
    assert invoke(cloud, updating)["name"] == "good"

    described = settled(cloud, "creating")
    assert described["EndpointStatus"] == "Failed"
    assert "create it again" in described["FailureReason"]
    cloud.client("sagemaker").delete_endpoint(EndpointName="creating")


def test_what_was_captured_is_there_after_a_clean_stop(cloud: Cloud) -> None:
    good = model(cloud, "kept-bucket", NAME="good")
    capture = capturing("kept-bucket", "captured")
    name = endpoint(cloud, config(cloud, variant("v", good), DataCaptureConfig=capture))
    for _ in range(5):
        invoke(cloud, name)
    daemon.stop(cloud.running.directory)
    cloud.start_again()
    assert len(captured(cloud, "kept-bucket", f"captured/{name}/", 5)) == 5
    settled(cloud, name)
    assert invoke(cloud, name)["name"] == "good"


def test_a_quota_of_instances_is_kept(tmp_path: Path) -> None:
    quotas = {"ml.m5.large for endpoint usage": 2}
    with running_localcloud(tmp_path / "localcloud", images=[IMAGES], quotas=quotas) as cloud:
        cloud.role("job-role")
        cloud.client("s3").create_bucket(Bucket="quota-bucket")
        good = model(cloud, "quota-bucket")
        name = endpoint(cloud, config(cloud, variant("v", good)))
        with pytest.raises(ClientError, match=r"'ml\.m5\.large for endpoint usage' is 2 Instances, with current"):
            endpoint(cloud, config(cloud, variant("v", good, InitialInstanceCount=2)))
        cloud.client("sagemaker").update_endpoint(
            EndpointName=name, EndpointConfigName=config(cloud, variant("v", good, InitialInstanceCount=2))
        )
        assert settled(cloud, name)["ProductionVariants"][0]["CurrentInstanceCount"] == 2
