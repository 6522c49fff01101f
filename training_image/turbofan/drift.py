"""Whether a window of traffic still looks like the engines that a model was trained on, and if not, what changed.

The sampling unit is the engine, never the row. An engine's recent rows become a summary with operating regimes taken
out (turbofan.drift_summary). Life stage is taken out by analytical redundancy: each sensor is compared with what the
other sensors say it should read, because wear moves them together and a broken sensor moves alone. With P the inverse
of the covariance of engine means, the residual of sensor j given all others is (P d)_j / P_jj: the regression of each
sensor on the others, all at once. A window's statistics are means of such scores over its engines.

There is one verdict for all sensors and kinds: the largest statistic against its threshold, so that a check without
any drift alarms with probability LEVEL, however much there is to look at. Thresholds come from engines that were held
out whole: engines are split again and again, everything is fitted on one part, and windows of the sizes seen in
production are drawn from the other part, at random ages and with random mixes of life stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cmapss import SENSORS, SETTINGS

from turbofan import drift_naming as naming
from turbofan.drift_distances import Profile
from turbofan.drift_summary import FLAGS, RECENT_ROWS, SENSOR_COUNT, Normal, Summary, recent_rows
from turbofan.errors import InputError
from turbofan.features import FIRST_SENSOR, FIRST_SETTING, Bools, Floats, Ints

FILE = "drift.json"
SCHEMA = 1
KIND = "drift-inputs"
# False alarms per check, of all sensors and kinds together; predictions (turbofan.drift_predictions) have the other
# half of the 3 % that a check may cost: a shifted sensor is plain to see, a shifted prediction is not.
LEVEL = 0.015
SIZES = (5, 10, 20, 40, 80)  # engines in a window that thresholds are calibrated for; between them, interpolated
LEAST_ENGINES = 20  # fewer do not say how engines differ: no thresholds then
SPLITS = 12  # of the engines into fitted and held out
HELD_OUT = 1 / 3
DRAWS = 200  # windows of each size for each split
TAIL, NORMAL_TAIL = 0.995, 2.807  # that quantile of the absolute value of a standard normal variable
LEAST_SPREAD = 1.0  # of a window's statistic: one that never moved in calibration may move a little
CUTS = 12  # ages at which each engine is looked at
FIRST_CUT = RECENT_ROWS  # cycles
JOINT = 3  # so many sensors shifted at once: not each for itself
AFFECTED = 4.0  # standard deviations that make one engine count as affected
CONTRIBUTION_FLOOR = 1e-3  # of a sensor's variance between engines: no two sensors tell quite the same
DATA_KINDS = ("stuck", "dropped", "unit", "noise")
SEVERE_SHIFT = 0.8  # standard deviations of its regime
SEVERE_SHARE = 0.25  # of the engines
SEVERE_BIAS = 10.0  # cycles
MOST = 0.5  # of the engines: a change of so many is the fleet's, and its size is the median over all


@dataclass(frozen=True)
class Finding:
    """What one sensor, setting, the regimes or the joint pattern of the sensors show in a window."""

    name: str
    kind: str  # shift, noise, stuck, dropped, unit, level, range, regime or pattern
    statistic: float  # in standard deviations of the same statistic without drift
    threshold: float
    ratio: float  # statistic over threshold
    violated: bool
    what: str  # for people: "bias +1.1 σ"; "" when not violated
    effect: float | None = None  # shift in standard deviations of the sensor's regime
    share: float | None = None  # of the engines that are affected
    ks: float | None = None
    wasserstein: float | None = None
    psi: float | None = None


@dataclass(frozen=True)
class RegimeShare:
    """How often a regime is flown; the regime -1 stands for those never seen."""

    regime: int
    share: float
    baseline_share: float
    score: float


@dataclass(frozen=True)
class Findings:
    """The verdict on a window."""

    engines: int  # judged
    rows: int  # judged
    ratio: float  # the largest statistic over its threshold: above 1 is a violation
    features: tuple[Finding, ...]  # worst first
    engines_ranked: tuple[tuple[int, float], ...]  # engine (as in `offsets`) and its largest score, worst first
    regimes: tuple[RegimeShare, ...]

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The features beyond their thresholds, worst first."""
        return tuple(feature for feature in self.features if feature.violated)

    @property
    def violated(self) -> bool:
        """Whether anything is beyond its threshold."""
        return self.ratio > 1.0

    @property
    def cause(self) -> str | None:
        """`data` if an input is broken, so that neither another model nor a new one helps; `drift` if the world moved.

        Data: a sensor is stuck, dropped out, in another unit, or noisier. Drift: all else.
        """
        if not self.violated:
            return None
        return "data" if any(finding.kind in DATA_KINDS for finding in self.violations) else "drift"

    @property
    def severity(self) -> str:
        """`severe`: a quarter of the engines affected, and if it is a shift, by at least 0.8 σ. `moderate`: any other.

        Statistics do not count here: with many engines the smallest shift is certain, and still small.
        """
        if not self.violated:
            return "none"
        return "severe" if any(map(_is_severe, self.violations)) else "moderate"


