"""All that a Python function writes in an invocation is in its log when it is answered, however busy the machine is.

docs.aws.amazon.com/lambda/latest/dg/python-logging.html; MiniStack waits 50 ms for the first line that a worker wrote,
and 5 ms for each further one: on a busy machine an invocation's lines come with the next one, or never. Here the worker
says, before it answers, that there is no more to come; a function that writes nothing is answered at once.
"""

from __future__ import annotations

import queue
import time
from typing import Any

from localcloud import hooks

END = "\x1elocalcloud-end-of-invocation"
# For a function that closed its stderr in a way that nobody sees; a process that has ended is not waited for.
LONGEST_SECONDS = 10.0
_SAY_SO = f"""
def _say_when_all_is_written():
    import os, sys
    class Answers:
        def __init__(self, stream):
            self._stream = stream
            self.flush = stream.flush
        def write(self, text):
            if not text.startswith('{{"status": "ready"'):
                try:
                    sys.stderr.flush()
                    os.write(2, {(END + chr(10)).encode()!r})
                except (OSError, ValueError, AttributeError):
                    pass
            return self._stream.write(text)
    sys.stdout = Answers(sys.stdout)
_say_when_all_is_written()
"""


def install() -> None:
    """Have each worker say so, and read until it does."""
    hooks.replace("lambda.worker", lambda script: _SAY_SO + script)
    worker = hooks.get("lambda.worker_class")
    worker._drain_stderr_bounded = _drained(worker._drain_stderr_bounded)


def _drained(drain: Any) -> Any:
    def drained(worker: Any, *arguments: Any, **more: Any) -> str:
        if not str(worker.config.get("Runtime", "")).startswith("python"):
            return str(drain(worker, *arguments, **more))
        return lines_of(worker._stderr_queue, worker._stderr_thread.is_alive)

    return drained


def lines_of(written: queue.Queue[str], comes_more: Any) -> str:
    """What an invocation wrote: the lines up to its end, or up to that of its process."""
    lines = []
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        more = comes_more()  # asked first: what the process wrote last is in the queue when it says no
        try:
            line = written.get(timeout=0.05) if more else written.get_nowait()
        except queue.Empty:
            if not more:
                break
            continue
        if line.endswith(END):
            if line != END:  # its last line had no end
                lines.append(line.removesuffix(END))
            break
        lines.append(line)
    return "\n".join(lines)
