"""What a monitoring job leaves: its report, Model Monitor's constraint_violations.json and its ExitMessage.

There are four outcomes, and they are four different things: "ok" (judged, nothing found), "violations", "insufficient"
(too little to judge) and "unreadable" (what was captured cannot be read). The last two leave no violations file: an
empty one would read as "no drift". A job that could not do its work at all (no baseline, say) has no outcome: it fails.

Source: "Schema for Violations" and "Container Contract Outputs" in SageMaker's Model Monitor documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turbofan import metadata
from turbofan.container import MESSAGE_LIMIT

SCHEMA = 1  # of report.json
OK, VIOLATIONS, INSUFFICIENT, UNREADABLE = "ok", "violations", "insufficient", "unreadable"
NONE, MODERATE, SEVERE = "none", "moderate", "severe"

REPORT, VIOLATIONS_FILE = "report.json", "constraint_violations.json"
# What the violations file repeats of the report: whoever handles the event reads this one file, and is spared the bulk.
COPY_LIMIT = 100_000  # bytes
_BULK = ("features", "violations", "input", "points", "problems")


def violation(feature: str, check: str, description: str) -> dict[str, str]:
    """One entry of constraint_violations.json; `check` is one of Model Monitor's six for data."""
    return {"feature_name": feature, "constraint_check_type": check, "description": description}


def write(folder: Path, report: Mapping[str, Any], message: Path) -> None:
    """Write report.json, constraint_violations.json for an outcome that is a verdict, and the ExitMessage.

    `folder` exists; `report` has outcome, summary and violations; `message` is /opt/ml/output/message.
    """
    metadata.write_json(folder / REPORT, dict(report))
    if report["outcome"] in (OK, VIOLATIONS):
        metadata.write_json(folder / VIOLATIONS_FILE, violations_file(report))
    message.parent.mkdir(parents=True, exist_ok=True)
    message.write_bytes(cut(exit_message(report), MESSAGE_LIMIT))


def violations_file(report: Mapping[str, Any]) -> dict[str, Any]:
    """The content of constraint_violations.json: Model Monitor's, and under "onwing" the report without its bulk."""
    copy = {name: value for name, value in report.items() if name not in _BULK}
    while len(json.dumps(copy)) > COPY_LIMIT:
        del copy[max(copy, key=lambda name: len(json.dumps(copy[name])))]
    return {"version": 0.0, "violations": list(report["violations"]), "onwing": copy}


def exit_message(report: Mapping[str, Any]) -> str:
    """The ExitMessage, of which Model Monitor reads the beginning: "CompletedWithViolations: …" or "Completed: …"."""
    summary, found = report["summary"], len(report["violations"])
    violations = f"{found} violation{'' if found == 1 else 's'}"
    return {
        OK: f"Completed: Job completed successfully with no violations. {summary}",
        VIOLATIONS: f"CompletedWithViolations: Job completed successfully with {violations}. {summary}",
        INSUFFICIENT: f"Insufficient data, nothing was judged (this does not mean that there is no drift): {summary}",
        UNREADABLE: f"Unreadable capture, nothing was judged (this does not mean that there is no drift): {summary}",
    }[report["outcome"]]


def cut(text: str, limit: int) -> bytes:
    """`text` in UTF-8, at most `limit` bytes of it, no character torn."""
    return text.encode()[:limit].decode(errors="ignore").encode()
