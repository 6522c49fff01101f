"""Warm starts: jobs fork from a parent that holds the imports, and otherwise are like fresh interpreters."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcloud.containers.images import Image
from localcloud.containers.processes import Container, ContainerError, ContainerSpec, ProcessRuntime

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Warm:
    """One image with a module `heavy` that is preloaded, and a module `job` that is run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.source = base / "source"
        self.work = base / "work"
        self.source.mkdir()
        self.work.mkdir()
        self.image = Image("heavy-image", (), (self.source,), ("heavy",), {"FROM_IMAGE": "1"})
        self.notes: list[str] = []
        self.lines: list[str] = []
        self.runtime = ProcessRuntime(log=self.notes.append)
        self.heavy("import os; LOADED_BY = os.getpid()")

    def heavy(self, code: str) -> None:
        (self.source / "heavy.py").write_text(code)

    def start(self, code: str, *arguments: str, **environment: str) -> Container:
        (self.source / "job.py").write_text(code)
        spec = ContainerSpec(self.image, ("python", "-m", "job", *arguments), environment, self.work, "test")
        return self.runtime.start(spec, self.lines.append)

    def run(self, code: str, *arguments: str, **environment: str) -> tuple[int | None, list[str]]:
        self.lines.clear()
        return self.start(code, *arguments, **environment).wait(60), list(self.lines)


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    started = Warm(tmp_path)
    yield started
    started.runtime.close()


# The job's process is not the one that imported.
IS_WARM = "import os, sys; print('heavy' in sys.modules and sys.modules['heavy'].LOADED_BY != os.getpid())"


def test_imports_are_there_already(warm: Warm) -> None:
    assert warm.run(IS_WARM) == (0, ["True"])


def test_import_is_paid_once(warm: Warm) -> None:
    paid = warm.base / "paid"
    warm.heavy(f"import os; LOADED_BY = os.getpid(); print(LOADED_BY, file=open({str(paid)!r}, 'a'))")
    warm.runtime.warm(warm.image)
    warm.runtime.warm(warm.image)  # idempotent
    assert warm.run(IS_WARM) == (0, ["True"])  # waits for the import
    assert warm.run(IS_WARM) == (0, ["True"])
    assert len(paid.read_text().splitlines()) == 1
    assert len([note for note in warm.notes if "ready" in note]) == 1


def test_image_without_preload_has_no_parent(warm: Warm) -> None:
    warm.image = Image("cold", (), (warm.source,))
    warm.runtime.warm(warm.image)
    assert warm.run(IS_WARM) == (0, ["False"])
    assert warm.notes == []


def test_what_is_not_to_be_warm_starts_with_its_own_imports_alone(warm: Warm) -> None:
    (warm.source / "job.py").write_text("import sys; print('heavy' in sys.modules)")
    spec = ContainerSpec(warm.image, ("python", "-m", "job"), {}, warm.work, "server", warm=False)
    assert warm.runtime.start(spec, warm.lines.append).wait(60) == 0
    assert warm.lines == ["False"]
    assert warm.notes == []  # and nobody waited for the parent's imports


def test_other_commands_start_plainly(warm: Warm) -> None:
    spec = ContainerSpec(warm.image, ("sh", "-c", "echo $FROM_IMAGE"), {}, warm.work, "test")
    assert warm.runtime.start(spec, warm.lines.append).wait(60) == 0
    assert warm.lines == ["1"]


def test_arguments_and_main_are_as_with_dash_m(warm: Warm) -> None:
    job = (
        "import sys, __main__; print(sys.argv[1:], __name__, __main__.__spec__.name, __main__.__file__ == sys.argv[0])"
    )
    assert warm.run(job, "train", "--x=1") == (0, ["['train', '--x=1'] __main__ job True"])


def test_package_with_main_is_run(warm: Warm) -> None:
    package = warm.source / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import heavy, sys; from package import __name__ as n; print(n, *sys.argv[1:])"
    )
    spec = ContainerSpec(warm.image, ("python", "-m", "package", "train"), {}, warm.work, "test")
    assert warm.runtime.start(spec, warm.lines.append).wait(60) == 0
    assert warm.lines == ["package train"]


