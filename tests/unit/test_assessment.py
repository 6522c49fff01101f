"""assess_canary: what is found, and called by its name, in packages, endpoints, answers, requests and alarms."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import math
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber
from control_plane import clients, figures, probes
from control_plane.assessment import Assessment, AssessmentRequest, assess
from control_plane.figures import Figures
from control_plane.probes import Answers, ProbeSet
from control_plane.settings import AssessmentSettings, load_assessment_settings
from control_plane.verdict import ORDER, Reason, summarise
from hypothesis import given
from hypothesis import strategies as st

from localcloud.testing import wait_for
from tests.packages import make_archive, make_probes, make_report
from tests.stub_image.turbofan.serve import engines_of, predict

from .conftest import Stack

ROOT = Path(__file__).parents[2]
ENDPOINT, CONFIG = "onwing-FD001", "onwing-FD001-v8-ab12cd34-canary"
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/onwing-FD001/8"
FOLDER = "models/evaluation/FD001/onwing-FD001-k3j9x2ab"
LIMITS = AssessmentSettings()
NOW = datetime.now(UTC)


# ---------------------------------------------------------------------------------------------------------------------
# Packages
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Package:
    """A good package; tests spoil it before it is put."""

    stack: Stack
    archive: bytes = field(default_factory=lambda: make_archive({}))

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.archive).hexdigest()
        self.address = f"s3://onwing-bucket/models/artifacts/FD001/{self.sha256}/model.tar.gz"
        self.status = "Completed"
        self.properties = {"fleet": "FD001", "dataset_version": "d" * 64, "artifact_sha256": self.sha256}
        self.report: Any = make_report("FD001", self.sha256, len(self.archive), 12.5)
        self.probes: Any = make_probes("FD001", self.sha256, {})
        self.statistics = f"s3://onwing-bucket/{FOLDER}/report.json"

    def examined(self) -> Assessment:
        """What assess_canary says of it."""
        put = self.stack.s3.put_object
        if self.archive:
            put(Bucket="onwing-bucket", Key=self.address.removeprefix("s3://onwing-bucket/"), Body=self.archive)
        for name, content in (("report.json", self.report), ("probes.json", self.probes)):
            if content is not None:
                body = content if isinstance(content, str) else json.dumps(content)
                put(Bucket="onwing-bucket", Key=f"{FOLDER}/{name}", Body=body.encode())
        with Stubber(clients.sagemaker()) as stubber:
            stubber.add_response(
                "describe_model_package",
                {
                    "ModelPackageName": "onwing-FD001",
                    "ModelPackageArn": PACKAGE,
                    "CreationTime": NOW,
                    "ModelPackageStatus": self.status,
                    "ModelPackageStatusDetails": {"ValidationStatuses": []},
                    "ModelApprovalStatus": "Approved",
                    "InferenceSpecification": {
                        "Containers": [{"Image": "image@sha256:1", "ModelDataUrl": self.address}]
                    },
                    "CustomerMetadataProperties": self.properties,
                    "ModelMetrics": {
                        "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": self.statistics}}
                    },
                },
                {"ModelPackageName": PACKAGE},
            )
            return run(self.stack, phase="package", package_arn=PACKAGE)


@pytest.fixture
def stack(stack: Stack) -> Stack:
    """Without the clients of earlier tests."""
    for client in (clients.sagemaker, clients.sagemaker_runtime, clients.cloudwatch, load_assessment_settings):
        client.cache_clear()
    probes.load.cache_clear()
    return stack


@pytest.fixture
def package(stack: Stack) -> Package:
    return Package(stack)


def run(stack: Stack, limits: AssessmentSettings = LIMITS, **request: Any) -> Assessment:
    return assess(stack.settings, limits, AssessmentRequest.model_validate({"fleet": "FD001", **request}))


def checks(result: Assessment) -> list[str]:
    return [reason.check for reason in result.reasons]


def test_good_package_passes_and_its_facts_are_told(package: Package) -> None:
    result = package.examined()
    assert (result.verdict, result.reasons) == ("pass", [])
    assert result.package is not None
    assert result.package.model_dump() == {
        "artifact_sha256": package.sha256,
        "model_data_url": package.address,
        "image": "image@sha256:1",
        "dataset_version": "d" * 64,
        "probes": f"{FOLDER}/probes.json",
        "approval_status": "Approved",
    }


def test_artefact_that_was_tampered_with_is_refused(package: Package) -> None:
    package.archive = make_archive({"mode": "500"})
    result = package.examined()
    assert checks(result) == ["artifact"]
    assert "not the one that was registered" in result.summary
    assert hashlib.sha256(package.archive).hexdigest()[:12] in result.summary
    assert package.sha256[:12] in result.summary
    assert package.address in result.summary


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"archive": b""}, "the artefact is missing: s3://onwing-bucket/models/artifacts/"),
        ({"address": "s3://onwing-bucket/pipelines/outputs/model.tar.gz"}, "not where its SHA-256 puts it"),
        ({"address": "s3://elsewhere/models/artifacts/FD001/x/model.tar.gz"}, "s3://elsewhere/models"),
        ({"properties": {"fleet": "FD001"}}, "no artifact_sha256"),
        ({"status": "Failed"}, "status is Failed"),
    ],
)
def test_artefact_that_is_not_where_it_should_be_is_refused(
    package: Package, change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(package, name, value)
    result = package.examined()
    assert result.reasons[0].check == "artifact"
    assert said in result.summary


def test_missed_gate_is_refused_with_its_figures(package: Package) -> None:
    package.report = make_report("FD001", package.sha256, 1, 25.0)
    result = package.examined()
    assert checks(result) == ["gate"]
    assert "the gate was missed: rmse 25.0, limit 20.0" in result.summary
    assert (result.reasons[0].value, result.reasons[0].limit) == (25.0, 20.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"report": None}, "report is missing: s3://onwing-bucket/models/evaluation/FD001/"),
        ({"report": "<html>"}, "report cannot be read (JSONDecodeError"),
        ({"report": {"artifact": {}}}, "report cannot be read (KeyError: 'sha256')"),
        ({"report": make_report("FD001", "f" * 64, 1, 12.5)}, "of another artefact (ffffffffffff, not "),
        ({"probes": None}, "left no probes"),
        ({"probes": make_probes("FD001", "f" * 64, {})}, "probes are of another artefact"),
        ({"probes": {**make_probes("FD001", "f" * 64, {}), "probes": []}}, "probes cannot be read (probes:"),
        ({"statistics": "s3://elsewhere/report.json"}, "names no evaluation report in bucket onwing-bucket"),
    ],
)
def test_evaluation_that_is_missing_broken_or_anothers_is_refused(
    package: Package, change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(package, name, value)
    result = package.examined()
    assert (result.verdict, checks(result)) == ("fail", ["gate"])
    assert said in result.summary


def test_report_without_gates_has_passed_none(package: Package) -> None:
    package.report["gates"] = []
    assert "has no gates" in package.examined().summary


def test_missing_object_is_told_from_a_forbidden_one(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "GetObject")

    def get_object(**_: Any) -> Any:
        raise denied

    # Given a role that may list below the prefix only, to which S3 answers 403 for what is not there
    package.probes = None
    real = clients.s3().get_object
    monkeypatch.setattr(
        clients.s3(), "get_object", lambda **a: get_object() if "probes" in a["Key"] else real(**a), raising=True
    )
    assert "left no probes" in package.examined().summary
    # And what is there but may not be read says nothing about the package
    package.probes = make_probes("FD001", package.sha256, {})
    with pytest.raises(ClientError, match="Access Denied"):
        package.examined()


# ---------------------------------------------------------------------------------------------------------------------
# Variants
# ---------------------------------------------------------------------------------------------------------------------


class Runtime:
    """SageMaker Runtime over HTTP: every variant behaves as it is told, and takes as long by a clock of its own."""

    def __init__(self) -> None:
        self.behaviours: dict[str, dict[str, Any]] = {"v7": {}, "v8": {}}
        self.requests: list[dict[str, str]] = []
        self.seconds = 0.0
        self.over = threading.Event()
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                variant = self.headers["X-Amzn-SageMaker-Target-Variant"]
                runtime.requests.append({"variant": variant, "id": self.headers["X-Amzn-SageMaker-Inference-Id"]})
                status, kind, content = runtime.answer(runtime.behaviours[variant], body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if kind:
                    self.send_header("x-amzn-ErrorType", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # all probes come at once

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that do not wait
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Let go of whoever hangs, and answer no more."""
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, behaviour: dict[str, Any], body: bytes) -> tuple[int, str, bytes]:
        """Status, error type and body of one request."""
        mode = behaviour.get("mode", "ok")
        if mode == "hang":
            self.over.wait()
        self.seconds += behaviour.get("seconds", 0.01)  # one request comes after the other
        if mode == "500":
            error = {
                "Message": "Received server error (500)",
                "OriginalStatusCode": 500,
                "OriginalMessage": "out of oil",
            }
            return 424, "ModelError", json.dumps(error).encode()
        if mode in ("ServiceUnavailable", "ThrottlingException", "AccessDeniedException"):
            status = {"ServiceUnavailable": 503, "ThrottlingException": 400, "AccessDeniedException": 403}[mode]
            return status, mode, json.dumps({"Message": f"told to say {mode}"}).encode()
        if mode == "text":
            return 200, "", b"no JSON"
        last = [rows[-1] for rows in engines_of(body, "text/csv")]
        if mode == "shape":
            last = last * 2
        if mode == "order":
            last = last[::-1]
        noise = random.Random(1)
        answers = [
            {"unit": u, "cycle": c, "rul": predict(u, c, behaviour) + noise.gauss(0, behaviour.get("noise", 0))}
            for u, c in last
        ]
        if mode == "null":
            answers[-1]["rul"] = None
        return 200, "", json.dumps({"predictions": answers}).encode()


