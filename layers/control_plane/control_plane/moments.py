"""Times as the control table has them: ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime


def parse(text: object) -> datetime | None:
    """An ISO time, UTC where it names no zone; None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def iso(moment: datetime) -> str:
    """A time in UTC as the machines write it, with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
