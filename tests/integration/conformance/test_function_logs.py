"""localcloud.fidelity.function_logs."""

import queue
import threading
import time

from localcloud.fidelity.function_logs import END, lines_of
from localcloud.testing import Cloud

from .steps import function

SOURCE = """
import sys

def handler(event, context):
    for number in range(3000):
        print("line", number)
    sys.stdout.write("unfinished")
    if event.get("fail"):
        raise ValueError("asked to fail")
"""


def test_all_lines_are_there_when_the_function_is_answered(localcloud: Cloud) -> None:
    made = function(localcloud, SOURCE)["FunctionName"]
    logs = localcloud.client("logs")
    for number, payload in enumerate((b"{}", b'{"fail": true}', b"{}"), 1):
        localcloud.client("lambda").invoke(FunctionName=made, Payload=payload)
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{made}")
        messages = [event["message"].strip() for page in pages for event in page["events"]]
        assert sum(message.startswith("line ") for message in messages) == 3000 * number
        assert messages.count("unfinished") == number
        assert not [message for message in messages if END in message]


def test_lines_that_the_server_gets_to_late_are_waited_for() -> None:
    written: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in ("first", "second", END, "of the next invocation"):
            time.sleep(0.1)
            written.put(line)

    threading.Thread(target=read).start()
    assert lines_of(written, lambda: True) == "first\nsecond"


def test_process_that_has_ended_is_not_waited_for() -> None:
    written: queue.Queue[str] = queue.Queue()
    written.put("last words")
    assert lines_of(written, lambda: False) == "last words"
