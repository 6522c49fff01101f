"""What an engine's recent rows say, in a few numbers that can be compared between engines.

The sampling unit of all drift statistics is the engine: its rows repeat each other, so each engine counts once, by a
summary of its RECENT_ROWS newest rows. Operating regimes are taken out first; rows in a regime never seen are counted
and left out of the rest, because nothing is known about how a sensor reads there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from turbofan.features import FIRST_SENSOR, FIRST_SETTING, SETTING_TOLERANCE, Bools, Floats, Ints, Regimes

# Enough rows to see a shift of a tenth of a standard deviation in one engine, few enough that an engine hardly ages.
RECENT_ROWS = 30
MIN_ROWS = 10  # an engine with fewer is not judged
SENSOR_COUNT = 21
# A sensor that took at most so many values in every regime is judged by those values instead of by its mean.
FEW_LEVELS = 5
LEVEL_TOLERANCE = 1e-6  # relative: the same decimal number, read from another text
# In one regime a sensor may have stood still by chance: its scale there is at least this share of its usual one.
LEAST_SCALE = 0.2
# A value of exactly 0 is a value that is missing, where every value of the baseline is further from 0 than so many
# standard deviations.
ZERO_SIGMAS = 10.0
FLAGS = ("stuck", "dropped", "level")  # of each sensor
DROPPED_SHARE, LEVEL_SHARE, RANGE_SHARE = 0.1, 0.5, 0.2  # of an engine's recent rows that make it count as affected
# Of the expected noise. A sensor that moves by rare steps is often still: below this it is still, not quieter.
NOISE_FLOOR = 0.3


@dataclass(frozen=True)
class Summary:
    """What C engines' recent rows say. NaN where an engine has no value of a sensor."""

    present: Ints  # (C,): recent rows
    rows: Ints  # (C,): those in known regimes
    mean: Floats  # (C, 21): mean in standard deviations of the sensor's regime
    noise: Floats  # (C, 21): natural logarithm of the noise from row to row over the baseline's
    stuck: Bools  # (C, 21): one single value
    dropped: Bools  # (C, 21): values missing, or 0 where 0 cannot be
    level: Bools  # (C, 21): values between or beyond those few that the sensor ever took
    range: Bools  # (C, 3): settings that no regime has
    unseen: Bools  # (C,): flies in a regime never seen
    share: Floats  # (C, regimes): of the rows in known regimes

    @property
    def counted(self) -> Bools:
        """Which engines have rows enough to be judged at all, (C,)."""
        counted: Bools = self.present >= MIN_ROWS
        return counted

    @property
    def judged(self) -> Bools:
        """Which engines have rows enough in known regimes for their sensors to be judged, (C,)."""
        judged: Bools = self.rows >= MIN_ROWS
        return judged

    def take(self, which: Any) -> Summary:
        """The summary of some of the engines."""
        return Summary(**{name: values[which] for name, values in vars(self).items()})


def recent_rows(raw: Floats, starts: Ints, ends: Ints) -> Floats:
    """The newest rows of histories raw[start:end], (C, RECENT_ROWS, 26); NaN before the first row of a short one."""
    rows = ends[:, None] + np.arange(-RECENT_ROWS, 0)
    cut: Floats = raw[np.maximum(rows, starts[:, None])]
    cut[rows < starts[:, None]] = np.nan
    return cut


