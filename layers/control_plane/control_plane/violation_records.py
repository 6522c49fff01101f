"""The control table's items about violations: one record a file, one episode a monitor, and the claims of actions.

A file's record is written before anything is done about it. Whoever handles the file holds the record for LEASE_SECONDS
at a time, so that deliveries of one event at the same moment act once, and what a crash left is carried on.

An episode holds which windows of one monitor had violations, so that it does not matter in which order they come: the
windows in a row are counted anew each time. An episode without any (consecutive = 0) is closed. Windows that could not
be judged leave no file, so only time tells that some of them lie between two others (GAP).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control_plane import clients, moments
from control_plane.datasets import fleet_key
from control_plane.violation_files import Place, digest, start_of

LEASE_SECONDS = 15.0
POLL_SECONDS = 0.25
OPEN, DECIDED, DONE = "open", "decided", "done"
WINDOWS_KEPT = 200  # of an episode: more than a week of hours
# At most this lies between the end of one window with violations and the start of the next in the same row: the default
# of MonitoringMaxWindowSeconds, a full window without a verdict.
GAP = timedelta(hours=24)
# Of a window whose end is not known: those of Model Monitor's schedules have an hour at least.
SHORTEST_WINDOW = timedelta(hours=1)
# Quality is judged over all ground truth so far: what it finds is new evidence with so many engines more, the fewest
# that are judged at all. The same upload twice is none.
NEW_ENGINES = 5
# Of windows without violations there are hundreds a month, and no event is delivered again so much later.
OK_RECORD_KEPT = timedelta(days=30)
NAMES = {"#state": "state", "#record": "record", "#last": "last", "#windows": "windows", "#level": "level"}

Key = dict[str, dict[str, str]]


class TakenOverError(Exception):
    """Another delivery waited for too long and does the rest."""


# --- records ---


@dataclass
class Held:
    """A file's record in the hands of this delivery."""

    table: str
    key: Key
    state: str
    record: dict[str, Any]
    claimed_at: str
    episode: Episode | None = None  # as this delivery has seen it last

    @property
    def name(self) -> str:
        """What claims of actions and of alerts name as their origin."""
        return self.key["sk"]["S"]

    def save(self, state: str, *, kept: timedelta | None = None) -> None:
        """Write down how far it is; raises TakenOverError.

        Args:
            kept: When the table may forget it; None: never.
        """
        self.state = state
        values = {":state": {"S": state}, ":record": {"S": json.dumps(self.record)}, ":mine": {"N": self.claimed_at}}
        change = "SET #state = :state, #record = :record"
        if kept is not None:
            values[":expires_at"] = {"N": str(int(time.time() + kept.total_seconds()))}
            change += ", expires_at = :expires_at"
        if _update(self.table, self.key, change, values, condition="claimed_at = :mine") is None:
            raise TakenOverError(self.name)

    def release(self) -> None:
        """After an error: let the next delivery go on at once."""
        values = {":free": {"N": "0"}, ":mine": {"N": self.claimed_at}}
        _update(self.table, self.key, "SET claimed_at = :free", values, condition="claimed_at = :mine")


def record_key(place: Place, version_id: str) -> Key:
    """The key of a file's record."""
    name = f"VIOLATION#{place.window}#{place.monitor}#{digest(f'{place.key}#{version_id}')}"
    return {"pk": {"S": fleet_key(place.fleet or "-")}, "sk": {"S": name}}


def is_done(table: str, key: Key) -> bool:
    """Whether a file was handled to its end."""
    return bool(_get(table, key).get("state", {}).get("S") == DONE)


def hold(table: str, key: Key, record: dict[str, Any]) -> Held:
    """Write a file's record, or take over the one that is there; a record that is done is returned as it is.

    Waits while another delivery holds it, at most LEASE_SECONDS.
    """
    dynamodb = clients.dynamodb()
    claimed_at = repr(time.time())
    item = {"state": {"S": OPEN}, "record": {"S": json.dumps(record)}, "claimed_at": {"N": claimed_at}}
    try:
        dynamodb.put_item(TableName=table, Item={**key, **item}, ConditionExpression="attribute_not_exists(pk)")
        return Held(table, key, OPEN, record, claimed_at)
    except dynamodb.exceptions.ConditionalCheckFailedException:
        pass
    while True:
        found = _get(table, key)
        state, seen = found["state"]["S"], found["claimed_at"]["N"]
        # One of a former release has less in it.
        held = Held(table, key, state, record | json.loads(found["record"]["S"]), repr(time.time()))
        if state == DONE:
            return held
        if float(seen) + LEASE_SECONDS <= time.time():
            values = {":seen": {"N": seen}, ":mine": {"N": held.claimed_at}}
            if _update(table, key, "SET claimed_at = :mine", values, condition="claimed_at = :seen") is not None:
                return held
        time.sleep(POLL_SECONDS)


