"""What a running execution, or one branch of it, carries with it: where it stands, its last event, how it is ended.

The corrections of Step Functions in localcloud/fidelity share this. An execution's record (MiniStack's) additionally
has, as plain JSON values: ``place``, where it stands, which is all that a redrive needs; ``revisionId``, under which
its state machine's record keeps the definition it was started with; and the fields of its redrives.
"""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcloud import hooks
from localcloud.states.endings import Ending

Json = dict[str, Any]

# Guards every execution's status and history: events have consecutive numbers, and an execution closes once. Who tells
# of a status holds it: an execution that has ended has its whole history.
lock = threading.RLock()


class Abandoned(BaseException):
    """The execution, branch or task was ended from outside: unwind; it is no error that Retry or Catch could see."""


@dataclass
class Walk:
    """One run of an execution's states, or of a branch's or an iteration's.

    Args:
        execution: MiniStack's record.
        place: where it stands; part of the record.
        ending: ends when nobody needs it any more.
        last_event: the number of its latest event, which its next one names as the one before.
        resumed: whether the state it stands at was entered already, before a redrive.
        redrives: how many redrives its execution had when it began.
    """

    execution: Json
    place: Json
    ending: Ending
    last_event: int = 0
    resumed: bool = False
    redrives: int = 0

    def go_on(self) -> None:
        """Raise Abandoned when this was ended."""
        if self.ending.ended:
            raise Abandoned


_walk: contextvars.ContextVar[Walk | None] = contextvars.ContextVar("localcloud_walk", default=None)

# The executions that run in this process, by ARN.
running: dict[str, Walk] = {}


def current() -> Walk | None:
    """The walk that this thread is on."""
    return _walk.get()


@contextmanager
def walking(walk: Walk) -> Iterator[Walk]:
    """Be on a walk, in this thread and in copies of its context."""
    token = _walk.set(walk)
    try:
        yield walk
    finally:
        _walk.reset(token)
        walk.ending.close()


def pause(seconds: float) -> None:
    """Wait, in seconds; raises Abandoned when the walk is ended meanwhile."""
    walk = current()
    if (walk.ending if walk else Ending()).wait(seconds * float(hooks.get("states.wait_scale"))):
        raise Abandoned


# --- where an execution stands ---------------------------------------------------------------------------------------


def place_at(state: str | None, value: Any, variables: Json) -> Json:
    """A walk's place before a state: which, its input, the variables; ``children`` are the places of its branches."""
    return {
        "state": state,
        "input": value,
        "variables": variables,
        "children": None,
        "entered": False,
        "done": False,
        "output": None,
    }


def error(name: str, cause: str) -> Exception:
    """An error that Retry and Catch see."""
    made: Exception = hooks.get("states.error")(name, cause)
    return made


# --- an execution's life ---------------------------------------------------------------------------------------------


def now() -> str:
    """The present moment as MiniStack's records have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def moment(stamp: str) -> datetime:
    """A moment of MiniStack's records."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00"))


_CLOSED = {
    "SUCCEEDED": ("ExecutionSucceeded", "executionSucceededEventDetails"),
    "FAILED": ("ExecutionFailed", "executionFailedEventDetails"),
    "TIMED_OUT": ("ExecutionTimedOut", "executionTimedOutEventDetails"),
    "ABORTED": ("ExecutionAborted", "executionAbortedEventDetails"),
}


# What ends when an execution does, for those who wait for it.
_awaited: dict[str, Ending] = {}


def awaited(execution: Json) -> Ending:
    """What ends when the execution does."""
    with lock:
        ending = _awaited.setdefault(execution["executionArn"], Ending())
        if execution["status"] != "RUNNING":
            _awaited.pop(execution["executionArn"]).end()
        return ending


def close(
    execution: Json,
    status: str,
    *,
    redrives: int | None = None,
    error: str | None = None,
    cause: str | None = None,
    output: str | None = None,
) -> bool:
    """End an execution: status, last event, status event, and whatever it still waits for.

    Args:
        redrives: how many redrives there had been when that began which has ended; one more, and it is another run's
            execution, which goes on. None for whoever ends whatever runs.

    Returns:
        Whether it was this call that ended it: an execution that has ended stays as it is.
    """
    event, member = _CLOSED[status]
    with lock:
        if execution["status"] != "RUNNING" or redrives not in (None, execution.get("redriveCount", 0)):
            return False
        details = {"output": output} if status == "SUCCEEDED" else {"error": error, "cause": cause}
        details = {name: value for name, value in details.items() if value is not None}
        # The event first: whoever sees that it has ended finds the whole history.
        hooks.get("states.event")(execution, event, {member: details})
        execution.update(status=status, stopDate=now(), error=error, cause=cause, output=output)
        if status == "SUCCEEDED":
            execution["place"] = None  # nothing to redrive
        waiting = _awaited.pop(execution["executionArn"], None)
        told = dict(execution)  # it may be redriven before its end has been told
    walk = running.get(execution["executionArn"])
    if walk is not None and walk is not current():
        walk.ending.end()
    hooks.get("states.status_event")(told)
    if waiting is not None:
        waiting.end()
    return True


def forget_all() -> None:
    """End whatever runs, without a word: nobody knows of it any more."""
    for walk in list(running.values()):
        with lock:
            walk.execution["status"] = "ABORTED"
        walk.ending.end()


# --- the definition an execution was started with --------------------------------------------------------------------


def revision(execution: Json) -> Json:
    """Definition, role and logging that the execution was started with; {} when its state machine is gone.

    They are kept once a revision, with the state machine: executions share them, and so do snapshots.
    """
    machine = hooks.get("states.machines").get(execution["stateMachineArn"])
    if machine is None:
        return {}
    revisions: Json = machine.setdefault("revisions", {})
    return revisions.get(execution.get("revisionId") or "") or _present(machine)


