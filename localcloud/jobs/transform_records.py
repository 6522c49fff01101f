"""Records of a batch transform: split, filtered, grouped into requests, joined with their inputs, put together again.

docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.jsonpath import Child, Fields, Index, JSONPath, Root
from jsonpath_ng.parser import parse

from localcloud.containers.container_contract import ContractError
from localcloud.errors import ValidationException

CSV = "text/csv"
JSON = "application/json"
LINES = "application/jsonlines"


class RecordError(ContractError):
    """A record that cannot be read, or an answer that does not fit its request; the text says which."""


def split(data: bytes, split_type: str) -> list[bytes]:
    """The records of an object: all of it, or its lines without their ends; empty lines are none."""
    if split_type == "None":
        return [data]
    return [line for line in data.split(b"\n") if line.strip()]


def batches(records: Sequence[bytes], strategy: str, most: int) -> Iterator[list[bytes]]:
    """Records in requests: one each, or as many as fit.

    Args:
        strategy: SingleRecord or MultiRecord.
        most: bytes of one request; 0 for no limit.

    Raises:
        RecordError: a record that fits in none.
    """
    batch: list[bytes] = []
    size = 0
    for number, record in enumerate(records, 1):
        length = len(record) + 1
        if most and length - 1 > most:
            raise RecordError(
                f"ClientError: Record {number} has {length - 1} bytes, more than MaxPayloadInMB ({most // 2**20} MB)"
            )
        if batch and (strategy == "SingleRecord" or (most and size + length > most)):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch


def assemble(answers: Sequence[bytes], assemble_with: str) -> bytes:
    """One object of all answers, in order; with Line each of them ends in a line break."""
    if assemble_with == "None":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


@dataclass(frozen=True)
class Path:
    """A JSONPath as DataProcessing has it: ``$``, names, indices, slices and ``*``."""

    text: str
    expression: JSONPath

    @classmethod
    def read(cls, text: str | None) -> Path | None:
        """The path; None for ``$`` or none at all.

        Raises:
            ValidationException: it is no JSONPath.
        """
        if text in (None, "", "$"):
            return None
        try:
            return cls(str(text), parse(text))
        except (JSONPathError, ValueError, AttributeError) as error:
            raise ValidationException(f"{text!r} is not a valid JSONPath expression: {error}") from error

    def of(self, value: Any) -> Any:
        """What the path selects: one value, or, for slices, lists of indices and ``*``, a list.

        Raises:
            RecordError: nothing.
        """
        found = [match.value for match in self.expression.find(value)]
        if not found:
            raise RecordError(f"ClientError: The JSONPath {self.text} selects nothing of a record")
        return found if _many(self.expression) else found[0]


def _many(expression: Any) -> bool:
    if isinstance(expression, Child):
        return _many(expression.left) or _many(expression.right)
    if isinstance(expression, Fields):
        return len(expression.fields) > 1 or "*" in expression.fields
    if isinstance(expression, Index):
        return len(expression.indices) > 1
    return not isinstance(expression, Root)  # a slice


@dataclass(frozen=True)
class Processing:
    """DataProcessing of one job.

    Args:
        content_type: of the input.
        input_filter: which part of a record the model gets.
        output_filter: which part of the joined record is kept.
        join: whether inputs are joined to their predictions.
    """

    content_type: str
    input_filter: Path | None = None
    output_filter: Path | None = None
    join: bool = False

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Processing | None:
        """A request's; None when nothing is to be done to records.

        Raises:
            ValidationException: it does not fit the input.
        """
        config = request.get("DataProcessing") or {}
        join = config.get("JoinSource", "None") == "Input"
        filters = Path.read(config.get("InputFilter")), Path.read(config.get("OutputFilter"))
        if not join and filters == (None, None):
            return None
        content_type = (request["TransformInput"].get("ContentType") or "").split(";")[0].strip().lower()
        if content_type not in (CSV, JSON, LINES):
            raise ValidationException(f"DataProcessing requires the ContentType {CSV}, {JSON} or {LINES}.")
        if content_type != JSON and request["TransformInput"].get("SplitType", "None") != "Line":
            raise ValidationException(f"DataProcessing with the ContentType {content_type} requires SplitType Line.")
        return cls(content_type, *filters, join)

    def filtered(self, record: bytes) -> bytes:
        """What the model gets of a record."""
        if self.input_filter is None:
            return record
        return self._write(self.input_filter.of(self._read(record)))

    def finished(self, records: Sequence[bytes], answer: bytes, answer_type: str | None) -> bytes:
        """A request's answer, joined with its records and filtered.

        Raises:
            RecordError: not as many predictions as records.
        """
        predictions = split(answer, "Line") if len(records) > 1 or self.content_type != JSON else [answer]
        if len(predictions) != len(records):
            raise RecordError(
                f"ClientError: The model gave {len(predictions)} predictions for {len(records)} records; they cannot "
                "be joined or filtered"
            )
        written = []
        for record, prediction in zip(records, predictions, strict=True):
            value = self._predicted(prediction, answer_type)
            if self.join:
                value = self._joined(self._read(record), value)
            if self.output_filter is not None:
                value = self.output_filter.of(value)
            written.append(self._write(value))
        return b"\n".join(written)

    def _joined(self, record: Any, prediction: Any) -> Any:
        if self.content_type == CSV:
            return [*record, *(prediction if isinstance(prediction, list) else [prediction])]
        if isinstance(record, dict):
            return {**record, "SageMakerOutput": prediction}
        return {"SageMakerInput": record, "SageMakerOutput": prediction}

    def _predicted(self, prediction: bytes, answer_type: str | None) -> Any:
        if self.content_type == CSV:
            return _row(prediction)
        kind = (answer_type or "").split(";")[0].strip().lower()
        if kind == CSV:
            row = [_number(each) for each in _row(prediction)]
            return row[0] if len(row) == 1 else row
        return _loaded(prediction)

    def _read(self, record: bytes) -> Any:
        return _row(record) if self.content_type == CSV else _loaded(record)

    def _write(self, value: Any) -> bytes:
        if self.content_type != CSV:
            return json.dumps(value, ensure_ascii=False).encode()
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(value if isinstance(value, list) else [value])
        return row.getvalue().encode()


def _row(record: bytes) -> list[str]:
    return next(csv.reader([record.decode("utf-8", "replace").rstrip("\r\n")]), [])


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _loaded(record: bytes) -> Any:
    try:
        return json.loads(record)
    except ValueError as error:
        raise RecordError(f"ClientError: A record is no JSON: {record[:100]!r}: {error}") from error