# --- episodes ---


@dataclass(frozen=True)
class Ended:
    """How one window ended."""

    ok: bool
    end: str = ""  # ISO-8601, UTC; empty if that is not known
    engines: int | None = None  # that were compared

    @classmethod
    def of(cls, text: str) -> Ended:
        """From what an episode's item has."""
        outcome, end, engines = [*text.split(), "-", "-"][:3]
        return cls(outcome == "ok", end.strip("-"), None if engines == "-" else int(engines))

    def __str__(self) -> str:
        outcome, engines = "ok" if self.ok else "violations", "-" if self.engines is None else str(self.engines)
        return f"{outcome} {self.end or '-'} {engines}"


@dataclass(frozen=True)
class Episode:
    """The windows of one monitor, as they were after one of them was added."""

    table: str
    key: Key
    windows: dict[str, Ended]  # by id, which says when it began, or came
    alerted: str  # JSON of the last alert; empty if people know of nothing
    since: str  # as written before
    revision: int  # counts the windows that were added
    is_cumulative: bool  # each window judges anew what those before it did, and what has come since

    def streak(self, window: str) -> list[str]:
        """The windows in a row with violations that this one is in, oldest first; none if it is ok.

        Of cumulative windows only those with NEW_ENGINES more than the last one that counts: this one may be missing.
        """
        rows: list[list[str]] = [[]]
        for each in sorted(self.windows):
            if self.windows[each].ok or (rows[-1] and self._is_apart(rows[-1][-1], each)):
                rows.append([])
            if not self.windows[each].ok:
                rows[-1].append(each)
        row = next((row for row in rows if window in row), [])
        return self._with_new_engines(row) if self.is_cumulative else row

    def _is_apart(self, before: str, after: str) -> bool:
        """Whether too much lies between two windows. Cumulative ones leave nothing out."""
        return not self.is_cumulative and datetime.fromisoformat(start_of(after)) - self.end_of(before) > GAP

    def _with_new_engines(self, row: list[str]) -> list[str]:
        counted, known = row[:1], self.windows[row[0]].engines if row else None
        for each in row[1:]:
            engines = self.windows[each].engines
            if known is not None and engines is not None and engines >= known + NEW_ENGINES:
                counted.append(each)
                known = engines
            elif known is None:
                known = engines
        return counted

    def end_of(self, window: str) -> datetime:
        """When a window ended, at the earliest."""
        start = datetime.fromisoformat(start_of(window))
        least = start if self.is_cumulative else start + SHORTEST_WINDOW  # their ids say when they ended
        return max(start, moments.parse(self.windows[window].end) or least)

    def newer_ok(self, window: str) -> str:
        """The first window after this one that is without violations; empty if there is none."""
        return next((each for each in sorted(self.windows) if each > window and self.windows[each].ok), "")

    def ends_a_row(self, window: str) -> bool:
        """Whether this window is without violations, and the one before it is not."""
        before = max((each for each in self.windows if each < window), default=None)
        return before is not None and self.windows[window].ok and not self.windows[before].ok

    def since_of(self, streak: list[str]) -> str:
        """When a row of windows began. Of a long one the oldest windows are forgotten, but not when it began."""
        begins = start_of(streak[0]) if streak else ""
        is_cut = len(self.windows) >= WINDOWS_KEPT and streak[:1] == sorted(self.windows)[:1]
        return self.since if is_cut and self.since and self.since < begins else begins


