"""The search of a tuning job: SageMaker's ranges and strategies."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Callable
from typing import Any

import pytest

from localcloud.tuning.search import Search, SearchExhausted, Trial, TuningError

RANGES: dict[str, Any] = {
    "IntegerParameterRanges": [
        {"Name": "units", "MinValue": "32", "MaxValue": "128", "ScalingType": "Auto"},
        {"Name": "trees", "MinValue": "1", "MaxValue": "1000", "ScalingType": "Logarithmic"},
    ],
    "ContinuousParameterRanges": [
        {"Name": "rate", "MinValue": "0.0001", "MaxValue": "0.01", "ScalingType": "Logarithmic"},
        {"Name": "momentum", "MinValue": "0.5", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"},
        {"Name": "dropout", "MinValue": "0.1", "MaxValue": "0.5"},
    ],
    "CategoricalParameterRanges": [{"Name": "kind", "Values": ["lstm", "gru"]}],
}
CATEGORIES = {
    "CategoricalParameterRanges": [
        {"Name": "kind", "Values": ["lstm", "gru"]},
        {"Name": "layers", "Values": ["1", "2", "3"]},
    ]
}


def search(**changes: Any) -> Search:
    arguments: dict[str, Any] = {
        "strategy": "Bayesian",
        "ranges": RANGES,
        "objective_type": "Minimize",
        "seed": 1,
        "static": {"epochs": "3"},
        "max_jobs": 20,
    }
    return Search(**{**arguments, **changes})


def one(**parameter: str) -> dict[str, Any]:
    kind = "Categorical" if "Values" in parameter else parameter.pop("kind", "Continuous")
    return {f"{kind}ParameterRanges": [{"Name": "x", **parameter}]}


def run(searched: Search, objective: Callable[[dict[str, str]], float], parallel: int = 4) -> list[Trial]:
    """Run a search to its end with some trials always under way."""
    trials: list[Trial] = []
    pending: list[Trial] = []
    while pending or not searched.exhausted():
        while len(pending) < parallel and not searched.exhausted():
            pending.append(searched.ask())
        trial = pending.pop(0)
        searched.tell(trial.id, objective(trial.hyperparameters))
        trials.append(trial)
    return trials


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Hyperband"])
def test_values_are_strings_within_their_ranges(strategy: str) -> None:
    trials = run(search(strategy=strategy, max_jobs=25), lambda h: float(h["dropout"]))
    assert [trial.id for trial in trials] == list(range(25))
    for trial in trials:
        values = trial.hyperparameters
        assert values["epochs"] == "3"
        assert values.keys() - trial.tuned.keys() == {"epochs"}
        assert str(int(values["units"])) == values["units"]
        assert 32 <= int(values["units"]) <= 128
        assert 1 <= int(values["trees"]) <= 1000
        assert 0.0001 <= float(values["rate"]) <= 0.01
        assert 0.5 <= float(values["momentum"]) <= 0.999
        assert repr(float(values["dropout"])) == values["dropout"]
        assert values["kind"] in ("lstm", "gru")


@pytest.mark.parametrize(
    ("scaling", "low", "high", "below"),
    [
        ("Linear", "0.0001", "1", 0.5),
        ("Logarithmic", "0.0001", "1", 0.01),
        ("Auto", "0.0001", "1", 0.01),  # spans orders of magnitude
        ("Auto", "0.1", "1", 0.55),
        ("ReverseLogarithmic", "0", "0.9999", 0.99),
    ],
)
def test_scaling_puts_half_of_the_values_below(scaling: str, low: str, high: str, below: float) -> None:
    ranges = one(MinValue=low, MaxValue=high, ScalingType=scaling)
    trials = run(search(strategy="Random", ranges=ranges, max_jobs=400), lambda _: 0.0)
    share = statistics.fmean(float(trial.tuned["x"]) < below for trial in trials)
    assert 0.4 < share < 0.6


def test_logarithmic_integers_are_searched_by_their_order_of_magnitude() -> None:
    ranges = one(kind="Integer", MinValue="1", MaxValue="10000", ScalingType="Logarithmic")
    trials = run(search(strategy="Random", ranges=ranges, max_jobs=300), lambda _: 0.0)
    assert 0.4 < statistics.fmean(int(trial.tuned["x"]) <= 100 for trial in trials) < 0.6


def bowl(values: dict[str, str]) -> float:
    """Smooth, with its minimum 0 inside the ranges."""
    return (
        ((int(values["units"]) - 100) / 96) ** 2
        + (math.log10(float(values["rate"])) + 2.7) ** 2
        + ((float(values["dropout"]) - 0.2) / 0.4) ** 2
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_bayesian_beats_random_on_a_smooth_objective(sign: int) -> None:
    ranges = {
        "IntegerParameterRanges": RANGES["IntegerParameterRanges"][:1],
        "ContinuousParameterRanges": [RANGES["ContinuousParameterRanges"][index] for index in (0, 2)],
    }
    kind = "Minimize" if sign == 1 else "Maximize"
    means = {}
    for strategy in ("Bayesian", "Random"):
        best = []
        for seed in range(8):
            searched = search(strategy=strategy, ranges=ranges, seed=seed, objective_type=kind)
            run(searched, lambda values: sign * bowl(values))
            found = searched.best()
            assert found is not None
            best.append(sign * found[1])
        means[strategy] = statistics.fmean(best)
    assert means["Bayesian"] < 0.75 * means["Random"]


@pytest.mark.parametrize("strategy", ["Bayesian", "Random"])
def test_same_seed_asks_the_same(strategy: str) -> None:
    first, second, other = (
        [trial.tuned for trial in run(search(strategy=strategy, seed=seed), lambda h: float(h["dropout"]))]
        for seed in (5, 5, 6)
    )
    assert first == second
    assert first != other


def test_parallel_trials_differ() -> None:
    searched = search(max_jobs=30)
    for trial in [searched.ask() for _ in range(10)]:
        searched.tell(trial.id, float(trial.tuned["dropout"]))
    parallel = [searched.ask() for _ in range(8)]
    assert len({tuple(trial.tuned.values()) for trial in parallel}) == 8


def test_threads_may_ask_and_tell_at_once() -> None:
    searched = search(max_jobs=40, strategy="Random")
    ids: list[int] = []

    def work() -> None:
        for _ in range(5):
            trial = searched.ask()
            ids.append(trial.id)
            searched.tell(trial.id, float(trial.id))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == list(range(40))
    assert searched.best() == (0, 0.0)


def test_best_is_by_the_objective_and_failures_do_not_count() -> None:
    for kind, expected in (("Minimize", (3, 1.0)), ("Maximize", (1, 9.0))):
        searched = search(objective_type=kind)
        assert searched.best() is None
        values = (None, 9.0, -5.0, 1.0, math.nan)
        for value in values:
            searched.tell(searched.ask().id, value, failed=value == -5.0)
        assert searched.best() == expected


def test_all_trials_failing_is_no_error() -> None:
    searched = search(max_jobs=15)
    while not searched.exhausted():
        searched.tell(searched.ask().id, None, failed=True)
    assert searched.best() is None


def test_second_tell_is_ignored() -> None:
    searched = search()
    trial = searched.ask()
    searched.tell(trial.id, 2.0)
    searched.tell(trial.id, 1.0)
    assert searched.best() == (trial.id, 2.0)


def test_search_ends_after_max_jobs() -> None:
    searched = search(max_jobs=2)
    searched.ask()
    assert not searched.exhausted()
    searched.ask()
    assert searched.exhausted()
    with pytest.raises(SearchExhausted, match="All 2 trials"):
        searched.ask()


def test_grid_is_every_combination_once() -> None:
    searched = search(strategy="Grid", ranges=CATEGORIES, max_jobs=2)
    assert searched.size == 6
    trials = run(searched, lambda h: float(h["layers"]))
    assert {(trial.tuned["kind"], trial.tuned["layers"]) for trial in trials} == {
        (kind, layers) for kind in ("lstm", "gru") for layers in "123"
    }
    assert searched.exhausted()
    assert searched.best() == (0, 1.0)


def test_warm_start_learns_from_parents_within_the_ranges() -> None:
    ranges = one(MinValue="0", MaxValue="1")
    parents = [({"x": repr(value / 20)}, abs(value / 20 - 0.3)) for value in range(21)]
    parents += [({"x": "7"}, -100.0), ({"y": "0.5"}, -100.0), ({"x": "much"}, -100.0)]
    near = []
    for seed in range(10):
        searched = search(ranges=ranges, warm_start=parents, seed=seed)
        near.append(abs(float(searched.ask().tuned["x"]) - 0.3))
    assert statistics.fmean(near) < 0.12


def test_early_stopping_follows_the_median_of_running_averages() -> None:
    searched = search(early_stopping="Auto")
    for curve in ([10.0, 8.0, 6.0], [12.0, 10.0, 8.0]):  # running averages after 2 epochs: 9 and 11, their median 10
        trial = searched.ask()
        for value in curve:
            searched.report(trial.id, value)
        searched.tell(trial.id, curve[-1])
    good, bad = searched.ask(), searched.ask()
    assert not searched.report(good.id, 10.5)
    assert not searched.report(good.id, 9.9)
    assert not searched.report(bad.id, 10.5)
    assert searched.report(bad.id, 10.1)


def test_without_early_stopping_nothing_stops() -> None:
    searched = search()
    first = searched.ask()
    searched.report(first.id, 1.0)
    searched.tell(first.id, 1.0)
    assert not searched.report(searched.ask().id, 1000.0)


def test_hyperband_stops_the_worse_trials() -> None:
    searched = search(strategy="Hyperband", max_jobs=30, hyperband={"MinResource": 1, "MaxResource": 27})
    stopped = []
    for number in range(30):
        trial = searched.ask()
        for epoch in range(27):
            if searched.report(trial.id, number + 1 / (epoch + 1)):  # each is worse than the one before
                stopped.append(number)
                break
        searched.tell(trial.id, float(number))
    assert 0 not in stopped
    assert len(stopped) > 10
    assert searched.best() == (0, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "Annealing"}, "must be one of Bayesian, Random, Grid, Hyperband"),
        ({"objective_type": "Least"}, "must be Minimize or Maximize"),
        ({"early_stopping": "On"}, "must be Off or Auto"),
        ({"strategy": "Hyperband", "early_stopping": "Auto"}, "must be Off with the Hyperband strategy"),
        (
            {"strategy": "Hyperband", "hyperband": {"MinResource": 9, "MaxResource": 3}},
            "must be greater than MinResource",
        ),
        ({"max_jobs": 0}, "at least 1"),
        ({"ranges": {}}, "At least one hyperparameter range"),
        ({"static": {"units": "3"}}, "both static and tunable: units"),
        ({"strategy": "Grid"}, "categorical hyperparameters only, not units, trees, rate"),
        ({"ranges": one(MinValue="2", MaxValue="1")}, "greater than its MaxValue"),
        ({"ranges": one(MinValue="a", MaxValue="1")}, "'a' of the hyperparameter x is not a number"),
        ({"ranges": one(MinValue="0", MaxValue="inf")}, "'inf' of the hyperparameter x is not a number"),
        (
            {"ranges": one(kind="Integer", MinValue="1.5", MaxValue="2")},
            "'1.5' of the hyperparameter x is not an integer",
        ),
        ({"ranges": one(MinValue="0", MaxValue="1", ScalingType="Logarithmic")}, "MinValue greater than 0"),
        ({"ranges": one(MinValue="0", MaxValue="1", ScalingType="ReverseLogarithmic")}, "0 <= x < 1"),
        ({"ranges": one(kind="Integer", MinValue="0", MaxValue="0", ScalingType="ReverseLogarithmic")}, "continuous"),
        ({"ranges": one(MinValue="0", MaxValue="1", ScalingType="Cubic")}, "must be one of Auto"),
        ({"ranges": {"CategoricalParameterRanges": [{"Name": "x", "Values": []}]}}, "has no values"),
        ({"ranges": {"CategoricalParameterRanges": [{"Name": "x", "Values": ["a", "a"]}]}}, "not unique"),
        (
            {
                "ranges": {
                    **one(MinValue="0", MaxValue="1"),
                    "CategoricalParameterRanges": [{"Name": "x", "Values": ["a"]}],
                }
            },
            "unique names, not twice x",
        ),
    ],
)
def test_wrong_search_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TuningError, match=message):
        search(**changes)


def test_range_of_one_value_is_fine() -> None:
    for scaling in ("Auto", "Linear", "Logarithmic", "ReverseLogarithmic"):
        ranges = one(MinValue="0.3", MaxValue="0.3", ScalingType=scaling)
        assert search(ranges=ranges).ask().tuned == {"x": "0.3"}
