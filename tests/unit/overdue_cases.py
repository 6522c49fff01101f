"""When a window is overdue: cases of the one rule that the control plane and the command line have each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

PERIODS = [
    ("rate(1 hour)", timedelta(hours=1)),
    ("rate(30 minutes)", timedelta(minutes=30)),
    ("rate(2 days)", timedelta(days=2)),
    ("cron(0 6 * * ? *)", timedelta(hours=1)),
    ("at(2026-11-23T12:00:00)", timedelta(hours=1)),
    ("", timedelta(hours=1)),
]


def ago(**since: float) -> str:
    """So long before NOW, as the control table has times."""
    return (NOW - timedelta(**since)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


OLD = ago(days=30)
# updated_at of the MONITOR item, closed_at of its last window, since of the champion, the schedule; overdue?
CASES = [
    (ago(hours=2), OLD, OLD, "rate(1 hour)", False),
    (ago(hours=3), OLD, OLD, "rate(1 hour)", False),
    (ago(hours=3.1), OLD, OLD, "rate(1 hour)", True),
    (OLD, ago(hours=2), OLD, "rate(1 hour)", False),
    (OLD, OLD, ago(hours=2), "rate(1 hour)", False),  # a predecessor that has just become champion again
    (None, None, ago(hours=2), "rate(1 hour)", False),
    (None, None, ago(hours=4), "rate(1 hour)", True),
    (None, None, None, "rate(1 hour)", True),
    (ago(hours=4), OLD, OLD, "rate(6 hours)", False),
    (ago(hours=19), OLD, OLD, "rate(6 hours)", True),
    (ago(hours=1), OLD, OLD, "rate(10 minutes)", True),
    (ago(hours=4), OLD, OLD, "cron(0 6 ? * MON *)", True),
]


def monitor_item(updated_at: str | None, closed_at: str | None) -> dict[str, str]:
    """A MONITOR item with these times."""
    item = {"updated_at": updated_at} if updated_at else {}
    return item | ({"last": f'{{"closed_at": "{closed_at}"}}'} if closed_at else {})
