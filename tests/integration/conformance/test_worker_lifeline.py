"""A function that is busy when its localcloud is killed ends with it."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

from localcloud.testing import localcloud, wait_for

CODE = """
import os, pathlib, time
def handler(event, context):
    pathlib.Path(event["file"]).write_text(str(os.getpid()))
    time.sleep(600)
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


def test_busy_worker_ends_with_the_server(tmp_path: Path) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("main.py", CODE)
    with localcloud(tmp_path / "cloud") as cloud:
        cloud.client("lambda").create_function(
            FunctionName="busy",
            Runtime=f"python3.{sys.version_info.minor}",
            Role=cloud.role("busy"),
            Handler="main.handler",
            Timeout=900,
            Code={"ZipFile": code.getvalue()},
        )
        told = tmp_path / "pid"
        payload = f'{{"file": "{told}"}}'.encode()
        cloud.client("lambda").invoke(FunctionName="busy", InvocationType="Event", Payload=payload)
        wait_for(lambda: told.exists() and told.read_text(), 240)
        worker = int(told.read_text())
        assert runs(worker)
        os.kill(cloud.running.pid, 9)
        wait_for(lambda: not runs(worker))
