"""The wire: requests and responses checked against botocore's own service model, with AWS's wording.

botocore's client checks neither patterns nor enumerations, and a server should not trust its callers, so requests are
checked here in full: types, required members, lengths, ranges, patterns and enumerations. Responses are checked too,
so that localcloud can never answer what an SDK of AWS would not understand.
"""

from __future__ import annotations

import base64
import binascii
import copy
import functools
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

from localcloud.errors import ApiError, LocalcloudError, ValidationException

# Java's Unicode classes, near enough for names and tags; Python's re has none.
_UNICODE_CLASSES = {
    r"\p{L}": "a-zA-Z\u00aa\u00b5\u00ba\u00c0-\u02c1\u0370-\u1fff\u2c00-\ud7ff\uf900-\uffdc",
    r"\p{M}": "\u0300-\u036f",
    r"\p{Z}": " \u00a0\u2000-\u200a\u2028\u2029\u202f\u3000",
    r"\p{N}": "0-9\u00b2\u00b3\u00b9\u00bc-\u00be\u0660-\u0669",
    r"\p{S}": "$+<=>^`|~",
    r"\p{P}": "!-#%-*,-/:;?@\\[-\\]_{}",
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",
}


class ResponseInvalid(LocalcloudError):
    """A response that AWS's model does not allow: a mistake in localcloud, never the caller's."""


@functools.lru_cache(maxsize=1)
def botocore_session() -> botocore.session.Session:
    """The one session of this process, whose loader keeps each service's model once."""
    return botocore.session.get_session()


@functools.lru_cache(maxsize=8)
def service_model(service: str) -> ServiceModel:
    """botocore's model of a service (SageMaker's takes most of a second to load)."""
    return botocore_session().get_service_model(service)


def parse_request(shape: StructureShape | None, body: Any) -> dict[str, Any]:
    """The request as Python values: timestamps as aware datetimes, blobs as bytes, unknown members dropped.

    Raises:
        ApiError: SerializationException where a value has the wrong type.
        ValidationException: every broken constraint at once, worded as AWS does.
    """
    if not isinstance(body, dict):
        raise ApiError("SerializationException", "Start of structure or map found where not expected.")
    if shape is None:
        return {}
    violations: list[str] = []
    parsed = _parse_structure(shape, body, "", violations)
    if violations:
        count = len(violations)
        noun = "validation error" if count == 1 else "validation errors"
        raise ValidationException(f"{count} {noun} detected: {'; '.join(violations)}")
    return parsed


def serialise_response(shape: StructureShape | None, value: Mapping[str, Any]) -> dict[str, Any]:
    """The response as JSON values: timestamps as epoch seconds, blobs in base64.

    Raises:
        ResponseInvalid: a member that the model lacks, a required one missing, a value of the wrong type.
    """
    if shape is None:
        if value:
            raise ResponseInvalid(f"the operation has no output, but {sorted(value)} were given")
        return {}
    result = _serialise(shape, value, shape.name)
    assert isinstance(result, dict)
    return result


def project(shape: StructureShape, record: Mapping[str, Any]) -> dict[str, Any]:
    """Those members of the record which the shape has, at the top level: a summary of a description."""
    return {name: record[name] for name in shape.members if name in record}


