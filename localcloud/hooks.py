"""The one module that touches MiniStack's private names, and says plainly when an upgrade has moved one.

MiniStack has no interface for plugging in a service, so localcloud reaches into it; the version is pinned exactly in
pyproject.toml. Import this module only after the environment is set (MiniStack reads it on import).
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import json
import logging
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from localcloud.errors import LocalcloudError
from localcloud.store import Scope

WRITTEN_FOR = "1.5.33"

logger = logging.getLogger("localcloud.hooks")

Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, Mapping[str, str], bytes, Mapping[str, Any]], Awaitable[Response]]


class HookMoved(LocalcloudError):
    """A private name of MiniStack is not where this module expects it."""


@dataclass(frozen=True)
class Hook:
    """One private name: where it is and what it must be.

    Args:
        module: the module in MiniStack.
        name: the attribute.
        parameters: a function's parameter names; None for anything that is not called.
        kind: what it must be an instance of.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None = None
    kind: type | None = None


_APP = "ministack.app"
_ROUTER = "ministack.core.router"
_RESPONSES = "ministack.core.responses"
_STEPFUNCTIONS = "ministack.services.stepfunctions"
_EVENTBRIDGE = "ministack.services.eventbridge"
_LAMBDA = "ministack.services.lambda_svc"
_S3 = "ministack.services.s3"
_PROVISIONERS = "ministack.services.cloudformation.provisioners"
_IAM = "ministack.core.iam_evaluator"

_TASK = ("state_def", "raw_input", "execution", "ctx")
_STATE = ("state_def", "raw_input", "ctx")

