"""A simulator of turbofan fleets that writes C-MAPSS files, for where NASA's data cannot be had.

After Saxena, Goebel, Simon and Eklund (2008), "Damage Propagation Modeling for Aircraft Engine Run-to-Failure
Simulation", PHM08:

- A fault lowers the efficiency e and the flow f of one module, the high-pressure compressor (HPC) or the fan, each by
  loss(t) = initial wear + SCALE * (exp(a * t**b) - 1), t in cycles, with a and b drawn per engine and loss. Each step
  of it is multiplied by noise (process noise: flights differ).
- An engine fails when its health margin is used up: here when the mean of both losses reaches 1.
- Initial wear differs from engine to engine and is not a fault.
- An engine flies in one operating condition or, drawn anew for each flight, in one of six.
- A sensor shows its healthy value in that condition, plus its response to the losses, plus measurement noise.

The paper takes the responses from NASA's thermodynamic model of the engine; here they are straight lines between the
healthy and the failed engines of the published data (public domain), so that levels, trends and noise agree with it.
Simplified: responses are linear, a fan fault's is in all conditions in the same proportion to an HPC fault's, P15, epr
and farB do not respond. Results on these files say nothing about results on NASA's.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from cmapss import MEASUREMENTS, SENSORS, parse_name

Array = npt.NDArray[np.float64]

MARKER: Final = "SIMULATED.txt"
"""This file stands beside simulated ones: their format has no place to say so."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a fleet is like: flown in one condition or six; only HPC faults or fan faults as well."""

    six_conditions: bool
    fan_faults: bool


SCENARIOS: Final = {
    "FD001": Scenario(six_conditions=False, fan_faults=False),
    "FD002": Scenario(six_conditions=True, fan_faults=False),
    "FD003": Scenario(six_conditions=False, fan_faults=True),
    "FD004": Scenario(six_conditions=True, fan_faults=True),
}

# Altitude (1000 ft), Mach number, throttle resolver angle, share of the flights.
_CONDITIONS: Final = np.array(
    [
        (0.0, 0.00, 100.0, 0.15),
        (10.0, 0.25, 100.0, 0.15),
        (20.0, 0.70, 100.0, 0.15),
        (25.0, 0.62, 60.0, 0.15),
        (35.0, 0.84, 100.0, 0.15),
        (42.0, 0.84, 100.0, 0.25),
    ]
)

