"""From raw rows to model inputs: the only feature code, used by process, train, evaluate and serve alike.

Every parameter (regimes, which sensors, means and scales) is fitted on training engines only, is plain JSON, and
travels with the model in metadata.json, so that training and serving cannot differ.

Raw rows are float64 arrays (n, 26) in the column order of `cmapss.COLUMNS`: unit, cycle, three operational settings,
21 sensors. Rows of one engine stand together, in order of cycles; `offsets` (n_engines + 1) says where engines begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from cmapss import COLUMNS, SENSORS, SETTINGS

from turbofan.errors import InputError

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

UNIT, CYCLE = COLUMNS.index("unit"), COLUMNS.index("cycle")
FIRST_SETTING, FIRST_SENSOR = COLUMNS.index(SETTINGS[0]), COLUMNS.index(SENSORS[0])
# Names of the features that hold a whole history: the engine's age (column 2 of the official files, known in service
# as well) and the mean of a sensor since the first row. Both together say how much damage has gathered, which no window
# of 50 cycles can show; measured on FD001, they take the validation RMSE from 15.7 to about 10 cycles.
AGE = "cycle"
MEAN_SUFFIX = "_mean"

# Values of a setting further apart than this belong to different operating conditions: altitude in 1000 ft, Mach
# number, throttle resolver angle. C-MAPSS holds its settings within 0.01, 0.002 and 0 of six nominal points.
SETTING_TOLERANCE = (1.0, 0.05, 5.0)
# A regime needs rows enough for a mean and a scale; smaller groups are counted to the nearest regime that has them.
REGIME_MIN_ROWS, REGIME_MIN_SHARE = 10, 0.01
# A sensor is informative if at least this share of its variance is signal, not cycle-to-cycle noise. On FD001 to
# FD004 every sensor is either below 0.19 or above 0.31.
SIGNAL_SHARE = 0.25
# Normalised values are held within this many standard deviations, so that a broken sensor cannot blind the others.
DEFAULT_LIMIT = 10.0


def engine_offsets(units: npt.NDArray[Any]) -> Ints:
    """Where engines begin in `units` (n,): int64 (n_engines + 1), first 0, last n."""
    changes = np.flatnonzero(units[1:] != units[:-1]) + 1
    return np.concatenate(([0], changes, [len(units)])).astype(np.int64)


def run_to_failure_rul(offsets: Ints, after_last: npt.NDArray[Any] | int = 0) -> Floats32:
    """True RUL of every row in cycles, float32 (n,), given the RUL after each engine's last row (0: it failed)."""
    lengths = np.diff(offsets)
    ends = np.repeat(offsets[1:] - 1, lengths)
    remaining = np.repeat(np.broadcast_to(np.asarray(after_last), lengths.shape), lengths)
    rul: Floats32 = (ends - np.arange(offsets[-1]) + remaining).astype(np.float32)
    return rul


def windows(features: Floats32, offsets: Ints, length: int, ends: Ints | None = None) -> Floats32:
    """Windows of `length` rows that end at the rows `ends` (default: every row), float32 (len(ends), length, k).

    A window that would begin before its engine does is padded by repeating the engine's first row: an engine younger
    than the window looks like one that has stood still, without a mask that every model family would have to know.
    """
    cut: Floats32 = features[window_rows(offsets, length, ends)]
    return cut


def window_rows(offsets: Ints, length: int, ends: Ints | None = None) -> Ints:
    """Row numbers of those windows, int64 (len(ends), length)."""
    if ends is None:
        ends = np.arange(offsets[-1])
    starts = offsets[np.searchsorted(offsets, ends, side="right") - 1]
    rows: Ints = np.maximum(ends[:, None] + np.arange(1 - length, 1), starts[:, None])
    return rows


def to_rul(output: npt.NDArray[Any], max_rul: float) -> Floats:
    """A model's raw output as the RUL that is answered: float64 (n,), held within 0 and the ceiling it learnt.

    Training labels end at `max_rul`, so what lies beyond is extrapolation noise, and a negative life means nothing.
    """
    return np.clip(np.asarray(output, dtype=np.float64).reshape(-1), 0.0, max_rul)


