"""Models, endpoint configurations and endpoints: real servers, changed without losing a request."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from localcloud import daemon
from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, unique
from .serving import IMAGE, archive, config, endpoint, invoke, model, settled, variant

PING = "did not pass the ping health check. Please check CloudWatch logs for this endpoint."


@pytest.fixture(scope="module")
def main(localcloud: Cloud, bucket: str) -> str:
    """A model that answers."""
    return model(localcloud, bucket, NAME="main")


@pytest.fixture(scope="module")
def served(localcloud: Cloud, main: str) -> str:
    """An endpoint of one variant, which tests leave as it is."""
    return endpoint(localcloud, config(localcloud, variant("main", main)))


@dataclass(frozen=True)
class Answered:
    """A request's answer, and when the request was made."""

    asked: float
    variant: str
    name: str


@contextmanager
def traffic(cloud: Cloud, name: str, threads: int = 4) -> Iterator[dict[str, Any]]:
    """Steady concurrent requests for the length of the block: which variants answered, and what failed."""
    found: dict[str, Any] = {"answers": [], "failures": []}
    stop = threading.Event()
    cloud.client("sagemaker-runtime")

    def run() -> None:
        while not stop.is_set():
            asked = time.monotonic()
            try:
                answer = invoke(cloud, name)
                found["answers"].append(Answered(asked, answer["variant"], answer["name"]))
            except Exception as error:  # noqa: BLE001 - whatever it is, it failed
                found["failures"].append(repr(error))
            time.sleep(0.005)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in running:
            thread.join()


def since(found: dict[str, Any], moment: float, count: int) -> list[Answered]:
    """The answers to requests that were made after a moment, once there are so many.

    An answer may have been on its way for long: what was asked tells what the endpoint did at a time.
    """

    def look() -> list[Answered] | None:
        answers = [each for each in list(found["answers"]) if each.asked > moment]
        return answers if len(answers) >= count else None

    return wait_for(look)


def update(cloud: Cloud, name: str, config_name: str, **more: Any) -> dict[str, Any]:
    """Update an endpoint and wait until it has settled."""
    cloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=config_name, **more)
    return settled(cloud, name)


