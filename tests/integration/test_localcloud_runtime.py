"""SageMaker Runtime: what reaches the model, what comes back, and what is measured."""

import gzip
import itertools
import json
import time
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from localcloud import daemon
from localcloud.testing import Cloud, wait_for

from .localcloud_requests import unique
from .roles import client_of, refused
from .serving import config, endpoint, invoke, model, variant


@pytest.fixture(scope="module")
def two(localcloud: Cloud, bucket: str) -> str:
    """An endpoint with a variant of all the weight and one of none."""
    a, b = (model(localcloud, bucket, NAME=name) for name in ("a", "b"))
    return endpoint(localcloud, config(localcloud, variant("a", a), variant("b", b, 0.0)))


def error_of(cloud: Cloud, name: str, **more: Any) -> dict[str, Any]:
    """The answer to a request that fails."""
    with pytest.raises(ClientError) as caught:
        cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, **{"Body": b"{}", **more})
    return dict(caught.value.response)


def measured(cloud: Cloud, name: str, variant_name: str, metric: str) -> list[dict[str, Any]]:
    """A metric's datapoints."""
    found: list[dict[str, Any]] = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant_name}],
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum", "Maximum", "SampleCount"],
    )["Datapoints"]
    return found


def total(cloud: Cloud, name: str, variant_name: str, metric: str) -> float:
    """A metric's sum."""
    return float(sum(each["Sum"] for each in measured(cloud, name, variant_name, metric)))


def test_headers_reach_the_model_and_come_back(localcloud: Cloud, two: str) -> None:
    answer = invoke(
        localcloud, two, b"[]", Accept="application/json", CustomAttributes="trace=1", InferenceId="window-7"
    )
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    assert headers["content-type"] == headers["accept"] == "application/json"
    assert headers["x-amzn-sagemaker-custom-attributes"] == "trace=1"
    assert headers["x-amzn-sagemaker-inference-id"] == "window-7"
    assert "authorization" not in headers
    assert answer["attributes"] == "served-by=a"


def test_csv_is_answered_in_its_type(localcloud: Cloud, two: str) -> None:
    answer = localcloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=two, Body="1,2\n3,4\n", ContentType="text/csv"
    )
    assert answer["ContentType"] == "text/csv; charset=utf-8"
    assert answer["Body"].read() == b"3.0\n7.0\n"


def test_a_variant_without_weight_answers_only_when_named(localcloud: Cloud, two: str) -> None:
    assert {invoke(localcloud, two)["variant"] for _ in range(20)} == {"a"}
    answer = invoke(localcloud, two, TargetVariant="b")
    assert (answer["variant"], answer["name"]) == ("b", "b")


def test_weights_are_shares(localcloud: Cloud, bucket: str) -> None:
    name = model(localcloud, bucket)
    served = endpoint(localcloud, config(localcloud, variant("most", name, 3.0), variant("least", name, 1.0)))
    count = [invoke(localcloud, served)["variant"] for _ in range(200)].count("least")
    assert 20 < count < 85  # 50 expected, standard deviation 6


def test_an_unknown_endpoint_or_variant_is_a_validation_error(localcloud: Cloud, two: str) -> None:
    error = error_of(localcloud, "nobody")
    assert error["Error"]["Code"] == "ValidationError"
    assert error["Error"]["Message"] == "Endpoint nobody of account 000000000000 not found."
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error_of(localcloud, two, TargetVariant="c")["Error"]["Code"] == "ValidationError"
    assert "TargetModel" in error_of(localcloud, two, TargetModel="x.tar.gz")["Error"]["Message"]


def test_who_may_not_invoke_is_denied(localcloud: Cloud, two: str) -> None:
    iam, user = localcloud.client("iam"), unique("user")
    iam.create_user(UserName=user)
    arn = f"arn:aws:sagemaker:us-east-1:000000000000:endpoint/{two}"
    key = iam.create_access_key(UserName=user)["AccessKey"]
    runtime = boto3.client(
        "sagemaker-runtime",
        endpoint_url=localcloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName=two, Body=b"{}")
    error = caught.value.response["Error"]
    assert error["Code"] == "AccessDeniedException"
    assert f"is not authorized to perform: sagemaker:InvokeEndpoint on resource: {arn}" in error["Message"]
    allow = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
    assert runtime.invoke_endpoint(EndpointName=two, Body=b"{}")["InvokedProductionVariant"] == "a"


def test_a_forged_signature_is_refused(localcloud: Cloud, two: str) -> None:
    iam, name = localcloud.client("iam"), unique("forger")
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    request = {"EndpointName": two, "Body": b"{}", "ContentType": "application/json"}
    good = client_of(localcloud, key["AccessKeyId"], key["SecretAccessKey"])("sagemaker-runtime")
    assert good.invoke_endpoint(**request)["InvokedProductionVariant"] == "a"
    forged = client_of(localcloud, key["AccessKeyId"], "not-the-secret")("sagemaker-runtime")
    assert refused(forged.invoke_endpoint, **request)[0] in ("InvalidSignatureException", "SignatureDoesNotMatch")
    nobody = client_of(localcloud, "AKIANOBODYATALLX", "secret")("sagemaker-runtime")
    assert refused(nobody.invoke_endpoint, **request)[0] in ("UnrecognizedClientException", "InvalidClientTokenId")