@dataclass(frozen=True)
class Regimes:
    """The operating conditions seen in training, as points in the space of the three settings."""

    centres: Floats  # (regimes, 3)
    radii: Floats  # (regimes,): in units of SETTING_TOLERANCE; beyond it a row is in a regime never seen

    @classmethod
    def fit(cls, settings: Floats) -> Regimes:
        """Group `settings` (n, 3) wherever a setting leaves a gap wider than its tolerance.

        Settings that vary without gaps make one regime.
        """
        codes = np.zeros(len(settings), dtype=np.int64)
        for values, tolerance in zip(settings.T, SETTING_TOLERANCE, strict=True):
            order = np.sort(values)
            cuts = (order[1:] + order[:-1])[np.diff(order) > tolerance] / 2
            codes = codes * (len(cuts) + 1) + np.searchsorted(cuts, values)
        _, groups, counts = np.unique(codes, return_inverse=True, return_counts=True)
        enough = np.flatnonzero(counts >= max(REGIME_MIN_ROWS, REGIME_MIN_SHARE * len(settings)))
        if len(enough) == 0:
            groups, enough = np.zeros_like(groups), np.array([0])
        members = [settings[groups == group] for group in enough]
        centres = np.array([rows.mean(axis=0) for rows in members])
        radii = np.array([_distances(rows, centre[None]).max() for rows, centre in zip(members, centres, strict=True)])
        return cls(centres, radii + 1.0)

    def assign(self, settings: Floats) -> tuple[Ints, Bools]:
        """The nearest regime of each row, int64 (n,), and whether the row is in none that training saw, bool (n,)."""
        distances = _distances(settings, self.centres)
        nearest = distances.argmin(axis=1)
        return nearest, distances[np.arange(len(settings)), nearest] > self.radii[nearest]


def _distances(settings: Floats, centres: Floats) -> Floats:
    """Euclidean distances (n, regimes) with each setting in units of its tolerance."""
    scaled = (settings[:, None, :] - centres[None, :, :]) / np.array(SETTING_TOLERANCE)
    distances: Floats = np.sqrt((scaled**2).sum(axis=2))
    return distances


