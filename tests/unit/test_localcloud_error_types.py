"""What an error of a function is called."""

import pytest

from localcloud.fidelity.error_types import class_name

TRACE = """some log line: no version
Traceback (most recent call last):
  File "app.py", line 3, in handler
    raise DatasetNotFoundError("no version")
{last}
"""


@pytest.mark.parametrize(
    ("last", "message", "name"),
    [
        ("control_plane.errors.DatasetNotFoundError: no version", "no version", "DatasetNotFoundError"),
        ("KeyError: 'x'", "'x'", "KeyError"),
        ("pydantic_core._pydantic_core.ValidationError: 1 error\n  field", "1 error\n  field", "ValidationError"),
        ("RuntimeError", "", "RuntimeError"),
    ],
)
def test_error_is_called_by_its_class(last: str, message: str, name: str) -> None:
    assert class_name(message, TRACE.format(last=last)) == name


def test_error_of_a_cause_is_not_taken_for_the_error_itself() -> None:
    log = TRACE.format(last="KeyError: 'a'") + TRACE.format(last="ValueError: b")
    assert class_name("b", log) == "ValueError"


def test_without_a_traceback_there_is_no_name() -> None:
    assert class_name("Worker process died", "ValueError: Worker process died") is None