@dataclass
class Canary:
    """An endpoint with champion v7 and challenger v8."""

    stack: Stack
    runtime: Runtime
    status: str = "InService"
    config: str = CONFIG
    production: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"VariantName": "v7", "CurrentInstanceCount": 1, "CurrentWeight": 0.9},
            {"VariantName": "v8", "CurrentInstanceCount": 1, "CurrentWeight": 0.1},
        ]
    )
    shadow: list[dict[str, Any]] = field(default_factory=list)
    behaviour: dict[str, Any] = field(default_factory=dict)  # what the challenger does offline
    limits: AssessmentSettings = LIMITS

    def assess(self, phase: str = "preflight", **request: Any) -> Assessment:
        """The verdict on the challenger."""
        document = make_probes("FD001", "a" * 64, self.behaviour)
        self.stack.s3.put_object(Bucket="onwing-bucket", Key=f"{FOLDER}/probes.json", Body=json.dumps(document))
        probes.load.cache_clear()
        described = {
            "EndpointName": ENDPOINT,
            "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{ENDPOINT}",
            "EndpointConfigName": self.config,
            "EndpointStatus": self.status,
            "CreationTime": NOW,
            "LastModifiedTime": NOW,
            "ProductionVariants": self.production,
        } | ({"ShadowProductionVariants": self.shadow} if self.shadow else {})
        with Stubber(clients.sagemaker()) as stubber:
            stubber.add_response("describe_endpoint", described, {"EndpointName": ENDPOINT})
            return run(
                self.stack,
                self.limits,
                phase=phase,
                endpoint=ENDPOINT,
                config=CONFIG,
                **{
                    "challenger": {"version": 8, "variant": "v8", "probes": f"{FOLDER}/probes.json"},
                    "champion": {"version": 7, "variant": "v7", "probes": "unused"},
                    **request,
                },
            )