@dataclass(frozen=True)
class Features:
    """The fitted parameters that turn raw rows into model inputs."""

    regimes: Regimes
    sensors: tuple[str, ...]
    mean: Floats  # (regimes, len(sensors))
    std: Floats  # (regimes, len(sensors)), never 0
    age_mean: float
    age_std: float
    signal_share: dict[str, float]  # of all 21 sensors: why each was taken or left
    limit: float = DEFAULT_LIMIT

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order."""
        return (*self.sensors, *(name + MEAN_SUFFIX for name in self.sensors), AGE)

    @classmethod
    def fit(cls, raw: Floats) -> Features:
        """Fit on raw rows (n, 26) of TRAINING engines. Raises InputError if no sensor carries a signal."""
        regimes = Regimes.fit(raw[:, FIRST_SETTING:FIRST_SENSOR])
        regime, _ = regimes.assign(raw[:, FIRST_SETTING:FIRST_SENSOR])
        values = raw[:, FIRST_SENSOR:]
        count = len(regimes.centres)
        mean = np.array([values[regime == r].mean(axis=0) for r in range(count)])
        std = np.array([values[regime == r].std(axis=0) for r in range(count)])
        # Constant up to rounding: dividing by what is left would blow up noise of the floating point format.
        std = np.where(std > 1e-9 * np.maximum(np.abs(mean), 1.0), std, np.inf)
        share = _signal_share((values - mean[regime]) / std[regime], raw[:, UNIT])
        chosen = np.flatnonzero(share >= SIGNAL_SHARE)
        if len(chosen) == 0:
            raise InputError(
                "no sensor changes over the engines' lives beyond its noise",
                "training engines",
                "Check that the training file holds run-to-failure histories.",
            )
        ages = raw[:, CYCLE]
        return cls(
            regimes=regimes,
            sensors=tuple(SENSORS[i] for i in chosen),
            mean=mean[:, chosen],
            # A sensor that is informative elsewhere but stands still in this regime says nothing here: scale 1.
            std=np.where(np.isinf(std), 1.0, std)[:, chosen],
            age_mean=float(ages.mean()),
            age_std=float(ages.std()) or 1.0,
            signal_share={name: round(float(s), 4) for name, s in zip(SENSORS, share, strict=True)},
        )

    def transform(self, raw: Floats, offsets: Ints | None = None) -> tuple[Floats32, Bools]:
        """Model inputs float32 (n, len(names)) of raw rows (n, 26), and which rows fly in a regime never seen.

        Such rows are normalised as their nearest regime: the answer is a guess, and whoever asks is told (bool (n,)).
        Give each engine's whole history: the means since its first row are over the rows that are there. `offsets`
        says where engines begin; without it, that is where the unit changes.
        """
        offsets = engine_offsets(raw[:, UNIT]) if offsets is None else offsets
        # However large a finite value is, it is held within the limit: an overflow on the way is no fault.
        with np.errstate(over="ignore"):
            regime, unseen = self.regimes.assign(raw[:, FIRST_SETTING:FIRST_SENSOR])
            values = (raw[:, [COLUMNS.index(name) for name in self.sensors]] - self.mean[regime]) / self.std[regime]
            values = np.clip(values, -self.limit, self.limit)
            age = np.clip((raw[:, CYCLE, None] - self.age_mean) / self.age_std, -self.limit, self.limit)
        means = _means_so_far(values, offsets)
        return np.hstack((values, means, age)).astype(np.float32), unseen

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON values; `from_dict` restores them exactly."""
        return {
            "names": list(self.names),
            "sensors": list(self.sensors),
            "settings": list(SETTINGS),
            "setting_tolerance": list(SETTING_TOLERANCE),
            "regimes": {"centres": self.regimes.centres.tolist(), "radii": self.regimes.radii.tolist()},
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "age": {"column": AGE, "mean": self.age_mean, "std": self.age_std},
            "limit": self.limit,
            "signal_share": self.signal_share,
            "signal_share_needed": SIGNAL_SHARE,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Features:
        """Restore what `to_dict` gave. Raises InputError if it is something else."""
        try:
            return cls(
                regimes=Regimes(np.array(content["regimes"]["centres"]), np.array(content["regimes"]["radii"])),
                sensors=tuple(content["sensors"]),
                mean=np.array(content["mean"]),
                std=np.array(content["std"]),
                age_mean=float(content["age"]["mean"]),
                age_std=float(content["age"]["std"]),
                signal_share=dict(content["signal_share"]),
                limit=float(content["limit"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"feature parameters are incomplete ({error!r})",
                "metadata.json, features",
                "Use the metadata.json that the process job wrote.",
            ) from error


def _means_so_far(values: Floats, offsets: Ints) -> Floats:
    """Mean of each column from the engine's first row to this one, (n, columns)."""
    lengths = np.diff(offsets)
    starts = np.repeat(offsets[:-1], lengths)
    sums = np.vstack((np.zeros(values.shape[1]), np.cumsum(values, axis=0)))
    means: Floats = (sums[1:] - sums[starts]) / (np.arange(len(values)) - starts + 1)[:, None]
    return means


def _signal_share(normalised: Floats, units: npt.NDArray[Any]) -> Floats:
    """Share of each column's variance that is not noise from one cycle to the next, (columns,) within 0 and 1.

    Von Neumann's ratio: half the mean squared difference of successive rows of one engine estimates the noise alone,
    so it needs no label and sees trends of either sign (FD003's two faults move s7 and s12 in opposite directions).
    """
    same = units[1:] == units[:-1]
    variance = normalised.var(axis=0)
    noise = (np.diff(normalised, axis=0)[same] ** 2).mean(axis=0) / 2 if same.any() else variance
    share: Floats = np.clip(1.0 - np.divide(noise, variance, out=np.ones_like(variance), where=variance > 0), 0.0, 1.0)
    return share
