"""The one module that touches MiniStack's private names, and says plainly when an upgrade has moved one.

MiniStack has no interface for plugging in a service, so localcloud reaches into it; the version is pinned exactly in
pyproject.toml. Import this module only after the environment is set (MiniStack reads it on import).
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import importlib
import inspect
import json
import logging
import sys
import time
import types
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from localcloud.errors import LocalcloudError
from localcloud.states.endings import Ending
from localcloud.store import Scope

WRITTEN_FOR = "1.5.33"

logger = logging.getLogger("localcloud.hooks")

Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, Mapping[str, str], bytes, Mapping[str, Any]], Awaitable[Response]]


class HookMoved(LocalcloudError):
    """A private name of MiniStack is not where this module expects it."""


@dataclass(frozen=True)
class Hook:
    """One private name: where it is and what it must be.

    Args:
        module: the module in MiniStack.
        name: the attribute.
        parameters: a function's parameter names; None for anything that is not called.
        kind: what it must be an instance of.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None = None
    kind: type | None = None


_APP = "ministack.app"
_ROUTER = "ministack.core.router"
_RESPONSES = "ministack.core.responses"
_STEPFUNCTIONS = "ministack.services.stepfunctions"
_EVENTBRIDGE = "ministack.services.eventbridge"
_LAMBDA = "ministack.services.lambda_svc"
_S3 = "ministack.services.s3"
_PERSISTENCE = "ministack.core.persistence"
_PROVISIONERS = "ministack.services.cloudformation.provisioners"
_STACKS = "ministack.services.cloudformation.stacks"
_CLOUDWATCH = "ministack.services.cloudwatch"
_LOGS = "ministack.services.cloudwatch_logs"
_SCHEDULER = "ministack.services.scheduler"
_SQS = "ministack.services.sqs"
_SNS = "ministack.services.sns"
_IAM = "ministack.core.iam_evaluator"

_TASK = ("state_def", "raw_input", "execution", "ctx")
_STATE = ("state_def", "raw_input", "ctx")

