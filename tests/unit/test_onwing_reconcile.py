"""The reconciliation by hand: what is asked of the function, how often, and what is said of its answer."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onwing import reconcile
from onwing.errors import Exit, OnwingError
from onwing.target import Target

from .onwing_fakes import STACK, FakeClient, context_with, text

ALARM = {
    "what": "alarm",
    "where": "onwing-FD001",
    "problem": "alarms are missing: onwing-FD001-data-drift",
    "repaired": True,
    "action": "Done: made again as they were: onwing-FD001-data-drift",
    "message": "all of it in one line",
}
ENDPOINT = {
    "what": "endpoint",
    "where": "onwing-FD002",
    "problem": "it does not exist",
    "repaired": False,
    "action": "onwing restore FD002",
    "message": "all of it in one line",
}


def answer(*findings: dict[str, Any]) -> dict[str, Any]:
    """What the function returns."""
    return {"coverage": None, "findings": list(findings)}


@contextmanager
def cloud(status: int, body: bytes, **headers: str) -> Iterator[tuple[Target, list[tuple[str, bytes]]]]:
    """A target all of whose answers are this one (none, but a closed connection, for status 0), and its requests."""
    requests: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append((self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            yield Target("us-east-1", "onwing", url, access_key="test"), requests
        finally:
            server.shutdown()


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The client that the function is invoked with; what it answers is set by tests."""
    client = FakeClient()
    monkeypatch.setattr(reconcile, "_client", lambda target: client)
    return client


def set_answer(client: FakeClient, document: dict[str, Any]) -> None:
    client.answers["invoke"] = lambda **_: {"Payload": io.BytesIO(json.dumps(document).encode())}


# --- the invocation ---


def test_the_function_is_invoked_once_as_the_daily_schedule_does() -> None:
    with cloud(200, json.dumps(answer(ALARM, ENDPOINT)).encode()) as (target, requests):
        found = reconcile.reconcile(target, STACK)
    assert requests == [("/2015-03-31/functions/onwing-reconcile/invocations", b'{"report_only": false}')]
    assert [(each.where, each.repaired) for each in found] == [("onwing-FD002", False), ("onwing-FD001", True)]


def test_asked_to_report_only_the_function_is_told() -> None:
    with cloud(200, json.dumps(answer(ALARM)).encode()) as (target, requests):
        reconcile.reconcile(target, STACK, report_only=True)
    assert requests[0][1] == b'{"report_only": true}'


def test_the_answer_is_waited_for_as_long_as_a_function_may_run() -> None:
    client: Any = reconcile._client(Target("us-east-1", "onwing", "http://127.0.0.1:9", access_key="test"))
    assert client.meta.config.read_timeout > 900
    assert client.meta.config.tcp_keepalive


def test_an_answer_that_is_lost_starts_no_second_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    with (
        cloud(0, b"") as (target, requests),
        pytest.raises(OnwingError, match="its answer did not arrive") as caught,
    ):
        reconcile.reconcile(target, STACK)
    assert len(requests) == 1
    assert "/aws/lambda/onwing-reconcile" in caught.value.where
    assert "onwing alerts" in caught.value.todo


def test_an_error_of_the_service_starts_no_second_run() -> None:
    with cloud(503, b"{}") as (target, requests), pytest.raises(Exception, match="503"):
        reconcile.reconcile(target, STACK)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"errorType": "KeyError", "errorMessage": "'TABLE_NAME'"}, "failed: KeyError: 'TABLE_NAME'"),
        ({"errorMessage": "Task timed out after 900.00 seconds"}, "failed: Task timed out after 900.00 seconds"),
        ({}, "failed: no answer"),
    ],
)
def test_a_failure_of_the_function_is_said_in_its_words_with_where_its_log_is(
    document: dict[str, Any], said: str
) -> None:
    failed = cloud(200, json.dumps(document).encode(), **{"X-Amz-Function-Error": "Unhandled"})
    with failed as (target, _), pytest.raises(OnwingError) as caught:
        reconcile.reconcile(target, STACK)
    assert said in caught.value.what
    assert caught.value.where == "function onwing-reconcile"
    assert "log group /aws/lambda/onwing-reconcile" in caught.value.todo
    assert caught.value.exit_code == Exit.FAILED
    template = (Path(__file__).parents[2] / "template.yaml").read_text()
    assert "LogGroupName: !Sub /aws/lambda/${ProjectName}-reconcile" in template


# --- what is said ---


@pytest.mark.parametrize(
    ("findings", "code", "said"),
    [
        ((), Exit.OK, "Nothing was found"),
        ((ALARM,), Exit.OK, "0 left to do, 1 repaired."),
        ((ALARM, ENDPOINT), Exit.FAILED, "1 left to do, 1 repaired."),
    ],
)
def test_what_is_left_for_a_person_is_the_exit_code(
    answered: FakeClient, findings: tuple[dict[str, Any], ...], code: Exit, said: str
) -> None:
    set_answer(answered, answer(*findings))
    context = context_with()
    assert reconcile.run(context) == code
    assert said in text(context)


def test_each_finding_is_a_row_and_what_is_to_do_comes_first(answered: FakeClient) -> None:
    set_answer(answered, answer(ALARM, {**ENDPOINT, "problem": "it serves [red] what is not recorded"}))
    context = context_with()
    reconcile.run(context)
    lines = [" ".join(line.split()) for line in text(context).splitlines()]
    rows = [line for line in lines if line.startswith(("✗ onwing", "✓ onwing"))]
    assert rows == [
        "✗ onwing-FD002 endpoint it serves [red] what is not recorded onwing restore FD002",
        f"✓ onwing-FD001 alarm {ALARM['problem']} {ALARM['action']}",
    ]


def test_json_is_the_findings(answered: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
    set_answer(answered, answer(ENDPOINT))
    context = context_with(as_json=True)
    assert reconcile.run(context) == Exit.FAILED
    members = ("what", "where", "problem", "action", "repaired")
    document = {"exit_code": 1, "findings": [{name: ENDPOINT[name] for name in members}]}
    assert json.loads(capsys.readouterr().out) == document


def test_ctrl_c_says_that_the_function_goes_on(answered: FakeClient) -> None:
    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    answered.answers["invoke"] = interrupt
    context = context_with()
    assert reconcile.run(context) == Exit.INTERRUPTED
    assert "the function goes on" in text(context)
