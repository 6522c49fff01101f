"""What all layers of tests share: small valid C-MAPSS files, and where the real ones are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deployed import Deployed


def pytest_configure() -> None:
    """A shell starts background jobs with Ctrl-C ignored, and programs inherit that: tests send it themselves."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# The first row of the real FD001: every value is plausible.
ROW = (
    "-0.0007 -0.0004 100.0 518.67 641.82 1589.70 1400.60 14.62 21.61 554.36 2388.06 9046.19 1.30 47.47 521.66 2388.02 "
    "8138.62 8.4195 0.03 392 2388 100.00 39.06 23.4190"
)


def table(engines: int = 2, cycles: int = 5, *, altitude: str = "-0.0007") -> bytes:
    """A train or test file; another altitude makes other content."""
    row = ROW.replace("-0.0007", altitude, 1)
    return "".join(
        f"{unit} {cycle} {row}  \n" for unit in range(1, engines + 1) for cycle in range(1, cycles + 1)
    ).encode()


@dataclass(frozen=True)
class Trio:
    """The contents of a fleet's three files."""

    fleet: str
    train: bytes
    test: bytes
    rul: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """By file name."""
        return {
            f"train_{self.fleet}.txt": self.train,
            f"test_{self.fleet}.txt": self.test,
            f"RUL_{self.fleet}.txt": self.rul,
        }


def make_trio(fleet: str = "FD001", *, engines: int = 2, altitude: str = "-0.0007") -> Trio:
    """A small valid data set."""
    rul = "".join(f"{10 + k} \n" for k in range(engines)).encode()
    return Trio(fleet, table(engines, 6, altitude=altitude), table(engines, 4, altitude=altitude), rul)


@pytest.fixture(scope="session")
def cmapss_dir() -> Path:
    """The folder of the real data set; the test is skipped where there is none."""
    folder = os.environ.get("CMAPSS_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CMAPSS_DIR does not name a folder with the real C-MAPSS files")
    return Path(folder)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack on an embedded cloud of this worker's own."""
    from tests.deployed import deploy

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "sam"
    with deploy(tmp_path_factory.mktemp("deployed"), shared) as stack:
        yield stack


@pytest.fixture
def fleet() -> str:
    """A fleet of the test's own."""
    from tests.deployed import new_fleet

    return new_fleet()