def refused(call: Any, **request: Any) -> str:
    """The message of a ValidationException."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationException"
    return str(error["Message"])


# --- models ---


def test_a_model_is_described_listed_and_deleted(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = model(localcloud, bucket, NAME="x")
    described = sagemaker.describe_model(ModelName=name)
    assert described["PrimaryContainer"]["Image"] == IMAGE
    assert described["PrimaryContainer"]["Environment"] == {"NAME": "x"}
    assert described["ExecutionRoleArn"] == ROLE
    assert described["ModelArn"].endswith(f":model/{name}")
    assert [each["ModelName"] for each in sagemaker.list_models(NameContains=name)["Models"]] == [name]
    assert "Cannot create already existing model" in refused(
        sagemaker.create_model, ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE}
    )
    sagemaker.delete_model(ModelName=name)
    assert refused(sagemaker.describe_model, ModelName=name).startswith('Could not find model "arn:aws:sagemaker:')
    assert refused(sagemaker.delete_model, ModelName=name).startswith("Could not find model")


def test_a_model_is_made_of_a_package(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    group = unique("group")
    localcloud.client("s3").put_object(Bucket=bucket, Key=f"{group}/m.tar.gz", Body=archive({"from-package": b"1"}))
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    package = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [
                {"Image": IMAGE, "ModelDataUrl": f"s3://{bucket}/{group}/m.tar.gz", "Environment": {"NAME": "packaged"}}
            ],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    name = unique("model")
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=[{"ModelPackageName": package}])
    answer = invoke(localcloud, endpoint(localcloud, config(localcloud, variant("v", name))))
    assert (answer["name"], answer["files"]) == ("packaged", ["from-package"])
    assert "does not exist" in refused(
        sagemaker.create_model,
        ModelName=unique("model"),
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"ModelPackageName": f"{package[:-1]}99"},
    )


def test_a_model_without_its_artefact_is_refused(localcloud: Cloud, bucket: str) -> None:
    create = localcloud.client("sagemaker").create_model
    url = f"s3://{bucket}/no/such/model.tar.gz"
    why = refused(
        create,
        ModelName=unique("model"),
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": url},
    )
    assert why == f"Could not find model data at {url}."


def test_a_model_is_read_under_its_own_role(localcloud: Cloud, bucket: str) -> None:
    sagemaker, name = localcloud.client("sagemaker"), unique("model")
    localcloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=archive())
    role = localcloud.role(name, {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"})
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://{bucket}/{name}/model.tar.gz"}
    why = refused(sagemaker.create_model, ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    assert why.startswith(
        f"Could not access model data at s3://{bucket}/{name}/model.tar.gz. Please ensure that the role"
    )
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [read]})
    localcloud.client("iam").put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=policy)
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    served = endpoint(localcloud, config(localcloud, variant("v", name)))
    given = invoke(localcloud, served)["environment"]
    sts = boto3.client(
        "sts",
        endpoint_url=given["AWS_ENDPOINT_URL"],
        region_name=given["AWS_REGION"],
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=given["AWS_SESSION_TOKEN"],
    )
    assert f":assumed-role/{name}/" in sts.get_caller_identity()["Arn"]


def test_an_artefact_may_be_a_tree(localcloud: Cloud, bucket: str) -> None:
    name = unique("model")
    for key in ("a.txt", "deep/b.txt"):
        localcloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/{key}", Body=b"x")
    source = {"S3Uri": f"s3://{bucket}/{name}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    localcloud.client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataSource": {"S3DataSource": source}},
    )
    answer = invoke(localcloud, endpoint(localcloud, config(localcloud, variant("v", name))))
    assert answer["files"] == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({}, "One of PrimaryContainer and Containers"),
        ({"Containers": [{"Image": IMAGE}, {"Image": IMAGE}]}, "inference pipelines"),
        ({"PrimaryContainer": {"Image": IMAGE, "Mode": "MultiModel"}}, "multi-model"),
        ({"PrimaryContainer": {"Image": "nobody/knows:1"}}, "Cannot find repository"),
        ({"PrimaryContainer": {}}, "must have an Image"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(localcloud: Cloud, request_: dict[str, Any], why: str) -> None:
    create = localcloud.client("sagemaker").create_model
    assert why in refused(create, ModelName=unique("model"), ExecutionRoleArn=ROLE, **request_)


# --- endpoint configurations ---


def test_a_configuration_is_described_listed_and_deleted(localcloud: Cloud, main: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = config(localcloud, variant("a", main, 0.0), variant("b", main))
    described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert [each["InitialVariantWeight"] for each in described["ProductionVariants"]] == [0.0, 1.0]
    found = sagemaker.list_endpoint_configs(NameContains=name)["EndpointConfigs"]
    assert [each["EndpointConfigName"] for each in found] == [name]
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    assert refused(sagemaker.describe_endpoint_config, EndpointConfigName=name).startswith(
        'Could not find endpoint configuration "arn:aws:sagemaker:'
    )


def test_a_wrong_configuration_is_refused(localcloud: Cloud, main: str) -> None:
    create = localcloud.client("sagemaker").create_endpoint_config

    def why(*variants: dict[str, Any], **more: Any) -> str:
        return refused(create, EndpointConfigName=unique("config"), ProductionVariants=list(variants), **more)

    assert why(variant("v", "nobody")).startswith('Could not find model "arn:aws:sagemaker:')
    assert "unique" in why(variant("v", main), variant("v", main))
    assert "shadow" in why(variant("a", main), variant("b", main), ShadowProductionVariants=[variant("s", main)])
    assert "InitialInstanceCount and InstanceType" in why({"VariantName": "v", "ModelName": main})
    output = {"OutputConfig": {"S3OutputPath": "s3://x/y"}}
    assert "AsyncInferenceConfig" in why(variant("v", main), AsyncInferenceConfig=output)
    assert "less than or equal to 10" in why(*(variant(f"v{number}", main) for number in range(11)))


# --- endpoints ---


def test_an_endpoint_answers_with_its_model(localcloud: Cloud, served: str) -> None:
    answer = invoke(localcloud, served, b'{"x": 1}')
    assert (answer["name"], answer["variant"]) == ("main", "main")
    assert answer["files"] == ["weights.txt"]
    assert answer["size"] == 8


def test_an_endpoint_is_described_and_listed(localcloud: Cloud, served: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    described = sagemaker.describe_endpoint(EndpointName=served)
    (summary,) = described["ProductionVariants"]
    assert summary["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    assert (summary["CurrentWeight"], summary["DesiredWeight"]) == (1.0, 1.0)
    assert (summary["CurrentInstanceCount"], summary["DesiredInstanceCount"]) == (1, 1)
    assert "FailureReason" not in described
    assert "PendingDeploymentSummary" not in described
    (listed,) = sagemaker.list_endpoints(NameContains=served, StatusEquals="InService")["Endpoints"]
    assert listed["EndpointArn"] == described["EndpointArn"]
    assert refused(sagemaker.describe_endpoint, EndpointName="nobody").startswith('Could not find endpoint "arn:aws:')
    assert "Cannot create already existing endpoint" in refused(
        sagemaker.create_endpoint, EndpointName=served, EndpointConfigName=described["EndpointConfigName"]
    )


def test_an_endpoint_outlives_its_configuration_and_model(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    model_name = model(localcloud, bucket, NAME="lasting")
    config_name = config(localcloud, variant("v", model_name))
    name = endpoint(localcloud, config_name)
    sagemaker.delete_endpoint_config(EndpointConfigName=config_name)
    sagemaker.delete_model(ModelName=model_name)
    assert invoke(localcloud, name)["name"] == "lasting"


def test_an_endpoint_whose_server_crashes_fails(localcloud: Cloud, bucket: str) -> None:
    name = endpoint(localcloud, config(localcloud, variant("bad", model(localcloud, bucket, CRASH="1"))), "Failed")
    described = localcloud.client("sagemaker").describe_endpoint(EndpointName=name)
    assert described["FailureReason"] == f"The primary container for production variant bad {PING}"
    assert "can only be deleted" in refused(
        localcloud.client("sagemaker").update_endpoint_weights_and_capacities,
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "bad", "DesiredWeight": 1}],
    )
    localcloud.client("sagemaker").delete_endpoint(EndpointName=name)


def test_an_artefact_that_is_not_there_fails_the_endpoint(localcloud: Cloud, bucket: str) -> None:
    name = model(localcloud, bucket)
    localcloud.client("s3").delete_object(Bucket=bucket, Key=f"{name}/model.tar.gz")
    failed = endpoint(localcloud, config(localcloud, variant("v", name)), "Failed")
    reason = localcloud.client("sagemaker").describe_endpoint(EndpointName=failed)["FailureReason"]
    assert reason.startswith('Failed to download model data for container "container_1" from URL: "s3://')


def test_an_artefact_that_leaves_its_directory_fails_the_endpoint(localcloud: Cloud, bucket: str) -> None:
    name = model(localcloud, bucket)
    localcloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=archive({"../../escaped": b"1"}))
    failed = endpoint(localcloud, config(localcloud, variant("v", name)), "Failed")
    reason = localcloud.client("sagemaker").describe_endpoint(EndpointName=failed)["FailureReason"]
    assert reason.startswith("Failed to extract model data archive")


def test_a_deleted_endpoint_is_gone_with_its_processes(localcloud: Cloud, main: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = endpoint(localcloud, config(localcloud, variant("v", main)))
    pid = invoke(localcloud, name)["pid"]
    sagemaker.delete_endpoint(EndpointName=name)
    with pytest.raises(ClientError, match="not found"):
        invoke(localcloud, name)

    def gone() -> bool:
        try:
            sagemaker.describe_endpoint(EndpointName=name)
        except ClientError:
            return True
        return False

    wait_for(gone)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# --- updates ---


def test_an_update_loses_no_request(localcloud: Cloud, bucket: str, main: str) -> None:
    name = endpoint(localcloud, config(localcloud, variant("v", main)))
    new = config(localcloud, variant("v", model(localcloud, bucket, NAME="second")))
    with traffic(localcloud, name) as found:
        wait_for(lambda: len(found["answers"]) > 20)
        described = update(localcloud, name, new)
        after = since(found, time.monotonic(), 20)
    assert found["failures"] == []
    assert {each.name for each in found["answers"]} == {"main", "second"}
    assert {each.name for each in after} == {"second"}
    assert described["EndpointConfigName"] == new


def test_requests_in_flight_are_answered_by_the_old_servers(
    localcloud: Cloud, bucket: str, main: str, tmp_path: Path
) -> None:
    sagemaker = localcloud.client("sagemaker")
    slow = model(localcloud, bucket, NAME="slow", HOLD=str(tmp_path))
    name = endpoint(localcloud, config(localcloud, variant("v", slow)))
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(invoke(localcloud, name)["name"]))
    asking.start()
    wait_for((tmp_path / "asked").exists)
    new = config(localcloud, variant("v", main))
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=new)
    wait_for(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] == new)
    assert invoke(localcloud, name)["name"] == "main"
    assert answers == []
    (tmp_path / "go").touch()
    asking.join()
    assert answers == ["slow"]
    assert settled(localcloud, name)["EndpointConfigName"] == new
    assert invoke(localcloud, name)["name"] == "main"


def test_an_update_that_is_not_healthy_leaves_the_old_configuration(localcloud: Cloud, bucket: str, main: str) -> None:
    old = config(localcloud, variant("v", main))
    name = endpoint(localcloud, old)
    bad = config(localcloud, variant("v", main), variant("bad", model(localcloud, bucket, CRASH="1")))
    with traffic(localcloud, name) as found:
        described = update(localcloud, name, bad)
    assert found["failures"] == []
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", old)
    assert described["FailureReason"] == f"The primary container for production variant bad {PING}"
    assert [each["VariantName"] for each in described["ProductionVariants"]] == ["v"]
    assert update(localcloud, name, config(localcloud, variant("v", main))).get("FailureReason") is None


def test_an_endpoint_that_is_updating_refuses_everything(
    localcloud: Cloud, bucket: str, main: str, tmp_path: Path
) -> None:
    sagemaker = localcloud.client("sagemaker")
    old = config(localcloud, variant("v", main))
    name = endpoint(localcloud, old)
    go = tmp_path / "go"
    new = config(localcloud, variant("v", model(localcloud, bucket, START_HOLD=str(go))))
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=new)
    described = sagemaker.describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Updating"
    assert described["EndpointConfigName"] == old
    pending = described["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == new
    assert pending["ProductionVariants"][0]["VariantStatus"][0]["Status"] == "Creating"
    weights = [{"VariantName": "v", "DesiredWeight": 2}]
    for why in (
        refused(sagemaker.update_endpoint, EndpointName=name, EndpointConfigName=new),
        refused(
            sagemaker.update_endpoint_weights_and_capacities, EndpointName=name, DesiredWeightsAndCapacities=weights
        ),
        refused(sagemaker.delete_endpoint, EndpointName=name),
    ):
        assert why == f'Cannot update in-progress endpoint "{described["EndpointArn"]}".'
    go.touch()
    assert settled(localcloud, name)["EndpointConfigName"] == new


def test_variant_properties_are_retained_on_request(localcloud: Cloud, main: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    first = config(localcloud, variant("a", main, 1), variant("b", main, 1))
    name = endpoint(localcloud, first)
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "b", "DesiredWeight": 0, "DesiredInstanceCount": 2}],
    )
    settled(localcloud, name)

    def weights(described: dict[str, Any]) -> dict[str, tuple[float, int]]:
        return {
            each["VariantName"]: (each["CurrentWeight"], each["CurrentInstanceCount"])
            for each in described["ProductionVariants"]
        }

    retained = update(localcloud, name, first, RetainAllVariantProperties=True)
    assert weights(retained) == {"a": (1.0, 1), "b": (0.0, 2)}
    partly = update(
        localcloud,
        name,
        first,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )
    assert weights(partly) == {"a": (1.0, 1), "b": (0.0, 1)}
    assert weights(update(localcloud, name, first)) == {"a": (1.0, 1), "b": (1.0, 1)}


# --- weights and capacities ---


def test_weights_shift_traffic_at_once_and_lose_nothing(localcloud: Cloud, bucket: str, main: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    other = model(localcloud, bucket, NAME="other")
    name = endpoint(localcloud, config(localcloud, variant("a", main, 1), variant("b", other, 0)))
    with traffic(localcloud, name) as found:
        wait_for(lambda: len(found["answers"]) > 20)
        assert {each.variant for each in found["answers"]} == {"a"}
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[
                {"VariantName": "a", "DesiredWeight": 0},
                {"VariantName": "b", "DesiredWeight": 1},
            ],
        )
        shifted = time.monotonic()
        assert sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] in ("Updating", "InService")
        described = settled(localcloud, name)
        since(found, shifted, 20)
    assert found["failures"] == []
    assert {each.variant for each in since(found, shifted, 20)} == {"b"}
    assert [each["CurrentWeight"] for each in described["ProductionVariants"]] == [0.0, 1.0]
    assert invoke(localcloud, name, TargetVariant="a")["variant"] == "a"


def test_weights_of_unknown_variants_are_refused(localcloud: Cloud, served: str) -> None:
    change = localcloud.client("sagemaker").update_endpoint_weights_and_capacities
    wanted = [{"VariantName": "nobody", "DesiredWeight": 1.0}]
    assert "'nobody'" in refused(change, EndpointName=served, DesiredWeightsAndCapacities=wanted)


def test_several_instances_share_the_requests(localcloud: Cloud, main: str) -> None:
    name = endpoint(localcloud, config(localcloud, variant("v", main, InitialInstanceCount=2)))
    assert len({invoke(localcloud, name)["pid"] for _ in range(10)}) == 2


# --- model servers ---


def test_a_server_that_dies_is_started_again_and_counted(localcloud: Cloud, main: str) -> None:
    name = endpoint(localcloud, config(localcloud, variant("v", main)))
    first = invoke(localcloud, name)["pid"]
    os.kill(first, signal.SIGKILL)

    def again() -> int | None:
        try:
            pid: int = invoke(localcloud, name)["pid"]
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("ServiceUnavailable", "ModelError")  # noqa: PT017
            return None
        return pid if pid != first else None

    wait_for(again)
    datapoints = localcloud.client("cloudwatch").get_metric_statistics(
        Namespace="localcloud/Endpoints",
        MetricName="ModelServerRestarts",
        Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "v"}],
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    assert sum(each["Sum"] for each in datapoints) == 1
    (mine,) = [each for each in daemon.status(localcloud.running)["variants"] if each["endpoint"] == name]
    assert (mine["variant"], mine["servers"], mine["restarts"]) == ("v", 1, 1)


def test_servers_write_to_their_own_log_streams(localcloud: Cloud, served: str) -> None:
    logs = localcloud.client("logs")
    group = f"/aws/sagemaker/Endpoints/{served}"

    def look() -> list[str]:
        (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
        assert stream["logStreamName"].startswith("main/i-")
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        return [each["message"] for each in events]

    assert "main starts" in wait_for(look)


# --- guardrails ---


def test_a_canary_shifts_in_two_steps(localcloud: Cloud, bucket: str, main: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    hear = listening(localcloud)
    name = endpoint(localcloud, config(localcloud, variant("v", main, InitialInstanceCount=2)))
    new = config(localcloud, variant("v", model(localcloud, bucket, NAME="new"), InitialInstanceCount=2))
    routing = {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 1,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
    }
    with traffic(localcloud, name) as found:
        sagemaker.update_endpoint(
            EndpointName=name,
            EndpointConfigName=new,
            DeploymentConfig={"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}},
        )
        described = settled(localcloud, name)
        after = since(found, time.monotonic(), 20)
    assert found["failures"] == []
    assert {each.name for each in after} == {"new"}
    mine = [each for each in hear(name, 2) if each["detail"].get("EndpointName") == name]
    steps = [each for each in stages(mine) if each != "Creating"]
    assert steps == ["ActivatingTraffic", "Baking", "ActivatingTraffic", "Baking"]
    assert described["EndpointConfigName"] == new
    assert described["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == "CANARY"


def alarmed(cloud: Cloud) -> tuple[str, Callable[[], Any]]:
    """A new alarm's name, and what makes it go off."""
    cloudwatch, alarm = cloud.client("cloudwatch"), unique("alarm")
    cloudwatch.put_metric_alarm(
        AlarmName=alarm,
        Namespace=alarm,
        MetricName="bad",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    return alarm, lambda: cloudwatch.put_metric_data(Namespace=alarm, MetricData=[{"MetricName": "bad", "Value": 5.0}])


def test_a_canary_gets_its_share_while_it_bakes(localcloud: Cloud, bucket: str, main: str) -> None:
    """For an hour, which an alarm ends."""
    sagemaker = localcloud.client("sagemaker")
    alarm, go_off = alarmed(localcloud)
    old = config(localcloud, variant("v", main, InitialInstanceCount=2))
    name = endpoint(localcloud, old)
    new = config(localcloud, variant("v", model(localcloud, bucket, NAME="new"), InitialInstanceCount=2))
    routing = {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 3600,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
    }
    with traffic(localcloud, name) as found:
        sagemaker.update_endpoint(
            EndpointName=name,
            EndpointConfigName=new,
            DeploymentConfig={
                "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing},
                "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
            },
        )

        def baking() -> bool:
            pending = sagemaker.describe_endpoint(EndpointName=name).get("PendingDeploymentSummary")
            return bool(pending) and pending["ProductionVariants"][0]["VariantStatus"][0]["Status"] == "Baking"

        wait_for(baking)
        said = [each.name for each in since(found, time.monotonic(), 200)]
        assert 0.1 < said.count("new") / len(said) < 0.5  # 0.3 expected, standard deviation 0.03
        go_off()
        described = settled(localcloud, name)
        after = since(found, time.monotonic(), 20)
    assert found["failures"] == []
    assert {each.name for each in after} == {"main"}
    assert described["EndpointConfigName"] == old


def test_an_alarm_rolls_a_deployment_back(localcloud: Cloud, bucket: str, main: str) -> None:
    alarm, go_off = alarmed(localcloud)
    old = config(localcloud, variant("v", main))
    name = endpoint(localcloud, old)
    new = config(localcloud, variant("v", model(localcloud, bucket, NAME="new")))
    localcloud.client("sagemaker").update_endpoint(
        EndpointName=name,
        EndpointConfigName=new,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 3600}
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
        },
    )
    wait_for(lambda: invoke(localcloud, name)["name"] == "new")
    go_off()
    described = settled(localcloud, name)
    assert described["EndpointConfigName"] == old
    assert alarm in described["FailureReason"]
    assert invoke(localcloud, name)["name"] == "main"


