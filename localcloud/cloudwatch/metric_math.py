"""Expressions over metrics, as GetMetricData and alarms take them: ``100 * errors / invocations``, ``FILL(m1, 0)``.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html. A series is {start of period: value};
operators join two series where both have a value. SEARCH, ANOMALY_DETECTION_BAND, INSIGHT_RULE_METRIC, LAMBDA,
DB_PERF_INSIGHTS and Metrics Insights queries (SELECT …) are refused.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ApiError

Series = dict[int, float]
Value = Any  # a number, a Series, or a list of Series

_BINARY: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.AST], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_EACH: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "LOG": math.log,
    "LOG10": math.log10,
}


def _average(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _deviation(values: Iterable[float]) -> float:
    found = list(values)
    mean = _average(found)
    return math.sqrt(sum((value - mean) ** 2 for value in found) / len(found))


_REDUCE: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "AVG": _average,
    "MIN": min,
    "MAX": max,
    "STDDEV": _deviation,
}


@dataclass(frozen=True)
class Context:
    """What an expression can refer to.

    Args:
        series: by query Id.
        metrics: Ids of the queries that are metrics, not expressions.
        period: seconds between datapoints.
        times: the starts of all periods asked for.
    """

    series: Mapping[str, Series]
    metrics: tuple[str, ...]
    period: int
    times: tuple[int, ...]


def references(expression: str) -> set[str]:
    """The Ids that an expression names."""
    return {node.id for node in ast.walk(_parse(expression)) if isinstance(node, ast.Name) and node.id[0].islower()}


def evaluate(expression: str, context: Context) -> list[Series]:
    """The expression's series: one, unless it is METRICS() or a function of it.

    Raises:
        ApiError: ValidationError: it cannot be read, or uses what is not supported here.
    """
    value = _evaluate(_parse(expression).body, context)
    if isinstance(value, list):
        return value
    return [value if isinstance(value, dict) else dict.fromkeys(context.times, float(value))]


def _parse(expression: str) -> ast.Expression:
    text = re.sub(r"&&", " and ", expression)
    text = re.sub(r"\|\|", " or ", text).replace("^", "**")
    text = re.sub(r"\bAND\b", "and", text)
    text = re.sub(r"\bOR\b", "or", text)
    try:
        return ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise _refused(f"Error in expression {expression!r}: {error.msg}") from error


def _refused(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def _evaluate(node: ast.expr, context: Context) -> Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in context.series:
            if node.id in ("REPEAT", "LINEAR"):
                return node.id
            raise _refused(f"Error in expression: there is no metric {node.id!r}")
        return context.series[node.id]
    if isinstance(node, ast.List):
        return [_evaluate(item, context) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -1 if isinstance(node.op, ast.USub) else 1
        return _map(lambda value: sign * value, _evaluate(node.operand, context))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _join(_BINARY[type(node.op)], _evaluate(node.left, context), _evaluate(node.right, context))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        compare = _COMPARE[type(node.ops[0])]
        left, right = _evaluate(node.left, context), _evaluate(node.comparators[0], context)
        return _join(lambda one, other: float(compare(one, other)), left, right)
    if isinstance(node, ast.BoolOp):
        both = isinstance(node.op, ast.And)
        value = _evaluate(node.values[0], context)
        for item in node.values[1:]:
            value = _join(
                lambda one, other: float(bool(one and other) if both else bool(one or other)),
                value,
                _evaluate(item, context),
            )
        return value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, [_evaluate(item, context) for item in node.args], context)
    raise _refused(f"Error in expression: {ast.unparse(node)!r} is not supported by localcloud")


def _call(name: str, arguments: list[Value], context: Context) -> Value:
    if name == "METRICS":
        wanted = arguments[0] if arguments else ""
        return [context.series[each] for each in context.metrics if wanted in each]
    if name in _EACH:
        return _map(_EACH[name], arguments[0])
    if name in _REDUCE:
        return _reduce(_REDUCE[name], arguments[0])
    if name == "FILL":
        return _fill(arguments[0], arguments[1], context)
    if name == "IF":
        return _if(arguments, context)
    if name in ("DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM"):
        return _walk(name, arguments[0])
    if name == "PERIOD":
        return context.period
    if name in ("MINUTE", "HOUR", "DAY", "EPOCH"):
        divisor, modulus = {"MINUTE": (60, 60), "HOUR": (3600, 24), "DAY": (86400, 7), "EPOCH": (1, 0)}[name]
        # 1 January 1970 was a Thursday; CloudWatch's week begins with Monday as 1.
        return {
            when: float((when // divisor + 3) % 7 + 1 if name == "DAY" else when // divisor % (modulus or when + 1))
            for when in arguments[0]
        }
    if name == "TIME_SERIES":
        return dict.fromkeys(context.times, float(arguments[0]))
    if name in ("REMOVE_EMPTY",):
        return [series for series in arguments[0] if series]
    raise _refused(f"Error in expression: the function {name} is not supported by localcloud")


def _map(function: Callable[[float], float], value: Value) -> Value:
    if isinstance(value, list):
        return [_map(function, item) for item in value]
    return {when: function(item) for when, item in value.items()} if isinstance(value, dict) else function(value)


def _join(function: Callable[[float, float], float], one: Value, other: Value) -> Value:
    if isinstance(one, list):
        return [_join(function, item, other) for item in one]
    if isinstance(other, list):
        return [_join(function, one, item) for item in other]

    def safe(left: float, right: float) -> float | None:
        try:
            return function(left, right)
        except (ZeroDivisionError, OverflowError):
            return None  # CloudWatch leaves the datapoint out

    if not isinstance(one, dict) and not isinstance(other, dict):
        return function(one, other)
    times = one if isinstance(one, dict) else other
    joined = {
        when: safe(one[when] if isinstance(one, dict) else one, other[when] if isinstance(other, dict) else other)
        for when in times
        if not (isinstance(one, dict) and isinstance(other, dict)) or (when in one and when in other)
    }
    return {when: value for when, value in joined.items() if value is not None}


def _reduce(function: Callable[[list[float]], float], value: Value) -> Value:
    if isinstance(value, dict):
        return function(list(value.values())) if value else 0.0
    times = sorted({when for series in value for when in series})
    return {when: function([series[when] for series in value if when in series]) for when in times}


def _fill(value: Value, filling: Value, context: Context) -> Value:
    if isinstance(value, list):
        return [_fill(item, filling, context) for item in value]
    filled: Series = {}
    known = sorted(value)
    for when in sorted({*context.times, *value}):
        if when in value:
            filled[when] = value[when]
        elif isinstance(filling, dict):
            if when in filling:
                filled[when] = filling[when]
        elif filling == "REPEAT":
            before = [each for each in known if each < when]
            if before:
                filled[when] = value[before[-1]]
        elif filling == "LINEAR":
            before, after = [each for each in known if each < when], [each for each in known if each > when]
            if before and after:
                low, high = before[-1], after[0]
                filled[when] = value[low] + (value[high] - value[low]) * (when - low) / (high - low)
        else:
            filled[when] = float(filling)
    return filled


def _if(arguments: list[Value], context: Context) -> Value:
    condition, then = arguments[0], arguments[1]
    otherwise = arguments[2] if len(arguments) > 2 else {}
    times = set(condition) if isinstance(condition, dict) else set(context.times)
    chosen: Series = {}
    for when in sorted(times):
        branch = then if (condition[when] if isinstance(condition, dict) else condition) else otherwise
        found = branch.get(when) if isinstance(branch, dict) else float(branch)
        if found is not None:
            chosen[when] = found
    return chosen


def _walk(name: str, value: Value) -> Value:
    if isinstance(value, list):
        return [_walk(name, item) for item in value]
    walked: Series = {}
    previous: int | None = None
    total = 0.0
    for when in sorted(value):
        if name == "RUNNING_SUM":
            total += value[when]
            walked[when] = total
        elif previous is not None:
            change, elapsed = value[when] - value[previous], float(when - previous)
            walked[when] = {"DIFF": change, "DIFF_TIME": elapsed, "RATE": change / elapsed}[name]
        previous = when
    return walked