@pytest.fixture
def server() -> Iterator[Runtime]:
    runtime = Runtime()
    yield runtime
    runtime.close()


@pytest.fixture
def canary(stack: Stack, server: Runtime, monkeypatch: pytest.MonkeyPatch) -> Canary:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{server.server.server_port}")
    # A busy machine makes no good model slow, or silent.
    clock = SimpleNamespace(monotonic=lambda: server.seconds, perf_counter=lambda: server.seconds)
    monkeypatch.setattr(probes, "time", clock)
    monkeypatch.setattr(clients, "PROBE_READ_SECONDS", probes.MOST_READ_SECONDS)
    return Canary(stack, server)


def test_good_challenger_passes_with_figures_of_both(canary: Canary) -> None:
    result = canary.assess()
    assert (result.verdict, result.reasons, result.decision) == ("pass", [], None)
    assert result.figures["v8"].probe_rmse == result.figures["v7"].probe_rmse == 0
    assert result.figures["v8"].probe_difference == 0
    assert result.figures["v8"].probe_latency_ms == pytest.approx(10)
    assert result.summary.startswith("v8 is in order: probes answered")


def test_probes_name_the_variant_and_are_marked(canary: Canary) -> None:
    canary.assess()
    for variant in ("v7", "v8"):
        ids = [request["id"] for request in canary.runtime.requests if request["variant"] == variant]
        assert len(ids) == len(set(ids)) == 14  # one to warm up, twelve alone, one with all
        assert all(each.startswith("onwing-probe-") and len(each) <= 64 for each in ids)


