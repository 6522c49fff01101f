"""CloudWatch's three wire formats, each read and written by botocore's model: CBOR, JSON and the older query with XML.

smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html, smithy.io/2.0/aws/protocols/ (awsJson 1.0, awsQuery). Which
one a client speaks depends on its age: boto3 has spoken CBOR to CloudWatch since 1.42, other SDKs JSON, scripts query.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import cbor2
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from localcloud.errors import ApiError
from localcloud.sagemaker.api import parse_request, serialise_response, service_model

Response = tuple[int, dict[str, str], bytes]

CBOR, JSON, QUERY = "cbor", "json", "query"
NAMESPACE = "http://monitoring.amazonaws.com/doc/2010-08-01/"


def wire_format(headers: Mapping[str, str]) -> str:
    """Which of the three a request is in."""
    kind = headers.get("content-type", "")
    if "cbor" in kind or "cbor" in headers.get("smithy-protocol", ""):
        return CBOR
    return JSON if "json" in kind or headers.get("x-amz-target") else QUERY


def operation_name(path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]) -> str:
    """Which operation a request is for; empty when it does not say."""
    if target := headers.get("x-amz-target", ""):
        return target.rpartition(".")[2]
    if found := re.search(r"/operation/([^/?]+)", path):
        return found[1]
    return str(_parameters(body, query).get("Action", ""))


def read(operation: str, wire: str, body: bytes, query: Mapping[str, Any]) -> dict[str, Any]:
    """The request as Python values.

    Raises:
        ApiError: it cannot be read, or it breaks the model's constraints.
    """
    shape = service_model("cloudwatch").operation_model(operation).input_shape
    try:
        if wire == CBOR:
            given = _plain(cbor2.loads(body)) if body else {}
        elif wire == JSON:
            given = json.loads(body) if body else {}
        else:
            given = _from_query(shape, _parameters(body, query), "")
    except (ValueError, cbor2.CBORDecodeError) as error:
        raise ApiError("SerializationException", f"The request cannot be read: {error}") from error
    return parse_request(shape, given or {})


def write(operation: str, wire: str, value: Mapping[str, Any]) -> Response:
    """The response."""
    model = service_model("cloudwatch").operation_model(operation)
    serialised = serialise_response(model.output_shape, value)
    if wire == JSON:
        return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(serialised).encode()
    if wire == CBOR:
        tagged = _tag_times(model.output_shape, serialised)
        return 200, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, cbor2.dumps(tagged)
    return 200, {"Content-Type": "text/xml"}, _xml_response(model, serialised).encode()


def write_error(wire: str, error: ApiError) -> Response:
    """An error."""
    if wire == QUERY:
        body = (
            f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{error.code}</Code>'
            f"<Message>{escape(error.message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
        return error.status, {"Content-Type": "text/xml"}, body.encode()
    content = {"__type": error.code, "message": error.message}
    headers = {"x-amzn-query-error": f"{error.code};Sender"}
    if wire == CBOR:
        headers |= {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
        return error.status, headers, cbor2.dumps(content)
    return error.status, headers | {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(content).encode()


def _parameters(body: bytes, query: Mapping[str, Any]) -> dict[str, str]:
    given = {name: value[0] if isinstance(value, list) else value for name, value in query.items()}
    for name, values in parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items():
        given[name] = values[0]
    return given


def _plain(value: Any) -> Any:
    """CBOR's times as seconds, so that one parser serves all."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _from_query(shape: Shape | None, given: Mapping[str, str], prefix: str) -> Any:
    """Name.member.1.Other=… as nested values; None when there is nothing under the prefix."""
    if shape is None:
        return {}
    if isinstance(shape, StructureShape):
        found = {
            name: value
            for name, member in shape.members.items()
            if (value := _from_query(member, given, f"{prefix}.{name}" if prefix else name)) is not None
        }
        return found or None
    if isinstance(shape, ListShape):
        items: list[Any] = []
        while (item := _from_query(shape.member, given, f"{prefix}.member.{len(items) + 1}")) is not None:
            items.append(item)
        return items or None
    if isinstance(shape, MapShape):
        return None  # CloudWatch's requests have none
    text = given.get(prefix)
    if text is None:
        return None
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name in ("float", "double"):
        return float(text)
    return text.lower() == "true" if shape.type_name == "boolean" else text


def _tag_times(shape: Shape | None, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return {name: _tag_times(shape.members[name], item) for name, item in value.items()}
    if isinstance(shape, ListShape):
        return [_tag_times(shape.member, item) for item in value]
    return cbor2.CBORTag(1, value) if shape is not None and shape.type_name == "timestamp" else value


def _xml_response(model: OperationModel, value: Mapping[str, Any]) -> str:
    result = f"<{model.name}Result>{_xml(model.output_shape, value)}</{model.name}Result>" if model.output_shape else ""
    return (
        f'<{model.name}Response xmlns="{NAMESPACE}">{result}<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId>'
        f"</ResponseMetadata></{model.name}Response>"
    )


def _xml(shape: Shape | None, value: Any) -> str:
    if isinstance(shape, StructureShape):
        return "".join(f"<{name}>{_xml(shape.members[name], item)}</{name}>" for name, item in value.items())
    if isinstance(shape, ListShape):
        return "".join(f"<member>{_xml(shape.member, item)}</member>" for item in value)
    if shape is not None and shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return escape(str(value).lower() if isinstance(value, bool) else str(value))
