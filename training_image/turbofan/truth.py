"""True RUL, known when engines fail or are removed, and the captured predictions that it belongs to.

Whoever uploads a file is told by name what is wrong with it; the other files are used.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

Content = TypeVar("Content")

TRUTH_HEADER = ["unit", "cycle", "rul"]
PREDICTIONS_HEADER = ["unit", "cycle", "rul", "time", "event_id"]
LARGEST = 1e6  # cycles: a larger number is no RUL, no age and no engine of any fleet
SAME = 0.5  # cycles: two truths of one engine that are no further apart are the same
MEND_TRUTH = "Correct the file and upload it again under the same name."
MEND_PREDICTIONS = "Monitoring wrote this file: delete it, and run the window again; its other predictions are used."
CLEAR_UP = "Find out which is right, correct that file and upload it again; until then the engine is left out."


class Problem(NamedTuple):
    """Something that was left out, and what to do about it."""

    where: str
    what: str
    do: str


class Prediction(NamedTuple):
    """One captured prediction."""

    unit: float  # whole where there can be a truth; whoever asks may number engines as they like
    cycle: float
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
    predictions: int = 0  # lines read
    repeated: int = 0  # predictions for the same engine and cycle, of which the newest counts
    without_truth: int = 0
    excluded: int = 0  # of engines whose truth is in doubt
    engines_without_predictions: list[float] = field(default_factory=list)

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
    newest: dict[tuple[float, float], Prediction] = {}
    for _, content in _files(predictions, joined, _predictions, MEND_PREDICTIONS):
        joined.prediction_files += 1
        joined.predictions += len(content)
        for prediction in content:
            if prediction.unit not in ends:  # not kept: most engines still fly
                joined.without_truth += 1
                continue
            key = (prediction.unit, prediction.cycle)
            before = newest.get(key)
            if before is None or (prediction.time, prediction.event) > (before.time, before.event):
                newest[key] = prediction
    joined.repeated = joined.predictions - joined.without_truth - len(newest)
    joined.broken_prediction_files = len(joined.problems) - joined.broken_truth_files

    by_engine: dict[float, list[Prediction]] = defaultdict(list)
    for prediction in newest.values():
        by_engine[prediction.unit].append(prediction)
    doubtful = _contradictions(ends, joined)
    for unit in sorted(by_engine):
        made = sorted(by_engine[unit], key=lambda each: each.cycle)
        end, where = ends[unit][0]
        if unit not in doubtful and made[-1].cycle > end + SAME:
            doubtful.add(unit)
            what = f"was asked about at cycle {made[-1].cycle:g}, but its life ended at cycle {end:g} ({where})"
            joined.problems.append(Problem(f"engine {unit:.12g}", what, CLEAR_UP))
        if unit in doubtful:
            joined.excluded += len(made)
            continue
        joined.matches.extend(Match(each, max(end - each.cycle, 0.0)) for each in made)
    joined.engines_without_predictions = sorted(set(ends) - set(by_engine))
    return joined


def _ends(folder: Path, joined: Joined) -> dict[float, list[tuple[float, str]]]:
    """Of each engine the cycles at which its life ended, and the files and lines that say so."""
    ends: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for name, content in _files(folder, joined, _truths, MEND_TRUTH):
        joined.truth_files += 1
        for line, (unit, cycle, rul) in content:
            ends[unit].append((cycle + rul, f"{name}, line {line}"))
    joined.broken_truth_files = len(joined.problems)
    return dict(ends)


def _contradictions(ends: dict[float, list[tuple[float, str]]], joined: Joined) -> set[float]:
    doubtful: set[float] = set()
    for unit, said in sorted(ends.items()):
        low, high = min(said), max(said)
        if high[0] - low[0] > SAME:
            doubtful.add(unit)
            what = f"has two ends of life: cycle {low[0]:g} ({low[1]}) and cycle {high[0]:g} ({high[1]})"
            joined.problems.append(Problem(f"engine {unit:.12g}", what, CLEAR_UP))
    return doubtful


def _files(
    folder: Path, joined: Joined, parse: Callable[[Iterable[list[str]]], Content], remedy: str
) -> Iterator[tuple[str, Content]]:
    """The name and content of every CSV file below `folder`; one that cannot be read becomes a problem instead."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix.lower() != ".csv":
            joined.problems.append(Problem(name, "is no .csv file", remedy))
            continue
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                yield name, parse(csv.reader(stream, strict=True))
        except (OSError, ValueError, csv.Error) as error:
            joined.problems.append(Problem(name, _reason(error), remedy))


def _reason(error: Exception) -> str:
    return "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error}"


def _truths(rows: Iterable[list[str]]) -> list[tuple[int, tuple[int, int, float]]]:
    """Line number and unit, cycle, RUL of every line. Raises ValueError naming the first line that is wrong."""
    return [
        (line, (_whole(row[0], "unit", line), _whole(row[1], "cycle", line), _number(row[2], "rul", line)))
        for line, row in _lines(rows, TRUTH_HEADER)
    ]


def _predictions(rows: Iterable[list[str]]) -> list[Prediction]:
    return [
        Prediction(
            _number(row[0], "unit", line, -math.inf),
            _number(row[1], "cycle", line, -math.inf),
            _number(row[2], "rul", line),
            _time(row[3], line),
            row[4],
        )
        for line, row in _lines(rows, PREDICTIONS_HEADER)
    ]


def _lines(rows: Iterable[list[str]], header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields below the header; empty lines are passed over."""
    first = True
    for line, row in enumerate(rows, start=1):
        fields = [value.strip() for value in row]
        if first:
            if fields != header:
                raise ValueError(f"line 1 is not the header {','.join(header)}")
            first = False
        elif any(fields):
            if len(fields) != len(header):
                raise ValueError(f"line {line} has {len(fields)} fields instead of {len(header)}")
            yield line, fields
    if first:
        raise ValueError("it is empty")


def _number(text: str, name: str, line: int, least: float = 0.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= LARGEST:
        raise ValueError(f"line {line}, {name}: {text[:40]!r} is no number from {least:g} to {LARGEST:.0f}")
    return value


def _whole(text: str, name: str, line: int) -> int:
    value = _number(text, name, line)
    if value != int(value):
        raise ValueError(f"line {line}, {name}: {text[:40]!r} is no whole number")
    return int(value)


def _time(text: str, line: int) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"line {line}, time: {text[:40]!r} is no ISO 8601 time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