def _is_severe(finding: Finding) -> bool:
    if finding.share is None or finding.share < SEVERE_SHARE:
        return False
    return finding.kind != "shift" or (finding.effect is not None and abs(finding.effect) >= SEVERE_SHIFT)


@dataclass(frozen=True)
class Reference:
    """Healthy engines: how they read, and how their summaries vary."""

    normal: Normal
    sensors: Ints  # those judged by their means, (p,)
    centre: Floats  # (p,): mean of engine means
    covariance: Floats  # (p, p) of engine means
    noise: Floats  # (p,): mean of the logarithm of noise
    share: Floats  # (regimes,)
    rates: Floats  # (flags,): how often engines are flagged without drift, never 0

    @classmethod
    def fit(cls, normal: Normal, summary: Summary, engines: int) -> Reference:
        """From the summaries of `engines` engines at several ages each."""
        sensors = np.flatnonzero(~normal.few)
        means = np.nan_to_num(summary.mean[:, sensors])  # NaN: of engines with hardly any rows
        covariance = np.atleast_2d(np.cov(means, rowvar=False))
        covariance = covariance + CONTRIBUTION_FLOOR * np.diag(np.diag(covariance)) + 1e-9 * np.eye(len(sensors))
        share = flags_of(summary).mean(axis=0)
        return cls(
            normal=normal,
            sensors=sensors,
            centre=means.mean(axis=0),
            covariance=covariance,
            noise=summary.noise[:, sensors].mean(axis=0),
            share=summary.share.mean(axis=0),
            rates=(share * engines + 0.5) / (engines + 1),
        )

    def scores(self, summary: Summary, kept: Bools | None = None) -> Floats:
        """One engine's statistics, (C, K): shift and noise of each sensor, joint pattern, shares of the regimes.

        `kept` (p,) leaves sensors out: the others are then compared with the rest alone; the score of those is 0.
        """
        kept = np.ones(len(self.sensors), dtype=np.bool_) if kept is None else kept
        inverse = np.linalg.inv(self.covariance[np.ix_(kept, kept)])
        distance = summary.mean[:, self.sensors] - self.centre
        distance = self._fill(distance, kept)
        # The mean of fewer rows is noisier; at most by this, if all its variance is noise.
        distance = np.clip(distance, -1e6, 1e6) * np.sqrt(np.minimum(summary.rows, RECENT_ROWS) / RECENT_ROWS)[:, None]
        projected = distance[:, kept] @ inverse
        shift = np.zeros_like(distance)
        shift[:, kept] = projected / np.sqrt(np.diag(inverse))
        # Wilson and Hilferty: the cube root of a chi-squared variable is nearly normal.
        pattern = np.cbrt(np.maximum((projected * distance[:, kept]).sum(axis=1), 0.0))
        noise = np.where(kept, summary.noise[:, self.sensors] - self.noise, 0.0)
        return np.hstack((shift, noise, pattern[:, None], summary.share - self.share))

    def window(self, scores: Floats, flags: Floats, which: Ints, centre: Floats, spread: Floats) -> Floats:
        """Statistics (D, K + F) of windows `which` (D, B) of engines with scores (C, K) and flags (C, F)."""
        engines = which.shape[1]
        means = (scores[which].mean(axis=1) - centre) / spread * np.sqrt(engines)
        pattern = 2 * len(self.sensors)
        means[:, pattern] = np.maximum(means[:, pattern], 0.0)  # an engine cannot be too normal
        return np.hstack((means, _flag_statistic(flags[which].sum(axis=1), engines, self.rates)))

    def residual(self, summary: Summary, kept: Bools, j: int) -> Floats:
        """How far sensor j is from what the other kept sensors say, in standard deviations of its regime, (C,)."""
        kept = kept.copy()
        kept[j] = True
        inverse = np.linalg.inv(self.covariance[np.ix_(kept, kept)])
        distance = self._fill(summary.mean[:, self.sensors] - self.centre, kept)[:, kept]
        position = int(kept[:j].sum())
        residual: Floats = (distance @ inverse[:, position]) / inverse[position, position]
        return residual

    def _fill(self, distance: Floats, kept: Bools) -> Floats:
        """Put what the other sensors say into the place of values that an engine does not have."""
        missing = np.isnan(distance) & kept
        distance = np.where(np.isnan(distance), 0.0, distance)
        for pattern in np.unique(missing[missing.any(axis=1)], axis=0):
            rows = (missing == pattern).all(axis=1)
            known = kept & ~pattern
            if known.any():
                there = self.covariance[np.ix_(known, known)]
                across = self.covariance[np.ix_(known, pattern)]
                distance[np.ix_(rows, pattern)] = distance[np.ix_(rows, known)] @ np.linalg.solve(there, across)
        return distance