def test_first_deployment_is_judged_without_a_champion(canary: Canary) -> None:
    assert canary.assess(champion=None).verdict == "pass"
    assert {request["variant"] for request in canary.runtime.requests} == {"v8"}
    canary.runtime.behaviours["v8"] = {"offset": 30}
    assert checks(canary.assess(champion=None)) == ["probe-parity"]


@pytest.mark.parametrize(
    ("mode", "first", "said"),
    [
        ("500", "probe-error", "v8 failed 14 of 14 probes: 500, 'out of oil'"),
        ("ServiceUnavailable", "probe-error", "v8 failed 14 of 14 probes: ServiceUnavailable"),
        ("nan", "probe-not-finite", "v8 answered 24 of 24 engines with NaN"),
        ("null", "probe-not-finite", "v8 answered 13 of 24 engines with NaN, infinity or no number"),
        ("constant", "probe-constant", "v8 answers 63.0 cycles to every probe"),
        ("shape", "probe-shape", "v8 gave 14 of 14 probes another shape: 2 prediction(s) for 1 engine(s)"),
        ("order", "probe-shape", "v8 gave 1 of 14 probes another shape: a prediction for unit 12"),
        ("text", "probe-shape", "but 'no JSON'"),
    ],
)
def test_bad_challenger_is_found_by_probes_alone(canary: Canary, mode: str, first: str, said: str) -> None:
    canary.runtime.behaviours["v8"] = {"mode": mode}
    result = canary.assess()
    assert result.verdict == "fail"
    assert result.reasons[0].check == first
    assert result.summary.startswith(said) or said in result.summary


def test_biased_challenger_is_off_what_was_registered(canary: Canary) -> None:
    canary.runtime.behaviours["v8"] = {"offset": 30}
    result = canary.assess()
    assert checks(result) == ["probe-parity", "probe-rmse", "probe-difference"]
    assert "v8: answers are on average 30.0 cycles above what was registered" in result.summary
    assert "RMSE on the probes is 30.0 cycles, the champion's 0.0" in result.summary
    canary.runtime.behaviours["v8"] = {"offset": -30}
    assert "on average 30.0 cycles below what was registered" in canary.assess().summary


def test_challenger_that_was_registered_biased_is_far_from_the_champion_and_the_truth(canary: Canary) -> None:
    canary.behaviour = canary.runtime.behaviours["v8"] = {"offset": 30}
    result = canary.assess()
    assert checks(result) == ["probe-rmse", "probe-difference"]
    assert "on average 30.0 cycles above the champion's" in result.summary


def test_challenger_that_was_registered_constant_is_found_by_the_true_ruls(canary: Canary) -> None:
    canary.behaviour = canary.runtime.behaviours["v8"] = {"mode": "constant"}
    assert canary.assess(champion=None).reasons[0].check == "probe-constant"


def test_challenger_may_be_far_from_a_champion_that_is_wrong(canary: Canary) -> None:
    canary.runtime.behaviours["v7"] = {"offset": -40}
    assert canary.assess().verdict == "pass"


