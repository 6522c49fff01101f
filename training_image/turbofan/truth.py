"""True RUL, known when engines fail or are removed, and the captured predictions that it belongs to.

Whoever uploads a file is told by name and line what is wrong with it; the other lines and files are used.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from cmapss import MAX_COUNT, MAX_RUL

Row = TypeVar("Row")

TRUTH_HEADER = ("unit", "cycle", "rul")
PREDICTIONS_HEADER = ("unit", "cycle", "rul", "time", "event_id")
SAME = 0.5  # cycles: two truths of one engine that are no further apart are the same
LINES_NAMED = 3  # of those of a file that are left out
# `onwing drift truth` gives every upload a key of its own: what is wrong goes by S3's own commands.
_REPLACE = (
    "put it back under its key below monitoring/ground-truth/ (aws s3 cp), or delete it there (aws s3 rm) and upload "
    "the corrected one (onwing drift truth)"
)
MEND_TRUTH = f"Correct the file and {_REPLACE}."
MEND_PREDICTIONS = (
    "Monitoring wrote this file below monitoring/predictions/, and something has changed it since: restore its version "
    "before that in S3 (kept for 90 days), or delete it (aws s3 rm); the predictions of other windows are used."
)
CLEAR_UP = f"Find out which is right, correct a file of truth that is wrong and {_REPLACE}; until then it is left out."


class Problem(NamedTuple):
    """Something that was left out, and what to do about it."""

    where: str
    what: str
    do: str


class Prediction(NamedTuple):
    """One captured prediction."""

    unit: int
    cycle: int
    rul: float
    time: datetime
    event: str


class Match(NamedTuple):
    """A prediction and the truth."""

    prediction: Prediction
    true: float  # RUL in cycles after the prediction's cycle


@dataclass
class Joined:
    """What became of every truth and every prediction."""

    matches: list[Match] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    truth_files: int = 0  # that were read
    prediction_files: int = 0
    broken_truth_files: int = 0
    broken_prediction_files: int = 0
    predictions: int = 0  # lines below the headers
    out_of_limits: int = 0  # lines of predictions that are none: no server of this image gives such values
    first_out_of_limits: str = ""  # where it is, and why
    repeated: int = 0  # predictions for the same engine and cycle, of which the newest counts
    without_truth: int = 0
    excluded: int = 0  # of engines whose truth is in doubt
    engines_without_predictions: list[int] = field(default_factory=list)

    @property
    def unreadable(self) -> bool:
        """Whether there are files, and none of truth or none of predictions could be read."""
        return (self.broken_truth_files > 0 and self.truth_files == 0) or (
            self.broken_prediction_files > 0 and self.prediction_files == 0
        )


def join(truth: Path, predictions: Path) -> Joined:
    """Read every CSV file below both folders and join them by engine: RUL falls by one each cycle."""
    joined = Joined()
    ends = _ends(truth, joined)
    newest: dict[tuple[int, int], Prediction] = {}
    paths = _paths(predictions)
    for name, content, faults in _files(predictions, paths, joined, PREDICTIONS_HEADER, _prediction, MEND_PREDICTIONS):
        joined.prediction_files += 1
        joined.predictions += len(content) + len(faults)
        # Nobody can mend what was once asked or answered: it is counted, and no problem.
        joined.out_of_limits += len(faults)
        if faults and not joined.first_out_of_limits:
            joined.first_out_of_limits = f"{name}, {faults[0]}"
        for _, prediction in content:
            if prediction.unit not in ends:  # not kept: most engines still fly
                joined.without_truth += 1
                continue
            key = (prediction.unit, prediction.cycle)
            before = newest.get(key)
            if before is None or (prediction.time, prediction.event) > (before.time, before.event):
                newest[key] = prediction
    joined.repeated = joined.predictions - joined.out_of_limits - joined.without_truth - len(newest)
    joined.broken_prediction_files = len(paths) - joined.prediction_files

    by_engine: dict[int, list[Prediction]] = defaultdict(list)
    for prediction in newest.values():
        by_engine[prediction.unit].append(prediction)
    doubtful = _contradictions(ends, joined)
    for unit in sorted(by_engine):
        made = sorted(by_engine[unit], key=lambda each: each.cycle)
        end, where = ends[unit][0]
        if unit not in doubtful and made[-1].cycle > end + SAME:
            doubtful.add(unit)
            what = f"was asked about at cycle {made[-1].cycle}, but its life ended at cycle {end:g} ({where})"
            joined.problems.append(Problem(f"engine {unit}", what, CLEAR_UP))
        if unit in doubtful:
            joined.excluded += len(made)
            continue
        joined.matches.extend(Match(each, max(end - each.cycle, 0.0)) for each in made)
    joined.engines_without_predictions = sorted(set(ends) - set(by_engine))
    return joined


def _ends(folder: Path, joined: Joined) -> dict[int, list[tuple[float, str]]]:
    """Of each engine the cycles at which its life ended, and the files and lines that say so."""
    ends: dict[int, list[tuple[float, str]]] = defaultdict(list)
    paths = _paths(folder)
    for name, content, faults in _files(folder, paths, joined, TRUTH_HEADER, _truth, MEND_TRUTH):
        if faults and not content:
            joined.problems.append(Problem(name, f"cannot be read: {_first(faults)}", MEND_TRUTH))
            continue
        joined.truth_files += 1
        if faults:
            what = f"{len(faults)} of {len(faults) + len(content)} lines are left out: {_first(faults)}"
            joined.problems.append(Problem(name, what, MEND_TRUTH))
        for line, (unit, cycle, rul) in content:
            ends[unit].append((cycle + rul, f"{name}, line {line}"))
    joined.broken_truth_files = len(paths) - joined.truth_files
    return dict(ends)


def _first(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - LINES_NAMED} more" if len(faults) > LINES_NAMED else ""
    return "; ".join(faults[:LINES_NAMED]) + more


def _contradictions(ends: dict[int, list[tuple[float, str]]], joined: Joined) -> set[int]:
    doubtful: set[int] = set()
    for unit, said in sorted(ends.items()):
        low, high = min(said), max(said)
        if high[0] - low[0] > SAME:
            doubtful.add(unit)
            what = f"has two ends of life: cycle {low[0]:g} ({low[1]}) and cycle {high[0]:g} ({high[1]})"
            joined.problems.append(Problem(f"engine {unit}", what, CLEAR_UP))
    return doubtful


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _files(
    folder: Path,
    paths: Iterable[Path],
    joined: Joined,
    header: tuple[str, ...],
    parse: Callable[[Sequence[str]], Row],
    remedy: str,
) -> Iterator[tuple[str, list[tuple[int, Row]], list[str]]]:
    """Of each CSV file its name below `folder`, its lines by number, and what is wrong with the lines that are none.

    A file that is no such CSV at all becomes a problem instead.
    """
    for path in paths:
        name = str(path.relative_to(folder))
        if path.suffix.lower() != ".csv":
            joined.problems.append(Problem(name, "is no .csv file", remedy))
            continue
        content: list[tuple[int, Row]] = []
        faults: list[str] = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                for line, row in _lines(csv.reader(stream, strict=True), header):
                    try:
                        if len(row) != len(header):
                            raise _LineError(f" has {len(row)} fields instead of {len(header)}")
                        content.append((line, parse(row)))
                    except _LineError as error:
                        faults.append(f"line {line}{error}")
        except (OSError, ValueError, csv.Error) as error:
            joined.problems.append(Problem(name, _reason(error), remedy))
            continue
        yield name, content, faults


def _reason(error: Exception) -> str:
    return "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error}"


class _LineError(Exception):
    """What is wrong with a line, to be read after its number."""


def _lines(rows: Iterable[list[str]], header: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields below the header; empty lines are passed over. Raises ValueError without the header."""
    first = True
    for line, row in enumerate(rows, start=1):
        fields = [value.strip() for value in row]
        if first:
            if tuple(fields) != header:
                raise ValueError(f"line 1 is not the header {','.join(header)}")
            first = False
        elif any(fields):
            yield line, fields
    if first:
        raise ValueError("it is empty")


def _truth(row: Sequence[str]) -> tuple[int, int, float]:
    """Unit, cycle and RUL. Raises _LineError, as all that read a field."""
    return _count(row[0], "unit"), _count(row[1], "cycle"), _number(row[2], "rul", 0, MAX_RUL)


def _prediction(row: Sequence[str]) -> Prediction:
    # A RUL below zero is a bad answer, but one that a model gave: it counts against the model.
    rul = _number(row[2], "rul", -MAX_RUL, MAX_RUL)
    return Prediction(_count(row[0], "unit"), _count(row[1], "cycle"), rul, _time(row[3]), row[4])


def _number(text: str, name: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise _LineError(f", {name}: {text[:40]!r} is no number from {least:.0f} to {most:.0f}")
    return value


def _count(text: str, name: str) -> int:
    value = _number(text, name, 1, MAX_COUNT)
    if value != int(value):
        raise _LineError(f", {name}: {text[:40]!r} is no whole number")
    return int(value)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _LineError(f", time: {text[:40]!r} is no ISO 8601 time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
