"""A Task that exceeds TimeoutSeconds or HeartbeatSeconds fails with States.Timeout or States.HeartbeatTimeout.

docs.aws.amazon.com/step-functions/latest/dg/state-task.html: either may be a JSONata expression or a …Path, an
activity's time counts from when a worker has taken it, and the job of a ``.sync`` task is stopped. MiniStack knows no
heartbeat and no other spelling than a number, and goes on waiting for tokens and activities of executions that have
ended. A Task's attempt is written anew here, with its events (TaskStarted, TaskSubmitted, TaskTimedOut and those of
functions and activities), because each of its waits has to end with the execution.
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from localcloud import hooks
from localcloud.fidelity.state_walk import add_evaluation_failed
from localcloud.states import workflow
from localcloud.states.endings import Ending, timers

_TOKEN = ".waitForTaskToken"
# How often to look whether a worker has taken an activity; GetActivityTask looks as often for activities.
_LOOK_SECONDS = 0.5


def install() -> None:
    """Run Task states here."""
    hooks.replace("states.task", lambda _original: _execute)


def _execute(state_def: workflow.Json, raw_input: Any, execution: workflow.Json, ctx: workflow.Json) -> Any:
    return hooks.get("states.attempts")(
        state_def, raw_input, ctx, lambda: _attempt(state_def, raw_input, execution, ctx)
    )


def _attempt(state_def: workflow.Json, raw_input: Any, execution: workflow.Json, ctx: workflow.Json) -> Any:
    jsonata = hooks.get("states.language")(state_def, ctx) == "JSONata"
    resource: str = state_def.get("Resource", "")
    if resource.endswith(_TOKEN):
        ctx["Task"] = {"Token": str(uuid.uuid4())}
    try:
        if jsonata:
            arguments = hooks.get("states.arguments")(state_def, raw_input, ctx)
        else:
            selected = hooks.get("states.input_path")(state_def, raw_input, ctx)
            arguments = hooks.get("states.parameters")(state_def, selected, ctx)
        timeout = _seconds(state_def, "TimeoutSeconds", jsonata, raw_input, ctx)
        heartbeat = _seconds(state_def, "HeartbeatSeconds", jsonata, raw_input, ctx)
        result = _Task(resource, arguments, timeout, heartbeat, execution, ctx).run()
        if jsonata:
            output = hooks.get("states.output")(state_def, raw_input, ctx, result=result, default=result)
            hooks.get("states.assign")(state_def, raw_input, ctx, result=result)
        else:
            selected = hooks.get("states.result_selector")(state_def, result)
            output = hooks.get("states.result_path")(state_def, raw_input, selected)
            output = hooks.get("states.output_path")(state_def, output, ctx)
    except hooks.get("states.error") as error:
        if error.error == "States.QueryEvaluationError":
            add_evaluation_failed(execution, ctx["State"]["Name"], error)
        raise
    return output, hooks.get("states.next")(state_def)


def _seconds(state_def: workflow.Json, name: str, jsonata: bool, raw_input: Any, ctx: workflow.Json) -> int | None:
    """A time limit in seconds; None when the state has none."""
    path = state_def.get(f"{name}Path")
    if path is not None:
        value = hooks.get("states.path")(path, raw_input, ctx)
    elif name not in state_def:
        return None
    elif jsonata:
        value = hooks.get("states.field")(state_def, name, "number", raw_input, ctx)
    else:
        value = state_def[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value <= 0:
        kind = "States.QueryEvaluationError" if jsonata else "States.Runtime"
        raise workflow.error(kind, f"The {name} field must be a positive integer, but was: {json.dumps(value)}")
    return int(value)


@dataclass
class _Task:
    """One attempt: its events, and its result if it has one in time.

    Args:
        timeout: in seconds; None for none.
        heartbeat: the same, between two heartbeats.
    """

    resource: str
    arguments: Any
    timeout: int | None
    heartbeat: int | None
    execution: workflow.Json
    ctx: workflow.Json

    def run(self) -> Any:
        """Invoke the resource and wait for what its pattern says; raises MiniStack's _ExecutionError."""
        failed = hooks.get("states.error")
        walk = workflow.current()
        self._ending = Ending(walk.ending if walk else None)
        self._timed_out = False
        self._take_back: Callable[[], None] = lambda: None
        self._scheduled()
        activity = ":activity:" in self.resource
        if not activity:
            self._started()
            self._start_clock()
        try:
            with hooks.running_task(hooks.TaskRun(self.execution, self._ending, self._submitted)):
                if activity:
                    result = self._activity()
                elif self.resource.endswith(_TOKEN):
                    result = self._callback()
                else:
                    result = self._invoke(self.resource)
            self._check_time()
        except workflow.Abandoned:
            self._fail_if_late()
            raise
        except failed as error:
            if walk is not None:
                walk.go_on()
            self._fail_if_late()
            self._failed("TimedOut" if error.error == "States.HeartbeatTimeout" else "Failed", error.error, error.cause)
            raise
        except Exception as error:
            self._failed("Failed", "States.TaskFailed", f"{type(error).__name__}: {error}")
            raise workflow.error("States.TaskFailed", f"{type(error).__name__}: {error}") from error
        finally:
            self._take_back()
            self._ending.close()
        self._tell("Succeeded", {"output": json.dumps(result), "outputDetails": {"truncated": False}})
        return result

    # --- time ---

    def _start_clock(self) -> None:
        if self.timeout is not None:
            self._take_back = timers.after(self.timeout, self._time_out)

    def _time_out(self) -> None:
        self._timed_out = True
        self._ending.end()

    def _check_time(self) -> None:
        """What ended too late has not succeeded, and what was ended from outside has no result."""
        if self._ending.ended:
            raise workflow.Abandoned

    def _fail_if_late(self) -> None:
        if self._timed_out:
            self._failed("TimedOut", "States.Timeout", None)
            raise workflow.error("States.Timeout", "") from None

    # --- patterns ---

    def _invoke(self, resource: str) -> Any:
        invoke = hooks.get("states.invoke")
        if self.timeout is None or hooks.heeds_its_end(resource):
            return invoke(resource, self.arguments)
        # A function, say, goes on after its time: in a thread that nobody waits for.
        outcome: list[tuple[Any, BaseException | None]] = []
        finished = threading.Event()

        def work() -> None:
            try:
                outcome.append((invoke(resource, self.arguments), None))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the task's own thread
                outcome.append((None, error))
            finished.set()

        self._ending.call(finished.set)
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name="localcloud-task", daemon=True).start()
        finished.wait()
        if not outcome:
            raise workflow.Abandoned
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    def _callback(self) -> Any:
        def start() -> None:
            self._submitted(self._invoke(self.resource.removesuffix(_TOKEN)))

        return self._await(self.ctx["Task"]["Token"], start)

    def _activity(self) -> Any:
        queue = hooks.get("states.activity_tasks").get(self.resource)
        if queue is None:
            raise workflow.error("ActivityDoesNotExist", f"Activity {self.resource} does not exist.")
        token = str(uuid.uuid4())
        task = {"taskToken": token, "input": json.dumps(self.arguments)}

        def start() -> None:
            queue.append(task)
            while task in queue:
                if self._ending.wait(_LOOK_SECONDS):
                    queue.remove(task)
                    raise workflow.Abandoned
            self._started()
            self._start_clock()

        return self._await(token, start)

    def _await(self, token: str, start: Callable[[], None]) -> Any:
        """Start something and wait until somebody comes back with its token."""
        tokens = hooks.get("states.task_tokens")
        told = threading.Event()
        entry: workflow.Json = {"event": told, "result": None, "error": None, "heartbeat": None}
        tokens[token] = entry
        self._ending.call(told.set)
        try:
            start()
            alive = time.time()
            while not told.wait(None if self.heartbeat is None else max(0.0, alive + self.heartbeat - time.time())):
                beat = entry["heartbeat"]
                beaten = workflow.moment(beat).timestamp() if beat else alive
                if beaten <= alive and time.time() >= alive + (self.heartbeat or 0):
                    raise workflow.error("States.HeartbeatTimeout", "")
                alive = max(alive, beaten)
        finally:
            tokens.pop(token, None)
        if entry["error"]:
            raise workflow.error(entry["error"].get("Error", ""), entry["error"].get("Cause", ""))
        if entry["result"] is None:
            raise workflow.Abandoned
        result = entry["result"]
        try:
            return json.loads(result) if isinstance(result, str) else result
        except ValueError:
            return result

    # --- events ---

    def _scheduled(self) -> None:
        details: workflow.Json = {}
        if self._prefix != "Task":
            details = {"input": json.dumps(self.arguments), "inputDetails": {"truncated": False}}
        if self.timeout is not None:
            details["timeoutInSeconds"] = self.timeout
        if self.heartbeat is not None and self._prefix != "LambdaFunction":
            details["heartbeatInSeconds"] = self.heartbeat
        if self._prefix != "Task":
            details["resource"] = self.resource
        self._tell("Scheduled", details)

    def _started(self) -> None:
        self._tell("Started", {})

    def _submitted(self, answer: Any) -> None:
        with suppress(workflow.Abandoned):  # whoever waits sees that by himself, and stops what was submitted
            self._tell("Submitted", {"output": json.dumps(answer), "outputDetails": {"truncated": False}})

    def _failed(self, how: str, error: str, cause: str | None) -> None:
        self._tell(how, {"error": error, **({"cause": cause} if cause else {})})

    @property
    def _prefix(self) -> str:
        if ":activity:" in self.resource:
            return "Activity"
        return "LambdaFunction" if ":function:" in self.resource else "Task"

    def _tell(self, what: str, details: workflow.Json) -> None:
        prefix = self._prefix
        if prefix == "Task":
            kind = "lambda" if "lambda" in self.resource else "states"
            details = {"resourceType": kind, "resource": self.resource, **details}
        name = f"{prefix}{what}"
        member = f"{name[0].lower()}{name[1:]}EventDetails"
        hooks.get("states.event")(self.execution, name, {member: details} if details else None)