def test_variants_that_differ_as_retrained_models_do_pass(canary: Canary) -> None:
    # Six real FD001 models differ by 4 cycles on average on such engines, their RMSE is about 10.
    canary.runtime.behaviours["v7"] = {"noise": 10}
    canary.runtime.behaviours["v8"] = canary.behaviour = {"offset": 4}
    result = canary.assess()
    assert (result.verdict, result.reasons) == ("pass", [])
    assert 2 < (result.figures["v8"].probe_difference or 0) < 15


def test_slow_challenger_is_told_in_milliseconds(canary: Canary) -> None:
    canary.runtime.behaviours["v8"] = {"seconds": 0.3}
    result = canary.assess()
    assert checks(result) == ["latency"]
    assert result.summary.startswith("v8 takes 300 ms for a probe (median; at most 200 ms)")


def test_server_that_hangs_is_asked_twice_and_no_more(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PROBE_READ_SECONDS", 1.0)
    canary.runtime.behaviours["v8"] = {"mode": "hang"}
    result = canary.assess()
    wait_for(lambda: len(canary.runtime.requests) > 1)  # the second may be read when nobody waits for its answer
    assert result.reasons[0].check == "probe-error"
    assert "v8 failed 1 of 1 probes: no answer within 1 s, asked 2 times" in result.summary
    assert [request["variant"] for request in canary.runtime.requests] == ["v8", "v8"]


def test_one_answer_that_is_lost_does_not_speak_against_a_model(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke, lost = clients.sagemaker_runtime(clients.PROBE_READ_SECONDS).invoke_endpoint, iter([False, True])

    def loses_one(**request: Any) -> Any:
        if next(lost, False):
            raise ReadTimeoutError(endpoint_url="http://somewhere")
        return invoke(**request)

    monkeypatch.setattr(clients.sagemaker_runtime(clients.PROBE_READ_SECONDS), "invoke_endpoint", loses_one)
    result = canary.assess()
    assert (result.verdict, result.reasons) == ("pass", [])


@pytest.mark.parametrize(("limit", "passes"), [(10_000, True), (200, False)])
def test_server_that_answers_slowly_is_judged_by_its_limit_and_costs_no_more_than_the_time_for_probes(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, limit: float, passes: bool
) -> None:
    monkeypatch.setattr(probes, "SECONDS", 0.5)
    canary.limits = AssessmentSettings(latency_limit_ms=limit)
    canary.runtime.behaviours["v8"] = {"seconds": 0.3}
    result = canary.assess(champion=None)
    assert checks(result) == ([] if passes else ["latency"])
    assert result.figures["v8"].probe_rmse == 0, "every engine was asked for, those that were left in one request"
    assert len(canary.runtime.requests) == 3


def test_answer_is_waited_for_as_long_as_the_limit_allows(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PROBE_READ_SECONDS", 5.0)
    waited: list[float] = []
    client = clients.sagemaker_runtime(clients.PROBE_READ_SECONDS)

    def remember(seconds: float) -> Any:
        waited.append(seconds)
        return client

    monkeypatch.setattr(clients, "sagemaker_runtime", remember)
    for limit in (200, 8000, 100_000):
        canary.limits = AssessmentSettings(latency_limit_ms=limit)
        canary.assess(champion=None)
    assert list(dict.fromkeys(waited)) == [5.0, 16.0, 20.0]


@pytest.mark.parametrize("error", ["ThrottlingException", "AccessDeniedException"])
def test_error_that_is_not_the_models_is_no_verdict(canary: Canary, error: str) -> None:
    canary.runtime.behaviours["v8"] = {"mode": error}
    with pytest.raises(ClientError, match=error):
        canary.assess()


def test_champion_that_fails_is_no_measure(canary: Canary) -> None:
    canary.runtime.behaviours["v7"] = {"mode": "500"}
    result = canary.assess()
    assert result.verdict == "pass"
    assert result.figures["v8"].probe_difference is None


@pytest.mark.parametrize(
    ("champion_ms", "own_ms", "slow"), [(10, 210, True), (10, 190, False), (180, 250, False), (180, 480, True)]
)
def test_slow_way_to_the_endpoint_is_not_the_challengers_fault(champion_ms: float, own_ms: float, slow: bool) -> None:
    asked = ProbeSet.model_validate(make_probes("FD001", "a" * 64, {}))
    expected = [probe.expected for probe in asked.probes]

    def answers(milliseconds: float) -> Answers:
        return Answers(sent=14, singles=expected, batch=expected, milliseconds=[milliseconds] * 12)

    found = probes.judge("v8", answers(own_ms), asked, LIMITS, answers(champion_ms))
    assert [reason.check for reason in found] == (["latency"] if slow else [])


# ---------------------------------------------------------------------------------------------------------------------
# The endpoint
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": "onwing-FD001-v7-12345678"}, "serves configuration onwing-FD001-v7-12345678, not " + CONFIG),
        ({"status": "Failed"}, "is Failed"),
        ({"status": "Updating"}, "is Updating"),
        ({"production": [{"VariantName": "v7", "CurrentInstanceCount": 1}]}, "has no variant v8 (it has: v7)"),
        (
            {"production": [{"VariantName": v, "CurrentInstanceCount": int(v == "v7")} for v in ("v7", "v8")]},
            "variant v8 of onwing-FD001 has no instance that is up",
        ),
    ],
)
def test_endpoint_that_is_not_as_asked_for_is_not_probed(canary: Canary, change: dict[str, Any], said: str) -> None:
    for name, value in change.items():
        setattr(canary, name, value)
    result = canary.assess()
    assert checks(result) == ["endpoint"]
    assert said in result.summary
    assert canary.runtime.requests == []


def test_endpoint_that_is_gone_is_a_reason(stack: Stack) -> None:
    with Stubber(clients.sagemaker()) as stubber:
        stubber.add_client_error("describe_endpoint", "ValidationException", "Could not find endpoint")
        result = run(
            stack, phase="verify", endpoint=ENDPOINT, config=CONFIG, challenger={"version": 8, "variant": "v8"}
        )
    assert "endpoint onwing-FD001 does not exist" in result.summary
    with Stubber(clients.sagemaker()) as stubber:
        stubber.add_client_error("describe_endpoint", "ThrottlingException", "Rate exceeded")
        with pytest.raises(ClientError, match="Throttling"):
            run(stack, phase="verify", endpoint=ENDPOINT, config=CONFIG, challenger={"version": 8, "variant": "v8"})


def test_verify_wants_all_requests_on_the_one_variant(canary: Canary) -> None:
    result = canary.assess("verify", champion=None)
    assert checks(result) == ["endpoint"]
    assert "not all requests to onwing-FD001 go to v8 (weights: v7: 0.9, v8: 0.1)" in result.summary
    canary.production[0]["CurrentWeight"], canary.production[1]["CurrentWeight"] = 0.0, 1.0
    assert canary.assess("verify", champion=None).verdict == "pass"
    assert len(canary.runtime.requests) == 1  # with all engines
    canary.production = canary.production[1:]
    assert canary.assess("verify", champion=None).verdict == "pass"
    canary.runtime.behaviours["v8"] = {"offset": 1}
    assert checks(canary.assess("verify", champion=None)) == ["probe-parity"]
    canary.runtime.behaviours["v8"] = {"mode": "500"}
    assert "v8 failed 1 of 1 probes: 500, 'out of oil'" in canary.assess("verify", champion=None).summary


def test_variant_without_probes_is_verified_by_the_endpoint_alone(canary: Canary) -> None:
    canary.production = [{"VariantName": "v8", "CurrentInstanceCount": 1, "CurrentWeight": 1.0}]
    served = {"version": 8, "variant": "v8", "probes": ""}
    assert canary.assess("verify", champion=None, challenger=served).verdict == "pass"
    assert canary.runtime.requests == []


# ---------------------------------------------------------------------------------------------------------------------
# Requests, alarms, decisions
# ---------------------------------------------------------------------------------------------------------------------


def measure(variant: str, requests: int, *, bad: int = 0, refused: int = 0, ms: float = 10, ago: int = 0) -> None:
    """What SageMaker publishes about this many requests, some minutes ago."""
    dimensions = [{"Name": "EndpointName", "Value": ENDPOINT}, {"Name": "VariantName", "Value": variant}]
    when = datetime.now(UTC) - timedelta(minutes=ago)
    data = [
        {"MetricName": name, "Dimensions": dimensions, "Timestamp": when, "Value": value, "Unit": unit}
        for number in range(requests)
        for name, value, unit in (
            ("Invocations", 1.0, "Count"),
            ("Invocation5XXErrors", float(number < bad), "Count"),
            ("Invocation4XXErrors", float(number < refused), "Count"),
            ("ModelLatency", ms * 1000, "Microseconds"),
        )
    ]
    for start in range(0, len(data), 500):
        boto3.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=data[start : start + 500])


