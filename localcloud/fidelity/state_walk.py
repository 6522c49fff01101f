"""Every state that is entered and left is in the history, those of branches and iterations too.

docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html; MiniStack tells the top level's only, and
starts each execution 0.15 s late. The walk from state to state is written anew here because a redrive has to be able to
start at any of them, with the input and the variables that it had, in branches too: ``place`` in the record always
says where each branch stands.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from localcloud import hooks
from localcloud.states import workflow
from localcloud.states.endings import Ending

logger = logging.getLogger("localcloud.fidelity")

_OWN_EVENTS = ("Task", "Parallel", "Map")


def install() -> None:
    """Walk through executions, and through Parallel's and Map's inner machines, here."""
    hooks.replace("states.run", lambda _original: run)
    hooks.replace("states.machine", lambda _original: run_inner)


def run(exec_arn: str) -> None:
    """Take an execution from where it stands, at first its start, to its end."""
    execution: workflow.Json | None = hooks.get("states.executions").get(exec_arn)
    if execution is None:
        return
    if execution.get("sync"):
        workflow.requested.set(None)  # what its caller was started as says nothing about it
    workflow.pin(execution)
    definition = workflow.definition(execution)
    if not definition:
        workflow.close(execution, "FAILED", error="States.Runtime", cause="The state machine does not exist any more.")
        return
    given = _loaded(execution["input"])
    # A nested execution that was started with .sync runs in the thread of its caller's task, and ends with that.
    caller = hooks.current_task() if execution.get("sync") else None
    with workflow.lock:
        redrives = execution.get("redriveCount", 0)
        other = workflow.running.get(exec_arn)
        if other is not None and other.execution is execution and other.redrives == redrives:
            return  # stopped and redriven before its first thread came to this: the other one runs it
        place = execution.get("place")
        if place is None:
            place = execution["place"] = workflow.place_at(definition.get("StartAt"), given, {})
        walk = workflow.Walk(
            execution,
            place,
            Ending(caller.ending if caller else None),
            # The first state has no event before it, the one that a redrive goes on with has ExecutionRedriven.
            last_event=len(execution["events"]) if redrives else 0,
            resumed=place["entered"],
            redrives=redrives,
        )
        workflow.running[exec_arn] = walk
        if execution["status"] != "RUNNING":  # stopped before there was anything to end
            walk.ending.end()
    context = _context(execution, definition, given)
    try:
        with workflow.walking(walk):
            output = run_states(definition.get("States", {}), walk, context)
            walk.go_on()
            workflow.close(execution, "SUCCEEDED", redrives=redrives, output=json.dumps(output))
    except workflow.Abandoned:
        # It has a status already, which says why it was ended, unless its caller ended it. Or it was redriven since,
        # while a function went on that nobody waited for: then it is another walk's.
        workflow.close(execution, "ABORTED", redrives=redrives)
    except hooks.get("states.error") as error:
        if not walk.ending.ended:
            workflow.close(execution, "FAILED", redrives=redrives, error=error.error, cause=error.cause)
    except Exception as error:
        logger.exception("%s failed inside localcloud", exec_arn)
        if not walk.ending.ended:
            cause = f"{type(error).__name__}: {error}"
            workflow.close(execution, "FAILED", redrives=redrives, error="States.Runtime", cause=cause)
    finally:
        if workflow.running.get(exec_arn) is walk:
            del workflow.running[exec_arn]


def run_inner(states: workflow.Json, start_at: str, input_data: Any, execution: workflow.Json, ctx: Any) -> Any:
    """Take a branch or an iteration to its end; its walk is the thread's own, if it is one of the execution's."""
    walk = workflow.current()
    if walk is None or walk.execution is not execution:  # a distributed map's child execution
        place = workflow.place_at(start_at, input_data, dict(ctx.get("variables", {})))
        try:
            with workflow.walking(workflow.Walk(execution, place, Ending(walk.ending if walk else None))) as own:
                return run_states(states, own, ctx)
        except workflow.Abandoned:
            execution.update(status="ABORTED", stopDate=workflow.now())
            raise
    return run_states(states, walk, ctx)


def run_states(states: workflow.Json, walk: workflow.Walk, context: workflow.Json) -> Any:
    """Go from state to state; gives the last one's output."""
    place = walk.place
    while not place["done"]:
        walk.go_on()
        name, value = place["state"], place["input"]
        state = states.get(name)
        if state is None:
            raise workflow.error("States.Runtime", f"The state machine has no state {name!r}.")
        # Assign binds into a copy, so that the place keeps what the state began with.
        context["variables"] = dict(place["variables"])
        output, following, exited = _run_state(name, state, value, walk, context)
        with workflow.lock:  # whoever holds it sees history and place agree
            hooks.get("states.event")(walk.execution, f"{state['Type']}StateExited", exited)
            if following is None:
                place.update(done=True, output=output, state=None, input=None, variables=None, children=None)
            else:
                variables = context["variables"]
                place.update(state=following, input=output, variables=variables, children=None, entered=False)
    return place["output"]


