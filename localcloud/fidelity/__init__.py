"""Where MiniStack differs from AWS, put right: one module with one idea per difference."""

from __future__ import annotations

from localcloud.fidelity import (
    async_targets,
    conditional_copy,
    execution_context,
    object_versions,
    parallel_jsonata,
    start_twice,
    stay_aborted,
)

CORRECTIONS = (
    async_targets,
    conditional_copy,
    execution_context,
    object_versions,
    parallel_jsonata,
    start_twice,
    stay_aborted,
)


def install() -> None:
    """Put every correction in place."""
    for correction in CORRECTIONS:
        correction.install()