def test_failures_of_live_requests_are_found_though_probes_are_answered(canary: Canary) -> None:
    measure("v7", 90)
    measure("v8", 40, bad=10)
    result = canary.assess("bake", since=NOW.isoformat())
    assert checks(result) == ["errors-5xx"]
    assert "v8 answered 10 of 40 requests with 5xx (25.0%; at most 1.0%)" in result.summary
    its = result.figures["v8"]
    assert (its.invocations, its.errors_5xx, its.errors_4xx, its.model_latency_ms) == (40, 10, 0, 10.0)
    assert result.figures["v7"].invocations == 90
    assert result.figures["v7"].probe_rmse == 0


def test_preflight_looks_at_no_metrics_of_an_earlier_deployment(canary: Canary) -> None:
    measure("v8", 40, bad=40)
    assert canary.assess("preflight").verdict == "pass"


def test_requests_before_the_stage_do_not_count(canary: Canary) -> None:
    measure("v8", 40, bad=40, ago=3)
    assert canary.assess("bake", since=datetime.now(UTC).isoformat()).verdict == "pass"
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    assert canary.assess("bake", since=since).verdict == "fail"


def test_champions_failures_are_not_the_challengers(canary: Canary) -> None:
    measure("v7", 50, bad=50, ms=900)
    measure("v8", 50)
    assert canary.assess("bake", since=NOW.isoformat()).verdict == "pass"


