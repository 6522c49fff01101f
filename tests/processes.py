"""Which processes belong to a localcloud."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(directory: Path) -> list[str]:
    """Command lines of the living processes that a directory belongs to, by their command or their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:  # it has ended since it was listed
            continue
        if line and str(directory) in line + environment:
            found.append(line)
    return found