# Everything private that localcloud uses, by the name under which its other modules ask for it.
HOOKS = {
    "app": Hook(_APP, "app", ("scope", "receive", "send")),
    "app.handlers": Hook(_APP, "SERVICE_HANDLERS", kind=dict),
    "app.registry": Hook(_APP, "SERVICE_REGISTRY", kind=dict),
    "app.aliases": Hook(_APP, "SERVICE_NAME_ALIASES", kind=dict),
    "app.states": Hook(_APP, "_state_map", kind=dict),
    "app.modules": Hook(_APP, "_loaded_modules", kind=dict),
    "app.call": Hook(
        _APP,
        "call_service_handler_sync",
        ("handler", "method", "path", "headers", "body", "query_params", "timeout"),
    ),
    "router.patterns": Hook(_ROUTER, "SERVICE_PATTERNS", kind=dict),
    "app.account_of": Hook(_APP, "_request_account_scope", ("access_key_id",)),
    "app.refuse_credentials": Hook(_APP, "_authenticate_only", ("service", "headers", "query_params", "request_id")),
    "router.region": Hook(_ROUTER, "extract_region", ("headers", "query_params")),
    "responses.set_account": Hook(_RESPONSES, "set_request_account_id", ("access_key_id",)),
    "responses.set_region": Hook(_RESPONSES, "set_request_region", ("region",)),
    "iam.pin_request": Hook(
        _IAM, "pin_signed_request", ("method", "raw_path", "query_params", "raw_headers", "handshake")
    ),
    "iam.pin_body": Hook(_IAM, "pin_signed_body", ("body",)),
    "responses.account": Hook(_RESPONSES, "get_account_id", ()),
    "responses.region": Hook(_RESPONSES, "get_region", ()),
    "responses.scope": Hook(_RESPONSES, "request_scope", ("account_id", "region")),
    "responses.now": Hook(_RESPONSES, "now_iso", ()),
    "cloudformation.event": Hook(
        "ministack.services.cloudformation.stacks",
        "_add_event",
        (
            *("stack_id", "stack_name", "logical_id", "resource_type", "status", "reason", "physical_id"),
            "detailed_status",
        ),
    ),
    "cloudformation.types": Hook(_PROVISIONERS, "_RESOURCE_HANDLERS", kind=dict),
    "cloudformation.replaced": Hook(_PROVISIONERS, "_delete_predecessor", ("delete_fn", "args", "kwargs")),
    "cloudformation.in_thread": Hook(_STACKS, "_runs_on_worker_thread", ("resource_type",)),
    "app.pin_origin": Hook(_APP, "pin_request_origin", ("source_ip", "secure_transport")),
    "router.access_key": Hook(_ROUTER, "extract_access_key_id", ("headers", "query_params")),
    "iam.enforce": Hook(
        _IAM, "enforce", ("access_key_id", "iam_action", "service", "region", "resource_arn", "service_context")
    ),
    "iam.resource": Hook(
        "ministack.core.iam_actions",
        "extract_resource_arn",
        ("service", "method", "path", "headers", "body", "query_params", "region", "account_id"),
    ),
    "iam.denied": Hook(
        "ministack.core.iam_actions",
        "access_denied_response",
        (
            *("service", "action", "principal_arn", "request_id", "error_code", "message", "headers", "resource_arn"),
            *("explicit_deny", "resource_policy_arn"),
        ),
    ),
    "iam.origin": Hook(_IAM, "_request_origin", kind=contextvars.ContextVar),
    "iam.context": Hook(_IAM, "EvalContext", kind=type),
    "iam.auth_error": Hook(_IAM, "AuthError", kind=type),
    "iam.resource_policy": Hook(_IAM, "_resource_policy", ("service", "resource_arn")),
    "iam.evaluate_resource_policy": Hook(
        _IAM, "evaluate_resource_policy", ("doc", "ctx", "service", "named_only", "direct_only")
    ),
    "iam.tag_context": Hook(
        "ministack.core.iam_actions", "request_tag_context", ("service", "iam_action", "body", "params")
    ),
    "iam.s3_context": Hook(
        "ministack.core.iam_actions", "s3_service_context", ("iam_action", "query_params", "path", "headers")
    ),
    "logs.policies": Hook("ministack.services.cloudwatch_logs", "_resource_policies"),
    "iam.roles": Hook("ministack.services.iam", "_roles"),
    "sts.register": Hook("ministack.services.sts", "register_session", ("access_key", "session")),
    "cloudformation.definition": Hook(_PROVISIONERS, "_sfn_definition", ("props",)),
    "events.put": Hook(_EVENTBRIDGE, "_put_events", ("data", "allow_aws_source")),
    "events.dispatch": Hook(_EVENTBRIDGE, "_dispatch_event", ("event", "view")),
    "events.invoke": Hook(_EVENTBRIDGE, "_invoke_target", ("target", "event", "rule", "view")),
    "events.matches": Hook(_EVENTBRIDGE, "_matches_pattern_view", ("pattern_str", "view", "owner")),
    "events.view": Hook(_EVENTBRIDGE, "_pattern_event_view", ("event",)),
    "events.render": Hook(_EVENTBRIDGE, "_render_input_template", ("template", "replacements")),
    "events.bus": Hook(_EVENTBRIDGE, "_event_bus_name_from_ref", ("name",)),
    "events.buses": Hook(_EVENTBRIDGE, "_event_buses"),
    "events.log": Hook(_EVENTBRIDGE, "_events_log_list", ()),
    "events.archive": Hook(_EVENTBRIDGE, "_archive_event", ("event", "view")),
    "events.targets": Hook(_EVENTBRIDGE, "_targets"),
    "events.key": Hook(_EVENTBRIDGE, "_rule_key", ("rule_name", "bus_name")),
    "events.api_destinations": Hook(_EVENTBRIDGE, "_api_destinations"),
    "events.connections": Hook(_EVENTBRIDGE, "_connections"),
    "events.http_parameters": Hook(_EVENTBRIDGE, "_resolve_http_parameters", ("parameters", "event")),
    "events.http_request": Hook(
        _EVENTBRIDGE, "_build_api_destination_request", ("dest", "conn", "target_http_params", "payload")
    ),
    "events.http_headers": Hook(_EVENTBRIDGE, "_connection_auth_headers", ("conn", "token_key", "force_refresh")),
    "events.http_send": Hook(_EVENTBRIDGE, "_api_destination_send_sync", ("request", "auth_headers")),
    "events.cron": Hook(_EVENTBRIDGE, "_parse_cron_fields", ("expr",)),
    "events.next_cron": Hook(_EVENTBRIDGE, "_cron_next_fire", ("fields", "after_dt")),
    "events.start": Hook(_EVENTBRIDGE, "start_scheduler", ()),
    "scheduler.start": Hook(_SCHEDULER, "start_scheduler", ()),
    "scheduler.schedules": Hook(_SCHEDULER, "_schedules"),
    "scheduler.create": Hook(_SCHEDULER, "_create_schedule", ("name", "body")),
    "scheduler.update": Hook(_SCHEDULER, "_update_schedule", ("name", "body")),
    "sqs.wake": Hook("ministack.core.concurrency", "esm_wake"),
    "sqs.delay": Hook(_SQS, "queue_delay", ("q",)),
    "sqs.digest": Hook(_SQS, "_md5_msg_attrs", ("attrs",)),
    "lambda.find": Hook(_LAMBDA, "_get_func_record_for_ref", ("function_ref",)),
    "lambda.record": Hook(_LAMBDA, "_execution_record_for_config", ("func", "config")),
    "lambda.execute_warm": Hook(_LAMBDA, "_execute_function_warm", ("func", "event", "request_id")),
    "lambda.invoke_async": Hook(_LAMBDA, "invoke_async_with_retry", ("func", "event")),
    "lambda.layer": Hook(_LAMBDA, "_resolve_layer_zip", ("attachment",)),
    "lambda.end_workers": Hook("ministack.core.lambda_runtime", "reset", ()),
    "lambda.zipfile": Hook("ministack.core.lambda_runtime", "zipfile", kind=types.ModuleType),
    "cloudwatch.alarms": Hook(_CLOUDWATCH, "_alarms"),
    "cloudwatch.composites": Hook(_CLOUDWATCH, "_composite_alarms"),
    "cloudwatch.tags": Hook(_CLOUDWATCH, "_resource_tags"),
    "cloudwatch.entries": Hook(_CLOUDWATCH, "_history_entries", ()),
    "cloudwatch.record": Hook(
        _CLOUDWATCH, "record_metric", ("namespace", "metric_name", "value", "unit", "dimensions")
    ),
    "cloudwatch.evaluate": Hook(_CLOUDWATCH, "_evaluate_alarm", ("alarm",)),
    "cloudwatch.evaluate_all": Hook(_CLOUDWATCH, "_evaluate_all_alarms", ()),
    "cloudwatch.act": Hook(_CLOUDWATCH, "_dispatch_alarm_actions", ("alarm", "old_state", "new_state", "reason")),
    "cloudwatch.history": Hook(
        _CLOUDWATCH,
        "_record_history",
        ("alarm_name", "old_state", "new_state", "reason", "alarm_type", "reason_data"),
    ),
    "cloudwatch.parents": Hook(_CLOUDWATCH, "_evaluate_parent_alarms", ("child", "seen")),
    "cloudwatch.transition": Hook(
        _CLOUDWATCH, "_transition_composite", ("alarm", "new_state", "reason", "triggers", "seen")
    ),
    "cloudwatch.put_alarm": Hook(_CLOUDWATCH, "cloudformation_put_metric_alarm", ("alarm",)),
    "cloudformation.alarm": Hook(_PROVISIONERS, "_cw_metric_alarm_record", ("name", "props")),
    "lambda.metrics": Hook(_LAMBDA, "_emit_lambda_metrics", ("function_name", "duration_ms", "error", "throttle")),
    "lambda.dispatch": Hook(
        _LAMBDA, "_execute_function_dispatch", ("func", "config", "event", "request_id", "started")
    ),
    "lambda.execute": Hook(_LAMBDA, "_execute_function", ("func", "event")),
    "lambda.in_flight": Hook(_LAMBDA, "executions_in_flight", ()),
    "logs.fan_out": Hook(_LOGS, "_fanout_to_subscription_filters", ("group_name", "stream_name", "events")),
    "logs.metric_filters": Hook(_LOGS, "_metric_filters"),
    "logs.subscription": Hook(_LOGS, "_subscription_pattern_matches", ("pattern", "message")),
    "logs.filter": Hook(_LOGS, "_filter_log_events", ("data",)),
    "sqs.handlers": Hook(_SQS, "_HANDLERS", kind=dict),
    "sqs.send": Hook(_SQS, "_act_send_message", ("data", "qurl")),
    "sqs.delete": Hook(_SQS, "_act_delete_message", ("data", "qurl")),
    "sqs.delete_batch": Hook(_SQS, "_act_delete_message_batch", ("data", "qurl")),
    "sqs.delete_polled": Hook(_SQS, "_delete_messages_for_esm", ("queue_url", "receipt_handles")),
    "sqs.collect": Hook(_SQS, "_collect_msgs", ("q", "max_n", "vis_timeout")),
    "sqs.expire": Hook(_SQS, "_expire_retained", ("q",)),
    "sqs.find": Hook(_SQS, "_queue_by_arn", ("arn",)),
    "sqs.fill": Hook(_SQS, "_ensure_msg_fields", ("m",)),
    "sqs.allows": Hook(_SQS, "queue_policy_allows", ("queue_arn", "service", "source_arn", "source_account")),
    "sns.fan_out": Hook(
        _SNS,
        "_fanout",
        (
            *("topic_arn", "msg_id", "message", "subject", "message_structure", "message_attributes"),
            *("message_group_id", "message_dedup_id"),
        ),
    ),
    "sns.envelope": Hook(
        _SNS, "_build_envelope", ("topic_arn", "msg_id", "message", "subject", "message_attributes", "raw")
    ),
    "sns.to_queue": Hook(
        _SNS,
        "_deliver_to_sqs",
        (
            *("endpoint", "envelope", "raw", "raw_message", "message_group_id", "message_dedup_id"),
            *("message_attributes", "topic_arn"),
        ),
    ),
    "sns.to_function": Hook(
        _SNS,
        "_deliver_to_lambda",
        ("endpoint", "envelope", "topic_arn", "sub_arn", "msg_id", "raw_message", "message_attributes"),
    ),
    "sns.publish": Hook(
        _SNS,
        "publish_internal",
        (
            *("topic_arn", "message", "subject", "message_structure", "message_attributes"),
            *("message_group_id", "message_deduplication_id"),
        ),
    ),
    "s3.now": Hook(_S3, "now_iso", ()),
    "s3.bucket": Hook(_S3, "_ensure_bucket", ("name",)),
    "s3.write_encryption": Hook(_S3, "_resolve_sse_write_headers", ("headers", "bucket_name")),
    "s3.default_encryption": Hook(_S3, "_bucket_default_sse_headers", ("bucket_name",)),
    "s3.encryption": Hook(_S3, "_stored_sse_headers", ("obj",)),
    "dynamodb.tables": Hook("ministack.services.dynamodb", "_tables"),
    "sqs.queue": Hook("ministack.services.sqs", "_queue_by_arn", ("arn",)),
    "sns.topic": Hook("ministack.services.sns", "_topic_by_arn_any_scope", ("topic_arn",)),
    "kms.key": Hook("ministack.services.kms", "_resolve_key", ("key_id_or_arn",)),
    "app.states_of": Hook(_APP, "_build_persistence_save_dict", ()),
    "app.module": Hook(_APP, "_get_module", ("name",)),
    "state.encode": Hook(_PERSISTENCE, "_json_default", ("obj",)),
    "state.decode": Hook(_PERSISTENCE, "_json_object_hook", ("obj",)),
    "state.format": Hook(_PERSISTENCE, "_state_format_version", ("service",)),
    "lambda.write_code": Hook(_LAMBDA, "_write_code_blob", ("code_zip",)),
    "lambda.read_code": Hook(_LAMBDA, "_read_code_blob", ("sha",)),
    "lambda.prune_code": Hook(_LAMBDA, "_prune_orphan_code_blobs", ("referenced",)),
    "lambda.worker": Hook("ministack.core.lambda_runtime", "_PYTHON_WORKER_SCRIPT", kind=str),
    "sqs.lock": Hook("ministack.services.sqs", "_queues_lock"),
    "dynamodb.lock": Hook("ministack.services.dynamodb", "_lock"),
    "logs.lock": Hook("ministack.services.cloudwatch_logs", "_log_events_lock"),
    "logs.groups": Hook("ministack.services.cloudwatch_logs", "_log_groups"),
    "logs.records": Hook("ministack.services.cloudwatch_logs", "_log_records"),
    "s3.persisting": Hook(_S3, "S3_PERSIST", kind=bool),
    "s3.persist": Hook(_S3, "_persist_object", ("bucket", "key", "obj")),
    "s3.load": Hook(_S3, "_load_persisted_data", ()),
    "s3.load_history": Hook(_S3, "_load_persisted_history", ("account_id", "bucket", "bucket_name", "key", "meta")),
    "s3.path": Hook(_S3, "_object_disk_path", ("bucket", "key", "account_id")),
    "s3.describe": Hook(_S3, "_object_meta_from_record", ("obj",)),
    "s3.history": Hook(_S3, "_key_history_meta", ("bucket_name", "key")),
    "s3.versions": Hook(_S3, "_object_versions"),
    "s3.version_stands": Hook(_S3, "_version_file_exists", ("bucket_name", "key", "version_id", "account_id")),
    "s3.uploads": Hook(_S3, "_multipart_uploads"),
    "s3.retention": Hook(_S3, "_object_retention"),
    "s3.legal_hold": Hook(_S3, "_object_legal_hold"),
    "s3.preconditions": Hook(_S3, "_check_put_preconditions", ("headers", "existing_obj")),
    "s3.copy": Hook(_S3, "_copy_object", ("bucket_name", "dest_key", "headers")),
    "s3.fire": Hook(
        _S3,
        "_fire_s3_event",
        (
            *("bucket_name", "key", "event_name", "size", "etag", "deletion_type", "restore_event_data", "version_id"),
            *("sequencer", "object_extra", "record_extra"),
        ),
    ),
    "states.error": Hook(_STEPFUNCTIONS, "_ExecutionError", ("error", "cause")),
    "states.executions": Hook(_STEPFUNCTIONS, "_executions"),
    "states.machines": Hook(_STEPFUNCTIONS, "_state_machines"),
    "states.resolve": Hook(_STEPFUNCTIONS, "_resolve_state_machine_arn", ("arn",)),
    "states.start": Hook(_STEPFUNCTIONS, "_start_execution", ("data",)),
    "states.fail": Hook(_STEPFUNCTIONS, "_fail_execution", ("execution", "error", "cause")),
    "states.task": Hook(_STEPFUNCTIONS, "_execute_task", _TASK),
    "states.pass": Hook(_STEPFUNCTIONS, "_execute_pass", _STATE),
    "states.choice": Hook(_STEPFUNCTIONS, "_execute_choice", _STATE),
    "states.wait": Hook(_STEPFUNCTIONS, "_execute_wait", _STATE),
    "states.parallel": Hook(_STEPFUNCTIONS, "_execute_parallel", _TASK),
    "states.map": Hook(_STEPFUNCTIONS, "_execute_map", _TASK),
    "states.branches": Hook(_STEPFUNCTIONS, "_run_parallel_branches", _TASK),
    "states.machine": Hook(
        _STEPFUNCTIONS, "_run_sub_machine", ("states", "start_at", "input_data", "execution", "ctx")
    ),
    "states.output_path": Hook(_STEPFUNCTIONS, "_apply_output_path", ("state_def", "data", "ctx")),
    "states.language": Hook(_STEPFUNCTIONS, "_state_query_language", ("state_def", "ctx")),
    "states.arguments": Hook(_STEPFUNCTIONS, "_apply_jsonata_arguments", ("state_def", "raw_input", "ctx")),
    "states.parameters": Hook(_STEPFUNCTIONS, "_apply_parameters", ("state_def", "data", "ctx")),
    "states.event": Hook(_STEPFUNCTIONS, "_add_event", ("execution", "event_type", "details")),
    "states.output": Hook(
        _STEPFUNCTIONS,
        "_apply_jsonata_output",
        ("state_def", "raw_input", "ctx", "result", "error_output", "default"),
    ),
    "states.assign": Hook(
        _STEPFUNCTIONS, "_apply_state_assign", ("state_def", "raw_input", "ctx", "result", "error_output")
    ),
    "states.next": Hook(_STEPFUNCTIONS, "_next_or_end", ("state_def",)),
    "states.invoke": Hook(_STEPFUNCTIONS, "_invoke_resource", ("resource", "input_data")),
    "states.test": Hook(_STEPFUNCTIONS, "_test_state", ("data",)),
    "states.handle": Hook(_STEPFUNCTIONS, "handle_request", ("method", "path", "headers", "body", "query_params")),
    "states.finalize": Hook(_STEPFUNCTIONS, "_finalize_response", ("response",)),
    "states.create": Hook(_STEPFUNCTIONS, "_create_state_machine", ("data",)),
    "states.update": Hook(_STEPFUNCTIONS, "_update_state_machine", ("data",)),
    "states.validate": Hook(_STEPFUNCTIONS, "_validate_state_machine_definition", ("data",)),
    "states.stop": Hook(_STEPFUNCTIONS, "_stop_execution", ("data",)),
    "states.describe": Hook(_STEPFUNCTIONS, "_describe_execution", ("data",)),
    "states.describe_machine": Hook(_STEPFUNCTIONS, "_describe_state_machine_for_execution", ("data",)),
    "states.list": Hook(_STEPFUNCTIONS, "_list_executions", ("data",)),
    "states.versions": Hook(_STEPFUNCTIONS, "_state_machine_versions"),
    "states.version_of": Hook(_STEPFUNCTIONS, "_execution_version_arn", ("arn",)),
    "states.internal": Hook(_STEPFUNCTIONS, "_SM_INTERNAL_KEYS", kind=frozenset),
    "states.status_event": Hook(_STEPFUNCTIONS, "_emit_execution_status_event", ("execution",)),
    "states.run": Hook(_STEPFUNCTIONS, "_run_execution", ("exec_arn",)),
    "states.attempts": Hook(_STEPFUNCTIONS, "_with_retry_and_catch", (*_STATE, "attempt")),
    "states.items": Hook(_STEPFUNCTIONS, "_run_map_items", _TASK),
    "states.distributed": Hook(
        _STEPFUNCTIONS,
        "_run_distributed_map",
        ("state_def", "raw_input", "effective", "iterator", "execution", "ctx"),
    ),
    "states.matches": Hook(_STEPFUNCTIONS, "_error_matches", ("error_equals", "error")),
    "states.catch": Hook(
        _STEPFUNCTIONS, "_apply_catcher", ("catcher", "raw_input", "ctx", "query_language", "error_output")
    ),
    "states.sleep": Hook(_STEPFUNCTIONS, "_scaled_sleep", ("seconds",)),
    "states.wait_scale": Hook(_STEPFUNCTIONS, "_SFN_WAIT_SCALE"),
    "states.field": Hook(
        _STEPFUNCTIONS, "_jsonata_state_field", ("state_def", "field", "expected", "raw_input", "ctx")
    ),
    "states.path": Hook(_STEPFUNCTIONS, "_resolve_path_or_ctx", ("path", "data", "ctx")),
    "states.template": Hook(
        _STEPFUNCTIONS, "_apply_jsonata_template", ("value", "raw_input", "ctx", "result", "error_output")
    ),
    "states.item_parameters": Hook(_STEPFUNCTIONS, "_resolve_params_obj", ("template", "data", "ctx")),
    "states.input_path": Hook(_STEPFUNCTIONS, "_apply_input_path", ("state_def", "data", "ctx")),
    "states.result_selector": Hook(_STEPFUNCTIONS, "_apply_result_selector", ("state_def", "data")),
    "states.result_path": Hook(_STEPFUNCTIONS, "_apply_result_path", ("state_def", "original", "result")),
    "states.fail_error": Hook(_STEPFUNCTIONS, "_fail_state_error", _STATE),
    "states.intrinsic": Hook(_STEPFUNCTIONS, "_evaluate_intrinsic", ("expression", "data", "ctx")),
    "states.path_tokens": Hook(_STEPFUNCTIONS, "_parse_jsonpath_tokens", ("path",)),
    "states.start_sync": Hook(_STEPFUNCTIONS, "_start_sync_execution", ("data",)),
    "states.reset": Hook(_STEPFUNCTIONS, "reset", ()),
    "states.nested": Hook(_STEPFUNCTIONS, "_invoke_nested_start_execution_sync", ("resource", "input_data")),
    "states.nested_request": Hook(_STEPFUNCTIONS, "_nested_start_execution_request", ("input_data",)),
    "states.task_tokens": Hook(_STEPFUNCTIONS, "_task_tokens"),
    "states.activity_tasks": Hook(_STEPFUNCTIONS, "_activity_tasks"),
}