def add_window(
    table: str, fleet: str, stream: str, window: str, ended: Ended, *, is_cumulative: bool = False
) -> Episode:
    """Write down how one window ended; one write, so that many at once need not wait for each other.

    `window` is an id that has a time.
    """
    key = {"pk": {"S": fleet_key(fleet)}, "sk": {"S": f"EPISODE#{stream}"}}
    names = {"#window": window}
    values = {":outcome": {"S": str(ended)}, ":one": {"N": "1"}}
    change, condition = "SET #windows.#window = :outcome ADD revision :one", "attribute_exists(#windows)"
    item = _update(table, key, change, values, condition=condition, names=names)
    if item is None:
        _update(table, key, "SET #windows = if_not_exists(#windows, :none)", {":none": {"M": {}}})
        item = _update(table, key, change, values, condition=condition, names=names)
    assert item is not None  # nothing removes the map
    windows = {name: Ended.of(value["S"]) for name, value in item["windows"]["M"].items() if start_of(name)}
    alerted, since = (item.get(name, {}).get("S", "") for name in ("alerted", "since"))
    episode = Episode(table, key, windows, alerted, since, int(item["revision"]["N"]), is_cumulative)
    if len(windows) > 2 * WINDOWS_KEPT:
        oldest = {f"#w{n}": name for n, name in enumerate(sorted(windows)[: WINDOWS_KEPT // 2])}
        _update(table, key, f"REMOVE {', '.join(f'#windows.{alias}' for alias in oldest)}", {}, names=oldest)
    return episode


def describe_episode(episode: Episode, level: str = "") -> None:
    """Write what the episode amounts to now, for people who look at it; no level: it stays what it is."""
    newest = max(episode.windows)
    streak = episode.streak(newest)
    values: dict[str, Any] = {
        ":count": {"N": str(len(streak))},
        ":last": {"S": newest},
        ":revision": {"N": str(episode.revision)},
    }
    if streak:
        more = ", since = :since" + (", #level = :level" if level else "")
        values |= _texts(since=episode.since_of(streak), **({"level": level} if level else {}))
    else:
        more = " REMOVE since, #level"
    change = f"SET consecutive = :count, #last = :last, described = :revision{more}"
    condition = "attribute_not_exists(described) OR described < :revision"
    _update(episode.table, episode.key, change, values, condition=condition)


def replace_alerted(episode: Episode, alerted: str) -> bool:
    """Make this the last alert that people have had; False if they have had another one meanwhile.

    Empty: whatever they have had is over.
    """
    values = _texts(
        **({"alerted": alerted} if alerted else {}), **({"seen": episode.alerted} if episode.alerted else {})
    )
    change = "SET alerted = :alerted" if alerted else "REMOVE alerted"
    condition = "alerted = :seen" if episode.alerted else "attribute_not_exists(alerted)"
    return _update(episode.table, episode.key, change, values, condition=condition) is not None


def read_alerted(episode: Episode) -> str:
    """The alert that people have had last, as it is now."""
    return str(_get(episode.table, episode.key).get("alerted", {}).get("S", ""))


# --- actions ---


def claim_retrain(table: str, fleet: str, by: str, reason: str, now: str, before: str) -> bool:
    """Claim the fleet's next retraining by violations, unless one was started after `before` (both ISO-8601, UTC).

    True also if it is claimed by the same file already.
    """
    values = _texts(now=now, by=by, reason=reason, before=before)
    change = "SET started_at = :now, claimed_by = :by, reason = :reason REMOVE execution"
    condition = "attribute_not_exists(pk) OR started_at <= :before"
    return _claim(table, _action_key(fleet, "RETRAIN"), change, values, condition, by)


def claim_rollback(table: str, fleet: str, by: str, reason: str, now: str, version: int, since: str) -> bool:
    """Claim the one rollback by violations that a champion gets for each time that it was promoted."""
    values = _texts(now=now, by=by, reason=reason, since=since) | {":version": {"N": str(version)}}
    change = (
        "SET version = :version, since = :since, started_at = :now, claimed_by = :by, reason = :reason REMOVE execution"
    )
    condition = "attribute_not_exists(pk) OR version <> :version OR since <> :since"
    return _claim(table, _action_key(fleet, "ROLLBACK"), change, values, condition, by)


def note_execution(table: str, fleet: str, action: str, by: str, execution: str) -> None:
    """Write down what a claim has started."""
    values = {":by": {"S": by}, ":execution": {"S": execution}}
    change = "SET execution = :execution"
    _update(table, _action_key(fleet, action), change, values, condition="claimed_by = :by")


def read_action(table: str, fleet: str, action: str) -> dict[str, str]:
    """The last claim of an action, RETRAIN or ROLLBACK; empty if there was none."""
    return {name: str(next(iter(value.values()))) for name, value in _get(table, _action_key(fleet, action)).items()}


def _action_key(fleet: str, action: str) -> Key:
    return {"pk": {"S": fleet_key(fleet)}, "sk": {"S": action}}


def _texts(**values: str) -> dict[str, Any]:
    return {f":{name}": {"S": value} for name, value in values.items()}


def _claim(table: str, key: Key, change: str, values: dict[str, Any], condition: str, by: str) -> bool:
    if _update(table, key, change, values, condition=condition) is not None:
        return True
    return bool(_get(table, key).get("claimed_by", {}).get("S") == by)


# --- DynamoDB ---


def _get(table: str, key: Key) -> dict[str, Any]:
    return clients.dynamodb().get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})


def _update(
    table: str,
    key: Key,
    change: str,
    values: dict[str, Any],
    *,
    condition: str = "",
    names: dict[str, str] | None = None,
) -> dict[str, Any] | None:
    """Change an item; returns it as it is then, None if the condition did not hold."""
    dynamodb = clients.dynamodb()
    aliases = {alias: name for alias, name in NAMES.items() if alias in change + condition} | (names or {})
    options: dict[str, Any] = {}
    if condition:
        options["ConditionExpression"] = condition
    if aliases:
        options["ExpressionAttributeNames"] = aliases
    if values:
        options["ExpressionAttributeValues"] = values
    try:
        return dynamodb.update_item(
            TableName=table, Key=key, UpdateExpression=change, ReturnValues="ALL_NEW", **options
        ).get("Attributes", {})
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return None