def students_t(threshold: float, engines: int) -> float:
    """A normal variable's threshold for one whose spread is itself estimated from so many engines.

    Source: Abramowitz and Stegun 26.7.5, first term: the quantile of Student's t from that of the normal.
    """
    return threshold * (1 + (threshold**2 + 1) / (4 * (engines - 1)))


def interpolate(values: Floats, engines: int) -> Floats:
    """What `values` (sizes, ...) given for windows of SIZES engines are for a window of so many."""
    at = np.interp(np.log(max(engines, 1)), np.log(SIZES), np.arange(len(SIZES)))
    low = min(int(at), len(SIZES) - 2)
    result: Floats = values[low] + (at - low) * (values[low + 1] - values[low])
    return result


def flags_of(summary: Summary) -> Floats:
    """The yes and no of each engine, (C, F) of 0 and 1: FLAGS of each sensor, range of each setting, unseen regime."""
    sensors = [getattr(summary, name) for name in FLAGS]
    return np.hstack((*sensors, summary.range, summary.unseen[:, None])).astype(np.float64)


def _flag_statistic(counts: Floats, engines: int, rates: Floats) -> Floats:
    """Signed root of the log-likelihood ratio of a binomial, 0 below its rate; normal for common events."""
    share = counts / engines
    with np.errstate(divide="ignore", invalid="ignore"):
        yes = np.where(share > 0, share * np.log(share / rates), 0.0)
        no = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - rates)), 0.0)
    return np.where(share > rates, np.sqrt(np.maximum(2 * engines * (yes + no), 0.0)), 0.0)


