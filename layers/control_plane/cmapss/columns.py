"""The 26 columns of a C-MAPSS file: names, units and the range in which each value is plausible.

Order, symbols and units of the sensors are those of table 2 of Saxena, Goebel, Simon and Eklund (2008), "Damage
Propagation Modeling for Aircraft Engine Run-to-Failure Simulation", PHM08.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `low` and `high` bound what is plausible (inclusive), in `unit`; `decimals` is NASA's format."""

    name: str
    quantity: str
    unit: str
    decimals: int
    low: float
    high: float


SETTINGS: Final = ("op1", "op2", "op3")
SENSORS: Final = tuple(f"s{number}" for number in range(1, 22))
COLUMNS: Final = ("unit", "cycle", *SETTINGS, *SENSORS)
WIDTH: Final = len(COLUMNS)

# Smallest and largest value of each sensor in all eight files FD001 to FD004 (train and test): what was observed.
_OBSERVED: Final = (
    ("s1", "T2, total temperature at the fan inlet", "°R", 2, 445.0, 518.67),
    ("s2", "T24, total temperature at the LPC outlet", "°R", 2, 535.41, 645.11),
    ("s3", "T30, total temperature at the HPC outlet", "°R", 2, 1240.94, 1616.91),
    ("s4", "T50, total temperature at the LPT outlet", "°R", 2, 1023.77, 1441.49),
    ("s5", "P2, pressure at the fan inlet", "psia", 2, 3.91, 14.62),
    ("s6", "P15, total pressure in the bypass duct", "psia", 2, 5.66, 21.61),
    ("s7", "P30, total pressure at the HPC outlet", "psia", 2, 136.06, 570.81),
    ("s8", "Nf, physical fan speed", "rpm", 2, 1914.72, 2388.64),
    ("s9", "Nc, physical core speed", "rpm", 2, 7984.51, 9244.59),
    ("s10", "epr, engine pressure ratio P50/P2", "", 2, 0.93, 1.32),
    ("s11", "Ps30, static pressure at the HPC outlet", "psia", 2, 36.03, 48.53),
    ("s12", "phi, ratio of fuel flow to Ps30", "pps/psi", 2, 128.26, 537.49),
    ("s13", "NRf, corrected fan speed", "rpm", 2, 2027.57, 2390.49),
    ("s14", "NRc, corrected core speed", "rpm", 2, 7845.78, 8293.72),
    ("s15", "BPR, bypass ratio", "", 4, 8.1563, 11.0669),
    ("s16", "farB, burner fuel-air ratio", "", 2, 0.02, 0.03),
    ("s17", "htBleed, bleed enthalpy", "", 0, 302.0, 400.0),
    ("s18", "Nf_dmd, demanded fan speed", "rpm", 0, 1915.0, 2388.0),
    ("s19", "PCNfR_dmd, demanded corrected fan speed", "%", 2, 84.93, 100.0),
    ("s20", "W31, HPT coolant bleed", "lbm/s", 2, 10.16, 39.89),
    ("s21", "W32, LPT coolant bleed", "lbm/s", 4, 6.0105, 23.9505),
)

# A sensor is plausible from 0.8 times the smallest to 1.25 times the largest value observed: wide enough for other
# fleets and worse faults than NASA's, narrow enough that temperatures in K, °C or °F, pressures in kPa or bar and
# speeds in rad/s fall out in every regime. (Coolant flows in kg/s fall out at altitude only.)
_LOWER: Final = 0.8
_UPPER: Final = 1.25

# The settings are bounded by the flight envelope of the paper (altitude 0 to 42,000 ft, Mach 0 to 0.84, throttle
# resolver angle 20 to 100) plus a margin; the files carry small noise on each (e.g. -0.0087 thousand feet).
_SETTINGS: Final = (
    Column("op1", "altitude", "1000 ft", 4, -1.0, 50.0),
    Column("op2", "Mach number", "", 4, -0.05, 1.0),
    Column("op3", "throttle resolver angle, TRA", "", 1, 15.0, 105.0),
)

MEASUREMENTS: Final = (
    *_SETTINGS,
    *(
        Column(name, quantity, unit, decimals, round(low * _LOWER, 4), round(high * _UPPER, 4))
        for name, quantity, unit, decimals, low, high in _OBSERVED
    ),
)
"""The 24 columns after `unit` and `cycle`, in file order."""

MAX_RUL: Final = 100_000
"""Cycles. Far beyond any engine's life: a larger number in a RUL file is not a RUL."""

MAX_COUNT: Final = 2**31 - 1
"""Of unit and cycle numbers, which count from 1: far beyond any fleet, and exact wherever they are read."""