def echo(request: Mapping[str, Any], create: str, describe: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """A copy of what of a Create request its Describe gives back: the members that both have."""
    shapes = [service_model("sagemaker").operation_model(create).input_shape]
    shapes.append(service_model("sagemaker").operation_model(describe).output_shape)
    common = set.intersection(*(set(shape.members) for shape in shapes if shape is not None))
    return {name: copy.deepcopy(value) for name, value in request.items() if name in common - set(without)}


def _parse(shape: Shape, value: Any, path: str, violations: list[str]) -> Any:
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            raise _wrong_type(value, "structure", path)
        return _parse_structure(shape, value, path, violations)
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise _wrong_type(value, "list", path)
        _check_length(shape, value, len(value), path, violations)
        return [
            _parse(shape.member, item, f"{path}.{number}.member", violations)
            for number, item in enumerate(value, start=1)
        ]
    if isinstance(shape, MapShape):
        if not isinstance(value, dict):
            raise _wrong_type(value, "map", path)
        _check_length(shape, value, len(value), path, violations)
        return {
            _parse(shape.key, key, f"{path}.key", violations): _parse(
                shape.value, item, f"{path}.{key}.member", violations
            )
            for key, item in value.items()
        }
    return _parse_scalar(shape, value, path, violations)


def _parse_structure(shape: StructureShape, value: dict[str, Any], path: str, violations: list[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name, member in shape.members.items():
        member_path = f"{path}.{_lower_first(name)}" if path else _lower_first(name)
        given = value.get(name)
        if given is None:
            if name in shape.required_members:
                violations.append(
                    f"Value null at '{member_path}' failed to satisfy constraint: Member must not be null"
                )
            continue
        parsed[name] = _parse(member, given, member_path, violations)
    return parsed


def _parse_scalar(shape: Shape, value: Any, path: str, violations: list[str]) -> Any:
    kind = shape.type_name
    if kind == "string":
        if not isinstance(value, str):
            raise _wrong_type(value, "String", path)
        _check_length(shape, value, len(value), path, violations)
        pattern = shape.metadata.get("pattern")
        if pattern and not _matches(pattern, value):
            violations.append(_broken(value, path, f"Member must satisfy regular expression pattern: {pattern}"))
        allowed = shape.metadata.get("enum")
        if allowed and value not in allowed:
            violations.append(_broken(value, path, f"Member must satisfy enum value set: [{', '.join(allowed)}]"))
        return value
    if kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
            raise _wrong_type(value, "Integer", path)
        return _check_range(shape, int(value), path, violations)
    if kind in ("float", "double"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(value, "Double", path)
        return _check_range(shape, float(value), path, violations)
    if kind == "boolean":
        if not isinstance(value, bool):
            raise _wrong_type(value, "Boolean", path)
        return value
    if kind == "timestamp":
        return _parse_timestamp(value, path)
    if kind == "blob":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise _wrong_type(value, "ByteBuffer", path) from error
    return value


def _parse_timestamp(value: Any, path: str) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise _wrong_type(value, "Date", path) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _check_length(shape: Shape, value: Any, length: int, path: str, violations: list[str]) -> None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and length < least:
        violations.append(_broken(value, path, f"Member must have length greater than or equal to {least}"))
    if most is not None and length > most:
        violations.append(_broken(value, path, f"Member must have length less than or equal to {most}"))


def _check_range(shape: Shape, value: Any, path: str, violations: list[str]) -> Any:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        violations.append(_broken(value, path, f"Member must have value greater than or equal to {least}"))
    if most is not None and value > most:
        violations.append(_broken(value, path, f"Member must have value less than or equal to {most}"))
    return value


def _broken(value: Any, path: str, constraint: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"


def _wrong_type(value: Any, wanted: str, path: str) -> ApiError:
    given = {bool: "Boolean", int: "Integer", float: "Double", str: "String", list: "list", dict: "map"}
    name = given.get(type(value), type(value).__name__)
    return ApiError("SerializationException", f"{name} can not be converted to {wanted} at '{path}'")


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def _matches(pattern: str, value: str) -> bool:
    compiled = _compile(pattern)
    return compiled is None or compiled.fullmatch(value) is not None


@functools.lru_cache(maxsize=512)
def _compile(pattern: str) -> re.Pattern[str] | None:
    """The pattern for Python; None for one that Python cannot read, which is then not enforced."""
    for java, python in _UNICODE_CLASSES.items():
        pattern = pattern.replace(java, python)
    pattern = re.sub(r"\$\{\d+,\d+\}$", "", pattern)  # a slip in AWS's own model: (…)${1,256}
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None


def _serialise(shape: Shape, value: Any, where: str) -> Any:
    if isinstance(shape, StructureShape):
        if not isinstance(value, Mapping):
            raise ResponseInvalid(f"{where} must be a structure, not {type(value).__name__}")
        unknown = sorted(set(value) - set(shape.members))
        if unknown:
            raise ResponseInvalid(f"{where} has no members {unknown} in AWS's model")
        missing = [name for name in shape.required_members if value.get(name) is None]
        if missing:
            raise ResponseInvalid(f"{where} lacks the required members {missing}")
        return {
            name: _serialise(shape.members[name], item, f"{where}.{name}")
            for name, item in value.items()
            if item is not None
        }
    if isinstance(shape, ListShape):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ResponseInvalid(f"{where} must be a list, not {type(value).__name__}")
        return [_serialise(shape.member, item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(shape, MapShape):
        if not isinstance(value, Mapping):
            raise ResponseInvalid(f"{where} must be a map, not {type(value).__name__}")
        return {str(key): _serialise(shape.value, item, f"{where}.{key}") for key, item in value.items()}
    return _serialise_scalar(shape, value, where)


def _serialise_scalar(shape: Shape, value: Any, where: str) -> Any:
    kind = shape.type_name
    if kind == "timestamp" and isinstance(value, datetime):
        return round(value.timestamp(), 3)
    if kind == "blob" and isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if kind == "string" and isinstance(value, str):
        allowed = shape.metadata.get("enum")
        if allowed and value not in allowed:
            raise ResponseInvalid(f"{where} is {value!r}, which is not one of {allowed}")
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("integer", "long") and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in ("float", "double") and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            # JSON has no NaN; AWS's JSON protocol writes these three words, and its SDKs read them.
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        return float(value)
    raise ResponseInvalid(f"{where} must be a {kind}, not {type(value).__name__}")