def _run_state(
    name: str, state: workflow.Json, value: Any, walk: workflow.Walk, context: workflow.Json
) -> tuple[Any, str | None, workflow.Json]:
    """Enter a state and execute it; its output, what follows, and what its exit tells."""
    kind = state.get("Type", "")
    context["State"] = {"Name": name, "EnteredTime": workflow.now(), "RetryCount": 0}
    add = hooks.get("states.event")
    with workflow.lock:  # whoever holds it sees history and place agree
        if not walk.resumed or kind == "Fail":
            details = {"name": name, "input": json.dumps(value), "inputDetails": {"truncated": False}}
            add(walk.execution, f"{kind}StateEntered", {"stateEnteredEventDetails": details})
        walk.place["entered"] = True
    walk.resumed = False
    entered = walk.last_event
    before = context["variables"]
    known = dict(before)
    try:
        output, following = _execute(kind, state, value, walk, context)
    except hooks.get("states.error") as error:
        if error.error == "States.QueryEvaluationError" and kind not in _OWN_EVENTS:
            add_evaluation_failed(walk.execution, name, error)
        raise
    except Exception as error:
        logger.debug("state %s", name, exc_info=True)
        raise workflow.error("States.Runtime", runtime_cause(name, entered, error)) from error
    details = {"name": name, "output": json.dumps(output), "outputDetails": {"truncated": False}}
    assigned = {key: given for key, given in context["variables"].items() if key not in known or given != known[key]}
    if assigned:
        details["assignedVariables"] = {key: json.dumps(given) for key, given in assigned.items()}
        details["assignedVariablesDetails"] = {"truncated": False}
    return output, following, {"stateExitedEventDetails": details}


def _execute(
    kind: str, state: workflow.Json, value: Any, walk: workflow.Walk, context: workflow.Json
) -> tuple[Any, str | None]:
    if kind == "Succeed":
        selected = hooks.get("states.input_path")(state, value, context)
        return hooks.get("states.output_path")(state, selected, context), None
    if kind == "Fail":
        raise workflow.error(*hooks.get("states.fail_error")(state, value, context))
    done: tuple[Any, str | None]
    if kind in ("Pass", "Choice", "Wait"):
        done = hooks.get(f"states.{kind.lower()}")(state, value, context)
    elif kind in _OWN_EVENTS:
        done = hooks.get(f"states.{kind.lower()}")(state, value, walk.execution, context)
    else:
        raise workflow.error("States.Runtime", f"State {context['State']['Name']!r} has the unknown type {kind!r}.")
    return done


def add_evaluation_failed(execution: workflow.Json, name: str, error: Any) -> None:
    """Tell that a JSONata expression of a state has no value."""
    details = {"error": error.error, "cause": error.cause, "state": name}
    hooks.get("states.event")(execution, "EvaluationFailed", {"evaluationFailedEventDetails": details})


def runtime_cause(name: str, entered: int, error: Exception) -> str:
    """How Step Functions words a States.Runtime error."""
    where = f"An error occurred while executing the state '{name}' (entered at the event id #{entered})."
    return f"{where} {type(error).__name__}: {error}"


def _context(execution: workflow.Json, definition: workflow.Json, given: Any) -> workflow.Json:
    machine = hooks.get("states.machines").get(execution["stateMachineArn"]) or {}
    return {
        "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
        "Execution": {
            "Id": execution["executionArn"],
            "Input": given,
            "Name": execution["name"],
            "StartTime": execution["startDate"],
        },
        "StateMachine": {"Id": execution["stateMachineArn"], "Name": machine.get("name", "")},
        "variables": {},
    }


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}
