"""File names: which part of which fleet's data set a file is."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from .errors import DataError

Role = Literal["train", "test", "RUL"]
ROLES: Final[tuple[Role, ...]] = ("train", "test", "RUL")

_PATTERN: Final = re.compile(r"(?P<role>train|test|RUL)_(?P<fleet>[A-Za-z0-9]{1,10})\.txt(?P<gzip>\.gz)?")


@dataclass(frozen=True, slots=True)
class FileName:
    """The parts of a name such as train_FD001.txt.gz."""

    role: Role
    fleet: str
    gzip: bool

    def __str__(self) -> str:
        return f"{self.role}_{self.fleet}.txt{'.gz' if self.gzip else ''}"


def parse_name(name: str) -> FileName:
    """Take a bare file name (no folder) apart.

    Raises DataError for every name outside the pattern: a fleet is never guessed.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise DataError(
            "not the name of a C-MAPSS file",
            repr(name if len(name) <= 100 else name[:100] + "..."),
            "Name it train_<fleet>.txt, test_<fleet>.txt or RUL_<fleet>.txt (or .txt.gz); "
            "a fleet is 1 to 10 letters and digits, such as FD001",
        )
    # The pattern admits these three alternatives only; the loop tells the type checker so.
    role = next(role for role in ROLES if role == match["role"])
    return FileName(role=role, fleet=match["fleet"], gzip=match["gzip"] is not None)
