"""Whether a model answers as it did when it was released, given what it is asked.

Degradation is not drift: worn engines are rightly given shorter lives. So each prediction is compared with what this
model is expected to say to such inputs, by a smooth copy of it (ridge regression on random rectified features of the
engine's recent and whole history), fitted on its predictions for the engines of the training file. What remains is the
copy's error, unless the model changed. Thresholds are calibrated as those of the inputs are
(turbofan.drift): on engines held out whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from turbofan import drift_distances
from turbofan.drift import SEVERE_BIAS, SIZES, DriftBaseline, Findings, draw_windows, interpolate, students_t
from turbofan.drift_summary import recent_rows
from turbofan.errors import InputError
from turbofan.features import CYCLE, FIRST_SENSOR, FIRST_SETTING, Floats, Ints

FILE = "drift_predictions.json"
SCHEMA = 1
KIND = "drift-predictions"
LEVEL = 0.015  # false alarms per check; the inputs have as many (turbofan.drift.LEVEL)
CUTS = 24  # ages at which each engine is predicted
LEAST_ENGINES = 20
SPLITS = 8
HELD_OUT = 1 / 3
DRAWS = 400
SPANS = (50, 30, 10, None)  # rows whose means the copy sees; None: since the engine's first
COMPONENTS = (1, 2, 1, 2)  # principal components of each
HIDDEN = 500  # random features
RIDGE = 5.0
BIAS_SPAN = 1.5  # of the random features' thresholds, in standard deviations of the inputs
LIMIT = 10.0  # standard deviations: a broken sensor shall not carry the copy away
LEVELS = 5  # of the expected prediction: errors and how far a prediction can move depend on it
STEP = 0.1  # of the ceiling: the shift that the sensitivity of clipped predictions is taken for
QUANTILES = 21
PSI_MODERATE, PSI_SEVERE = 0.1, 0.25
AGE_SCALE = 200.0  # cycles
COPY_ARRAYS = ("directions", "centre", "scale", "weights", "thresholds")


@dataclass(frozen=True)
class PredictionFindings:
    """The verdict on a window's predictions."""

    engines: int
    statistic: float
    threshold: float
    ratio: float
    violated: bool
    what: str
    psi: float | None
    band: str  # of the PSI: none, moderate or severe
    mean: float | None  # cycles
    baseline_mean: float | None  # cycles: what such inputs were answered at release
    bias: float | None  # cycles: how far predictions are off, as estimated from those that can move

    @property
    def severity(self) -> str:
        """`severe`: off by at least 10 cycles, or PSI severe. Only what is violated has any."""
        if not self.violated:
            return "none"
        severe = self.band == "severe" or (self.bias is not None and abs(self.bias) >= SEVERE_BIAS)
        return "severe" if severe else "moderate"


def severity(inputs: Findings, predictions: PredictionFindings | None = None) -> str:
    """The worse of both: none, moderate or severe."""
    found = {inputs.severity, predictions.severity if predictions else "none"}
    return "severe" if "severe" in found else "moderate" if "moderate" in found else "none"


def cause(inputs: Findings, predictions: PredictionFindings | None = None) -> str | None:
    """`data` before `drift` before `model`: predictions only accuse the model when its inputs are fine."""
    return inputs.cause or ("model" if predictions is not None and predictions.violated else None)