def test_environment_is_the_jobs_and_not_the_parents(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVERS_OWN_SECRET", "x")
    warm.heavy("import os; LOADED_BY = os.getpid(); os.environ['SET_BY_IMPORT'] = 'x'")
    job = (
        "import os; e = os.environ\n"
        "print('SERVERS_OWN_SECRET' in e, 'SET_BY_IMPORT' in e, e['FROM_IMAGE'], e['MINE'])\n"
        "print(e['SAGEMAKER_BASE_DIR'], os.getcwd(), flush=True); os.system('echo $MINE')"
    )
    assert warm.run(job, MINE="2") == (0, ["False False 1 2", f"{warm.work} {warm.work}", "2"])


def test_stdout_and_stderr_come_merged_in_order(warm: Warm) -> None:
    job = "import os, sys; print('a'); print('b', file=sys.stderr); os.system('echo c'); print('d')"
    assert warm.run(job) == (0, ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        ("pass", 0, []),
        ("import sys; sys.exit()", 0, []),
        ("import sys; sys.exit(7)", 7, []),
        ("import sys; sys.exit('wrong')", 1, ["wrong"]),
        ("import os; os._exit(9)", 9, []),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, []),
        ("import atexit; atexit.register(print, 'last words'); raise SystemExit(2)", 2, ["last words"]),
        ("import threading; threading.Timer(0.1, print, ['thread done']).start()", 0, ["thread done"]),
    ],
)
def test_ends_as_a_fresh_interpreter_does(warm: Warm, job: str, code: int, said: list[str]) -> None:
    assert warm.run(job) == (code, said)


def test_exception_is_code_1_with_the_jobs_own_traceback(warm: Warm) -> None:
    code, lines = warm.run("def f():\n    raise ValueError('what is wrong')\nf()")
    assert code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: what is wrong"
    assert not [line for line in lines if "warm.py" in line or "runpy" in line]


def test_module_that_does_not_exist_is_code_1(warm: Warm) -> None:
    spec = ContainerSpec(warm.image, ("python", "-m", "nowhere"), {}, warm.work, "test")
    assert warm.runtime.start(spec, warm.lines.append).wait(60) == 1
    assert "No module named nowhere" in warm.lines[-1]


