"""How a followed execution looks: a live page on a terminal, one line per change in a log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from onwing.console import Output, duration, figure, table
from onwing.jobs import JobFacts, LogLine, Trial, best
from onwing.progress import Progress, Visit, reason
from onwing.watch import Change, Snapshot, changes

LOG_LINES = 12
INSTANT = ("Pass", "Choice", "Succeed")
SHORT_SECONDS = 0.5
_COLOURS = {
    "Completed": "green",
    "SUCCEEDED": "green",
    "registered": "green",
    "Failed": "red",
    "FAILED": "red",
    "failed": "red",
    "timed_out": "red",
    "aborted": "red",
    "gate_missed": "yellow",
    "superseded": "yellow",
    "unchanged": "yellow",
    "Stopped": "yellow",
    "InProgress": "cyan",
    "RUNNING": "cyan",
}
_SAID = {
    "registered": "A model package is registered and waits for approval.",
    "gate_missed": "The model is not good enough: nothing was registered.",
    "superseded": "A newer data set version has arrived: this run ended before it trained.",
    "unchanged": "The newest data set was trained already: nothing to do.",
    "inconsistent": "The three files do not fit together: nothing was trained.",
    "failed": "The run failed: nothing was registered.",
    "timed_out": "The run took too long and was ended.",
    "aborted": "The run was stopped by somebody.",
}


def coloured(status: str) -> str:
    """A status as Rich markup."""
    colour = _COLOURS.get(status)
    return f"[{colour}]{escape(status)}[/]" if colour else escape(status)


def show(out: Output, snapshots: Iterable[Snapshot]) -> Snapshot:
    """Show snapshots as they come, in the way that suits the output; returns the last one."""
    if out.as_json:
        return _stream(snapshots, lambda change: out.json_line({"event": change.event, **change.facts}))
    if not out.interactive:
        return _stream(snapshots, lambda change: _print(out, change))
    last: Snapshot | None = None
    log: deque[LogLine] = deque(maxlen=LOG_LINES)
    with Live(console=out.console, refresh_per_second=4, transient=True) as live:
        for snapshot in snapshots:
            last = snapshot
            log.extend(snapshot.log)
            live.update(Page(snapshot, tuple(log)))
    assert last is not None, "follow() gives at least one snapshot"
    out.show(Page(last, ()))
    return last


def exhaust(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Follow without showing anything; returns the last snapshot."""
    return _stream(snapshots, lambda change: None)


def _stream(snapshots: Iterable[Snapshot], tell: Callable[[Change], None]) -> Snapshot:
    before: Snapshot | None = None
    for snapshot in snapshots:
        for change in changes(before, snapshot):
            tell(change)
        before = snapshot
    assert before is not None, "follow() gives at least one snapshot"
    return before


def _print(out: Output, change: Change) -> None:
    text = line(change)
    if text:
        out.line(text)


class Page:
    """The live page. It is drawn several times a second, so that the clocks of what runs go on between two looks."""

    def __init__(self, snapshot: Snapshot, log: Sequence[LogLine]) -> None:
        self.snapshot = snapshot
        self.log = log

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.parts(datetime.now(UTC))

    def parts(self, now: datetime) -> list[RenderableType]:
        """What the page is made of, at the moment `now`."""
        snapshot = self.snapshot
        parts: list[RenderableType] = [_title(snapshot.progress, now), "", _states(snapshot, now)]
        if snapshot.trials:
            parts += ["", _trials(snapshot.trials, now)]
        if self.log:
            parts += [
                "",
                *(Text(f"{_tail(entry.job)} │ {entry.text}", style="dim", no_wrap=True) for entry in self.log),
            ]
        return parts


def _title(progress: Progress, now: datetime) -> str:
    took = duration(((progress.stopped or now) - progress.started).total_seconds())
    status = coloured(progress.outcome or progress.status)
    return f"[bold]{escape(progress.name)}[/]  {status}  {took}"


def _states(snapshot: Snapshot, now: datetime) -> RenderableType:
    made = table("", "State", "Entered", "Took", "Job", right=("Took",), fold=("Job",))
    facts = {job.name: job for job in snapshot.jobs}
    for visit in snapshot.progress.visits:
        jobs = [facts[job.name] for job in snapshot.progress.jobs if job.state == visit.state and job.name in facts]
        seconds = ((visit.exited or now) - visit.entered).total_seconds()
        if visit.exited and seconds < SHORT_SECONDS and not jobs and not visit.errors and visit.type != "Fail":
            continue  # a screen has no room for what takes no time
        entered = visit.entered.astimezone().strftime("%H:%M:%S")
        made.add_row(
            _mark(visit, snapshot.progress), escape(visit.state), entered, duration(seconds), _job(jobs, visit)
        )
    return made


def _mark(visit: Visit, progress: Progress) -> str:
    if visit.exited is None:
        return "[cyan]▶[/]"
    last = visit is progress.visits[-1]
    if visit.type == "Fail" or (last and progress.status not in ("SUCCEEDED", "RUNNING")):
        return "[red]✗[/]"
    return "[green]✓[/]"