@dataclass(frozen=True)
class Copy:
    """A smooth copy of a model: what it is expected to predict for an engine."""

    directions: Floats  # (len(SPANS) p + 1, inputs): what of the means and the age is looked at
    centre: Floats  # (inputs,)
    scale: Floats  # (inputs,)
    weights: Floats  # (inputs, HIDDEN) of the random features
    thresholds: Floats  # (HIDDEN,)
    ceiling: float  # cycles: no prediction is above

    @classmethod
    def fit(cls, means: Floats, answers: Floats, ceiling: float, seed: int) -> Copy:
        """The inputs and the random features, from means (C, len(SPANS) p + 1) and predictions (C,).

        Inputs are the strongest principal components of each span, and what explains the predictions best in a straight
        line, of each span and of all. The coefficients are fitted by `ridge`.
        """
        width = (means.shape[1] - 1) // len(SPANS)
        columns = []
        for number, count in enumerate(COMPONENTS):
            place = slice(number * width, (number + 1) * width)
            _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(means[:, place], rowvar=False)))
            for vector in (*vectors[:, -count:].T, _straight(means[:, place], answers)):
                column = np.zeros(means.shape[1])
                column[place] = vector
                columns.append(column)
        columns.append(_straight(means, answers))
        columns.append(np.eye(means.shape[1])[-1])
        directions = np.array(columns).T
        inputs = means @ directions
        scale = inputs.std(axis=0)
        random = np.random.default_rng(seed)
        size = inputs.shape[1]
        return cls(
            directions=directions,
            centre=inputs.mean(axis=0),
            scale=np.where(scale > 1e-9, scale, 1.0),
            weights=np.round(random.standard_normal((size, HIDDEN)) / np.sqrt(size), 4),
            thresholds=np.round(random.uniform(-BIAS_SPAN, BIAS_SPAN, HIDDEN), 4),
            ceiling=ceiling,
        )

    def features(self, means: Floats) -> Floats:
        """Of C engines, (C, 1 + inputs + HIDDEN)."""
        inputs = np.clip((means @ self.directions - self.centre) / self.scale, -LIMIT, LIMIT)
        hidden = np.maximum(inputs @ self.weights + self.thresholds, 0.0)
        return np.hstack((np.ones((len(inputs), 1)), inputs, hidden))

    def predict(self, features: Floats, coefficients: Floats) -> Floats:
        """Expected predictions in cycles, (C,)."""
        expected: Floats = np.clip(features @ coefficients, 0.0, self.ceiling)
        return expected


def _straight(means: Floats, answers: Floats) -> Floats:
    """Slopes of a linear regression of predictions on columns (C, k), (k,)."""
    centred = means - means.mean(axis=0)
    gram: Floats = centred.T @ centred + np.eye(means.shape[1])
    slopes: Floats = np.linalg.solve(gram, centred.T @ (answers - answers.mean()))
    return slopes


def ridge(gram: Floats, moment: Floats) -> Floats:
    """Coefficients of ridge regression from X'X and X'y."""
    return np.asarray(np.linalg.solve(gram + RIDGE * np.eye(len(gram)), moment), dtype=np.float64)


