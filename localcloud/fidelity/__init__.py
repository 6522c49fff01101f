"""Where MiniStack differs from AWS, put right: one module with one idea per difference."""

from __future__ import annotations

from localcloud import hooks
from localcloud.clients import Clients
from localcloud.delivery.deliveries import Deliverer
from localcloud.fidelity import (
    alarm_actions,
    alarm_evaluation,
    alarm_operations,
    alarm_permissions,
    assign_together,
    async_targets,
    bucket_resource,
    composite_alarm_resource,
    conditional_copy,
    definitions,
    denial_wording,
    embedded_metrics,
    error_matching,
    error_types,
    event_entries,
    execution_context,
    execution_logs,
    execution_metrics,
    execution_timeout,
    function_metrics,
    history,
    history_limit,
    intrinsic_failures,
    list_executions,
    log_filters,
    managed_key,
    map_iterations,
    metric_condition_key,
    metric_filters,
    metric_operations,
    missing_paths,
    nested_executions,
    notification_events,
    notification_times,
    object_times,
    object_versions,
    optimised_results,
    parallel_jsonata,
    payload_limit,
    prompt_waits,
    queue_metrics,
    redrive,
    retries,
    rule_delivery,
    s3_condition_keys,
    schedule_delivery,
    schedule_resource,
    secure_transport,
    service_keys,
    shared_layers,
    start_checks,
    start_twice,
    started_revision,
    state_machine_resource,
    state_machine_role,
    state_walk,
    status_events,
    stay_aborted,
    stop_jobs,
    table_resource,
    task_events,
    task_timeouts,
    tested_states,
    topic_metrics,
    topic_resource,
    undelivered_notifications,
    worker_lifeline,
    workflow_types,
    yaml_definitions,
)
from localcloud.iam.identity import Identity
from localcloud.jobs.logs import Logs

# What runs executions comes first: the others wrap it.
ENGINE = (
    history,
    state_walk,
    retries,
    task_timeouts,
    map_iterations,
    prompt_waits,
    error_matching,
    stay_aborted,
    stop_jobs,
    execution_timeout,
    status_events,
    redrive,
    list_executions,
    started_revision,
    assign_together,
    payload_limit,
    history_limit,
)

CORRECTIONS = (
    *ENGINE,
    alarm_evaluation,
    alarm_operations,
    async_targets,
    conditional_copy,
    definitions,
    denial_wording,
    embedded_metrics,
    error_types,
    execution_context,
    function_metrics,
    log_filters,
    metric_condition_key,
    metric_filters,
    managed_key,
    metric_operations,
    intrinsic_failures,
    missing_paths,
    nested_executions,
    notification_events,
    notification_times,
    object_times,
    object_versions,
    optimised_results,
    parallel_jsonata,
    queue_metrics,
    s3_condition_keys,
    schedule_resource,
    secure_transport,
    service_keys,
    shared_layers,
    start_checks,
    start_twice,
    state_machine_resource,
    task_events,
    tested_states,
    topic_metrics,
    worker_lifeline,
    workflow_types,
    yaml_definitions,
)

# These wrap what the corrections have put in place, so they come after them.
MEASURES = (execution_metrics,)

RESOURCES = (bucket_resource, composite_alarm_resource, table_resource, topic_resource)

ROLES = (alarm_permissions, state_machine_role, undelivered_notifications)


# These write to CloudWatch Logs.
LOGGED = (execution_logs,)


def install(clients: Clients, identity: Identity, logs: Logs) -> None:
    """Put every correction in place; some work through the services' own APIs, some ask what a role allows."""
    for correction in (*CORRECTIONS, *MEASURES):
        correction.install()
    for resource in RESOURCES:
        resource.install(clients)
    for role in ROLES:
        role.install(identity)
    for logged in LOGGED:
        logged.install(logs)
    deliverer = Deliverer()
    hooks.register_state("localcloud_deliveries", deliverer)
    alarm_actions.install(identity)
    event_entries.install(deliverer)
    rule_delivery.install(identity, deliverer)
    schedule_delivery.install(identity, clients, deliverer)