@dataclass(frozen=True)
class Normal:
    """How each sensor reads in each regime, fitted on healthy run-to-failure histories."""

    regimes: Regimes
    mean: Floats  # (regimes, 21), in the sensor's unit
    std: Floats  # (regimes, 21), in the sensor's unit, 1 where the sensor never moves
    noise: Floats  # (regimes, 21): standard deviation from row to row, in units of std
    zero_is_missing: Bools  # (21,)
    few: Bools  # (21,): judged by its levels
    levels: tuple[tuple[tuple[float, ...], ...], ...]  # (21)(regimes)(at most FEW_LEVELS), of those in `few`

    @classmethod
    def fit(cls, raw: Floats, like: Normal | None = None) -> Normal:
        """From rows (n, 26) of engines that stand together; with the regimes and the kinds of sensors of `like`."""
        settings, values = raw[:, FIRST_SETTING:FIRST_SENSOR], raw[:, FIRST_SENSOR:]
        regimes = Regimes.fit(settings) if like is None else like.regimes
        regime, _ = regimes.assign(settings)
        # A regime that a few engines never flew lends its values from its neighbours: any are better than none.
        members = [values[regime == r] if (regime == r).any() else values for r in range(len(regimes.centres))]
        mean = np.array([rows.mean(axis=0) for rows in members])
        std = np.array([rows.std(axis=0) for rows in members])
        std[std <= 1e-9 * np.maximum(np.abs(mean), 1.0)] = 0.0
        pooled = np.sqrt((std**2).mean(axis=0))
        std = np.maximum(std, LEAST_SCALE * pooled)
        std[std == 0.0] = 1.0
        nearest = np.array([np.abs(rows).min(axis=0) for rows in members])
        few = like.few if like is not None else _few_levels(members)
        found = [[np.unique(rows[:, j]) for rows in members] if few[j] else [] for j in range(SENSOR_COUNT)]
        normalised = (values - mean[regime]) / std[regime]
        noise = np.ones_like(std)
        for r in range(len(members)):
            inside = np.flatnonzero(regime == r)
            same = raw[inside[1:], 0] == raw[inside[:-1], 0]
            if same.any():
                noise[r] = np.sqrt((np.diff(normalised[inside], axis=0)[same] ** 2).mean(axis=0) / 2)
        noise[noise <= 1e-9] = 1.0
        return cls(
            regimes=regimes,
            mean=mean,
            std=std,
            noise=noise,
            zero_is_missing=((nearest > ZERO_SIGMAS * std) | ((pooled == 0) & (nearest > 0))).all(axis=0),
            few=few,
            levels=tuple(tuple(tuple(levels.tolist()) for levels in each) for each in found),
        )

    def assign(self, recent: Floats) -> tuple[Ints, Bools, Bools]:
        """Of recent rows (C, rows, 26): the regime, whether there is a row, and whether it is in a known regime."""
        settings = recent[:, :, FIRST_SETTING:FIRST_SENSOR]
        present = np.isfinite(recent[:, :, 1])
        flat = np.where(np.isfinite(settings), settings, np.inf).reshape(-1, 3)
        with np.errstate(over="ignore", invalid="ignore"):
            regime, unseen = self.regimes.assign(np.clip(flat, -1e100, 1e100))
        regime, unseen = regime.reshape(present.shape), unseen.reshape(present.shape)
        return regime, present, present & ~unseen

    def valid(self, recent: Floats) -> Bools:
        """Which sensor values of recent rows are readings at all, (C, rows, 21)."""
        values = recent[:, :, FIRST_SENSOR:]
        valid: Bools = np.isfinite(values) & ~((values == 0) & self.zero_is_missing)
        return valid

    def normalise(self, recent: Floats, regime: Ints) -> Floats:
        """Sensors of recent rows in standard deviations of their regime, (C, rows, 21)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (recent[:, :, FIRST_SENSOR:] - self.mean[regime]) / self.std[regime]

    def summarise(self, recent: Floats) -> Summary:
        """What each engine's recent rows (C, RECENT_ROWS, 26) say."""
        regime, present, known = self.assign(recent)
        valid = self.valid(recent) & known[:, :, None]
        values = recent[:, :, FIRST_SENSOR:]
        normalised = np.where(valid, self.normalise(recent, regime), 0.0)
        rows, count = known.sum(axis=1), valid.sum(axis=1)
        mean = np.where(count >= MIN_ROWS, normalised.sum(axis=1) / np.maximum(count, 1), np.nan)
        with np.errstate(over="ignore", invalid="ignore"):
            noise = self._noise(normalised / self.noise[regime], regime, valid)
        low = np.where(valid, values, np.inf).min(axis=1)
        high = np.where(valid, values, -np.inf).max(axis=1)
        least = np.maximum(rows, 1)[:, None]
        away = np.zeros_like(valid)
        for j in np.flatnonzero(self.few):
            for r, levels in enumerate(self.levels[j]):
                distance = np.abs(values[:, :, j, None] - np.array(levels)).min(axis=2)
                away[:, :, j] |= (regime == r) & ~(distance <= LEVEL_TOLERANCE * max(1.0, abs(levels[0])))
        settings = recent[:, :, FIRST_SETTING:FIRST_SENSOR]
        offset = np.abs(settings[:, :, None, :] - self.regimes.centres) / np.array(SETTING_TOLERANCE)
        beyond = present[:, :, None] & ~(offset.min(axis=2) <= self.regimes.radii.max())
        present_rows = np.maximum(present.sum(axis=1), 1)
        return Summary(
            present=present.sum(axis=1),
            rows=rows,
            mean=mean,
            noise=noise,
            stuck=(low == high) & (count >= MIN_ROWS) & self._may_move(regime, valid),
            dropped=(known[:, :, None] & ~valid).sum(axis=1) > DROPPED_SHARE * least,
            level=(away & valid).sum(axis=1) > LEVEL_SHARE * least,
            range=beyond.sum(axis=1) > RANGE_SHARE * present_rows[:, None],
            unseen=(present & ~known).sum(axis=1) > RANGE_SHARE * present_rows,
            share=np.stack([(known & (regime == r)).sum(axis=1) for r in range(len(self.mean))], axis=1) / least,
        )

    def _may_move(self, regime: Ints, valid: Bools) -> Bools:
        """Whether a sensor (C, 21) should move over these rows: by itself, or because regimes change."""
        expected = self.mean[regime]
        low = np.where(valid, expected, np.inf).min(axis=1)
        high = np.where(valid, expected, -np.inf).max(axis=1)
        moves: Bools = ~self.few | (high - low > LEVEL_TOLERANCE * np.maximum(1.0, np.abs(high)))
        return moves

    def _noise(self, scaled: Floats, regime: Ints, valid: Bools) -> Floats:
        """Half the logarithm of von Neumann's noise variance, from successive rows of the same regime: (C, 21)."""
        order = np.argsort(regime, axis=1, kind="stable")
        scaled = np.take_along_axis(scaled, order[:, :, None], axis=1)
        valid = np.take_along_axis(valid, order[:, :, None], axis=1)
        ordered = np.take_along_axis(regime, order, axis=1)
        usable = (ordered[:, 1:] == ordered[:, :-1])[:, :, None] & valid[:, 1:] & valid[:, :-1]
        squares = np.where(usable, np.diff(scaled, axis=1) ** 2 / 2, 0.0).sum(axis=1)
        count = usable.sum(axis=1)
        noise: Floats = np.log(np.maximum(np.sqrt(squares / np.maximum(count, 1)), NOISE_FLOOR))
        return np.where(count >= 2, noise, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` restores exactly."""
        return {
            "regimes": {"centres": self.regimes.centres.tolist(), "radii": self.regimes.radii.tolist()},
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "noise": self.noise.tolist(),
            "zero_is_missing": self.zero_is_missing.tolist(),
            "few": self.few.tolist(),
            "levels": [[list(levels) for levels in each] for each in self.levels],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Normal:
        """Restore what `to_dict` gave. Raises KeyError, TypeError or ValueError for something else."""
        regimes = Regimes(np.array(content["regimes"]["centres"]), np.array(content["regimes"]["radii"]))
        return cls(
            regimes=regimes,
            mean=np.array(content["mean"]),
            std=np.array(content["std"]),
            noise=np.array(content["noise"]),
            zero_is_missing=np.array(content["zero_is_missing"], dtype=np.bool_),
            few=np.array(content["few"], dtype=np.bool_),
            levels=tuple(tuple(tuple(levels) for levels in each) for each in content["levels"]),
        )


def _few_levels(members: list[Floats]) -> Bools:
    """Which sensors (21,) take at most FEW_LEVELS values in each regime, given the sensors of each regime's rows."""
    few = np.ones(SENSOR_COUNT, dtype=np.bool_)
    for rows in members:
        for j in np.flatnonzero(few):
            few[j] = len(np.unique(rows[:100, j])) <= FEW_LEVELS and len(np.unique(rows[:, j])) <= FEW_LEVELS
    return few & ~few.all()  # a handful of rows says nothing about levels
