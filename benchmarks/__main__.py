"""`make bench`: run every benchmark, or those named, and write .onwing/bench.json."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = ("cmapss", "turbofan", "serving", "localcloud", "quality", "drift", "evidently", "alerts")
TARGET = Path(".onwing/bench.json")


def main(names: list[str]) -> int:
    """Run the benchmarks one after the other; each module bench_<name> has a function run() -> dict."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    results: dict[str, Any] = {
        "machine": {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    }
    for name in names or BENCHMARKS:
        print(f"==> {name}", file=sys.stderr, flush=True)
        results[name] = importlib.import_module(f"benchmarks.bench_{name}").run()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    print(f"written to {TARGET}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
