"""CloudWatch Logs' filter patterns: which lines match, and what a metric filter reads out of them.

docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html: terms (``ERROR -timeout ?a "a phrase"``),
regular expressions (``%[45][0-9]+%``), JSON (``{ $.level = "ERROR" && $.took > 3 }``) and space-delimited
(``[ip, user, status = 5*]``). Terms are case-sensitive.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.delivery.event_paths import MISSING, find
from localcloud.errors import ApiError

Fields = Mapping[str, Any]  # what $.name or $name stands for in one line
Matcher = Callable[[str], "Fields | None"]

_TERMS = re.compile(r'(?P<sign>[-?]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|%(?P<regex>[^%]+)%|(?P<word>[^\s"]+))')
_TOKENS = re.compile(
    r"\s*(?:(?P<op>&&|\|\||!=|>=|<=|=|>|<|\(|\))|\"(?P<string>(?:[^\"\\]|\\.)*)\"|%(?P<regex>[^%]+)%|(?P<path>\$[\w.\[\]*'@-]*)"
    r"|(?P<word>[^\s()&|=<>!]+))"
)
_COLUMNS = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')


class InvalidPattern(ApiError):
    """A pattern that cannot be read."""

    def __init__(self, pattern: str) -> None:
        super().__init__("InvalidParameterException", f"Invalid filter pattern: {pattern}")


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Matcher:
    """A function from a line to its fields, or to None when it does not match.

    Raises:
        InvalidPattern: it cannot be read.
    """
    text = pattern.strip()
    if not text:
        return lambda _line: {}
    if text.startswith("{") and text.endswith("}"):
        return _json(text[1:-1], pattern)
    if text.startswith("[") and text.endswith("]"):
        return _columns(text[1:-1], pattern)
    return _terms(text, pattern)


def matches(pattern: str, line: str) -> bool:
    """Whether a line matches; an unreadable pattern matches nothing."""
    try:
        return compiled(pattern or "")(line) is not None
    except InvalidPattern:
        return False


def _terms(text: str, pattern: str) -> Matcher:
    required: list[Callable[[str], bool]] = []
    optional: list[Callable[[str], bool]] = []
    excluded: list[Callable[[str], bool]] = []
    for found in _TERMS.finditer(text):
        if found["regex"]:
            test = _searching(_regex(found["regex"], pattern))
        else:
            test = _containing(_unquoted(found["phrase"]) if found["phrase"] is not None else found["word"])
        {"": required, "?": optional, "-": excluded}[found["sign"]].append(test)

    def match(line: str) -> Fields | None:
        if any(test(line) for test in excluded) or not all(test(line) for test in required):
            return None
        # Optional terms count only where nothing is required.
        return {} if required or not optional or any(test(line) for test in optional) else None

    return match


def _searching(regex: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda line: regex.search(str(line)) is not None


def _containing(wanted: str) -> Callable[[str], bool]:
    return lambda line: wanted in line


def _regex(text: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidPattern(pattern) from error


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


# --- JSON -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


Condition = Callable[[Any], bool]


def _json(text: str, pattern: str) -> Matcher:
    tokens: list[_Token] = []
    position = 0
    while text[position:].strip():
        found = _TOKENS.match(text, position)
        if found is None or found.lastgroup is None:
            raise InvalidPattern(pattern)
        tokens.append(_Token(found.lastgroup, found[found.lastgroup]))
        position = found.end()
    condition, rest = _either(tokens, pattern)
    if rest:
        raise InvalidPattern(pattern)

    def match(line: str) -> Fields | None:
        try:
            value = json.loads(line)
        except ValueError:
            return None
        return value if isinstance(value, dict) and condition(value) else None

    return match


def _either(tokens: list[_Token], pattern: str) -> tuple[Condition, list[_Token]]:
    first, rest = _both(tokens, pattern)
    conditions = [first]
    while rest and rest[0].text == "||":
        condition, rest = _both(rest[1:], pattern)
        conditions.append(condition)
    return (lambda value: any(each(value) for each in conditions)), rest


def _both(tokens: list[_Token], pattern: str) -> tuple[Condition, list[_Token]]:
    first, rest = _one(tokens, pattern)
    conditions = [first]
    while rest and rest[0].text == "&&":
        condition, rest = _one(rest[1:], pattern)
        conditions.append(condition)
    return (lambda value: all(each(value) for each in conditions)), rest


def _one(tokens: list[_Token], pattern: str) -> tuple[Condition, list[_Token]]:
    if not tokens:
        raise InvalidPattern(pattern)
    if tokens[0].text == "(" and tokens[0].kind == "op":
        condition, rest = _either(tokens[1:], pattern)
        if not rest or rest[0].text != ")":
            raise InvalidPattern(pattern)
        return condition, rest[1:]
    if tokens[0].kind != "path" or len(tokens) < 3:
        raise InvalidPattern(pattern)
    path, operation, operand = tokens[0].text, tokens[1], tokens[2]
    if operation.text.upper() == "IS":
        wanted = {"TRUE": True, "FALSE": False, "NULL": None}.get(operand.text.upper(), MISSING)
        return (lambda value: find(path, value) is wanted), tokens[3:]
    if operation.text.upper() == "NOT" and operand.text.upper() == "EXISTS":
        return (lambda value: find(path, value) is MISSING), tokens[3:]
    if operation.kind != "op":
        raise InvalidPattern(pattern)
    compare = _comparison(operation.text, operand, pattern)

    def condition_on(value: Any) -> bool:
        found = find(path, value)
        if found is MISSING:
            return False
        return any(compare(item) for item in found) if isinstance(found, list) else compare(found)

    return condition_on, tokens[3:]


def _comparison(operation: str, operand: _Token, pattern: str) -> Condition:
    if operand.kind == "regex":
        found = _searching(_regex(operand.text, pattern))
        return found if operation == "=" else lambda value: not found(value)
    number = _number(operand.text) if operand.kind == "word" else None
    if operation in (">", ">=", "<", "<="):
        if number is None:
            raise InvalidPattern(pattern)
        limit = number
        order: dict[str, Callable[[float], bool]] = {
            ">": lambda value: value > limit,
            ">=": lambda value: value >= limit,
            "<": lambda value: value < limit,
            "<=": lambda value: value <= limit,
        }
        test = order[operation]
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and test(value)
    equal = _equal(number, operand.text)
    return equal if operation == "=" else lambda value: not equal(value)


def _equal(number: float | None, text: str) -> Condition:
    """Equal to a number, or to a text in which * stands for anything."""
    if number is not None:
        return lambda value: value == number if isinstance(value, int | float) else str(value) == text
    shape = re.compile(".*".join(re.escape(part) for part in _unquoted(text).split("*")), re.DOTALL)
    return lambda value: isinstance(value, str) and shape.fullmatch(value) is not None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# --- space-delimited --------------------------------------------------------------------------------------------------


def _columns(text: str, pattern: str) -> Matcher:
    fields: list[tuple[str, Condition]] = []
    rest_at: int | None = None
    for number, column in enumerate(text.split(",")):
        parts = re.split(r"(&&|\|\|)", column)
        name = parts[0].split()[0].strip("=!<> ") if parts[0].split() else f"${number}"
        if name == "...":
            rest_at = number
            continue
        fields.append((re.split(r"[=!<>]", name)[0], _column(parts, pattern)))

    def match(line: str) -> Fields | None:
        values = [value.strip('[]"') for value in _COLUMNS.findall(line)]
        if rest_at is not None and len(values) >= len(fields):
            tail = len(fields) - rest_at
            values = values[:rest_at] + (values[-tail:] if tail else [])
        if len(values) != len(fields):
            return None
        if not all(test(value) for value, (_name, test) in zip(values, fields, strict=True)):
            return None
        return {name: value for value, (name, _test) in zip(values, fields, strict=True)}

    return match


def _column(parts: list[str], pattern: str) -> Condition:
    tests = [_column_test(part, pattern) for part in parts[::2]]
    if "||" in parts:
        return lambda value: any(test(value) for test in tests)
    return lambda value: all(test(value) for test in tests)


def _column_test(text: str, pattern: str) -> Condition:
    found = re.fullmatch(r"\s*[\w$.-]*\s*(?:(!=|>=|<=|=|>|<)\s*(.+?))?\s*", text)
    if found is None:
        raise InvalidPattern(pattern)
    if found[1] is None:
        return lambda _value: True
    operand = found[2].strip()
    if operand.startswith("%") and operand.endswith("%"):
        token = _Token("regex", operand[1:-1])
    else:
        token = _Token("string" if operand.startswith('"') else "word", operand.strip('"'))
    if found[1] in ("=", "!="):
        return _comparison(found[1], _Token("regex" if token.kind == "regex" else "string", token.text), pattern)
    test = _comparison(found[1], token, pattern)
    return lambda value: (number := _number(value)) is not None and test(number)