@dataclass(frozen=True)
class DriftBaseline:
    """What windows without drift look like: calibrated thresholds for the inputs."""

    reference: Reference
    profile: Profile
    engines: int
    centre: Floats  # (K,) of the scores of held-out engines
    spread: Floats  # (K,)
    scale: Floats  # (sizes, K + F): of window statistics without drift
    thresholds: Floats  # (sizes,): of the largest statistic; empty when not calibrated
    why_not: str = ""

    @property
    def calibrated(self) -> bool:
        """Whether there are thresholds. Without them no window may be called free of drift."""
        return len(self.thresholds) > 0

    @classmethod
    def fit(cls, raw: Floats, offsets: Ints, seed: int = 1) -> DriftBaseline:
        """From run-to-failure histories: rows (n, 26), engines beginning at `offsets` (engines + 1)."""
        random = np.random.default_rng(seed)
        engines = len(offsets) - 1
        ends = cut_ages(offsets, random)
        starts = np.repeat(offsets[:-1], CUTS)
        recent = recent_rows(raw, starts, ends.ravel())
        normal = Normal.fit(raw)
        summary = normal.summarise(recent)
        reference = Reference.fit(normal, summary, engines)
        profile = Profile.fit(reference, summary, recent)
        if engines < LEAST_ENGINES:
            size = len(reference.sensors) * 2 + 1 + len(reference.share)
            nothing = np.empty(0)
            why = f"{engines} engines in the baseline, {LEAST_ENGINES} are needed to know how engines differ"
            return cls(reference, profile, engines, np.zeros(size), np.ones(size), nothing, nothing, why)
        calibration = _calibrate(raw, offsets, recent, normal, random)
        return cls(reference, profile, engines, *calibration)

    def statistics(self, summary: Summary, which: Ints) -> Floats:
        """Ratios of statistic to threshold, (D, K + F), for D windows of engines `which` (D, B) of the summary.

        Without the naming of `check`, so that thousands of windows can be judged at once.
        """
        scores, flags = self.engine_scores(summary), flags_of(summary)
        statistics = self.reference.window(scores, flags, which, self.centre, self.spread)
        ratios: Floats = np.abs(statistics) / self.limits(which.shape[1])
        return ratios

    def engine_scores(self, summary: Summary, kept: Bools | None = None) -> Floats:
        """Scores of each engine (C, K); those of an engine whose sensors cannot be judged are the average ones."""
        return np.where(summary.judged[:, None], self.reference.scores(summary, kept), self.centre)

    def check(self, raw: Floats, offsets: Ints) -> Findings:
        """Judge the recent rows of each engine of a window: rows (n, 26), where NaN is a value that is missing.

        Raises InputError if the baseline has no thresholds.
        """
        if not self.calibrated:
            raise InputError(f"the baseline has no thresholds ({self.why_not})", FILE, "Train on more engines.")
        return _Check(self, raw, offsets).findings()

    def limits(self, engines: int) -> Floats:
        """What each statistic of a window of so many engines may be, (K + F,)."""
        limits: Floats = interpolate(self.scale, engines) * interpolate(self.thresholds, engines)
        return limits

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` restores exactly."""
        reference = self.reference
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "calibrated": self.calibrated,
            "why_not": self.why_not,
            "engines": self.engines,
            "level": LEVEL,
            "recent_rows": RECENT_ROWS,
            "sizes": list(SIZES),
            "thresholds": self.thresholds.tolist(),
            "scale": self.scale.tolist(),
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
            "reference": {
                "normal": reference.normal.to_dict(),
                "sensors": reference.sensors.tolist(),
                "centre": reference.centre.tolist(),
                "covariance": reference.covariance.tolist(),
                "noise": reference.noise.tolist(),
                "share": reference.share.tolist(),
                "rates": reference.rates.tolist(),
            },
            "profile": self.profile.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> DriftBaseline:
        """Restore what `to_dict` gave. Raises InputError if it is something else."""
        try:
            if content["schema"] != SCHEMA or content["kind"] != KIND:
                raise ValueError(f"schema {content['schema']!r}, kind {content['kind']!r}")
            reference = content["reference"]
            return cls(
                reference=Reference(
                    normal=Normal.from_dict(reference["normal"]),
                    sensors=np.array(reference["sensors"], dtype=np.int64),
                    **{
                        name: np.array(reference[name], dtype=np.float64)
                        for name in ("centre", "covariance", "noise", "share", "rates")
                    },
                ),
                profile=Profile.from_dict(content["profile"]),
                engines=int(content["engines"]),
                **{
                    name: np.array(content[name], dtype=np.float64)
                    for name in ("centre", "spread", "scale", "thresholds")
                },
                why_not=str(content["why_not"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the drift baseline is none that this image reads ({error!r})",
                FILE,
                "Use the drift.json that the process job of this version wrote.",
            ) from error


def cut_ages(offsets: Ints, random: np.random.Generator, cuts: int = CUTS) -> Ints:
    """Row numbers after which each engine is looked at, (engines, cuts), spread over its life, youngest first."""
    lengths = np.diff(offsets)
    first = np.minimum(FIRST_CUT, lengths)
    place = (np.arange(cuts) + random.random((len(lengths), cuts))) / cuts
    ages = first[:, None] + np.floor(place * (lengths - first + 1)[:, None]).astype(np.int64)
    ends: Ints = offsets[:-1, None] + np.minimum(ages, lengths[:, None])
    return ends


def draw_windows(engines: int, size: int, draws: int, random: np.random.Generator, cuts: int = CUTS) -> Ints:
    """Windows of `size` engines, each once at one of its cuts, (draws, size): numbers of cuts, engine by engine.

    Half of the windows mix all ages; a quarter each sees engines of the younger or of the older half of life only:
    a fleet that grows old together must not look like drift. Engines repeat only if there are too few.
    """
    picked = np.array(
        [
            random.choice(engines, size, replace=False) if size <= engines else random.integers(0, engines, size)
            for _ in range(draws)
        ]
    )
    stage = random.integers(0, 4, draws)[:, None]
    half = cuts // 2
    low = np.where(stage == 3, half, 0)
    width = np.where(stage >= 2, half, cuts)
    cut = low + np.floor(random.random((draws, size)) * width).astype(np.int64)
    windows: Ints = picked * cuts + cut
    return windows


def _calibrate(
    raw: Floats, offsets: Ints, recent: Floats, normal: Normal, random: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """Centre and spread (K,) of scores, scale (sizes, K + F) and thresholds (sizes,) from engines held out whole."""
    engines = len(offsets) - 1
    unit = np.repeat(np.arange(engines), np.diff(offsets))
    held = max(2, round(engines * HELD_OUT))
    splits = []
    for _ in range(SPLITS):
        out = np.zeros(engines, dtype=np.bool_)
        out[random.permutation(engines)[:held]] = True
        fitted = Normal.fit(raw[~out[unit]], normal)
        cuts = np.repeat(out, CUTS)
        reference = Reference.fit(fitted, fitted.summarise(recent[~cuts]), engines - held)
        unknown = fitted.summarise(recent[cuts])
        splits.append((reference, reference.scores(unknown), flags_of(unknown)))
    every = np.concatenate([scores for _, scores, _ in splits])
    centre, spread = every.mean(axis=0), every.std(axis=0)
    spread[spread < 1e-9] = 1.0
    scale, thresholds = [], []
    for size in SIZES:
        found = np.concatenate(
            [
                reference.window(scores, flags, draw_windows(held, size, DRAWS, random), centre, spread)
                for reference, scores, flags in splits
            ]
        )
        size_scale = np.maximum(np.quantile(np.abs(found), TAIL, axis=0) / NORMAL_TAIL, LEAST_SPREAD)
        scale.append(size_scale)
        threshold = float(np.quantile(np.abs(found / size_scale).max(axis=1), 1 - LEVEL))
        thresholds.append(students_t(threshold, engines))
    return centre, spread, np.array(scale), np.array(thresholds)


class _Check:
    """One window on its way to Findings: the verdict at once, then the culprits one by one.

    The sensor with the largest residual explains most of the window as a single fault (it takes z² off the distance
    d' P d), so it is named, left out, and the others are judged by what they say among themselves.
    """

    def __init__(self, baseline: DriftBaseline, raw: Floats, offsets: Ints) -> None:
        self.baseline, self.reference = baseline, baseline.reference
        recent = recent_rows(raw, offsets[:-1], offsets[1:])
        summary = self.reference.normal.summarise(recent)
        self.counted = np.flatnonzero(summary.counted)
        self.recent, self.summary = recent[self.counted], summary.take(self.counted)
        self.engines = len(self.counted)
        self.p = len(self.reference.sensors)
        self.kept = np.ones(self.p, dtype=np.bool_)
        self.found: dict[str, Finding] = {}

    def findings(self) -> Findings:
        if self.engines == 0:
            return Findings(0, 0, 0.0, (), (), ())
        self.limits = self.baseline.limits(self.engines)
        self.regime, self.present, self.known = self.reference.normal.assign(self.recent)
        self.valid = self.reference.normal.valid(self.recent) & self.known[:, :, None]
        self.values = self.reference.normal.normalise(self.recent, self.regime)
        first = self._statistics()
        ratio = float((first / self.limits).max())
        engine_scores = self._engine_scores()
        self._flags(first)
        self._sensors()
        self._rest(first)
        features = sorted(self._with_distances(), key=lambda finding: -finding.ratio)
        order = np.argsort(-engine_scores, kind="stable")
        return Findings(
            engines=self.engines,
            rows=int(self.summary.present.sum()),
            ratio=ratio,
            features=tuple(features),
            engines_ranked=tuple((int(self.counted[i]), float(engine_scores[i])) for i in order),
            regimes=self._regimes(features),
        )

    def _statistics(self) -> Floats:
        """Of the whole window, with the sensors that are still kept, (K + F,)."""
        self.scores = self.baseline.engine_scores(self.summary, self.kept)
        everyone = np.arange(self.engines)[None]
        flags = flags_of(self.summary)
        found = self.reference.window(self.scores, flags, everyone, self.baseline.centre, self.baseline.spread)
        statistics: Floats = np.abs(found[0])
        return statistics

    def _engine_scores(self) -> Floats:
        """How unusual each engine is: its largest score in standard deviations, (engines,)."""
        z = np.abs(self.scores - self.baseline.centre) / self.baseline.spread
        alone = np.array([np.full(len(self.reference.rates), 1.0)])
        flagged = flags_of(self.summary) * _flag_statistic(alone, 1, self.reference.rates)
        largest: Floats = np.maximum(z.max(axis=1), flagged.max(axis=1))
        return largest

    def _flags(self, first: Floats) -> None:
        """Sensors that are broken beyond doubt are left out before the others are compared with them."""
        flags = flags_of(self.summary)
        k = len(self.baseline.centre)
        for kind_number, kind in enumerate(FLAGS):
            for j, name in enumerate(SENSORS):
                f = kind_number * SENSOR_COUNT + j
                statistic, limit = float(first[k + f]), float(self.limits[k + f])
                if statistic <= limit or name in self.found:
                    continue
                affected = flags[:, f] > 0
                share = float(affected.mean())
                rows = affected[:, None] & self.known
                what, found_kind = self._describe_flag(kind, j, rows)
                what += naming.engines(share, self.engines)
                self._add(name, found_kind, statistic, limit, what, None, share)
                self.kept[self.reference.sensors == j] = False

    def _describe_flag(self, kind: str, j: int, rows: Bools) -> tuple[str, str]:
        """What a flagged sensor does, and the kind to call it, of the rows (C, rows) of affected engines."""
        values = self.recent[:, :, FIRST_SENSOR + j][rows]
        readings = values[np.isfinite(values)]
        if kind == "dropped":
            zeros = float((readings == 0).mean()) if len(readings) else 0.0
            absent = len(readings) < len(values)
            share = float((~self.valid[:, :, j][rows]).mean())
            part = "" if share == 1 else f" in {100 * share:.0f} % of rows"
            return ("missing" if absent and not zeros else "reads 0") + part, kind
        if kind == "stuck":
            return f"stuck at {readings[0]:.6g}" if len(np.unique(readings)) == 1 else "stuck at one value", kind
        reads, expected = float(readings.mean()), float(self.reference.normal.mean[self.regime[rows], j].mean())
        if unit := naming.unit_error(SENSORS[j], reads, expected, math.inf):
            return unit, "unit"
        return naming.level(reads, expected), kind

    def _sensors(self) -> None:
        """Name the sensors that shifted or became noisy or quiet, worst first, each left out of what the next sees."""
        named = []
        while True:
            statistics = self._statistics()
            ratios = (statistics / self.limits)[: 2 * self.p].reshape(2, self.p)
            best = np.where(self.kept, ratios.max(axis=0), -1.0)
            j = int(best.argmax())
            if best[j] <= 1.0 or self.kept.sum() <= max(2, self.p // 2):
                break
            named.append((j, int(ratios[:, j].argmax()), statistics, self.scores))
            self.kept[j] = False
        for j, row, then, scores in named:  # only now is it known which sensors may be believed
            self._add_sensor(j, row, then, scores, violated=True)
        for other in np.flatnonzero(self.kept).tolist():
            row = int(ratios[:, other].argmax())
            self._add_sensor(other, row, statistics, self.scores, violated=bool(best[other] > 1.0))
        self.left = statistics

    def _add_sensor(self, j: int, row: int, statistics: Floats, scores: Floats, violated: bool) -> None:
        name = SENSORS[self.reference.sensors[j]]
        index = row * self.p + j
        statistic, limit = float(statistics[index]), float(self.limits[index])
        z = (scores[:, index] - self.baseline.centre[index]) / self.baseline.spread[index]
        affected = (np.abs(z) > AFFECTED) & self.summary.judged
        share = float(affected.mean()) if affected.any() else None
        if share is None or share >= MOST:
            affected = self.summary.judged
        if row == 1:
            logarithm = float(np.median(scores[affected, index])) if affected.any() else 0.0
            what = naming.noise(logarithm) if violated else ""
            kind, effect = "noise", None
        else:
            effect, kind, what = self._shift(j, affected)
        if violated and share is not None and share < MOST:
            what += naming.engines(share, self.engines)
        self._add(name, kind, statistic, limit, what if violated else "", effect, share, violated)

    def _shift(self, j: int, affected: Bools) -> tuple[float | None, str, str]:
        """Size of a shift in standard deviations of the regime, its kind and what it looks like."""
        if not affected.any():
            return None, "shift", ""
        column = int(self.reference.sensors[j])
        residual = self.reference.residual(self.summary, self.kept, j)
        effect = float(np.median(residual[affected]))
        rows = affected[:, None] & self.valid[:, :, column]
        if not rows.any():
            return effect, "shift", naming.shift(effect, math.nan, 0.0)
        reads = float(self.recent[:, :, FIRST_SENSOR + column][rows].mean())
        usual = (self.summary.mean[:, column] - residual)[:, None]
        normal = self.reference.normal
        expected = normal.mean[self.regime, column] + normal.std[self.regime, column] * usual
        level = float(expected[rows].mean())
        if unit := naming.unit_error(SENSORS[column], reads, level, effect):
            return effect, "unit", unit
        return effect, "shift", naming.shift(effect, reads, level)

    def _rest(self, first: Floats) -> None:
        """Joint pattern, settings, regimes, and the sensors that are judged by their levels only."""
        k = len(self.baseline.centre)
        shifted = sum(finding.violated and finding.kind == "shift" for finding in self.found.values())
        joint = first if shifted >= JOINT else self.left
        index = 2 * self.p
        statistic, limit = float(joint[index]), float(self.limits[index])
        self._add("pattern", "pattern", statistic, limit, "sensors move together as in no engine of the baseline")
        start = k + len(FLAGS) * SENSOR_COUNT
        for f, name in enumerate(SETTINGS, start):
            share = float(self.summary.range[:, f - start].mean())
            reads = np.median(np.abs(self.recent[:, :, FIRST_SETTING + f - start][self.present]))
            impossible = naming.impossible_setting(name, float(reads))
            what = (impossible or "values of no regime in the baseline") + naming.engines(share, self.engines)
            kind = "unit" if impossible else "range"
            self._add(name, kind, float(first[f]), float(self.limits[f]), what, None, share)
        shares = first[index + 1 : k] / self.limits[index + 1 : k]
        unseen = first[-1] / self.limits[-1]
        if len(shares) and shares.max() > unseen:
            at = index + 1 + int(shares.argmax())
            what = f"regime {int(shares.argmax())} is flown at another rate"
            self._add("regime", "regime", float(first[at]), float(self.limits[at]), what, None, None)
        else:
            share = float(self.summary.unseen.mean())
            rows = float((self.present & ~self.known).sum() / self.present.sum())
            what = f"{100 * rows:.0f} % of rows in regimes never seen" + naming.engines(share, self.engines)
            self._add("regime", "regime", float(first[-1]), float(self.limits[-1]), what, None, share)
        for j, name in enumerate(SENSORS):
            if name not in self.found:
                f = k + FLAGS.index("level") * SENSOR_COUNT + j
                self._add(name, "level", float(first[f]), float(self.limits[f]), "")

    def _add(
        self,
        name: str,
        kind: str,
        statistic: float,
        limit: float,
        what: str,
        effect: float | None = None,
        share: float | None = None,
        violated: bool | None = None,
    ) -> None:
        violated = statistic > limit if violated is None else violated
        self.found[name] = Finding(
            name, kind, statistic, limit, statistic / limit, violated, what if violated else "", effect, share
        )

    def _with_distances(self) -> list[Finding]:
        judged = self.summary.judged
        if not judged.any():
            return list(self.found.values())
        profile = self.baseline.profile
        stage = profile.stage(self.reference, self.summary)[judged]
        distances = dict(zip(SENSORS, profile.distances(stage, self.values[judged], self.valid[judged]), strict=True))
        return [
            finding
            if (found := distances.get(name)) is None
            else replace(finding, ks=found.ks, wasserstein=found.wasserstein, psi=found.psi)
            for name, finding in self.found.items()
        ]

    def _regimes(self, features: list[Finding]) -> tuple[RegimeShare, ...]:
        """Shares of all rows, and by how many σ the worst shifted sensor is off in each regime."""
        total = int(self.present.sum())
        unseen = int((self.present & ~self.known).sum())
        shifted = [
            finding.name for finding in features if finding.violated and finding.name in SENSORS and finding.effect
        ]
        column = SENSORS.index(shifted[0]) if shifted else -1
        off = np.zeros(self.present.shape)
        places = np.flatnonzero(self.reference.sensors == column)
        if len(places):
            residual = self.reference.residual(self.summary, self.kept, int(places[0]))
            expected = np.where(np.isnan(self.summary.mean[:, column]), 0.0, self.summary.mean[:, column]) - residual
            off = self.values[:, :, column] - expected[:, None]
        found = []
        for r, share in enumerate(self.reference.share):
            inside = self.known & (self.regime == r)
            usable = inside & self.valid[:, :, column] if len(places) else inside
            score = float(np.abs(off[usable].mean())) if usable.any() else 0.0
            found.append(RegimeShare(r, float(inside.sum() / total), float(share), score))
        if unseen:
            found.append(RegimeShare(-1, unseen / total, 0.0, 0.0))
        return tuple(sorted(found, key=lambda each: (each.regime >= 0, -each.score)))
