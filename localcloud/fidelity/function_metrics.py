"""Every invocation of a function is measured in AWS/Lambda, whoever invoked it, retries included.

docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html; MiniStack measures Invoke over the API only, an
asynchronous one when it is accepted instead of when it runs, and a throttled one twice.
"""

from __future__ import annotations

import time
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics

NAMESPACE = "AWS/Lambda"


def install() -> None:
    """Measure at the one place that every execution passes."""

    def make_emit(_original: Any) -> Any:
        def emit(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
            if throttle and not duration_ms:  # where it is throttled; a second call comes from where it is answered
                put(function_name, "Throttles", 1)

        return emit

    def make_dispatch(dispatch: Any) -> Any:
        def dispatched(
            func: dict[str, Any], config: dict[str, Any], event: Any, request_id: str, started: float
        ) -> Any:
            name, version = config.get("FunctionName", "unknown"), config.get("Version", "$LATEST")
            running = hooks.get("lambda.in_flight")()
            began = time.perf_counter()
            failed = True
            try:
                result = dispatch(func, config, event, request_id, started)
                failed = bool(result.get("error")) if isinstance(result, dict) else False
                return result
            finally:
                duration = (time.perf_counter() - began) * 1000
                put(name, "Invocations", 1, version=version)
                put(name, "Errors", float(failed), version=version)
                put(name, "Throttles", 0)
                put(name, "Duration", duration, "Milliseconds", version=version)
                _concurrency(name, running)

        return dispatched

    def make_async(invoke: Any) -> Any:
        def invoked(func: dict[str, Any], event: Any) -> None:
            put((func.get("config") or func).get("FunctionName", "unknown"), "AsyncEventsReceived", 1)
            invoke(func, event)

        return invoked

    hooks.replace("lambda.metrics", make_emit)
    hooks.replace("lambda.dispatch", make_dispatch)
    hooks.replace("lambda.invoke_async", make_async)


def put(function: str, name: str, value: float, unit: str = "Count", version: str | None = None) -> None:
    """Record something about one of the current account's functions: by its name, by its version, for the account."""
    scope = hooks.current_scope()
    metrics.put(scope, NAMESPACE, name, value, unit, {"FunctionName": function})
    metrics.put(scope, NAMESPACE, name, value, unit)
    if version is not None:
        resource = function if version == "$LATEST" else f"{function}:{version}"
        metrics.put(scope, NAMESPACE, name, value, unit, {"FunctionName": function, "Resource": resource})


def _concurrency(function: str, running: tuple[int, dict[str, int]]) -> None:
    total, by_function = running
    scope = hooks.current_scope()
    count = by_function.get(f"{scope.account}:{scope.region}:{function}", 1)
    metrics.put(scope, NAMESPACE, "ConcurrentExecutions", count, "Count", {"FunctionName": function})
    metrics.put(scope, NAMESPACE, "ConcurrentExecutions", total, "Count")