def alarm(name: str, state: str) -> None:
    cloudwatch = boto3.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName="ModelLatency",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=200000,
        ComparisonOperator="GreaterThanThreshold",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="1 datapoint [250000.0] was greater")


def test_alarm_of_the_challenger_fails_it_and_those_of_others_do_not(canary: Canary) -> None:
    for name in ("v7-model-latency", "v80-model-latency", "v81-errors-5xx"):
        alarm(f"onwing-FD001-{name}", "ALARM")
    alarm("onwing-FD001-v8-errors-5xx", "OK")
    assert canary.assess("bake").verdict == "pass"
    alarm("onwing-FD001-v8-model-latency", "ALARM")
    result = canary.assess("bake")
    assert checks(result) == ["alarm"]
    assert "alarm onwing-FD001-v8-model-latency: 1 datapoint [250000.0] was greater" in result.summary
    assert canary.assess("verify", champion=None).reasons[0].check == "endpoint"


def test_cause_stands_before_its_consequences(canary: Canary) -> None:
    alarm("onwing-FD001-v8-errors-5xx", "ALARM")
    measure("v8", 40, bad=40)
    canary.runtime.behaviours["v8"] = {"mode": "500"}
    result = canary.assess("bake", since=NOW.isoformat())
    assert checks(result) == ["probe-error", "errors-5xx", "alarm"]


def test_shadow_is_judged_by_metrics_and_alarms_without_probes(canary: Canary) -> None:
    canary.production, canary.shadow = canary.production[:1], canary.production[1:]
    measure("v8", 30, ms=300)
    result = canary.assess("shadow", since=NOW.isoformat())
    assert checks(result) == ["latency"]
    assert "v8 takes 300 ms for a request on average" in result.summary
    assert canary.runtime.requests == []


@pytest.mark.parametrize(
    ("own", "champion", "expected"),
    [
        ((200, 40), (200, 2), ["errors-4xx"]),
        ((200, 40), (200, 40), []),  # the clients' own doing
        ((200, 12), (200, 6), []),  # within the margin
        ((12, 3), (12, 0), []),  # by chance
        ((5, 5), (100, 0), []),  # too few
        ((200, 40), (3, 0), []),
    ],
)
def test_refusals_count_beside_the_champions(
    own: tuple[int, int], champion: tuple[int, int], expected: list[str]
) -> None:
    both = [Figures(invocations=n, errors_4xx=bad, errors_5xx=0) for n, bad in (own, champion)]
    assert [reason.check for reason in figures.judge("v8", both[0], both[1], LIMITS)] == expected