# The ARN that StartExecution was given, in its thread and in the execution's: a state machine's, version's or alias's.
requested: contextvars.ContextVar[str | None] = contextvars.ContextVar("localcloud_requested", default=None)


def pin(execution: Json) -> None:
    """Keep for the execution what its state machine, or the version that was started, is at present."""
    with lock:
        machine = hooks.get("states.machines").get(execution["stateMachineArn"])
        if machine is None or execution.get("revisionId"):
            return
        arn = requested.get() or execution["stateMachineArn"]
        version_arn = hooks.get("states.version_of")(arn)
        version = hooks.get("states.versions").get(version_arn) if version_arn else None
        source = {**machine, **version, "revisionId": version["stateMachineRevisionId"]} if version else machine
        machine.setdefault("revisions", {})[source["revisionId"]] = _present(source)
        execution["revisionId"] = source["revisionId"]
        named = {"stateMachineVersionArn": version_arn, "stateMachineAliasArn": arn if arn != version_arn else None}
        named = {name: value for name, value in named.items() if version and value}
        execution.update(named)
        started = execution["events"][0]
        details = {**started["executionStartedEventDetails"], "inputDetails": {"truncated": False}, **named}
        details["roleArn"] = source["roleArn"]
        started.update(previousEventId=0, executionStartedEventDetails=details)


def _present(machine: Json) -> Json:
    kept: Json = {name: machine[name] for name in ("definition", "roleArn", "loggingConfiguration") if name in machine}
    return {**kept, "updateDate": machine.get("updateDate") or machine["creationDate"]}


def definition(execution: Json) -> Json:
    """The parsed definition; {} when there is none."""
    try:
        parsed = json.loads(revision(execution).get("definition", "{}"))
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


_ABORTED = ("Task", "Wait", "Parallel", "Map")


def tell_aborted(execution: Json, states: Json, place: Json) -> None:
    """Tell that the state at which a branch stood was aborted, if its type is one that waits."""
    state = states.get(place["state"] or "", {})
    if place["entered"] and state.get("Type") in _ABORTED:
        hooks.get("states.event")(execution, f"{state['Type']}StateAborted")


# --- branches and iterations -----------------------------------------------------------------------------------------


def side_by_side(
    walk: Walk,
    places: list[Json],
    at_once: int,
    run: Callable[[int, Walk], None],
    aborted: Callable[[int], None] = lambda _number: None,
) -> None:
    """Run what stands at several places, each in a thread; those that are done already are left out.

    Args:
        walk: whose branches they are.
        at_once: how many run at the same time.
        run: runs one, by its number, on a walk of its own.
        aborted: is told, before the failure is raised, the number of each that the failure of another has ended.

    Raises:
        Exception: the first failure; the others have been ended then, and unwind by themselves.
        Abandoned: the walk was ended.
    """
    group = Ending(walk.ending)
    waiting = iter([number for number, place in enumerate(places) if not place["done"]])
    failures: list[tuple[int, Exception]] = []
    begun: set[int] = set()
    finished = threading.Event()
    group.call(finished.set)
    taking = threading.Lock()
    threads = min(at_once, sum(not place["done"] for place in places))
    left = threads
    began = walk.last_event

    def take() -> int | None:
        with taking:
            number = None if group.ended else next(waiting, None)
            if number is not None:
                begun.add(number)
            return number

    def work() -> None:
        nonlocal left
        while (number := take()) is not None:
            branch = Walk(walk.execution, places[number], Ending(group), began, places[number]["entered"])
            try:
                with walking(branch):
                    run(number, branch)
                walk.last_event = branch.last_event
            except Abandoned:
                break
            except Exception as failure:  # noqa: BLE001 - raised again below, in the state's own thread
                with taking:
                    if not group.ended:
                        failures.append((number, failure))
                group.end()
        with taking:
            left -= 1
            if left == 0:
                finished.set()

    for _ in range(threads):
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name="localcloud-branch", daemon=True).start()
    if threads:
        finished.wait()
    group.close()
    walk.go_on()
    if failures:
        failed, failure = failures[0]
        for number in sorted(begun - {failed}):
            if not places[number]["done"]:
                aborted(number)
        raise failure


def joined(
    kind: str, walk: Walk, at_once: int, run: Callable[[int, Walk], None], aborted: Callable[[int], None]
) -> list[Any]:
    """Run the branches or iterations of the state that a walk is at, tell how it went, and give what they gave.

    Args:
        kind: ParallelState or MapState, as its events are called.
    """
    add = hooks.get("states.event")
    places: list[Json] = walk.place["children"]
    try:
        side_by_side(walk, places, at_once, run, aborted)
    except Exception:
        add(walk.execution, f"{kind}Failed")
        raise
    add(walk.execution, f"{kind}Succeeded")
    return [place["output"] for place in places]


def left_with(state_def: Json, raw_input: Any, ctx: Json, results: list[Any]) -> tuple[Any, str | None]:
    """What a state makes of its branches' results: its output, and the state that follows."""
    if hooks.get("states.language")(state_def, ctx) == "JSONata":
        output = hooks.get("states.output")(state_def, raw_input, ctx, result=results, default=results)
        hooks.get("states.assign")(state_def, raw_input, ctx, result=results)
    else:
        output = hooks.get("states.result_selector")(state_def, results)
        output = hooks.get("states.result_path")(state_def, raw_input, output)
        output = hooks.get("states.output_path")(state_def, output, ctx)
    following: str | None = hooks.get("states.next")(state_def)
    return output, following