def test_interrupt_is_a_death_by_signal(warm: Warm) -> None:
    code, lines = warm.run("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    assert code == -signal.SIGINT
    assert lines[-1] == "KeyboardInterrupt"


def test_signal_handlers_of_the_imports_are_not_inherited(warm: Warm) -> None:
    warm.heavy("import signal; LOADED_BY = 0; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    container = warm.start("import time; print('up'); time.sleep(60)")
    until(lambda: warm.lines == ["up"])
    container.stop(grace=60)
    assert container.wait(0) == -signal.SIGTERM


def test_job_may_handle_sigterm_and_use_subprocesses(warm: Warm) -> None:
    job = """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        print(subprocess.run(["sh", "-c", "exit 4"]).returncode)
        time.sleep(60)
    """
    container = warm.start("if True:" + job)
    until(lambda: warm.lines == ["4"])
    container.stop(grace=60)
    assert container.wait(0) == 3


def test_multiprocessing_works_in_a_job(warm: Warm) -> None:
    job = (
        "import multiprocessing as m\n"
        "def f(x): return x * x\n"
        "if __name__ == '__main__':\n"
        "    for kind in ('fork', 'spawn'):\n"
        "        with m.get_context(kind).Pool(1) as pool: print(pool.map(f, [2, 3]))\n"
    )
    assert warm.run(job) == (0, ["[4, 9]", "[4, 9]"])


def test_random_numbers_differ_between_jobs(warm: Warm) -> None:
    warm.heavy("import random, numpy; LOADED_BY = 0")
    job = "import random, numpy; print(random.random(), numpy.random.rand())"
    (first,), (second,) = warm.run(job)[1], warm.run(job)[1]
    assert len({*first.split(), *second.split()}) == 4


def test_many_warm_jobs_at_once(warm: Warm) -> None:
    warm.run("import sys; sys.exit(int(sys.argv[1]))", "0")
    codes: dict[int, int | None] = {}

    def run(number: int) -> None:
        spec = ContainerSpec(warm.image, ("python", "-m", "job", str(number)), {}, warm.work, "test")
        codes[number] = warm.runtime.start(spec, warm.lines.append).wait(60)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(8)}


def test_changed_source_is_imported_afresh(warm: Warm) -> None:
    job = "import heavy; print(heavy.VERSION)"
    warm.heavy("VERSION = 1")
    assert warm.run(job) == (0, ["1"])
    warm.heavy("VERSION = 22")
    assert warm.run(job) == (0, ["22"])
    assert warm.run(job) == (0, ["22"])
    assert len([note for note in warm.notes if "ready" in note]) == 2


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHASHSEED", "OMP_NUM_THREADS", "LD_PRELOAD"])
def test_variable_that_only_a_fresh_interpreter_reads_means_a_plain_start(warm: Warm, name: str) -> None:
    values = {"PYTHONPATH": str(warm.source), "LD_PRELOAD": ""}
    warm.image = Image("heavy-image", (), (warm.source, warm.work), ("heavy",))
    code, lines = warm.run(IS_WARM, **{name: values.get(name, "4")})
    assert (code, lines) == (0, ["False"])
    assert name in warm.notes[0]


def test_failing_preload_is_told_and_jobs_start_plainly(warm: Warm) -> None:
    warm.heavy("import no_such_library")
    job = "import sys; print('runs', sys.argv[1])"
    assert warm.run(job, "1") == (0, ["runs 1"])
    assert warm.run(job, "2") == (0, ["runs 2"])
    until(lambda: warm.notes)
    (note,) = warm.notes
    assert "heavy-image" in note
    assert "ModuleNotFoundError: No module named 'no_such_library'" in note


def test_preload_that_kills_its_process_is_told_with_its_last_words(warm: Warm) -> None:
    warm.heavy("import os, signal, sys; print('oh no', file=sys.stderr); os.kill(os.getpid(), signal.SIGSEGV)")
    assert warm.run("print('runs')") == (0, ["runs"])
    until(lambda: warm.notes)
    assert "Exit code -11" in warm.notes[0]
    assert "oh no" in warm.notes[0]


def test_preload_that_leaves_threads_is_not_forked(warm: Warm) -> None:
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    (warm.source / "culprit.py").write_text(thread)
    (warm.source / "between.py").write_text("import culprit")
    warm.heavy("import json, between, decimal")
    assert warm.run("print('runs')") == (0, ["runs"])
    until(lambda: warm.notes)
    assert "1 thread(s) run after the imports, the first since `import culprit`" in warm.notes[0]


@linux_only
def test_parent_that_was_killed_is_replaced(warm: Warm) -> None:
    warm.run(IS_WARM)
    warm.lines.clear()
    container = warm.start("import heavy, sys, time; print(heavy.LOADED_BY); sys.stdin.read(); time.sleep(0.5)")
    until(lambda: warm.lines)
    os.kill(int(warm.lines[-1]), signal.SIGKILL)
    assert warm.run(IS_WARM)[0] == 0  # with or without a parent: it may only be found dead by now
    assert warm.run(IS_WARM) == (0, ["True"])
    assert container.wait(60) == 0


def test_close_does_not_wait_for_an_import(tmp_path: Path) -> None:
    warm = Warm(tmp_path)
    begun = tmp_path / "begun"
    warm.heavy(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(600)")
    failures: list[str] = []

    def start() -> None:
        with pytest.raises(ContainerError) as raised:
            warm.start("pass")
        failures.append(str(raised.value))

    thread = threading.Thread(target=start)
    thread.start()
    until(begun.exists)
    warm.runtime.close()  # well before the import ends
    thread.join(60)
    assert failures == ["The runtime is closed"]


def until(probe: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
