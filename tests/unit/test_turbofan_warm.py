"""The warm parent: imports only, so that jobs forked from it can train side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.turbofan_data import processed, training_job

PARENT = """
import os, sys, threading
import turbofan.warm

tasks = "/proc/self/task"
assert threading.active_count() == 1
assert not os.path.isdir(tasks) or len(os.listdir(tasks)) == 1, "an import started a thread"
children = []
for base in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        os.environ["SAGEMAKER_BASE_DIR"] = base
        from turbofan.__main__ import main
        code = main(["train"])
        sys.stdout.flush()
        os._exit(code)
    children.append(child)
sys.exit(any(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.xdist_group("tensorflow")
def test_two_jobs_forked_from_the_warm_parent_train_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = processed(tmp_path / "process", monkeypatch)
    small = {"epochs": "1", "lstm_units_1": "2", "lstm_units_2": "2", "window_stride": "4"}
    bases = []
    for name in ("one", "two"):
        bases.append(str(training_job(tmp_path / name, source, **small).base))
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    ran = subprocess.run(
        [sys.executable, "-c", PARENT, *bases],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for base in bases:
        assert (Path(base) / "model/model.onnx").is_file()