def resolve(hook: Hook) -> Any:
    """The object behind a hook; raises HookMoved when it is gone or has changed."""
    try:
        found = getattr(importlib.import_module(hook.module), hook.name)
    except (ImportError, AttributeError) as error:
        raise _moved(hook, "is gone") from error
    if hook.kind is not None and not isinstance(found, hook.kind):
        raise _moved(hook, f"is a {type(found).__name__}, no longer a {hook.kind.__name__}")
    if hook.parameters is not None:
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != hook.parameters:
            raise _moved(hook, f"takes ({', '.join(parameters)}), no longer ({', '.join(hook.parameters)})")
    return found


def check() -> None:
    """Fail with a clear message unless every hook is where this module expects it."""
    for hook in HOOKS.values():
        resolve(hook)


def get(name: str) -> Any:
    """What MiniStack has at present under a name of HOOKS."""
    hook = HOOKS[name]
    try:
        return getattr(importlib.import_module(hook.module), hook.name)
    except (ImportError, AttributeError) as error:
        raise _moved(hook, "is gone") from error


def replace(name: str, make: Callable[[Any], Any]) -> None:
    """Put something else in the place of a name of HOOKS; ``make`` gets what is there now."""
    hook = HOOKS[name]
    setattr(importlib.import_module(hook.module), hook.name, make(get(name)))