# Everything private that localcloud uses, by the name under which its other modules ask for it.
HOOKS = {
    "app": Hook(_APP, "app", ("scope", "receive", "send")),
    "app.handlers": Hook(_APP, "SERVICE_HANDLERS", kind=dict),
    "app.registry": Hook(_APP, "SERVICE_REGISTRY", kind=dict),
    "app.aliases": Hook(_APP, "SERVICE_NAME_ALIASES", kind=dict),
    "app.states": Hook(_APP, "_state_map", kind=dict),
    "app.modules": Hook(_APP, "_loaded_modules", kind=dict),
    "app.call": Hook(
        _APP,
        "call_service_handler_sync",
        ("handler", "method", "path", "headers", "body", "query_params", "timeout"),
    ),
    "router.patterns": Hook(_ROUTER, "SERVICE_PATTERNS", kind=dict),
    "responses.account": Hook(_RESPONSES, "get_account_id", ()),
    "responses.region": Hook(_RESPONSES, "get_region", ()),
    "responses.scope": Hook(_RESPONSES, "request_scope", ("account_id", "region")),
    "cloudformation.types": Hook(_PROVISIONERS, "_RESOURCE_HANDLERS", kind=dict),
    "app.pin_origin": Hook(_APP, "pin_request_origin", ("source_ip", "secure_transport")),
    "router.access_key": Hook(_ROUTER, "extract_access_key_id", ("headers", "query_params")),
    "iam.enforce": Hook(
        _IAM, "enforce", ("access_key_id", "iam_action", "service", "region", "resource_arn", "service_context")
    ),
    "iam.denied": Hook(
        "ministack.core.iam_actions",
        "access_denied_response",
        (
            *("service", "action", "principal_arn", "request_id", "error_code", "message", "headers", "resource_arn"),
            *("explicit_deny", "resource_policy_arn"),
        ),
    ),
    "iam.origin": Hook(_IAM, "_request_origin", kind=contextvars.ContextVar),
    "iam.context": Hook(_IAM, "EvalContext", kind=type),
    "iam.auth_error": Hook(_IAM, "AuthError", kind=type),
    "iam.resource_policy": Hook(_IAM, "_resource_policy", ("service", "resource_arn")),
    "iam.evaluate_resource_policy": Hook(
        _IAM, "evaluate_resource_policy", ("doc", "ctx", "service", "named_only", "direct_only")
    ),
    "iam.roles": Hook("ministack.services.iam", "_roles"),
    "sts.register": Hook("ministack.services.sts", "register_session", ("access_key", "session")),
    "events.put": Hook(_EVENTBRIDGE, "_put_events", ("data", "allow_aws_source")),
    "events.dispatch": Hook(_EVENTBRIDGE, "_dispatch_event", ("event", "view")),
    "events.to_lambda": Hook(_EVENTBRIDGE, "_dispatch_to_lambda", ("arn", "payload")),
    "lambda.find": Hook(_LAMBDA, "_get_func_record_for_ref", ("function_ref",)),
    "lambda.record": Hook(_LAMBDA, "_execution_record_for_config", ("func", "config")),
    "lambda.execute_warm": Hook(_LAMBDA, "_execute_function_warm", ("func", "event", "request_id")),
    "lambda.invoke_async": Hook(_LAMBDA, "invoke_async_with_retry", ("func", "event")),
    "lambda.layer": Hook(_LAMBDA, "_resolve_layer_zip", ("attachment",)),
    "lambda.end_workers": Hook("ministack.core.lambda_runtime", "reset", ()),
    "lambda.zipfile": Hook("ministack.core.lambda_runtime", "zipfile", kind=types.ModuleType),
    "s3.bucket": Hook(_S3, "_ensure_bucket", ("name",)),
    "s3.preconditions": Hook(_S3, "_check_put_preconditions", ("headers", "existing_obj")),
    "s3.copy": Hook(_S3, "_copy_object", ("bucket_name", "dest_key", "headers")),
    "s3.fire": Hook(
        _S3,
        "_fire_s3_event",
        (
            *("bucket_name", "key", "event_name", "size", "etag", "deletion_type", "restore_event_data", "version_id"),
            *("sequencer", "object_extra", "record_extra"),
        ),
    ),
    "states.error": Hook(_STEPFUNCTIONS, "_ExecutionError", ("error", "cause")),
    "states.executions": Hook(_STEPFUNCTIONS, "_executions"),
    "states.machines": Hook(_STEPFUNCTIONS, "_state_machines"),
    "states.resolve": Hook(_STEPFUNCTIONS, "_resolve_state_machine_arn", ("arn",)),
    "states.start": Hook(_STEPFUNCTIONS, "_start_execution", ("data",)),
    "states.fail": Hook(_STEPFUNCTIONS, "_fail_execution", ("execution", "error", "cause")),
    "states.task": Hook(_STEPFUNCTIONS, "_execute_task", _TASK),
    "states.pass": Hook(_STEPFUNCTIONS, "_execute_pass", _STATE),
    "states.choice": Hook(_STEPFUNCTIONS, "_execute_choice", _STATE),
    "states.wait": Hook(_STEPFUNCTIONS, "_execute_wait", _STATE),
    "states.parallel": Hook(_STEPFUNCTIONS, "_execute_parallel", _TASK),
    "states.map": Hook(_STEPFUNCTIONS, "_execute_map", _TASK),
    "states.branches": Hook(_STEPFUNCTIONS, "_run_parallel_branches", _TASK),
    "states.machine": Hook(
        _STEPFUNCTIONS, "_run_sub_machine", ("states", "start_at", "input_data", "execution", "ctx")
    ),
    "states.output_path": Hook(_STEPFUNCTIONS, "_apply_output_path", ("state_def", "data", "ctx")),
    "states.language": Hook(_STEPFUNCTIONS, "_state_query_language", ("state_def", "ctx")),
    "states.arguments": Hook(_STEPFUNCTIONS, "_apply_jsonata_arguments", ("state_def", "raw_input", "ctx")),
    "states.parameters": Hook(_STEPFUNCTIONS, "_apply_parameters", ("state_def", "data", "ctx")),
    "states.event": Hook(_STEPFUNCTIONS, "_add_event", ("execution", "event_type", "details")),
    "states.output": Hook(
        _STEPFUNCTIONS,
        "_apply_jsonata_output",
        ("state_def", "raw_input", "ctx", "result", "error_output", "default"),
    ),
    "states.assign": Hook(
        _STEPFUNCTIONS, "_apply_state_assign", ("state_def", "raw_input", "ctx", "result", "error_output")
    ),
    "states.next": Hook(_STEPFUNCTIONS, "_next_or_end", ("state_def",)),
    "states.invoke": Hook(_STEPFUNCTIONS, "_invoke_resource", ("resource", "input_data")),
    "states.invoke_with_timeout": Hook(
        _STEPFUNCTIONS, "_invoke_resource_with_timeout", ("resource", "input_data", "timeout")
    ),
}