def _job(jobs: Sequence[JobFacts], visit: Visit) -> str:
    lines = []
    for job in jobs:
        message = f": {escape(reason(job.message))}" if job.message and job.status == "Failed" else ""
        # On AWS an instance is being provided; on the embedded cloud the job waits for a free place.
        status = "Starting" if job.status == "InProgress" and job.started is None else job.status
        lines.append(f"{coloured(status)} [dim]{job.kind} {escape(job.name)}[/]{message}")
    lines += [f"[red]{escape(text)}[/]" for text in visit.errors[-1:] if not any(job.message for job in jobs)]
    return "\n".join(lines)


def _trials(trials: Sequence[Trial], now: datetime) -> RenderableType:
    names = sorted({name for trial in trials for name in trial.hyperparameters})
    heads = [name.replace("_", " ") for name in names]  # which a narrow screen breaks into lines
    numbers = ("Objective", "Took", *heads)
    made = table("", "Trial", "Status", "Objective", *heads, "Took", right=numbers, fold=heads, title="Tuning trials")
    winner = best(trials)
    for number, trial in enumerate(trials, start=1):
        took = ((trial.ended or now) - trial.started).total_seconds() if trial.started else None
        made.add_row(
            "[yellow]★[/]" if trial is winner else "",
            str(number),
            coloured(trial.status),
            figure(trial.objective, 3),
            *(_short(trial.hyperparameters.get(name, "")) for name in names),
            duration(took),
        )
    return made


def _tail(job: str) -> str:
    """What tells a job from the others of its run: jobs are named <project>-<fleet>-<run>-<…>."""
    return job.split("-", 3)[-1]


def _short(value: str) -> str:
    """A hyperparameter with as many digits as help."""
    try:
        number = float(value)
    except ValueError:
        return escape(value)
    return f"{number:.3g}"


def line(change: Change) -> str:
    """One change as one line of a log; empty for what a reader does not miss."""
    facts = change.facts
    if facts.get("type") in INSTANT or (change.event == "entered" and not facts["open"]):
        return ""
    if change.event == "entered":
        return f"{_clock(facts['at'])}  ▶ {escape(facts['state'])}"
    if change.event == "exited":
        return f"{_clock(facts['at'])}  ✓ {escape(facts['state'])}  {duration(facts['seconds'])}"
    if change.event == "failed_attempt":
        return f"          [red]{escape(facts['state'])}: {escape(facts['error'])}[/]"
    if change.event == "job":
        message = f"  {escape(reason(facts['message']))}" if facts.get("message") else ""
        return f"            {facts['kind']} job {escape(facts['name'])}  {coloured(facts['status'])}{message}"
    if change.event == "trial":
        settings = " ".join(f"{name}={_short(value)}" for name, value in sorted(facts["hyperparameters"].items()))
        objective = f"  objective {figure(facts['objective'], 3)}" if facts["objective"] is not None else ""
        message = f"  {escape(facts['message'])}" if facts["message"] else ""
        return f"            trial {escape(facts['name'])}  {coloured(facts['status'])}{objective}  {settings}{message}"
    if change.event == "log":
        return f"[dim]            {escape(_tail(facts['job']))} │ {escape(facts['line'])}[/]"
    return ""  # the end has a paragraph of its own


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")


def conclude(out: Output, progress: Progress) -> None:
    """The last words on an execution: its outcome and the reason."""
    outcome = progress.outcome or progress.status
    out.line()
    out.line(f"{coloured(outcome)}: {_SAID.get(outcome, 'The run has ended.')}")
    for verdict in progress.output.get("verdicts", []):
        mark = "[green]✓[/]" if verdict["passed"] else "[red]✗[/]"
        out.line(
            f"{mark} {escape(str(verdict['figure']))} {figure(verdict['value'])}, limit {figure(verdict['limit'])}"
        )
    for problem in progress.output.get("problems", []):
        out.line(f"[red]✗[/] {escape(str(problem))}")
    if progress.error or progress.cause:
        out.line(escape(": ".join(part for part in (progress.error, reason(progress.cause)) if part)))


def advise(out: Output, progress: Progress) -> None:
    """What to do after an execution."""
    outcome = progress.outcome
    again = f"onwing train {progress.dataset_version[:12]} --again"
    if outcome == "registered":
        version = str(progress.output.get("package_arn", "")).rpartition("/")[2]
        out.next(f"onwing models show {progress.fleet}/{version}" if version else "onwing models")
    elif outcome in ("superseded", "unchanged"):
        out.next("onwing status")
    elif outcome == "inconsistent":
        out.next("upload the file that belongs to the others: onwing ingest PATH")
    elif outcome == "gate_missed":
        out.next(f"{again} --set max_jobs=…   (a larger tuning budget)", "onwing models   (what is registered)")
    else:
        out.next(
            f"onwing watch {progress.name} --logs   (what the jobs wrote)", f"{again}   (once the cause is mended)"
        )
