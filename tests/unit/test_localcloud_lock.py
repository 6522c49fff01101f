"""Who starts in a localcloud's directory, while others look whether one runs there."""

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localcloud import daemon
from localcloud.server import LOCK_FILE, AlreadyRunning, _lock


def test_one_that_starts_while_somebody_looks_is_not_told_that_another_runs(tmp_path: Path) -> None:
    with (tmp_path / LOCK_FILE).open("w") as look, ThreadPoolExecutor(1) as pool:
        fcntl.flock(look, fcntl.LOCK_SH)  # as daemon.find does; its process may be held up right here
        starting = pool.submit(_lock, tmp_path)
        with pytest.raises(TimeoutError):
            starting.result(0.2)
        fcntl.flock(look, fcntl.LOCK_UN)
        starting.result(60).close()


def test_a_second_one_is_told_at_once(tmp_path: Path) -> None:
    with _lock(tmp_path):
        assert daemon._held(tmp_path / LOCK_FILE)
        with pytest.raises(AlreadyRunning, match="a localcloud is running in"):
            _lock(tmp_path)
    assert not daemon._held(tmp_path / LOCK_FILE)
