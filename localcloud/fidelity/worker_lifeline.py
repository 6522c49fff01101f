"""An execution environment is ended by Lambda, also in the middle of an invocation: none runs on without it.

docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown. MiniStack's Python
workers notice that the server is gone when they wait for the next invocation; one that is busy goes on to its end,
which may be a quarter of an hour.
"""

from __future__ import annotations

from localcloud import hooks

# A thread, because PR_SET_PDEATHSIG would act when the server's thread ends that happened to start the worker.
_WATCH = """
def _watch_server():
    import os, threading, time
    server = os.getppid()
    def watch():
        while os.getppid() == server:
            time.sleep(0.5)
        os._exit(1)
    threading.Thread(target=watch, name="lifeline", daemon=True).start()
_watch_server()
"""
# Execution environments are other machines on AWS, as jobs' are: they do not keep the server waiting. Jobs step back
# further.
_STEP_BACK = "import os; os.nice(5)\n"


def install() -> None:
    """Have each worker look whether its server is there."""
    hooks.replace("lambda.worker", lambda script: _STEP_BACK + _WATCH + script)