def resolve(hook: Hook) -> Any:
    """The object behind a hook; raises HookMoved when it is gone or has changed."""
    try:
        found = getattr(importlib.import_module(hook.module), hook.name)
    except (ImportError, AttributeError) as error:
        raise _moved(hook, "is gone") from error
    if hook.kind is not None and not isinstance(found, hook.kind):
        raise _moved(hook, f"is a {type(found).__name__}, no longer a {hook.kind.__name__}")
    if hook.parameters is not None:
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != hook.parameters:
            raise _moved(hook, f"takes ({', '.join(parameters)}), no longer ({', '.join(hook.parameters)})")
    return found


def check() -> None:
    """Fail with a clear message unless every hook is where this module expects it."""
    for hook in HOOKS.values():
        resolve(hook)


def get(name: str) -> Any:
    """What MiniStack has at present under a name of HOOKS."""
    hook = HOOKS[name]
    try:
        return getattr(importlib.import_module(hook.module), hook.name)
    except (ImportError, AttributeError) as error:
        raise _moved(hook, "is gone") from error


def replace(name: str, make: Callable[[Any], Any]) -> None:
    """Put something else in the place of a name of HOOKS; ``make`` gets what is there now."""
    hook = HOOKS[name]
    setattr(importlib.import_module(hook.module), hook.name, make(get(name)))


def _moved(hook: Hook, what: str) -> HookMoved:
    return HookMoved(
        f"MiniStack {version('ministack')}: {hook.module}.{hook.name} {what}. localcloud was written for MiniStack "
        f"{WRITTEN_FOR}: pin ministack=={WRITTEN_FOR}, or adapt localcloud/hooks.py."
    )


def leave_out_docker() -> None:
    """Keep MiniStack from importing the Docker SDK, which it would never use here (0.2 s and 15 MB)."""
    sys.modules.setdefault("docker", None)  # type: ignore[arg-type]


# --- the application -------------------------------------------------------------------------------------------------


def application() -> Any:
    """MiniStack's ASGI application."""
    return get("app")


class Persistent(Protocol):
    """What MiniStack keeps, restores and resets along with its own services."""

    def get_state(self) -> Any:
        """What to save, as JSON values."""

    def load_persisted_state(self, data: Any) -> None:
        """Take back what get_state gave."""

    def reset(self) -> None:
        """Forget everything."""


def register_service(name: str, target_prefix: str, handler: Handler, state: Persistent) -> None:
    """Serve one more AWS service: by its X-Amz-Target prefix and by the service name that signatures carry."""
    patterns = get("router.patterns")
    patterns[name] = {"target_prefixes": [f"{target_prefix}."], "credential_scope": name}
    get("app.handlers")[name] = handler
    get("app.registry")[name] = {"module": name}
    get("app.states")[name] = name
    get("app.modules")[name] = state


def current_scope() -> Scope:
    """Account and region of the request that this thread or task is serving."""
    return Scope(get("responses.account")(), get("responses.region")())


@contextmanager
def acting_in(scope: Scope) -> Iterator[None]:
    """Act for an account and region, outside a request."""
    with get("responses.scope")(scope.account, scope.region):
        yield


