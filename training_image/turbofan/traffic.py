"""The captured traffic of a window: who asked for what, and the newest history of every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from turbofan.capture import Capture, Prediction, Record, predictions
from turbofan.drift_summary import MIN_ROWS
from turbofan.features import Floats, Ints
from turbofan.schema import SchemaCheck
from turbofan.serving.bodies import Engines

# More engines say no more, and each costs the memory of its history (200 cycles: 42 kB). Beyond it, a fair sample of
# them is kept; of a history that no engine's life has, the newest rows.
MOST_ENGINES = 2_000
MOST_ROWS = 1_000
_RANKS = 1 << 32


@dataclass
class Engine:
    """The newest history of one engine in the window."""

    unit: int
    time: str
    cycle: int
    rows: Floats  # (cycles, 26)
    rul: float | None  # what was answered to it, if that was captured


@dataclass
class Traffic:
    """Counts of records, and engines by unit."""

    schema: SchemaCheck
    seed: int = 0  # of the samples: other engines in other windows
    probes: int = 0
    failed: int = 0  # answered with an error
    malformed: int = 0  # cannot be read as engines, although no error was captured
    used: int = 0
    _engines: dict[int, Engine] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)
    _most_rank: int = _RANKS

    def take(self, capture: Capture, keep: Callable[[Record, list[Prediction]], None]) -> None:
        """Read every record; `keep` is given those with predictions, probes left out."""
        for record in capture:
            if record.is_probe:
                self.probes += 1
                continue
            answered = predictions(record.answer) if record.answer is not None else []
            # What the client sent is looked at even if the server refused it: it says what clients send.
            engines = self.schema.take(record.request) if record.request is not None else None
            if answered is None:
                self.failed += 1
                continue
            if answered:
                keep(record, answered)
            if engines is None and record.request is not None:
                self.malformed += 1
                continue
            self.used += 1
            if engines is not None:
                self._keep(engines, record.time, answered)

    @property
    def engines_seen(self) -> int:
        """How many engines asked, those among them that the sample leaves out."""
        return len(self._seen)

    def engines(self) -> list[Engine]:
        """Those that are kept, in order of units."""
        return [self._engines[unit] for unit in sorted(self._engines)]

    def sample(self, count: int) -> list[Engine]:
        """At most `count` of them, drawn fairly from those with rows enough to be judged; in order of units."""

        def order(unit: int) -> tuple[bool, int]:
            return len(self._engines[unit].rows) < MIN_ROWS, self._rank(unit)

        return [self._engines[unit] for unit in sorted(sorted(self._engines, key=order)[:count])]

    def _keep(self, engines: Engines, time: str, answered: list[Prediction]) -> None:
        rul = {(each.unit, each.cycle): each.rul for each in answered}
        self._seen.update(engines.units)
        for i, (unit, cycle) in enumerate(zip(engines.units, engines.cycles, strict=True)):
            known = self._engines.get(unit)
            if (known is not None and (known.time, known.cycle) >= (time, cycle)) or self._rank(unit) > self._most_rank:
                continue
            start, end = int(engines.offsets[i]), int(engines.offsets[i + 1])
            rows = engines.raw[max(start, end - MOST_ROWS) : end].copy()
            self._engines[unit] = Engine(unit, time, cycle, rows, rul.get((unit, cycle)))
        if len(self._engines) > 2 * MOST_ENGINES:
            kept = sorted(self._engines, key=self._rank)[:MOST_ENGINES]
            self._engines = {unit: self._engines[unit] for unit in kept}
            self._most_rank = self._rank(kept[-1])

    def _rank(self, unit: int) -> int:
        """A number that looks drawn at random but is the same each time (multiplicative hashing, Knuth)."""
        return (unit + self.seed) * 2654435761 % _RANKS


def histories(engines: list[Engine]) -> tuple[Floats, Ints]:
    """Their rows (n, 26), one engine after the other, and where each begins, (engines + 1,)."""
    raw = np.concatenate([engine.rows for engine in engines]) if engines else np.empty((0, 26))
    return raw, np.cumsum([0, *(len(engine.rows) for engine in engines)], dtype=np.int64)