@dataclass(frozen=True)
class PredictionBaseline:
    """What a model predicts while nothing has changed: calibrated thresholds for its predictions."""

    copy: Copy
    coefficients: Floats
    spread: Floats  # (LEVELS,): of the copy's error in cycles, by expected prediction
    upward: Floats  # (LEVELS,): how much of a shift upwards shows, as predictions end at the ceiling
    downward: Floats  # (LEVELS,)
    errors: Floats  # (LEVELS, QUANTILES): of the copy, in cycles
    thresholds: Floats  # (sizes,); empty when not calibrated
    engines: int
    why_not: str = ""

    @property
    def calibrated(self) -> bool:
        """Whether there are thresholds."""
        return len(self.thresholds) > 0

    @classmethod
    def fit(
        cls, drift: DriftBaseline, raw: Floats, offsets: Ints, ends: Ints, rul: Floats, seed: int = 1
    ) -> PredictionBaseline:
        """From predictions `rul` (engines, cuts) in cycles after the rows before `ends` (engines, cuts).

        `raw` (n, 26) are whole histories that the model was not trained on, engines beginning at `offsets`.
        """
        engines, cuts = ends.shape
        answers = np.asarray(rul, dtype=np.float64).ravel()
        ceiling = float(answers.max(initial=1.0))
        means = _means(drift, raw, np.repeat(offsets[:-1], cuts), ends.ravel())
        copy = Copy.fit(means, answers, ceiling, seed)
        features = copy.features(means)
        gram, moment = features.T @ features, features.T @ answers
        coefficients = ridge(gram, moment)
        if engines < LEAST_ENGINES or not drift.calibrated:
            ones = np.ones(LEVELS)
            why = drift.why_not or f"predictions for {engines} engines, {LEAST_ENGINES} are needed"
            nothing = np.zeros((LEVELS, QUANTILES))
            return cls(copy, coefficients, ones, ones, ones, nothing, np.empty(0), engines, why)
        random = np.random.default_rng(seed)
        held = max(2, round(engines * HELD_OUT))
        parts = []
        for _ in range(SPLITS):
            out = np.zeros(engines, dtype=np.bool_)
            out[random.permutation(engines)[:held]] = True
            rows = np.repeat(out, cuts)
            x, y = features[rows], answers[rows]
            parts.append((copy.predict(x, ridge(gram - x.T @ x, moment - x.T @ y)), y))
        expected = np.concatenate([part[0] for part in parts])
        answered = np.concatenate([part[1] for part in parts])
        level, step = _level(expected, ceiling), STEP * ceiling
        spread, upward, downward = np.ones(LEVELS), np.ones(LEVELS), np.ones(LEVELS)
        errors = np.zeros((LEVELS, QUANTILES))
        for each in range(LEVELS):
            inside = level == each
            if not inside.any():
                continue
            y, error = answered[inside], answered[inside] - expected[inside]
            spread[each] = max(float(np.sqrt((error**2).mean())), 0.01 * ceiling)
            upward[each] = float((np.minimum(y + step, ceiling) - y).mean() / step)
            downward[each] = float((y - np.maximum(y - step, 0.0)).mean() / step)
            errors[each] = np.quantile(error, (np.arange(QUANTILES) + 0.5) / QUANTILES)
        baseline = cls(copy, coefficients, spread, upward, downward, errors, np.empty(0), engines)
        thresholds = []
        for size in SIZES:
            found = [
                baseline._statistic(expected, answered, draw_windows(held, size, DRAWS, random, cuts))
                for expected, answered in parts
            ]
            thresholds.append(students_t(float(np.quantile(np.concatenate(found), 1 - LEVEL)), engines))
        return cls(copy, coefficients, spread, upward, downward, errors, np.array(thresholds), engines)

    def statistics(self, expected: Floats, answered: Floats, which: Ints) -> Floats:
        """Ratios of statistic to threshold, (D,), of D windows `which` (D, B) of C engines' predictions (C,)."""
        ratios: Floats = self._statistic(expected, answered, which) / self.limit(which.shape[1])
        return ratios

    def limit(self, engines: int) -> float:
        """What the statistic of a window of so many engines may be."""
        return float(interpolate(self.thresholds, engines))

    def expected(self, drift: DriftBaseline, raw: Floats, starts: Ints, ends: Ints) -> Floats:
        """What the model was expected to predict, in cycles (C,), after histories raw[start:end]."""
        features = self.copy.features(_means(drift, raw, starts, ends))
        return self.copy.predict(features, self.coefficients)

    def check(self, drift: DriftBaseline, raw: Floats, offsets: Ints, rul: Floats) -> PredictionFindings:
        """Judge predictions `rul` (engines,) in cycles after the histories (n, 26) of a window's engines.

        Raises InputError if the baseline has no thresholds.
        """
        if not self.calibrated:
            do = "Evaluate the model on more engines."
            raise InputError(f"the predictions' baseline has no thresholds ({self.why_not})", FILE, do)
        recent = recent_rows(raw, offsets[:-1], offsets[1:])
        usable = np.flatnonzero(drift.reference.normal.summarise(recent).judged & np.isfinite(rul))
        if len(usable) == 0:
            return PredictionFindings(0, 0.0, self.limit(1), 0.0, False, "", None, "none", None, None, None)
        answered = np.asarray(rul, dtype=np.float64)[usable]
        expected = self.expected(drift, raw, offsets[:-1][usable], offsets[1:][usable])
        statistic = float(self._statistic(expected, answered, np.arange(len(usable))[None])[0])
        threshold = self.limit(len(usable))
        bias = self._bias(expected, answered)
        psi = self._psi(expected, answered)
        violated = statistic > threshold
        mean, usual = float(answered.mean()), float(expected.mean())
        what = f"predictions {bias:+.0f} cycles off what this model answered to such engines when it was released"
        return PredictionFindings(
            engines=len(usable),
            statistic=statistic,
            threshold=threshold,
            ratio=statistic / threshold,
            violated=violated,
            what=what if violated else "",
            psi=psi,
            band="severe" if psi >= PSI_SEVERE else "moderate" if psi >= PSI_MODERATE else "none",
            mean=mean,
            baseline_mean=usual,
            bias=bias,
        )

    def _statistic(self, expected: Floats, answered: Floats, which: Ints) -> Floats:
        """The larger of two matched filters, for a shift of all predictions up and down: (D,)."""
        up, down = self._filters(expected, answered, which)
        return np.maximum(up[0] / np.sqrt(up[1]), -down[0] / np.sqrt(down[1]))

    def _filters(self, expected: Floats, answered: Floats, which: Ints) -> tuple[tuple[Floats, Floats], ...]:
        """Numerator and squared norm of each filter; a prediction counts as far as it could move and is certain."""
        level = _level(expected, self.copy.ceiling)
        error, spread = answered - expected, self.spread[level]
        found = []
        for sensitivity in (self.upward[level], self.downward[level]):
            weight = np.maximum(sensitivity, 0.05)
            numerator = (weight * error / spread**2)[which].sum(axis=1)
            found.append((numerator, (weight**2 / spread**2)[which].sum(axis=1)))
        return tuple(found)

    def _bias(self, expected: Floats, answered: Floats) -> float:
        up, down = self._filters(expected, answered, np.arange(len(expected))[None])
        numerator, norm = up if up[0][0] > 0 else down
        return float(numerator[0] / norm[0])

    def _psi(self, expected: Floats, answered: Floats) -> float:
        """PSI over fifths of the ceiling, against what these very engines should be answered, with the copy's errors.

        Half a prediction is added to each share: without it, a few engines give any PSI.
        """
        ceiling = self.copy.ceiling
        likely = np.clip(expected[:, None] + self.errors[_level(expected, ceiling)], 0.0, ceiling).ravel()
        count = len(answered)
        shares = np.bincount(_level(likely, ceiling), minlength=LEVELS) / len(likely)
        actual = np.bincount(_level(answered, ceiling), minlength=LEVELS) / count
        prior = 0.5 / count
        smooth = [(each + prior) / (1 + LEVELS * prior) for each in (shares, actual)]
        return drift_distances.psi(smooth[0], smooth[1])

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` restores exactly."""
        copy = self.copy
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "calibrated": self.calibrated,
            "why_not": self.why_not,
            "engines": self.engines,
            "level": LEVEL,
            "sizes": list(SIZES),
            "thresholds": self.thresholds.tolist(),
            "ceiling": copy.ceiling,
            "copy": {name: getattr(copy, name).tolist() for name in COPY_ARRAYS},
            "coefficients": self.coefficients.tolist(),
            "spread": self.spread.tolist(),
            "upward": self.upward.tolist(),
            "downward": self.downward.tolist(),
            "errors": self.errors.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PredictionBaseline:
        """Restore what `to_dict` gave. Raises InputError if it is something else."""
        try:
            if content["schema"] != SCHEMA or content["kind"] != KIND:
                raise ValueError(f"schema {content['schema']!r}, kind {content['kind']!r}")
            arrays = {name: np.array(content["copy"][name], dtype=np.float64) for name in COPY_ARRAYS}
            return cls(
                copy=Copy(ceiling=float(content["ceiling"]), **arrays),
                coefficients=np.array(content["coefficients"], dtype=np.float64),
                engines=int(content["engines"]),
                why_not=str(content["why_not"]),
                **{
                    name: np.array(content[name], dtype=np.float64)
                    for name in ("spread", "upward", "downward", "errors", "thresholds")
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the predictions' baseline is none that this image reads ({error!r})",
                FILE,
                "Use the drift_predictions.json that the evaluation of this version wrote.",
            ) from error


def _level(prediction: Floats, ceiling: float) -> Ints:
    """Which fifth of the ceiling a prediction is in, (C,)."""
    level: Ints = np.clip((prediction / ceiling * LEVELS).astype(np.int64), 0, LEVELS - 1)
    return level


def _means(drift: DriftBaseline, raw: Floats, starts: Ints, ends: Ints) -> Floats:
    """Of histories raw[start:end]: sensor means over each of SPANS, and the age, (C, len(SPANS) p + 1).

    Sensors are in standard deviations of their regime; a value that is missing counts as the average.
    """
    normal, sensors = drift.reference.normal, drift.reference.sensors
    regime, _ = normal.regimes.assign(np.nan_to_num(raw[:, FIRST_SETTING:FIRST_SENSOR]))
    with np.errstate(over="ignore", invalid="ignore"):
        values = (raw[:, FIRST_SENSOR + sensors] - normal.mean[regime][:, sensors]) / normal.std[regime][:, sensors]
    values = np.clip(np.where(np.isfinite(values), values, 0.0), -LIMIT, LIMIT)
    sums = np.vstack((np.zeros(values.shape[1]), np.cumsum(values, axis=0)))
    parts = []
    for span in SPANS:
        first = starts if span is None else np.maximum(ends - span, starts)
        parts.append((sums[ends] - sums[first]) / (ends - first)[:, None])
    return np.hstack((*parts, raw[ends - 1, CYCLE, None] / AGE_SCALE))