def call_json_service(scope: Scope, service: str, target: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Call another of MiniStack's JSON services, in process; from a worker thread only.

    Raises:
        ServiceCallFailed: it answered an error.
    """
    with acting_in(scope):
        status, _headers, body = get("app.call")(
            get("app.handlers")[service],
            "POST",
            "/",
            {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"},
            json.dumps(request).encode(),
            {},
        )
    answer: dict[str, Any] = json.loads(body) if body else {}
    if status >= 400:
        raise ServiceCallFailed(str(answer.get("__type", "InternalFailure")), str(answer.get("message", "")))
    return answer


def serve_now(service: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
    """A service's answer to a request, without giving the event loop back: for code that runs on the loop.

    Raises:
        LocalcloudError: the service would have to wait for something, and nobody could wait for it.
    """
    parts = urlsplit(url)
    lowered = {name.lower(): value for name, value in headers.items()}
    lowered.setdefault("host", parts.netloc)
    handling: Any = get("app.handlers")[get("app.aliases").get(service, service)](
        method, unquote(parts.path) or "/", lowered, body, parse_qs(parts.query, keep_blank_values=True)
    )
    try:
        handling.send(None)
    except StopIteration as finished:
        response: Response = finished.value
        return response
    handling.close()
    raise LocalcloudError(f"{service} {method} {parts.path} cannot be called from the event loop: it waits.")


class ServiceCallFailed(LocalcloudError):
    """Another service answered an error; ``code`` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def put_event(scope: Scope, entry: Mapping[str, Any]) -> None:
    """Put one event of AWS's own (source ``aws.…``) on the default bus."""
    with acting_in(scope):
        get("events.put")({"Entries": [dict(entry)]}, allow_aws_source=True)


def cloudformation_types() -> dict[str, Any]:
    """MiniStack's resource handlers by CloudFormation type; add to it to add types."""
    handlers: dict[str, Any] = get("cloudformation.types")
    return handlers


# --- Step Functions --------------------------------------------------------------------------------------------------


class StatesError(LocalcloudError):
    """A task's failure under the name by which Retry and Catch know it."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass
class TaskRun:
    """One attempt of a Task state, so that a waiting integration can see that nobody waits for it any more."""

    execution: dict[str, Any] = field(default_factory=dict)
    timed_out: threading.Event = field(default_factory=threading.Event)

    @property
    def abandoned(self) -> bool:
        """Whether the execution was stopped, or the task ran out of time."""
        return self.timed_out.is_set() or self.execution.get("status", "RUNNING") != "RUNNING"


_task_run: contextvars.ContextVar[TaskRun | None] = contextvars.ContextVar("localcloud_task_run", default=None)

Integration = Callable[[str, Any, TaskRun], Any]


def install_integrations(integrations: Callable[[str], Integration | None]) -> None:
    """Let localcloud run some of the resources of Task states.

    Args:
        integrations: gives the integration for a resource ARN, or None to leave it to MiniStack. What an integration
            raises other than StatesError becomes States.TaskFailed, so that Retry and Catch see it; in MiniStack alone
            it would end the execution past both.
    """
    error_type = get("states.error")

    def tracked(execute_task: Any) -> Any:
        def execute(state_def: Any, raw_input: Any, execution: Any, ctx: Any) -> Any:
            token = _task_run.set(TaskRun(execution))
            try:
                return execute_task(state_def, raw_input, execution, ctx)
            finally:
                _task_run.reset(token)

        return execute

    def integrated(invoke_resource: Any) -> Any:
        def invoke(resource: str, input_data: Any) -> Any:
            integration = integrations(resource)
            if integration is None:
                return invoke_resource(resource, input_data)
            try:
                return integration(resource, input_data, _task_run.get() or TaskRun())
            except StatesError as error:
                raise error_type(error.error, error.cause) from error
            except Exception as error:
                logger.exception("%s failed inside localcloud", resource)
                raise error_type("States.TaskFailed", f"{type(error).__name__}: {error}") from error

        return invoke

    def abandoning(invoke_with_timeout: Any) -> Any:
        def invoke(resource: str, input_data: Any, timeout: Any) -> Any:
            run = TaskRun((_task_run.get() or TaskRun()).execution)
            token = _task_run.set(run)
            try:
                return invoke_with_timeout(resource, input_data, timeout)
            except error_type as error:
                if error.error == "States.Timeout":
                    run.timed_out.set()
                raise
            finally:
                _task_run.reset(token)

        return invoke

    replace("states.task", tracked)
    replace("states.invoke", integrated)
    replace("states.invoke_with_timeout", abandoning)


def in_thread(function: Callable[..., Response]) -> Handler:
    """A service handler that does its work off the event loop, so that it may wait and call other services."""

    async def handler(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> Response:
        return await asyncio.to_thread(function, method, path, headers, body, query_params)

    return handler
