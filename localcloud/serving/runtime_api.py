"""SageMaker Runtime: a request to an endpoint goes to one of its model servers, and the answer comes back.

docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html: 25 MB and 60 seconds at most; an
answer other than 2xx becomes a ModelError (424) with the original status and message.
"""

from __future__ import annotations

import json
import logging
import re
import struct
import time
from binascii import crc32
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import unquote

import urllib3

from localcloud.cloudwatch import metrics
from localcloud.errors import ApiError
from localcloud.serving.data_capture import Exchange
from localcloud.serving.endpoints import LOG_GROUP
from localcloud.serving.model_servers import ModelServer
from localcloud.serving.router import NoSuchEndpoint, NoSuchVariant, NotThereYet, Route, Router, Target
from localcloud.store import Scope

logger = logging.getLogger("localcloud.serving")

NAMESPACE = "AWS/SageMaker"
MOST_BYTES = 25 * 1024 * 1024
MOST_SECONDS = 60.0
MOST_MESSAGE = 1024  # of a model's error that is passed on
# Requests in the hands of this process at once; more wait.
CONCURRENT = 128

_PATH = re.compile(r"^/endpoints/([^/]+)/(invocations|invocations-response-stream|async-invocations)$")
_NAME = re.compile(r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$")
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_VARIANT = "x-amzn-sagemaker-target-variant"
_UNSUPPORTED = {
    "x-amzn-sagemaker-target-model": "TargetModel: the endpoint has no multi-model container.",
    "x-amzn-sagemaker-target-container-hostname": "TargetContainerHostname: the endpoint has one container only.",
    "x-amzn-sagemaker-inference-component": "InferenceComponentName: the endpoint has no inference components.",
    "x-amzn-sagemaker-session-id": "SessionId: localcloud does not implement stateful sessions.",
}

Response = tuple[int, dict[str, str], bytes]
Authorise = Callable[[Scope, str, Mapping[str, Any], str | None], None]


class Refused(Exception):
    """An error of SageMaker Runtime's, with its code, status and members."""

    def __init__(self, code: str, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code, self.status, self.message, self.more = code, status, message, more


@dataclass(frozen=True)
class Answer:
    """What a model server said.

    Args:
        seconds: from the request's sending to the answer's end.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Runtime:
    """InvokeEndpoint, and its kin that are refused by name."""

    operations = ("InvokeEndpoint", "InvokeEndpointWithResponseStream")
    partial: ClassVar[dict[str, str]] = {
        "InvokeEndpointWithResponseStream": "the answer comes as one part, when the model has finished it.",
        "InvokeEndpoint": "TargetModel, TargetContainerHostname, InferenceComponentName, SessionId are refused.",
    }

    def __init__(self, router: Router, authorise: Authorise = lambda *_: None) -> None:
        """``authorise`` raises ApiError for a caller who may not: (scope, operation, request, access key)."""
        self._router = router
        self._authorise = authorise
        self.pool = ThreadPoolExecutor(CONCURRENT, "localcloud-invoke")
        self._shadows = ThreadPoolExecutor(16, "localcloud-shadow")

    @staticmethod
    def handles(path: str) -> bool:
        """Whether a request to the service `sagemaker` is one of the runtime's."""
        return path.startswith("/endpoints/")

    def handle(
        self,
        scope: Scope,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        caller: str | None = None,
    ) -> Response:
        """Answer one HTTP request: status, headers, body."""
        try:
            match = _PATH.match(path)
            if match is None or method != "POST":
                raise Refused("UnknownOperationException", 404, f"No operation is at {method} {path}.")
            if match[2] == "async-invocations":
                raise _invalid(f"Endpoint {match[1]} is not configured for asynchronous inference.")
            endpoint, variant = unquote(match[1]), headers.get(_VARIANT)
            self._authorise(
                scope,
                "InvokeEndpoint",
                {"EndpointName": endpoint} | ({"TargetVariant": variant} if variant else {}),
                caller,
            )
            return self._invoke(scope, endpoint, headers, body, stream=match[2] != "invocations")
        except ApiError as error:
            content = json.dumps({"Message": error.message})
            return 403, {"Content-Type": "application/json", "x-amzn-ErrorType": error.code}, content.encode()
        except Refused as error:
            content = json.dumps({"Message": error.message, **error.more})
            return error.status, {"Content-Type": "application/json", "x-amzn-ErrorType": error.code}, content.encode()
        except Exception as error:
            logger.exception("%s %s failed inside localcloud", method, path)
            content = json.dumps({"Message": f"localcloud: {type(error).__name__}: {error}"})
            return (
                500,
                {"Content-Type": "application/json", "x-amzn-ErrorType": "InternalFailure"},
                content.encode(),
            )

    def close(self) -> None:
        """Take no more requests."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self._shadows.shutdown(wait=False, cancel_futures=True)

    def _invoke(self, scope: Scope, endpoint: str, headers: Mapping[str, str], body: bytes, stream: bool) -> Response:
        begin = time.perf_counter()
        _check(endpoint, headers, body)
        try:
            route, target, shadowed = self._router.enter(scope, endpoint, headers.get(_VARIANT))
        except NoSuchEndpoint:
            raise _invalid(f"Endpoint {endpoint} of account {scope.account} not found.") from None
        except NotThereYet:
            raise Refused(
                "ServiceUnavailable", 503, f"The servers of endpoint {endpoint} are being started again; try again."
            ) from None
        except NoSuchVariant as error:
            named = f"Variant {error} not found" if str(error) else "No variant with a weight above 0 found"
            raise _invalid(f"{named} for endpoint {endpoint} of account {scope.account}.") from None
        if shadowed and route.shadow is not None:
            self._copy(scope, endpoint, route, route.shadow, headers, body)
        when = datetime.now(UTC)
        sent = _for_container(headers, stream)
        try:
            answer, server = ask(target, sent, body)
            seconds = time.perf_counter() - begin
            _capture(route, target, headers, body, answer, when)  # before it leaves: then the capture may be closed
        finally:
            target.fleet.leave()
        if answer is None:
            _measure(scope, endpoint, target, None, seconds)
            raise Refused(
                "ServiceUnavailable", 503, f"No instance of variant {target.variant} of {endpoint} is available."
            )
        _measure(scope, endpoint, target, answer, seconds)
        if not _good(answer):
            raise _model_error(scope, endpoint, server, answer)
        return _answered(target, answer, stream)

    def _copy(
        self, scope: Scope, endpoint: str, route: Route, shadow: Target, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Send a copy to the shadow: nobody waits for the answer, which is measured, captured and dropped."""

        def run() -> None:
            begin, when = time.perf_counter(), datetime.now(UTC)
            try:
                answer, _ = ask(shadow, _for_container(headers, False), body)
                seconds = time.perf_counter() - begin
                _capture(route, shadow, headers, body, answer, when)
            finally:
                shadow.fleet.leave()
            _measure(scope, endpoint, shadow, answer, seconds)

        try:
            self._shadows.submit(run)
        except RuntimeError:  # the server is stopping
            shadow.fleet.leave()


def ask(
    target: Target, headers: Mapping[str, str], body: bytes, seconds: float = MOST_SECONDS
) -> tuple[Answer | None, ModelServer | None]:
    """Have one of a variant's instances answer; (None, None) when no instance is up.

    A connection that the server closed while it was idle, or a server that had gone before, is no failure of the
    request: it goes to the next. One that the server died of does not: it would take the next with it. Status 0 is no
    answer in time, as AWS has it.
    """
    failed: list[ModelServer] = []
    for attempt in range(3):
        server = target.fleet.take(failed)
        if server is None:
            return None, None
        begin = time.perf_counter()
        process = server.process
        assert process is not None  # it was ready once
        try:
            response = process.request("POST", "/invocations", body, headers, seconds)
            return Answer(response.status, response.headers, response.data, time.perf_counter() - begin), server
        except (urllib3.exceptions.HTTPError, OSError) as error:
            refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # by its class a TimeoutError too
            if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
                message = (
                    b"Your invocation timed out while waiting for a response from container primary. Review the "
                    b"latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
                )
                return Answer(0, {}, message, time.perf_counter() - begin), server
            if refused:
                process.container.wait(0.02)  # time to learn that it has ended
            if attempt == 2 or not (refused or process.survived()):
                message = f"The server closed the connection without an answer ({type(error).__name__}).".encode()
                return Answer(502, {}, message, time.perf_counter() - begin), server
            failed.append(server)
        finally:
            target.fleet.give_back(server)
    raise AssertionError("unreachable")


def _check(endpoint: str, headers: Mapping[str, str], body: bytes) -> None:
    if len(endpoint) > 63 or not _NAME.match(endpoint):
        raise _invalid(
            f"1 validation error detected: Value '{endpoint}' at 'endpointName' failed to satisfy constraint: Member "
            "must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*"
        )
    if len(body) > MOST_BYTES:
        raise _invalid(
            "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less "
            f"than or equal to {MOST_BYTES}"
        )
    for name, why in _UNSUPPORTED.items():
        if headers.get(name):
            raise _invalid(why)
    for name, member, most in (
        (_ATTRIBUTES, "customAttributes", 1024),
        (_INFERENCE_ID, "inferenceId", 64),
    ):
        if len(headers.get(name, "")) > most:
            raise _invalid(
                f"1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have "
                f"length less than or equal to {most}"
            )


def _for_container(headers: Mapping[str, str], stream: bool) -> dict[str, str]:
    """The headers that reach the container; AWS strips all others."""
    passed = {
        "Content-Type": headers.get("content-type"),
        "Accept": headers.get("x-amzn-sagemaker-accept" if stream else "accept"),
        "X-Amzn-SageMaker-Custom-Attributes": headers.get(_ATTRIBUTES),
        "X-Amzn-SageMaker-Inference-Id": headers.get(_INFERENCE_ID),
    }
    return {name: value for name, value in passed.items() if value}


def _capture(
    route: Route, target: Target, headers: Mapping[str, str], body: bytes, answer: Answer | None, when: datetime
) -> None:
    if route.capture is not None and answer is not None and _good(answer):
        route.capture.take(
            Exchange(
                variant=target.variant,
                body=body,
                content_type=headers.get("content-type"),
                answer=answer.body,
                answer_type=answer.headers.get("content-type"),
                inference_id=headers.get(_INFERENCE_ID),
                custom_attributes=headers.get(_ATTRIBUTES),
                when=when,
            )
        )


def _good(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _answered(target: Target, answer: Answer, stream: bool) -> Response:
    kind = answer.headers.get("content-type") or "application/octet-stream"
    headers = {"x-Amzn-Invoked-Production-Variant": target.variant}
    if attributes := answer.headers.get(_ATTRIBUTES):
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    if stream:
        headers["Content-Type"] = "application/vnd.amazon.eventstream"
        headers["X-Amzn-SageMaker-Content-Type"] = kind
        return 200, headers, event_stream(answer.body)
    headers["Content-Type"] = kind
    return 200, headers, answer.body


def _model_error(scope: Scope, endpoint: str, server: ModelServer | None, answer: Answer) -> Refused:
    kind = "client" if 400 <= answer.status < 500 else "server"
    text = answer.body.decode("utf-8", "replace")[:MOST_MESSAGE]
    group = f"{LOG_GROUP}/{endpoint}"
    message = (
        f'Received {kind} error ({answer.status}) from primary with message "{text}". See '
        f"https://{scope.region}.console.aws.amazon.com/cloudwatch/home?region={scope.region}#logEventViewer:"
        f"group={group} in account {scope.account} for more information."
    )
    return Refused(
        "ModelError",
        424,
        message,
        ErrorCode="CLIENT_ERROR_FROM_MODEL" if kind == "client" else "SERVER_ERROR_FROM_MODEL",
        LogStreamArn=f"arn:aws:logs:{scope.region}:{scope.account}:log-group:{group}"
        + (f":log-stream:{server.stream}" if server is not None else ""),
        OriginalMessage=text,
        OriginalStatusCode=answer.status,
    )


def _measure(scope: Scope, endpoint: str, target: Target, answer: Answer | None, seconds: float) -> None:
    """CloudWatch's figures of one request, in AWS's names and units: counts have none, latencies are in microseconds.

    docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html#cloudwatch-metrics-endpoint-invocation
    """
    dimensions = {"EndpointName": endpoint, "VariantName": target.variant}
    every = target.fleet.serving.invocations_every

    def put(name: str, value: float, unit: str = "None") -> None:
        metrics.put(scope, NAMESPACE, name, value, unit, dimensions, resolution=every)

    status = 503 if answer is None else answer.status
    put("Invocations", 1)
    put("InvocationsPerInstance", 1 / max(1, target.instances))
    put("Invocation4XXErrors", float(400 <= status < 500))
    put("Invocation5XXErrors", float(status >= 500 or status == 0))
    put("InvocationModelErrors", float(not 200 <= status < 300))
    model = 0.0 if answer is None else answer.seconds
    if answer is not None:
        put("ModelLatency", model * 1e6, "Microseconds")
    put("OverheadLatency", max(0.0, seconds - model) * 1e6, "Microseconds")


def _invalid(message: str) -> Refused:
    return Refused("ValidationError", 400, message)


def event_stream(body: bytes, part: int = 128 * 1024) -> bytes:
    """A body as AWS's event stream of PayloadPart events."""
    pieces = [body[start : start + part] for start in range(0, len(body), part)]
    return b"".join(_event(piece) for piece in pieces)


def _event(payload: bytes) -> bytes:
    """One message: prelude, headers, payload, checksums (smithy.io/2.0/aws/amazon-eventstream.html)."""
    headers = b""
    for name, value in (
        (b":event-type", b"PayloadPart"),
        (b":content-type", b"application/octet-stream"),
        (b":message-type", b"event"),
    ):
        headers += bytes([len(name)]) + name + b"\x07" + struct.pack("!H", len(value)) + value
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack("!I", crc32(prelude))
    message = prelude + headers + payload
    return message + struct.pack("!I", crc32(message))
