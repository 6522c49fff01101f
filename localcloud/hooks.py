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
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

from localcloud.errors import LocalcloudError
from localcloud.store import Scope

WRITTEN_FOR = "1.5.33"

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


_STEPFUNCTIONS = "ministack.services.stepfunctions"
_PROVISIONERS = "ministack.services.cloudformation.provisioners"

HOOKS = (
    Hook("ministack.app", "app", ("scope", "receive", "send")),
    Hook("ministack.app", "SERVICE_HANDLERS", kind=dict),
    Hook("ministack.app", "SERVICE_REGISTRY", kind=dict),
    Hook("ministack.app", "_state_map", kind=dict),
    Hook("ministack.app", "_loaded_modules", kind=dict),
    Hook("ministack.app", "_reset_all_state", ()),
    Hook(
        "ministack.app",
        "call_service_handler_sync",
        ("handler", "method", "path", "headers", "body", "query_params", "timeout"),
    ),
    Hook("ministack.core.router", "SERVICE_PATTERNS", kind=dict),
    Hook("ministack.core.responses", "get_account_id", ()),
    Hook("ministack.core.responses", "get_region", ()),
    Hook("ministack.core.responses", "request_scope", ("account_id", "region")),
    Hook("ministack.services.eventbridge", "_put_events", ("data", "allow_aws_source")),
    Hook(_STEPFUNCTIONS, "_ExecutionError", ("error", "cause")),
    Hook(_STEPFUNCTIONS, "_executions"),
    Hook(_STEPFUNCTIONS, "_start_execution", ("data",)),
    Hook(_STEPFUNCTIONS, "_resolve_state_machine_arn", ("arn",)),
    Hook(_STEPFUNCTIONS, "_execute_task", ("state_def", "raw_input", "execution", "ctx")),
    Hook(_STEPFUNCTIONS, "_execute_pass", ("state_def", "raw_input", "ctx")),
    Hook(_STEPFUNCTIONS, "_execute_choice", ("state_def", "raw_input", "ctx")),
    Hook(_STEPFUNCTIONS, "_execute_wait", ("state_def", "raw_input", "ctx")),
    Hook(_STEPFUNCTIONS, "_execute_parallel", ("state_def", "raw_input", "execution", "ctx")),
    Hook(_STEPFUNCTIONS, "_execute_map", ("state_def", "raw_input", "execution", "ctx")),
    Hook(_STEPFUNCTIONS, "_fail_execution", ("execution", "error", "cause")),
    Hook(_STEPFUNCTIONS, "_invoke_resource", ("resource", "input_data")),
    Hook(_STEPFUNCTIONS, "_invoke_resource_with_timeout", ("resource", "input_data", "timeout")),
    Hook(_PROVISIONERS, "_RESOURCE_HANDLERS", kind=dict),
)


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
    for hook in HOOKS:
        resolve(hook)


def _moved(hook: Hook, what: str) -> HookMoved:
    return HookMoved(
        f"MiniStack {version('ministack')}: {hook.module}.{hook.name} {what}. localcloud was written for MiniStack "
        f"{WRITTEN_FOR}: pin ministack=={WRITTEN_FOR}, or adapt localcloud/hooks.py."
    )