def _moved(hook: Hook, what: str) -> HookMoved:
    return HookMoved(
        f"MiniStack {version('ministack')}: {hook.module}.{hook.name} {what}. localcloud was written for MiniStack "
        f"{WRITTEN_FOR}: pin ministack=={WRITTEN_FOR}, or adapt localcloud/hooks.py."
    )


def leave_out_docker() -> None:
    """Keep MiniStack from importing the Docker SDK, which it would never use here (0.2 s and 15 MB)."""
    sys.modules.setdefault("docker", None)  # type: ignore[arg-type]


# --- the application -------------------------------------------------------------------------------------------------


def application() -> Any:
    """MiniStack's ASGI application."""
    return get("app")


class Persistent(Protocol):
    """What MiniStack keeps, restores and resets along with its own services."""

    def get_state(self) -> Any:
        """What to save, as JSON values."""

    def load_persisted_state(self, data: Any) -> None:
        """Take back what get_state gave."""

    def reset(self) -> None:
        """Forget everything."""


def register_service(name: str, target_prefix: str, handler: Handler, state: Persistent) -> None:
    """Serve one more AWS service: by its X-Amz-Target prefix and by the service name that signatures carry."""
    patterns = get("router.patterns")
    patterns[name] = {"target_prefixes": [f"{target_prefix}."], "credential_scope": name}
    get("app.handlers")[name] = handler
    get("app.registry")[name] = {"module": name}
    register_state(name, state)


