"""Building and deploying the stack with SAM CLI, which has an environment of its own because it pins its own boto3."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onwing.errors import CommandFailed
from onwing.project import Project
from onwing.runner import Runner, must, run
from onwing.stack import Stack
from onwing.target import Target

# What `sam build` reads, and what a deployment is made of.
BUILD_SOURCES = ("template.yaml", "functions", "layers")
SOURCES = (*BUILD_SOURCES, "statemachines", "training_image")
_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
DEPLOYED = ("CREATE_COMPLETE", "UPDATE_COMPLETE")


@dataclass(frozen=True)
class Sam:
    """The sam program and the checkout it works on."""

    program: str
    project: Project
    log: Path
    runner: Runner = run

    def build(self, target: Target, parameters: Mapping[str, str]) -> bool:
        """`sam build` if anything it reads has changed since the last one; returns whether it built."""
        stamp = self.project.root / ".aws-sam" / "onwing-build.json"
        runtime = parameters.get("PythonRuntime", "")
        wanted = {"sources": digest(self.project.root, BUILD_SOURCES), "runtime": runtime}
        built = self.project.root / ".aws-sam" / "build" / "template.yaml"
        if built.is_file() and _read(stamp) == wanted:
            return False
        stamp.unlink(missing_ok=True)
        command = [self.program, "build", *self._config(target), "--parameter-overrides", *_overrides(parameters)]
        self._run(command, target, "sam build")
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
        return True

    def deploy(self, target: Target, parameters: Mapping[str, str]) -> None:
        """`sam deploy` of what was built; without questions, they were asked before."""
        command = [
            self.program,
            "deploy",
            *self._config(target),
            "--stack-name",
            target.stack_name,
            "--region",
            target.region,
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--no-progressbar",
            "--parameter-overrides",
            *_overrides(parameters),
        ]
        self._run(command, target, "sam deploy")

    def _config(self, target: Target) -> list[str]:
        return ["--config-env", target.env] if target.env else []

    def _run(self, command: list[str], target: Target, what: str) -> None:
        env = target.command_env | {"PATH": _path_with_this_python()}
        must(self.runner(command, cwd=self.project.root, env=env, log=self.log), what, log=self.log)


def find_sam(project: Project) -> str | None:
    """The sam program: $ONWING_SAM, the tools environment of this checkout, or the PATH."""
    own = project.root / ".venvs" / "sam" / "bin" / "sam"
    named = os.environ.get("ONWING_SAM")
    return named or (str(own) if own.is_file() else shutil.which("sam"))


def require_sam(project: Project) -> str:
    """The sam program; CommandFailed when there is none."""
    found = find_sam(project)
    if found is None:
        raise CommandFailed(
            "SAM CLI is not installed.",
            where=str(project.root / ".venvs" / "sam"),
            todo="Run `make setup`, or name another one in ONWING_SAM.",
        )
    return found


def _path_with_this_python() -> str:
    """SAM wants a pythonX.Y with pip on the PATH: ours, or else the one that our environment was made from."""
    folders = [str(Path(sys.executable).parent), str(Path(sys.executable).resolve().parent)]
    if importlib.util.find_spec("pip") is None:
        folders.reverse()
    return os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])


def local_runtime() -> str:
    """The Lambda runtime of the embedded cloud: functions run with the interpreter that runs it, which is ours."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def parameters_of(project: Project, env: str) -> dict[str, str]:
    """The stack parameters that samconfig.toml sets for an environment."""
    overrides = project.environment(env).get("parameter_overrides", [])
    pairs = shlex.split(overrides) if isinstance(overrides, str) else [str(pair) for pair in overrides]
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def needs_deploy(stack: Stack | None, parameters: Mapping[str, str]) -> bool:
    """Whether the stack is missing, broken, or was deployed from other sources or with other parameters."""
    if stack is None or stack.status not in DEPLOYED:
        return True
    return any(stack.parameters.get(key) != value for key, value in parameters.items())


def revision(project: Project, runner: Runner = run) -> str:
    """What names the sources: the git revision; with changes beside it, or without git, also a digest of them."""
    sources = digest(project.root, SOURCES)[:12]
    try:
        head = runner(["git", "rev-parse", "HEAD"], cwd=project.root)
        if head.code != 0:
            return f"sources-{sources}"
        changed = runner(["git", "status", "--porcelain", "--", *SOURCES], cwd=project.root)
    except CommandFailed:
        return f"sources-{sources}"
    commit = head.stdout.strip()
    return commit if not changed.stdout.strip() else f"{commit}-changed-{sources}"


def digest(root: Path, sources: tuple[str, ...]) -> str:
    """SHA-256 over the names and contents of all files under `sources`."""
    total = hashlib.sha256()
    for source in sources:
        for path in _files(root / source):
            total.update(path.relative_to(root).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for child in sorted(path.iterdir()):
            if child.name not in _LEFT_OUT and child.suffix not in (".pyc", ".egg-info"):
                yield from _files(child)


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    """As SAM takes them: quoted, since values may hold blanks and quotes."""
    return [f"{key}={_quoted(value)}" for key, value in sorted(parameters.items())]


def _quoted(value: str) -> str:
    if value and not set(value) & set(" \t\"'\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
