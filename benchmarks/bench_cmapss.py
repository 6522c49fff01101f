"""How long reading and checking the largest C-MAPSS file takes: `python benchmarks/bench_cmapss.py` prints JSON."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmapss

REPEATS = 5


def run() -> dict[str, Any]:
    """Best of a few runs, in seconds, on FD004's training file; says so when CMAPSS_DIR does not hold it."""
    path = _largest()
    if path is None:
        return {"skipped": "CMAPSS_DIR holds no train_FD004.txt or .txt.gz"}
    with path.open("rb") as stream:
        result = cmapss.check(stream, path.name)

    def check() -> None:
        with path.open("rb") as stream:
            cmapss.check(stream, path.name)

    return {
        "file": path.name,
        "bytes": result.bytes,
        "rows": result.rows,
        "read_table_seconds": _best(lambda: cmapss.read_table(path)),
        "check_seconds": _best(check),
    }


def _largest() -> Path | None:
    directory = Path(os.environ.get("CMAPSS_DIR", "data/cmapss"))
    paths = (directory / name for name in ("train_FD004.txt", "train_FD004.txt.gz"))
    return next(filter(Path.is_file, paths), None)


def _best(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 3)


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