def register_state(name: str, state: Persistent) -> None:
    """Save, restore and reset something along with MiniStack's own services."""
    get("app.states")[name] = name
    get("app.modules")[name] = state


def current_scope() -> Scope:
    """Account and region of the request that this thread or task is serving."""
    return Scope(get("responses.account")(), get("responses.region")())


def access_key(headers: Mapping[str, str], query_params: Mapping[str, Any]) -> str:
    """The access key that signed a request; empty when nobody did."""
    return str(get("router.access_key")(headers, query_params))


@contextmanager
def acting_in(scope: Scope) -> Iterator[None]:
    """Act for an account and region, outside a request."""
    with get("responses.scope")(scope.account, scope.region):
        yield


def call_json_service(scope: Scope, service: str, target: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Call another of MiniStack's JSON services, in process; from a worker thread only.

    Raises:
        ServiceCallFailed: it answered an error.
    """
    with acting_in(scope):
        status, _headers, body = get("app.call")(
            get("app.handlers")[service],
            "POST",
            "/",
            {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"},
            json.dumps(request).encode(),
            {},
        )
    answer: dict[str, Any] = json.loads(body) if body else {}
    if status >= 400:
        raise ServiceCallFailed(str(answer.get("__type", "InternalFailure")), str(answer.get("message", "")))
    return answer


def serve_now(service: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
    """A service's answer to a request, without giving the event loop back: for code that runs on the loop.

    Raises:
        LocalcloudError: the service would have to wait for something, and nobody could wait for it.
    """
    parts = urlsplit(url)
    lowered = {name.lower(): value for name, value in headers.items()}
    lowered.setdefault("host", parts.netloc)
    handling: Any = get("app.handlers")[get("app.aliases").get(service, service)](
        method, unquote(parts.path) or "/", lowered, body, parse_qs(parts.query, keep_blank_values=True)
    )
    try:
        handling.send(None)
    except StopIteration as finished:
        response: Response = finished.value
        return response
    handling.close()
    raise LocalcloudError(f"{service} {method} {parts.path} cannot be called from the event loop: it waits.")


class ServiceCallFailed(LocalcloudError):
    """Another service answered an error; ``code`` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def put_event(scope: Scope, entry: Mapping[str, Any]) -> None:
    """Put one event of AWS's own (source ``aws.…``) on the default bus."""
    with acting_in(scope):
        get("events.put")({"Entries": [dict(entry)]}, allow_aws_source=True)


def put_message(
    queue: dict[str, Any], body: str, attributes: dict[str, dict[str, str]], group: str | None = None
) -> None:
    """Put a message into one of MiniStack's queues, as a service does that sends to it.

    Args:
        attributes: name → DataType and StringValue.
        group: a FIFO queue's message group.
    """
    now = time.time()
    message: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "body": body,
        "message_attributes": attributes,
        "md5_attrs": get("sqs.digest")(attributes),
        "sent_at": now,
        "visible_at": now + get("sqs.delay")(queue),
    }
    if queue.get("is_fifo"):
        queue["fifo_seq"] = queue.get("fifo_seq", 0) + 1
        digest = hashlib.sha256(body.encode()).hexdigest()
        message.update(group_id=group, dedup_id=digest, seq=str(queue["fifo_seq"]).zfill(20))
    get("sqs.fill")(message)
    queue["messages"].append(message)
    get("sqs.wake").set()


