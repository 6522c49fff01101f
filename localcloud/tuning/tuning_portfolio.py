"""A tuning job over several training job definitions: one search each, one budget for all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from localcloud.tuning.search import Search, SearchExhausted, Trial


class Portfolio:
    """Asks its searches in turn, every second time the one that leads; safe to use from several threads.

    AWS does not say how it divides a budget between definitions. Here each gets its share for as long as nothing is
    known, and half of the budget goes to the best one from then on.
    """

    def __init__(self, searches: Sequence[Search], most: int, minimize: bool) -> None:
        """``most``: trials over all searches."""
        self._searches = list(searches)
        self._minimize = minimize
        self._lock = threading.Lock()
        self._trials: list[tuple[int, int]] = []  # of each trial: its search, and its number there
        self.size = min(most, sum(search.size for search in searches))

    def ask(self) -> tuple[int, Trial]:
        """The next trial and the number of its definition; raises SearchExhausted after the last."""
        with self._lock:
            if len(self._trials) >= self.size:
                raise SearchExhausted(f"All {self.size} trials of this tuning job have been asked for")
            which = self._next()
            trial = self._searches[which].ask()
            self._trials.append((which, trial.id))
            return which, replace(trial, id=len(self._trials) - 1)

    def report(self, trial_id: int, value: float) -> bool:
        """An intermediate value; True when the trial should be stopped early."""
        which, number = self._trials[trial_id]
        return self._searches[which].report(number, value)

    def tell(self, trial_id: int, value: float | None, failed: bool = False) -> None:
        """A final value."""
        which, number = self._trials[trial_id]
        self._searches[which].tell(number, value, failed)

    def best(self) -> float | None:
        """The best value so far."""
        values = [found[1] for search in self._searches if (found := search.best()) is not None]
        if not values:
            return None
        return min(values) if self._minimize else max(values)

    def exhausted(self) -> bool:
        """Whether every trial was asked for."""
        return len(self._trials) >= self.size

    def _next(self) -> int:
        asked = [which for which, _ in self._trials]
        open_ones = [which for which, search in enumerate(self._searches) if not search.exhausted()]
        if len(self._trials) % 2:
            known = [(found[1], which) for which in open_ones if (found := self._searches[which].best()) is not None]
            if known:
                return (min if self._minimize else max)(known, key=lambda item: item[0])[1]
        return min(open_ones, key=asked.count)