def _name(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def leave_out_docker() -> None:
    """Keep MiniStack from importing the Docker SDK, which it would never use here (0.2 s and 15 MB)."""
    sys.modules.setdefault("docker", None)  # type: ignore[arg-type]


# --- the application -------------------------------------------------------------------------------------------------


def application() -> Any:
    """MiniStack's ASGI application."""
    return _name("ministack.app", "app")


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
    patterns = _name("ministack.core.router", "SERVICE_PATTERNS")
    patterns[name] = {"target_prefixes": [f"{target_prefix}."], "credential_scope": name}
    _name("ministack.app", "SERVICE_HANDLERS")[name] = handler
    _name("ministack.app", "SERVICE_REGISTRY")[name] = {"module": name}
    _name("ministack.app", "_state_map")[name] = name
    _name("ministack.app", "_loaded_modules")[name] = state


def current_scope() -> Scope:
    """Account and region of the request that this thread or task is serving."""
    return Scope(
        _name("ministack.core.responses", "get_account_id")(), _name("ministack.core.responses", "get_region")()
    )


@contextmanager
def acting_in(scope: Scope) -> Iterator[None]:
    """Act for an account and region, outside a request."""
    with _name("ministack.core.responses", "request_scope")(scope.account, scope.region):
        yield


def call_json_service(scope: Scope, service: str, target: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Call another of MiniStack's JSON services, in process; from a worker thread only.

    Raises:
        ServiceCallFailed: it answered an error.
    """
    with acting_in(scope):
        status, _headers, body = _name("ministack.app", "call_service_handler_sync")(
            _name("ministack.app", "SERVICE_HANDLERS")[service],
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


class ServiceCallFailed(LocalcloudError):
    """Another service answered an error; ``code`` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def put_event(scope: Scope, entry: Mapping[str, Any]) -> None:
    """Put one event of AWS's own (source ``aws.…``) on the default bus."""
    with acting_in(scope):
        _name("ministack.services.eventbridge", "_put_events")({"Entries": [dict(entry)]}, allow_aws_source=True)


def cloudformation_types() -> dict[str, Any]:
    """MiniStack's resource handlers by CloudFormation type; add to it to add types."""
    handlers: dict[str, Any] = _name(_PROVISIONERS, "_RESOURCE_HANDLERS")
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
    stepfunctions: Any = importlib.import_module(_STEPFUNCTIONS)
    execute_task = stepfunctions._execute_task
    invoke = stepfunctions._invoke_resource
    invoke_with_timeout = stepfunctions._invoke_resource_with_timeout
    error_type = stepfunctions._ExecutionError

    def _execute_task(state_def: Any, raw_input: Any, execution: Any, ctx: Any) -> Any:
        token = _task_run.set(TaskRun(execution))
        try:
            return execute_task(state_def, raw_input, execution, ctx)
        finally:
            _task_run.reset(token)

    def _invoke_resource(resource: str, input_data: Any) -> Any:
        integration = integrations(resource)
        if integration is None:
            return invoke(resource, input_data)
        try:
            return integration(resource, input_data, _task_run.get() or TaskRun())
        except StatesError as error:
            raise error_type(error.error, error.cause) from error
        except Exception as error:
            raise error_type("States.TaskFailed", f"{type(error).__name__}: {error}") from error

    def _invoke_resource_with_timeout(resource: str, input_data: Any, timeout: Any) -> Any:
        outer = _task_run.get() or TaskRun()
        run = TaskRun(outer.execution)
        token = _task_run.set(run)
        try:
            return invoke_with_timeout(resource, input_data, timeout)
        except error_type as error:
            if error.error == "States.Timeout":
                run.timed_out.set()
            raise
        finally:
            _task_run.reset(token)

    stepfunctions._execute_task = _execute_task
    stepfunctions._invoke_resource = _invoke_resource
    stepfunctions._invoke_resource_with_timeout = _invoke_resource_with_timeout


def replace(module: str, name: str, make: Callable[[Any], Any]) -> None:
    """Put something else in the place of a private name that HOOKS lists; ``make`` gets the present one.

    Raises:
        HookMoved: HOOKS does not list it, or it has moved.
    """
    hook = next((hook for hook in HOOKS if (hook.module, hook.name) == (module, name)), None)
    if hook is None:
        raise LocalcloudError(f"{module}.{name} is not in localcloud.hooks.HOOKS: list it there, so that it is checked")
    setattr(importlib.import_module(module), name, make(resolve(hook)))


def in_thread(function: Callable[..., Response]) -> Handler:
    """A service handler that does its work off the event loop, so that it may wait and call other services."""

    async def handler(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> Response:
        return await asyncio.to_thread(function, method, path, headers, body, query_params)

    return handler