def cloudformation_types() -> dict[str, Any]:
    """MiniStack's resource handlers by CloudFormation type; add to it to add types."""
    handlers: dict[str, Any] = get("cloudformation.types")
    return handlers


def after_provisioning(resource_type: str, apply: Callable[[str, Mapping[str, Any], Mapping[str, Any]], None]) -> None:
    """Let a CloudFormation type of MiniStack's apply more of its properties once it has been created or changed.

    Args:
        apply: gets the physical id, the properties that it had ({} for a new resource), and those that it is to have.
    """
    handlers = cloudformation_types()[resource_type]
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        physical_id, attributes = create(logical_id, props, stack_name)
        apply(physical_id, {}, props)
        return physical_id, attributes

    def updated(before: str, old: Mapping[str, Any], new: Mapping[str, Any], stack_name: str, *rest: Any) -> Any:
        physical_id, attributes = update(before, old, new, stack_name, *rest)
        apply(physical_id, old if physical_id == before else {}, new)
        return physical_id, attributes

    handlers.update(create=created, update=updated)


# --- Step Functions --------------------------------------------------------------------------------------------------


class StatesError(LocalcloudError):
    """A task's failure under the name by which Retry and Catch know it."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass
class TaskRun:
    """One attempt of a Task state, so that a waiting integration can see that nobody waits for it any more.

    Args:
        execution: MiniStack's record of the execution.
        ending: ends when the execution or the branch does, or when the task's time is up.
        submitted: to be called with the service's answer by an integration that then waits for what it started.
    """

    execution: dict[str, Any] = field(default_factory=dict)
    ending: Ending = field(default_factory=Ending)
    submitted: Callable[[Any], None] = field(default=lambda _answer: None)

    @property
    def abandoned(self) -> bool:
        """Whether the execution was stopped, or the task ran out of time."""
        return self.ending.ended or self.execution.get("status", "RUNNING") != "RUNNING"


_task_run: contextvars.ContextVar[TaskRun | None] = contextvars.ContextVar("localcloud_task_run", default=None)

Integration = Callable[[str, Any, TaskRun], Any]
Integrations = Callable[[str], Integration | None]

_integrations: Integrations = lambda _resource: None  # noqa: E731 - until install_integrations


def install_integrations(integrations: Integrations) -> None:
    """Let localcloud run some of the resources of Task states.

    Args:
        integrations: gives the integration for a resource ARN, or None to leave it to MiniStack. What an integration
            raises other than StatesError becomes States.TaskFailed, so that Retry and Catch see it; in MiniStack alone
            it would end the execution past both.
    """
    global _integrations
    _integrations = integrations
    error_type = get("states.error")

    def integrated(invoke_resource: Any) -> Any:
        def invoke(resource: str, input_data: Any) -> Any:
            integration = integrations(resource)
            if integration is None:
                return invoke_resource(resource, input_data)
            try:
                return integration(resource, input_data, _task_run.get() or TaskRun())
            except StatesError as error:
                raise error_type(error.error, error.cause) from error
            except Exception as error:
                logger.exception("%s failed inside localcloud", resource)
                raise error_type("States.TaskFailed", f"{type(error).__name__}: {error}") from error

        return invoke

    replace("states.invoke", integrated)


def check_tasks(check: Callable[[str, Any, TaskRun], None]) -> None:
    """Let every Task state's resource be looked at before it is invoked; ``check`` raises StatesError to refuse it."""
    error_type = get("states.error")

    def invoking(invoke_resource: Any) -> Any:
        def invoke(resource: str, input_data: Any) -> Any:
            try:
                check(resource, input_data, _task_run.get() or TaskRun())
            except StatesError as error:
                raise error_type(error.error, error.cause) from error
            return invoke_resource(resource, input_data)

        return invoke

    replace("states.invoke", invoking)


def heeds_its_end(resource: str) -> bool:
    """Whether a Task state's resource is run by localcloud, which stops when its TaskRun is abandoned."""
    return _integrations(resource) is not None


def current_task() -> TaskRun | None:
    """The attempt of a Task state that this thread is at."""
    return _task_run.get()


@contextmanager
def running_task(run: TaskRun) -> Iterator[None]:
    """What integrations invoked in this thread, and in copies of its context, see as their task."""
    token = _task_run.set(run)
    try:
        yield
    finally:
        _task_run.reset(token)


def in_thread(function: Callable[..., Response], pool: Executor | None = None) -> Handler:
    """A service handler that does its work off the event loop, so that it may wait and call other services.

    Args:
        pool: whose threads it uses; None for the event loop's own.
    """

    async def handler(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> Response:
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, run, function, method, path, headers, body, query_params)

    return handler


def by_path(special: Callable[[str], bool], handler: Handler, otherwise: Handler) -> Handler:
    """One handler for the paths that ``special`` knows, another for all others: two services that sign alike."""

    async def choose(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> Response:
        return await (handler if special(path) else otherwise)(method, path, headers, body, query_params)

    return choose