def test_a_canary_needs_two_instances(localcloud: Cloud, served: str, main: str) -> None:
    routing = {"Type": "CANARY", "WaitIntervalInSeconds": 0, "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}}
    why = refused(
        localcloud.client("sagemaker").update_endpoint,
        EndpointName=served,
        EndpointConfigName=config(localcloud, variant("v", main)),
        DeploymentConfig={"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}},
    )
    assert "at least two instances" in why


# --- events ---


def listening(cloud: Cloud) -> Callable[[str, int], list[dict[str, Any]]]:
    """Hear of endpoints from now on; gives what tells all that was said, once an endpoint was so often in service."""
    sqs, events = cloud.client("sqs"), cloud.client("events")
    queue = sqs.create_queue(QueueName=unique("queue"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
            }
        ],
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    rule = unique("rule")
    pattern = {"source": ["aws.sagemaker"], "detail-type": [{"prefix": "SageMaker Endpoint"}]}
    events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn}])
    found: list[dict[str, Any]] = []

    def hear(name: str, times: int) -> list[dict[str, Any]]:
        def look() -> bool:
            for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
                found.append(json.loads(message["Body"]))
                # Whoever takes longer than the visibility timeout is given it again.
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            mine = [each for each in found if each["detail"].get("EndpointName") == name]
            return [each["detail"]["EndpointStatus"] for each in mine].count("IN_SERVICE") >= times

        wait_for(look)
        return found

    return hear


def stages(found: list[dict[str, Any]]) -> list[str]:
    """The stages of deployments that events tell of."""
    return [
        each["detail"]["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]["Status"]
        for each in found
        if each["detail-type"] == "SageMaker Endpoint Deployment State Change"
    ]


def test_each_change_is_an_event(localcloud: Cloud, main: str) -> None:
    hear = listening(localcloud)
    first = config(localcloud, variant("v", main))
    name = endpoint(localcloud, first)
    update(localcloud, name, config(localcloud, variant("v", main)))
    found = hear(name, 2)
    mine = [each for each in found if each["detail"].get("EndpointName") == name]
    states = [e["detail"]["EndpointStatus"] for e in mine if e["detail-type"] == "SageMaker Endpoint State Change"]
    assert states[:2] == ["CREATING", "IN_SERVICE"]
    assert set(states[2:-1]) == {"UPDATING"}
    assert stages(mine)[0] == "Creating"
    assert stages(mine)[-1] == "ActivatingTraffic"
    configs = [e for e in found if e["detail-type"] == "SageMaker Endpoint Config State Change"]
    assert first in [each["detail"]["EndpointConfigName"] for each in configs]
