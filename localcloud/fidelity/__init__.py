"""Where MiniStack differs from AWS, put right: one module with one idea per difference."""

from __future__ import annotations

from localcloud.clients import Clients
from localcloud.fidelity import (
    async_targets,
    bucket_resource,
    conditional_copy,
    error_types,
    execution_context,
    object_versions,
    parallel_jsonata,
    shared_layers,
    start_twice,
    state_machine_resource,
    stay_aborted,
    table_resource,
    task_events,
)

CORRECTIONS = (
    async_targets,
    conditional_copy,
    error_types,
    execution_context,
    object_versions,
    parallel_jsonata,
    shared_layers,
    start_twice,
    state_machine_resource,
    stay_aborted,
    task_events,
)

RESOURCES = (bucket_resource, table_resource)


def install(clients: Clients) -> None:
    """Put every correction in place; some work through the services' own APIs."""
    for correction in CORRECTIONS:
        correction.install()
    for resource in RESOURCES:
        resource.install(clients)
