"""Where MiniStack differs from AWS, put right: one module with one idea per difference."""

from __future__ import annotations


def install() -> None:
    """Put every correction in place."""