def test_another_account_has_endpoints_of_its_own(localcloud: Cloud, two: str) -> None:
    other = client_of(localcloud, "111111111111", "secret")("sagemaker-runtime")
    code, message = refused(other.invoke_endpoint, EndpointName=two, Body=b"{}")
    assert (code, message) == ("ValidationError", f"Endpoint {two} of account 111111111111 not found.")


def test_an_unusual_request_is_answered_too(localcloud: Cloud, two: str) -> None:
    """A compressed body goes another way through the server."""
    signed = AWSRequest(
        "POST",
        f"{localcloud.endpoint}/endpoints/{two}/invocations",
        data=gzip.compress(b'{"x": 1}'),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    SigV4Auth(Credentials("test", "test"), "sagemaker", "us-east-1").add_auth(signed)
    answer = URLLib3Session().send(signed.prepare())
    assert answer.status_code == 200, answer.content
    assert json.loads(answer.content)["size"] == 8


def test_a_body_may_have_25_megabytes(localcloud: Cloud, two: str) -> None:
    assert invoke(localcloud, two, b"x" * 24 * 1024 * 1024)["size"] == 24 * 1024 * 1024
    error = error_of(localcloud, two, Body=b"x" * (25 * 1024 * 1024 + 1))
    assert "less than or equal to 26214400" in error["Error"]["Message"]


@pytest.mark.parametrize(("status", "kind", "metric"), [("400", "client", "4XX"), ("500", "server", "5XX")])
def test_a_models_error_is_handed_on(localcloud: Cloud, bucket: str, status: str, kind: str, metric: str) -> None:
    served = endpoint(
        localcloud, config(localcloud, variant("v", model(localcloud, bucket, NAME="bad", STATUS=status)))
    )
    error = error_of(localcloud, served, ContentType="application/json")
    assert error["Error"]["Code"] == "ModelError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["OriginalStatusCode"] == int(status)
    assert error["OriginalMessage"] == '{"error": "bad will not"}'
    assert f":log-group:/aws/sagemaker/Endpoints/{served}" in error["LogStreamArn"]
    assert error["Error"]["Message"].startswith(f'Received {kind} error ({status}) from primary with message "')
    assert total(localcloud, served, "v", f"Invocation{metric}Errors") == 1
    assert total(localcloud, served, "v", "InvocationModelErrors") == 1


def test_a_server_that_dies_of_a_request_answers_for_it(localcloud: Cloud, bucket: str) -> None:
    served = endpoint(localcloud, config(localcloud, variant("v", model(localcloud, bucket, DIE_AFTER="0"))))
    error = error_of(localcloud, served)
    assert error["Error"]["Code"] in ("ModelError", "ServiceUnavailable")
    assert wait_for(lambda: total(localcloud, served, "v", "Invocation5XXErrors")) == 1


def test_a_request_that_kills_its_server_is_not_tried_on_another(localcloud: Cloud, bucket: str) -> None:
    poisoned = variant("v", model(localcloud, bucket, DIE_AFTER="0"), InitialInstanceCount=2)
    served = endpoint(localcloud, config(localcloud, poisoned))
    error_of(localcloud, served)

    def restarts() -> float:
        datapoints = localcloud.client("cloudwatch").get_metric_statistics(
            Namespace="localcloud/Endpoints",
            MetricName="ModelServerRestarts",
            Dimensions=[{"Name": "EndpointName", "Value": served}, {"Name": "VariantName", "Value": "v"}],
            StartTime=time.time() - 600,
            EndTime=time.time() + 60,
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(each["Sum"] for each in datapoints))

    assert wait_for(restarts) == 1

    def again() -> bool:
        (mine,) = [each for each in daemon.status(localcloud.running)["variants"] if each["endpoint"] == served]
        return bool(mine["ready"] == 2)

    wait_for(again)
    assert restarts() == 1


def test_latencies_are_in_microseconds(localcloud: Cloud, bucket: str) -> None:
    served = endpoint(localcloud, config(localcloud, variant("v", model(localcloud, bucket, SLEEP="0.2"))))
    for _ in range(3):
        invoke(localcloud, served)
    assert total(localcloud, served, "v", "Invocations") == 3
    assert total(localcloud, served, "v", "InvocationsPerInstance") == 3
    assert total(localcloud, served, "v", "Invocation5XXErrors") == 0
    datapoints = measured(localcloud, served, "v", "ModelLatency")
    # Below what an answer may take at most, and what it took in nanoseconds.
    assert 200_000 < max(each["Maximum"] for each in datapoints) < 60_000_000
    assert {each["Unit"] for each in datapoints} == {"Microseconds"}
    assert sum(each["SampleCount"] for each in measured(localcloud, served, "v", "OverheadLatency")) == 3


def test_a_shadow_gets_copies_that_nobody_waits_for(localcloud: Cloud, bucket: str) -> None:
    production = model(localcloud, bucket, NAME="production")
    slow = model(localcloud, bucket, NAME="shadow", SLEEP="0.5")
    served = endpoint(
        localcloud, config(localcloud, variant("p", production), ShadowProductionVariants=[variant("s", slow)])
    )
    assert {invoke(localcloud, served)["name"] for _ in range(5)} == {"production"}
    assert wait_for(lambda: total(localcloud, served, "s", "Invocations") >= 5)
    described = localcloud.client("sagemaker").describe_endpoint(EndpointName=served)
    assert [each["VariantName"] for each in described["ShadowProductionVariants"]] == ["s"]
    assert error_of(localcloud, served, TargetVariant="s")["Error"]["Code"] == "ValidationError"


def test_an_answer_comes_as_a_stream(localcloud: Cloud, two: str) -> None:
    answer = localcloud.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName=two, Body="1,2\n", ContentType="text/csv"
    )
    assert b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"]) == b"3.0\n"
    assert answer["ContentType"] == "text/csv; charset=utf-8"
    assert answer["InvokedProductionVariant"] == "a"


