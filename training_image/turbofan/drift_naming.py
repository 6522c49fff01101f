"""Findings in words: what a sensor does that it should not, as a person would say it."""

from __future__ import annotations

import math
from dataclasses import dataclass

RATIO_TOLERANCE = 0.02
UNIT_SHIFT = 5.0  # standard deviations: below, a wrong unit is out of the question
GAIN_SHIFT = 3.0

RANKINE_PER_KELVIN = 9 / 5
FAHRENHEIT_ZERO = 459.67  # °R
KPA_PER_PSI = 6.894757293
TEMPERATURES = ("s1", "s2", "s3", "s4")
PRESSURES = ("s5", "s6", "s7", "s11")


# The most that a setting may be, and what it is.
SETTINGS_WITHIN = {
    "op1": (100.0, "altitude in 1000 ft"),
    "op2": (5.0, "Mach number"),
    "op3": (200.0, "throttle resolver angle in degrees"),
}


@dataclass(frozen=True)
class Unit:
    """A unit that a reading may be in by mistake: reading = expected · factor + offset."""

    what: str
    factor: float
    offset: float = 0.0


OF_TEMPERATURE = (
    Unit("in K instead of °R (× 5/9)", 1 / RANKINE_PER_KELVIN),
    Unit("converted from K to °R twice (× 9/5)", RANKINE_PER_KELVIN),
    Unit("in °F instead of °R", 1.0, -FAHRENHEIT_ZERO),
    Unit("in °C instead of °R", 1 / RANKINE_PER_KELVIN, -FAHRENHEIT_ZERO / RANKINE_PER_KELVIN),
)
OF_PRESSURE = (
    Unit("in kPa instead of psia (× 6.895)", KPA_PER_PSI),
    Unit("in bar instead of psia (× 0.0689)", KPA_PER_PSI / 100),
)


def unit_error(name: str, reads: float, expected: float, sigmas: float) -> str:
    """The wrong unit that `reads` is in where `expected` should stand; "" if none.

    `sigmas` is how far it is off, in standard deviations of its regime.
    """
    units = OF_TEMPERATURE if name in TEMPERATURES else OF_PRESSURE if name in PRESSURES else ()
    if not math.isfinite(reads) or abs(sigmas) < UNIT_SHIFT:
        return ""
    for unit in units:
        wrong = expected * unit.factor + unit.offset
        if abs(reads - wrong) <= RATIO_TOLERANCE * abs(wrong):
            return unit.what
    return ""


def impossible_setting(name: str, magnitude: float) -> str:
    """What a setting reads if no aircraft can be flown so; "" if one can."""
    most, unit = SETTINGS_WITHIN[name]
    return "" if magnitude <= most else f"reads {magnitude:.6g}: no {unit}"


def shift(effect: float, reads: float, expected: float) -> str:
    """A shift of a mean in words; `effect` in standard deviations of the sensor's regime."""
    text = f"bias {effect:+.1f} σ" if abs(effect) < 1000 else f"bias {effect:+.0e} σ"
    if expected and math.isfinite(reads) and abs(effect) >= GAIN_SHIFT:
        text += f", reads {100 * (reads / expected - 1):+.1f} %"
    return text


def noise(logarithm: float) -> str:
    """A change of noise in words; `logarithm` of its ratio to the baseline's."""
    return f"noise × {math.exp(logarithm):.2g}"


def level(reads: float, expected: float) -> str:
    """A reading of a sensor that knows few values."""
    return f"reads {reads:.6g} where it always read {expected:.6g}"


def engines(share: float, count: int) -> str:
    """How many of the engines; "" when it is all of them."""
    affected = round(share * count)
    return "" if affected == count else f" in {affected} of {count} engines"
