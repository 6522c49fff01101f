"""Where MiniStack differs from AWS, put right: one module with one idea per difference."""

from __future__ import annotations

from localcloud.clients import Clients
from localcloud.fidelity import (
    alarm_actions,
    alarm_evaluation,
    alarm_operations,
    async_targets,
    bucket_resource,
    conditional_copy,
    denial_wording,
    error_types,
    execution_context,
    metric_operations,
    object_versions,
    parallel_jsonata,
    s3_condition_keys,
    secure_transport,
    service_keys,
    shared_layers,
    start_twice,
    state_machine_resource,
    state_machine_role,
    stay_aborted,
    table_resource,
    task_events,
)
from localcloud.identity import Identity

CORRECTIONS = (
    alarm_actions,
    alarm_evaluation,
    alarm_operations,
    async_targets,
    conditional_copy,
    denial_wording,
    error_types,
    execution_context,
    metric_operations,
    object_versions,
    parallel_jsonata,
    s3_condition_keys,
    secure_transport,
    service_keys,
    shared_layers,
    start_twice,
    state_machine_resource,
    stay_aborted,
    task_events,
)

RESOURCES = (bucket_resource, table_resource)

ROLES = (state_machine_role,)


def install(clients: Clients, identity: Identity) -> None:
    """Put every correction in place; some work through the services' own APIs, some ask what a role allows."""
    for correction in CORRECTIONS:
        correction.install()
    for resource in RESOURCES:
        resource.install(clients)
    for role in ROLES:
        role.install(identity)
