"""What is missing on this machine, or in the AWS account, and how to get it."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from onwing import data, embedded
from onwing import sam as sams
from onwing import stack as stacks
from onwing.console import size
from onwing.data import DataMissing
from onwing.errors import OnwingError, translate
from onwing.image import REPOSITORY
from onwing.project import Project
from onwing.runner import Runner, run
from onwing.target import LOCAL, Options, Target, resolve

OK, MISSING, WARNING, NOTE = "ok", "missing", "warning", "note"
MIN_PYTHON, MAX_PYTHON = (3, 11), (3, 13)
MIN_FREE_BYTES = 3 * 10**9


@dataclass(frozen=True)
class Check:
    """One thing looked at. `missing` means that something will not work; warnings and notes do not."""

    name: str
    state: str
    found: str
    todo: str = ""


def examine(project: Project, options: Options, *, runner: Runner = run) -> Iterator[Check]:
    """Check this machine; with an environment other than local, the AWS account as well."""
    on_aws = options.env not in (None, LOCAL)
    yield from _machine(project, runner, on_aws=on_aws)
    if on_aws:
        yield from _account(project, options)
    else:
        yield _embedded_cloud(project)
        yield Check("AWS", NOTE, "not looked at", "To check an account: onwing doctor --env dev")


def _machine(project: Project, runner: Runner, *, on_aws: bool) -> Iterator[Check]:
    version = sys.version_info[:2]
    fits = MIN_PYTHON <= version <= MAX_PYTHON
    yield Check(
        "Python",
        OK if fits else MISSING,
        f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}",
        "" if fits else "Install Python 3.11, 3.12 or 3.13, then run `make setup`.",
    )
    there = (project.root / "template.yaml").is_file()
    yield Check(
        "Project files",
        OK if there else MISSING,
        str(project.root) if there else f"no template.yaml in {project.root} or above it",
        "" if there else "Change into a checkout of the project.",
    )
    yield _program("make", WARNING, "Install make; its targets are one or two commands each, see the Makefile.")
    yield _sam(project, runner)
    yield _docker(runner, needed=on_aws)
    yield _data(project)
    free = shutil.disk_usage(project.root).free
    enough = free >= MIN_FREE_BYTES
    yield Check("Disk", OK if enough else MISSING, f"{size(free)} free", "" if enough else "Free at least 3 GB.")


def _program(name: str, otherwise: str, todo: str) -> Check:
    found = shutil.which(name)
    return Check(name, OK, found) if found else Check(name, otherwise, "not installed", todo)


def _sam(project: Project, runner: Runner) -> Check:
    program = sams.find_sam(project)
    if program is None:
        return Check("SAM CLI", MISSING, "not installed", "Run `make setup`, or name it in ONWING_SAM.")
    ran = _try(runner, [program, "--version"])
    if ran is None:
        return Check("SAM CLI", MISSING, f"{program} does not run", "Run `make setup` again.")
    return Check("SAM CLI", OK, f"{ran} at {program}")


def _docker(runner: Runner, *, needed: bool) -> Check:
    version = _try(runner, ["docker", "version", "--format", "{{.Server.Version}}"])
    if version:
        return Check("Docker", OK, f"engine {version}")
    if not needed and (podman := _try(runner, ["podman", "version", "--format", "{{.Client.Version}}"])):
        return Check(
            "Docker", OK, f"Podman {podman}, which --docker can use", "Only `onwing deploy` (AWS) needs Docker."
        )
    there = shutil.which("docker") is not None
    found = "installed, but its engine does not answer" if there else "not installed"
    todo = "Start the Docker engine." if there else "Install Docker."
    if needed:
        return Check("Docker", MISSING, found, f"{todo} `onwing deploy` builds the training image with it.")
    todo = f"{todo} Only `onwing deploy` (AWS) and --docker need it; Podman does for --docker."
    return Check("Docker", NOTE, found, todo)


def _try(runner: Runner, command: list[str]) -> str | None:
    """What a program says; None when it is not there or fails."""
    try:
        ran = runner(command, env={"SAM_CLI_TELEMETRY": "0"})
    except OnwingError:
        return None
    return ran.stdout.strip() if ran.code == 0 else None


def _data(project: Project) -> Check:
    try:
        source = data.locate("FD001", root=project.root)
    except DataMissing as error:
        return Check("C-MAPSS data", MISSING, f"{error.where}: {error.what}", error.todo)
    if source is None:
        return Check(
            "C-MAPSS data",
            WARNING,
            "not on this machine: will be downloaded from NASA, or else SIMULATED",
            "Put train_, test_ and RUL_FD001.txt into data/cmapss/, or name their folder in CMAPSS_DIR.",
        )
    return Check("C-MAPSS data", OK, source)


def _embedded_cloud(project: Project) -> Check:
    cloud = embedded.running(project)
    if cloud is not None:
        return Check("Embedded cloud", OK, f"runs at {cloud.endpoint} (process {cloud.pid})")
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    except OSError as error:
        return Check("Embedded cloud", MISSING, f"no free port on 127.0.0.1: {error}", "Allow listening on loopback.")
    return Check("Embedded cloud", NOTE, f"does not run; ports are free ({port}, say)", "Start it: onwing up")


def _account(project: Project, options: Options) -> Iterator[Check]:
    """Credentials, stack and quotas. The first failure ends it: what follows would fail likewise."""
    try:
        target = resolve(options, project)
    except OnwingError as error:
        yield Check("Target", MISSING, error.what, error.todo)
        return
    yield Check("Region", OK, target.region)
    yield _runtime(project, options)
    try:
        identity = target.client("sts").get_caller_identity()
        yield Check("Credentials", OK, f"{identity['Arn']} (account {identity['Account']})")
        yield _stack(target)
        yield _repository(target)
        yield from _quotas(project, options, target)
    except (ClientError, BotoCoreError) as error:
        translated = translate(error, str(target))
        yield Check("AWS", MISSING, translated.what, translated.todo)


def _runtime(project: Project, options: Options) -> Check:
    """SAM builds the layer with the interpreter that Lambda will use."""
    wanted = parameter(project, options.env or LOCAL, "PythonRuntime")
    found = shutil.which(wanted)
    if found:
        return Check("Lambda runtime", OK, f"{wanted} at {found}")
    mine = sams.local_runtime()
    return Check(
        "Lambda runtime",
        OK if wanted == mine else WARNING,
        f"{wanted} is not on the PATH",
        f"Install it, or set PythonRuntime={mine} in samconfig.toml.",
    )


def _stack(target: Target) -> Check:
    stack = stacks.find(target)
    if stack is None:
        return Check("Stack", NOTE, f"{target.stack_name} is not deployed", f"onwing deploy --env {target.env}")
    good = stack.status in sams.DEPLOYED
    return Check("Stack", OK if good else WARNING, f"{stack.name}: {stack.status}", "" if good else "onwing deploy")


def _repository(target: Target) -> Check:
    try:
        target.client("ecr").describe_repositories(repositoryNames=[REPOSITORY])
    except ClientError as error:
        if error.response["Error"]["Code"] != "RepositoryNotFoundException":
            raise
        return Check("ECR repository", NOTE, f"{REPOSITORY} is not there yet", "`onwing deploy` makes it.")
    return Check("ECR repository", OK, REPOSITORY)


def _quotas(project: Project, options: Options, target: Target) -> Iterator[Check]:
    """New accounts have a quota of 0 for many instance types; a run would then fail at its first job."""
    env = options.env or LOCAL
    uses = [
        ("ProcessingInstanceType", "processing job", 1),
        ("TrainingInstanceType", "training job", int(parameter(project, env, "TuningMaxParallelJobs") or 1)),
    ]
    wanted = {f"{parameter(project, env, name)} for {use} usage": needed for name, use, needed in uses}
    quotas = target.client("service-quotas")
    found: dict[str, float] = {}
    for page in quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker"):
        found |= {quota["QuotaName"]: quota["Value"] for quota in page["Quotas"] if quota["QuotaName"] in wanted}
        if len(found) == len(wanted):
            break
    for name, needed in wanted.items():
        if name not in found:
            todo = "Check the instance type in samconfig.toml, or look at Service Quotas in the console."
            yield Check("Quota", WARNING, f"{name}: not listed in {target.region}", todo)
        elif found[name] < needed:
            todo = f"Ask for it: Service Quotas → Amazon SageMaker → “{name}”; or lower TuningMaxParallelJobs."
            yield Check("Quota", MISSING, f"{name}: {found[name]:.0f}, but {needed} are needed", todo)
        else:
            yield Check("Quota", OK, f"{name}: {found[name]:.0f} ({needed} needed)")


def parameter(project: Project, env: str, name: str) -> str:
    """A stack parameter as it will be deployed: what samconfig.toml sets, else the template's default."""
    chosen = sams.parameters_of(project, env).get(name)
    if chosen is not None:
        return chosen
    template = Path(project.root / "template.yaml")
    text = template.read_text(encoding="utf-8") if template.is_file() else ""
    match = re.search(rf"^  {name}:\n(?:    .*\n)*?    Default: (.+)$", text, re.MULTILINE)
    return match[1].strip().strip('"') if match else ""


def healthy(checks: list[Check]) -> bool:
    """Whether nothing that is needed is missing."""
    return all(check.state != MISSING for check in checks)