# Per sensor: the healthy value in each condition, its change until an HPC fault fails the engine in each condition,
# the change under a fan fault as a multiple of that, and the standard deviation of the noise. Means over train_FD002
# (first 30 and last 8 cycles), the fan's over train_FD003.
_RESPONSES: Final = """
s1   518.67  489.05  491.19  462.54  449.44  445.00       0      0      0      0      0      0   0.00     0
s2   642.03  604.32  607.03  536.53  555.28  549.20   1.580  1.475  1.350  0.824  1.286  1.247   0.96   0.3
s3  1583.06 1495.13 1478.95 1257.07 1360.54 1348.04  18.147 16.892 16.845 13.955 15.596 15.995   1.36     4
s4  1395.95 1299.71 1242.70 1041.47 1121.57 1117.50  31.876 29.011 26.549 22.093 24.531 26.000   1.10     4
s5    14.62   10.52    9.35    7.05    5.48    3.91       0      0      0      0      0      0   0.00     0
s6    21.61   15.49   13.66    9.03    8.00    5.72       0      0      0      0      0      0   0.00 0.002
s7   554.58  395.13  335.20  175.72  194.82  138.88  -2.985 -2.075 -1.783 -0.772 -0.975 -0.618  -5.70   0.4
s8  2388.02 2318.82 2323.86 1915.25 2222.84 2211.84   0.214  0.346  0.424  0.404  0.520  0.310   3.20 0.031
s9  9047.31 8770.14 8715.10 8003.59 8341.83 8313.13  38.552 38.321 36.245 29.161 36.862 35.982   2.10   4.1
s10    1.30    1.26    1.08    0.94    1.02    1.02       0      0      0      0      0      0   0.00     0
s11   47.15   45.13   44.12   36.51   41.67   41.82   0.972  0.893  0.835  0.716  0.801  0.853   1.27   0.1
s12  522.45  372.13  315.48  164.85  183.33  130.75  -2.607 -1.723 -1.524 -0.711 -0.781 -0.493  -6.40   0.3
s13 2388.01 2388.02 2387.98 2028.14 2387.92 2387.91   0.214  0.362  0.432  0.430  0.556  0.331   3.10 0.031
s14 8131.46 8125.17 8055.90 7869.08 8061.87 8078.95  24.866 25.733 24.512 23.240 26.373 25.206   2.50   3.1
s15  8.3923  8.6132  9.1800 10.8523  9.2812  9.3304   0.124  0.128  0.132  0.151  0.128  0.114  -1.50  0.02
s16    0.03    0.03    0.02    0.02    0.02    0.02       0      0      0      0      0      0   0.00     0
s17  391.31  367.86  363.56  305.92  332.56  329.36   4.786  4.591  4.548  3.603  4.230  4.163   1.32  0.94
s18 2388.00 2319.00 2324.00 1915.00 2223.00 2212.00       0      0      0      0      0      0   0.00     0
s19  100.00  100.00  100.00   84.93  100.00  100.00       0      0      0      0      0      0   0.00     0
s20   39.06   28.69   24.60   14.34   14.91   10.65  -0.583 -0.402 -0.355 -0.191 -0.207 -0.159  -1.18   0.1
s21 23.4268 17.2128 14.7542  8.6046  8.9488  6.3873  -0.342 -0.246 -0.212 -0.118 -0.122 -0.092  -1.22  0.06
"""
_TABLE: Final = np.array([line.split()[1:] for line in _RESPONSES.strip().splitlines()], dtype=np.float64)
_HEALTHY: Final = _TABLE[:, :6].T
_CHANGE: Final = _TABLE[:, 6:12].T
_FAN: Final = _TABLE[:, 12]
_NOISE: Final = _TABLE[:, 13]

# How much of a sensor's change is due to (efficiency, flow). Half each is a response to the health margin itself; core
# speeds follow the flow, which makes them rise in some engines and fall in others, as they do in the data.
_SHARES: Final = np.array([(-0.5, 1.5) if sensor in ("s9", "s14") else (0.5, 0.5) for sensor in SENSORS]).T

_SCALE: Final = 0.048
_LONGEST: Final = 1000  # cycles; no draw of a and b lives nearly as long
_SHORTEST_TEST: Final = 20  # cycles: NASA's shortest test record has 19
_FORMAT: Final = " ".join(["%d", "%d", *(f"%.{column.decimals}f" for column in MEASUREMENTS)]) + "  \n"


def simulate(
    fleet: str,
    directory: Path,
    engines: int = 100,
    *,
    test_engines: int | None = None,
    seed: int = 0,
    scenario: Scenario | None = None,
) -> dict[str, Path]:
    """Write train, test and RUL file of a fleet into `directory` (made if need be); returns their paths by role.

    `engines` run to failure in the training file, as many (or `test_engines`) are cut off before it in the test file.
    Fleets called FD001 to FD004 are like NASA's; any other is like FD001 unless `scenario` says what it is like. The
    same arguments give the same files. Raises cmapss.DataError if `fleet` cannot stand in a file name, ValueError if
    there would be no engine.
    """
    names = {role: f"{role}_{fleet}.txt" for role in ("train", "test", "RUL")}
    for name in names.values():
        parse_name(name)
    test_engines = engines if test_engines is None else test_engines
    if engines < 1 or test_engines < 1:
        raise ValueError(f"a fleet needs engines: {engines} for training and {test_engines} for test are too few")
    if scenario is None:
        scenario = SCENARIOS.get(fleet, SCENARIOS["FD001"])
    rng = np.random.default_rng([seed, zlib.crc32(fleet.encode())])
    train = _records(rng, scenario, engines)
    test = _records(rng, scenario, test_engines)
    rul = [_cut(rng, scenario, len(record)) for record in test]
    contents = {
        "train": _text(train),
        "test": _text([record[: len(record) - cut] for record, cut in zip(test, rul, strict=True)]),
        "RUL": "".join(f"{cut} \n" for cut in rul),
    }
    directory.mkdir(parents=True, exist_ok=True)
    # The marker goes first: simulated files must never lie about without it.
    _write(directory / MARKER, f"The C-MAPSS files here are SIMULATED (onwing.simulator, {scenario}, seed {seed}).\n")
    for role, name in names.items():
        _write(directory / name, contents[role])
    return {role: directory / name for role, name in names.items()}


