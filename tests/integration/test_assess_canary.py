"""assess_canary as it is deployed: its role, real packages, and an endpoint whose variants misbehave in every way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.deployed import SLOW, Deployed, new_fleet, until
from tests.packages import register, rows, version_of

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(1800)

BEHAVIOURS: dict[str, dict[str, Any]] = {
    "champion": {},
    "good": {},
    "500": {"mode": "500"},
    "slow": SLOW,
    "nan": {"mode": "nan"},
    "constant": {"mode": "constant"},
    "shape": {"mode": "shape"},
    "biased": {"offset": 30},
    "flaky": {"mode": "flaky"},
}


@dataclass
class Endpoint:
    """One endpoint with a variant for each behaviour; only the champion has weight."""

    deployed: Deployed
    fleet: str
    name: str
    config: str
    packages: dict[str, str]

    def served(self, behaviour: str) -> dict[str, Any]:
        """A variant as the machines describe it."""
        arn = self.packages[behaviour]
        facts = ask(self.deployed, phase="package", fleet=self.fleet, package_arn=arn)["package"]
        return {"version": version_of(arn), "variant": f"v{version_of(arn)}", "package_arn": arn, **facts}

    def assess(self, behaviour: str, phase: str = "preflight", **more: Any) -> dict[str, Any]:
        """What the function says of a variant beside the champion."""
        request = {
            "phase": phase,
            "fleet": self.fleet,
            "endpoint": self.name,
            "config": self.config,
            "challenger": self.served(behaviour),
            "champion": self.served("champion"),
        }
        return ask(self.deployed, **(request | more))


def ask(deployed: Deployed, **request: Any) -> dict[str, Any]:
    """Invoke the function."""
    response = deployed.client("lambda").invoke(
        FunctionName=deployed.outputs["AssessFunctionName"], Payload=json.dumps(request)
    )
    answer = json.loads(response["Payload"].read())
    assert "FunctionError" not in response, answer
    return dict(answer)


def checks(answer: dict[str, Any]) -> list[str]:
    return [reason["check"] for reason in answer["reasons"]]


@pytest.fixture(scope="module")
def endpoint(deployed: Deployed) -> Iterator[Endpoint]:
    fleet, sagemaker = new_fleet(), deployed.client("sagemaker")
    stack = deployed.client("cloudformation")
    resource = stack.describe_stack_resource(StackName="onwing", LogicalResourceId="EndpointRole")
    role = deployed.client("iam").get_role(RoleName=resource["StackResourceDetail"]["PhysicalResourceId"])["Role"][
        "Arn"
    ]
    name, config = f"onwing-{fleet}", f"onwing-{fleet}-test"
    packages, variants = {}, []
    for behaviour, document in BEHAVIOURS.items():
        packages[behaviour] = arn = register(deployed, fleet, behaviour=document)
        model = f"{name}-v{version_of(arn)}"
        described = sagemaker.describe_model_package(ModelPackageName=arn)
        [container] = described["InferenceSpecification"]["Containers"]
        sagemaker.create_model(
            ModelName=model,
            ExecutionRoleArn=role,
            PrimaryContainer={"Image": container["Image"], "ModelDataUrl": container["ModelDataUrl"]},
        )
        variants.append(
            {
                "VariantName": f"v{version_of(arn)}",
                "ModelName": model,
                "InstanceType": "ml.c7i.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": float(behaviour == "champion"),
            }
        )
    sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)

    def settled() -> str | None:
        status = sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
        return status if status != "Creating" else None

    assert until(f"{name} in service", settled, seconds=600) == "InService"
    yield Endpoint(deployed, fleet, name, config, packages)
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    for variant in variants:
        sagemaker.delete_model(ModelName=variant["ModelName"])


def test_good_challenger_passes(endpoint: Endpoint) -> None:
    answer = endpoint.assess("good")
    assert (answer["verdict"], answer["reasons"]) == ("pass", []), answer
    own = answer["figures"][endpoint.served("good")["variant"]]
    assert (own["probe_rmse"], own["probe_difference"]) == (0, 0)


@pytest.mark.parametrize(
    ("behaviour", "first", "said"),
    [
        ("500", "probe-error", "failed 14 of 14 probes: 500, "),
        ("slow", "latency", " ms for a probe (median; at most "),
        ("nan", "probe-not-finite", "with NaN"),
        ("constant", "probe-constant", "answers 63.0 cycles to every probe"),
        ("shape", "probe-shape", "prediction(s) for 1 engine(s)"),
        ("biased", "probe-rmse", "on average 30.0 cycles above the champion's"),
    ],
)
def test_bad_challenger_is_found_before_its_first_request(
    endpoint: Endpoint, behaviour: str, first: str, said: str
) -> None:
    answer = endpoint.assess(behaviour)
    assert answer["verdict"] == "fail"
    assert checks(answer)[0] == first, answer
    assert said in answer["summary"]


def test_variant_that_fails_live_requests_only_is_found_by_its_metrics(endpoint: Endpoint) -> None:
    since = datetime.now(UTC).isoformat()
    assert endpoint.assess("flaky")["verdict"] == "pass"
    runtime = endpoint.deployed.client("sagemaker-runtime")
    for _ in range(20):
        with contextlib.suppress(runtime.exceptions.ModelError):
            runtime.invoke_endpoint(
                EndpointName=endpoint.name,
                TargetVariant=endpoint.served("flaky")["variant"],
                ContentType="text/csv",
                Body=rows(1, 30).encode(),
            )
    answer = endpoint.assess("flaky", "bake", since=since)
    assert checks(answer) == ["errors-5xx"], answer
    assert answer["figures"][endpoint.served("flaky")["variant"]]["errors_5xx"] == 20


def test_verify_looks_at_name_weights_and_answers(endpoint: Endpoint) -> None:
    answer = endpoint.assess("champion", "verify", champion=None)
    assert (answer["verdict"], answer["reasons"]) == ("pass", [])
    assert checks(endpoint.assess("good", "verify", champion=None)) == ["endpoint"]
    answer = endpoint.assess("champion", "verify", champion=None, config="onwing-other")
    assert f"serves configuration {endpoint.config}, not onwing-other" in answer["summary"]
    answer = endpoint.assess("champion", "verify", champion=None, endpoint="onwing-gone")
    assert answer["summary"] == "endpoint onwing-gone does not exist"


def test_package_is_judged_by_its_artefact_and_its_evaluation(deployed: Deployed, fleet: str) -> None:
    answer = ask(deployed, phase="package", fleet=fleet, package_arn=register(deployed, fleet))
    assert (answer["verdict"], answer["reasons"]) == ("pass", [])
    assert answer["package"]["probes"].startswith(f"models/evaluation/{fleet}/")
    assert answer["package"]["approval_status"] == "PendingManualApproval"
    for spoiled, check, said in (
        ({"tampered": True}, "artifact", "not the one that was registered"),
        ({"rmse": 25.0}, "gate", "the gate was missed: rmse 25.0, limit 20.0"),
        ({"probes": False}, "gate", "left no probes"),
        ({"artifact_sha256": "f" * 64}, "artifact", "not where its SHA-256 puts it"),
    ):
        answer = ask(deployed, phase="package", fleet=fleet, package_arn=register(deployed, fleet, **spoiled))
        assert answer["verdict"] == "fail"
        assert checks(answer)[0] == check
        assert said in answer["summary"]