@pytest.mark.parametrize(
    ("requests", "bad", "fails"), [(9, 9, False), (100, 2, False), (10, 3, True), (1000, 10, False)]
)
def test_few_failures_are_no_rate(requests: int, bad: int, fails: bool) -> None:
    own = Figures(invocations=requests, errors_5xx=bad)
    assert bool(figures.judge("v8", own, None, LIMITS)) is fails


@pytest.mark.parametrize(("asked", "found"), [(12, True), (11, False), (None, False)])
def test_decision_about_this_deployment_is_told(canary: Canary, asked: int | None, found: bool) -> None:
    canary.stack.dynamodb.put_item(
        TableName="onwing-table",
        Item={
            "pk": {"S": "FLEET#FD001"},
            "sk": {"S": "DECISION"},
            "request": {"N": "12"},
            "decision": {"S": "promote"},
            "reason": {"S": "looks good"},
        },
    )
    for phase in ("hold", "soak"):
        decision = canary.assess(phase, request=asked).decision
        assert (decision and decision.model_dump()) == (
            {"decision": "promote", "reason": "looks good"} if found else None
        )


# ---------------------------------------------------------------------------------------------------------------------
# Summaries, shapes, the handler
# ---------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(ORDER), min_size=1, max_size=20))
def test_summary_begins_with_the_cause_and_stays_short(found: list[Any]) -> None:
    reasons = [Reason(check=check, message=f"<{check}>") for check in found]
    line = summarise(reasons)
    assert line.startswith(f"<{min(found, key=ORDER.index)}>")
    assert line.count("<") == min(3, len(found))
    assert (f"and {len(found) - 3} more" in line) is (len(found) > 3)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda x: json.dumps({"predictions": x}).encode())
)
def test_whatever_a_server_answers_is_parsed_or_called_misshapen(content: bytes) -> None:
    asked = ProbeSet.model_validate(make_probes("FD001", "a" * 64, {}))
    with pytest.raises(ValueError, match="predict"):
        probes.parse(content, asked.probes)


@given(st.lists(st.floats() | st.none() | st.text(max_size=3), min_size=12, max_size=12))
def test_answers_are_numbers_or_nan(values: list[Any]) -> None:
    asked = ProbeSet.model_validate(make_probes("FD001", "a" * 64, {}))
    answers = [{"unit": p.unit, "cycle": p.cycle, "rul": v} for p, v in zip(asked.probes, values, strict=True)]
    found = probes.parse(json.dumps({"predictions": answers}).encode(), asked.probes)
    for value, number in zip(values, found, strict=True):
        assert isinstance(number, float)
        if isinstance(value, float):
            assert number == value or (math.isnan(number) and math.isnan(value))


def test_handler_takes_the_sample_event(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"):
        monkeypatch.setenv(name, "onwing")
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "1")
    specification = importlib.util.spec_from_file_location("assess_app", ROOT / "functions/assess_canary/app.py")
    assert specification is not None
    assert specification.loader is not None
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    event = json.loads((ROOT / "events/assess_canary.json").read_text())
    context = SimpleNamespace(
        function_name="assess", memory_limit_in_mb=512, invoked_function_arn="arn:aws:lambda:x", aws_request_id="1"
    )
    with Stubber(clients.sagemaker()) as stubber:
        stubber.add_client_error("describe_endpoint", "ValidationException", "Could not find endpoint")
        answer = app.handler(event, context)
    json.dump(answer, io.StringIO(), allow_nan=False)
    assert set(answer) == {"verdict", "summary", "reasons", "decision", "figures", "package"}
    assert answer["verdict"] == "fail"
    assert answer["reasons"] == [
        {
            "check": "endpoint",
            "message": "endpoint onwing-FD001 does not exist",
            "value": "missing",
            "limit": "InService",
        }
    ]
