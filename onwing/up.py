"""`onwing up`: start the embedded cloud, build, deploy. What is up to date already is left alone."""

from __future__ import annotations

from collections.abc import Mapping

from onwing import embedded, interrupts, local_image
from onwing import sam as sams
from onwing import stack as stacks
from onwing import target as targets
from onwing.command import Context
from onwing.console import Output
from onwing.errors import Exit, OnwingError
from onwing.project import Project
from onwing.runner import Runner
from onwing.runner import run as execute
from onwing.sam import Sam
from onwing.stack import Stack
from onwing.target import LOCAL, Options, Target


def run(context: Context, *, port: int = 0, docker: bool = False) -> Exit:
    """Bring it up and say where it is. When interrupted, a cloud that this call started goes down again."""
    out = context.out
    context.announce(f"the embedded cloud of {context.project.root}")
    with interrupts.terminated_like_interrupted():
        target, started = start(context.project, context.options, out, port=port, docker=docker)
        try:
            stack, built, deployed = deploy(context.project, target, out)
        except KeyboardInterrupt:
            if started:
                clean_up(context.project, out)
            raise
    out.document(
        {
            "endpoint": target.endpoint_url,
            "region": target.region,
            "stack": stack,
            "started": started,
            "built": built,
            "deployed": deployed,
        }
    )
    out.ok(f"The embedded cloud runs at {target.endpoint_url}; bucket {stack.bucket}")
    out.next(
        "onwing ingest PATH   (train_, test_ and RUL_ of a fleet; or --fleet FD001)",
        "onwing status",
        "onwing down   (stops it)",
        f"[dim]other programs: export AWS_ENDPOINT_URL={target.endpoint_url} AWS_DEFAULT_REGION={target.region} "
        f"AWS_ACCESS_KEY_ID={target.access_key} AWS_SECRET_ACCESS_KEY=none[/]",
    )
    return Exit.OK


def start(
    project: Project, options: Options, out: Output, *, port: int = 0, docker: bool = False, runner: Runner = execute
) -> tuple[Target, bool]:
    """A running embedded cloud, and whether this call started it. With `docker` the training image is built first."""
    sams.require_sam(project)  # before anything is started that would then be of no use
    running = embedded.running(project)
    started = running is None
    if docker:
        if running is not None and not running.docker:
            raise OnwingError(
                "The embedded cloud runs its jobs as processes.",
                where=running.endpoint,
                todo="Stop it, then start it with --docker: onwing down",
            )
        local_image.ensure(project, out, runner=runner)
    if running is None:
        # Not to be interrupted half-way: nobody would know of the process, and it would stay behind.
        with out.step("Starting the embedded cloud"), interrupts.deferred():
            running = embedded.start(project, port=port, docker=docker, runner=runner)
    return targets.local(running, project, options), started


def deploy(
    project: Project,
    target: Target,
    out: Output,
    *,
    parameters: Mapping[str, str] | None = None,
    runner: Runner = execute,
) -> tuple[Stack, bool, bool]:
    """Build and deploy the stack on the embedded cloud; returns it, and whether it was built and deployed now."""
    wanted = {
        **sams.parameters_of(project, LOCAL),
        "PythonRuntime": sams.local_runtime(),
        "SourceRevision": sams.revision(project, runner),
        **(parameters or {}),
    }
    sam = Sam(sams.require_sam(project), project, project.state / "up.log", runner)
    current = stacks.find(target)
    if not sams.needs_deploy(current, wanted):
        assert current is not None, "a missing stack needs to be deployed"
        out.ok(f"Stack {current.name} is up to date")
        return current, False, False
    with out.step("Building the functions (sam build)"):
        built = sam.build(target, wanted)
    with out.step("Deploying the stack (sam deploy)"):
        sam.deploy(target, wanted)
    return stacks.get(target), built, True


def clean_up(project: Project, out: Output) -> None:
    """Stop the embedded cloud, come what may: a second Ctrl-C must not leave it behind."""
    with out.step("Stopping the embedded cloud"), interrupts.ignored():
        embedded.stop(project)
