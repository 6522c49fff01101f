"""The image's entry point: `python -m turbofan train | process | evaluate | serve | monitor | quality`."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from turbofan.container import Paths, is_scheduled, run_job

JOBS = ("train", "process", "evaluate", "serve", "monitor", "quality")


def main(arguments: list[str] | None = None) -> int:
    """Run one job and give its exit code: 0 done, 1 failed with a message in its file, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="turbofan", description="What the turbofan image does.")
    parser.add_argument("job", choices=JOBS)
    given = sys.argv[1:] if arguments is None else arguments
    # A Model Monitor schedule need not name a job: it starts but one kind of them.
    name = parser.parse_args(given or (["monitor"] if is_scheduled() else [])).job

    def job(paths: Paths) -> None:
        # Imported here: a broken import is told like any failure, and process does not wait for TensorFlow.
        getattr(importlib.import_module(f"turbofan.{name}"), name)(paths)

    def report(paths: Paths) -> Path | None:
        if name == "serve":  # SageMaker reads no file of a server that failed: its log says why
            return None
        return paths.failure if name == "train" else paths.message

    return run_job(job, report)


if __name__ == "__main__":
    # The kernel spares a container's first process every signal that it does not handle: a stop would take SageMaker's
    # whole two minutes of grace.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(main())