def test_what_instances_use_is_measured(localcloud: Cloud, two: str) -> None:
    def measured_ones() -> dict[str, float] | None:
        found: dict[str, float] = {}
        for metric in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
            datapoints = localcloud.client("cloudwatch").get_metric_statistics(
                Namespace="/aws/sagemaker/Endpoints",
                MetricName=metric,
                Dimensions=[{"Name": "EndpointName", "Value": two}, {"Name": "VariantName", "Value": "b"}],
                StartTime=time.time() - 600,
                EndTime=time.time() + 60,
                Period=60,
                Statistics=["Average"],
                Unit="Percent",
            )["Datapoints"]
            if datapoints:
                found[metric] = datapoints[-1]["Average"]
        return found if len(found) == 3 else None

    used = wait_for(measured_ones, pause=1.0)
    assert 0 <= used["CPUUtilization"] < 200
    assert 0 < used["MemoryUtilization"] < 50
    assert 0 < used["DiskUtilization"] <= 100


def datapoints(cloud: Cloud, namespace: str, name: str, variant_name: str, metric: str, period: int) -> list[Any]:
    """When a metric has datapoints."""
    found = cloud.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant_name}],
        StartTime=time.time() // 60 * 60 - 600,
        EndTime=time.time() + 60,
        Period=period,
        Statistics=["SampleCount"],
    )["Datapoints"]
    return sorted(each["Timestamp"].timestamp() for each in found)


def test_every_instance_is_measured_from_the_start(localcloud: Cloud, bucket: str) -> None:
    """Also those of a shadow: an alarm that waits for them must not go off while an endpoint begins."""
    served = model(localcloud, bucket)
    shadowed = config(localcloud, variant("v", served), ShadowProductionVariants=[variant("s", served)])
    weighted = config(localcloud, variant("v", served), variant("w", served, 0.0))
    for name, others in ((endpoint(localcloud, shadowed), "vs"), (endpoint(localcloud, weighted), "vw")):
        for each in others:
            assert datapoints(localcloud, "/aws/sagemaker/Endpoints", name, each, "CPUUtilization", 60)


def steps(moments: list[Any]) -> set[float]:
    """How far apart they are."""
    return {after - before for before, after in itertools.pairwise(moments)}


def test_metrics_are_as_fine_as_the_configuration_says(localcloud: Cloud, bucket: str) -> None:
    served = model(localcloud, bucket)
    fine = {"EnableEnhancedMetrics": True, "MetricPublishFrequencyInSeconds": 10}
    often = endpoint(localcloud, config(localcloud, variant("v", served), MetricsConfig=fine))
    seldom = endpoint(localcloud, config(localcloud, variant("v", served)))

    def times(name: str, namespace: str, metric: str) -> list[Any]:
        invoke(localcloud, name)
        return datapoints(localcloud, namespace, name, "v", metric, 10)

    for namespace, metric in (("AWS/SageMaker", "ModelLatency"), ("/aws/sagemaker/Endpoints", "CPUUtilization")):
        # On a busy machine ten seconds may go by without a request, or without a look at the instances.
        wait_for(lambda n=namespace, m=metric: 10 in steps(times(often, n, m)), pause=1.0)  # type: ignore[misc]
        found = times(often, namespace, metric)
        assert all(each % 10 == 0 for each in [*found, *steps(found)]), found
        assert all(each % 60 == 0 for each in times(seldom, namespace, metric))


def test_a_frequency_that_there_is_not_is_refused(localcloud: Cloud, bucket: str) -> None:
    served = model(localcloud, bucket)
    with pytest.raises(ClientError, match="must be one of 10, 30, 60"):
        config(localcloud, variant("v", served), MetricsConfig={"MetricPublishFrequencyInSeconds": 15})