def _records(rng: np.random.Generator, scenario: Scenario, engines: int) -> list[Array]:
    """Complete histories: per engine an array (cycles, 24) of settings and sensors."""
    fan = rng.random(engines) < (0.45 if scenario.fan_faults else 0.0)
    return [_record(rng, scenario, losses, bool(is_fan)) for losses, is_fan in zip(_losses(rng, fan), fan, strict=True)]


def _losses(rng: np.random.Generator, fan: npt.NDArray[np.bool_]) -> list[Array]:
    """Efficiency and flow loss until failure: per engine an array (cycles, 2)."""
    shape = (len(fan), 1, 2)
    # In the paper a is 0.001 to 0.003 and b 1.4 to 1.6; a is lower here, for lives as in the files: 128 to 362 cycles
    # under HPC faults, half as much again under fan faults.
    a = rng.uniform(0.0006, 0.0013, shape) * np.where(fan, 0.55, 1.0)[:, None, None]
    b = rng.uniform(1.4, 1.6, shape)
    wear = rng.uniform(0.05, 0.35, shape)
    cycles = np.arange(_LONGEST)[None, :, None]
    steps = np.diff(_SCALE * np.exp(a * cycles**b), axis=1)
    losses = wear + np.cumsum(steps * rng.gamma(4.0, 0.25, steps.shape), axis=1)
    lives = np.argmax(losses.mean(axis=2) >= 1.0, axis=1) + 1
    return [engine[:life] for engine, life in zip(losses, lives, strict=True)]


def _record(rng: np.random.Generator, scenario: Scenario, losses: Array, fan: bool) -> Array:
    cycles = len(losses)
    if scenario.six_conditions:
        condition = rng.choice(len(_CONDITIONS), cycles, p=_CONDITIONS[:, 3])
        # Settings scatter upwards from their nominal value; at sea level less far.
        altitude = rng.uniform(-0.002, 0.008, cycles).clip(0.0, np.where(condition == 0, 0.003, 0.008))
        mach = rng.uniform(-0.002, 0.002, cycles).clip(0.0)
    else:
        condition = np.zeros(cycles, dtype=np.int64)
        altitude = rng.normal(0.0, 0.0022, cycles).clip(-0.0087, 0.0087)
        mach = rng.normal(0.0, 0.0003, cycles).clip(-0.0006, 0.0006)
    settings = _CONDITIONS[condition, :3]
    settings[:, 0] += altitude
    settings[:, 1] += mach
    response = _CHANGE[condition] * (_FAN if fan else 1.0) * (losses @ _SHARES)
    sensors = _HEALTHY[condition] + response + rng.normal(0.0, 1.0, response.shape) * _NOISE
    return np.hstack([settings, sensors])


def _cut(rng: np.random.Generator, scenario: Scenario, life: int) -> int:
    """How many cycles before its failure a test record ends; the range is that of NASA's RUL files."""
    longest = min(195 if scenario.six_conditions else 145, life - _SHORTEST_TEST)
    return int(rng.integers(min(6, longest), longest + 1))


def _text(records: list[Array]) -> str:
    return "".join(
        _FORMAT % (unit, cycle, *values)
        for unit, record in enumerate(records, 1)
        for cycle, values in enumerate(record.tolist(), 1)
    )


def _write(path: Path, content: str) -> None:
    """Write as NASA did, ASCII with LF; nobody sees half a file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content.encode("ascii"))
    partial.replace(path)
