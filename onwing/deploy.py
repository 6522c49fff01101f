"""`onwing deploy`: say what will happen, publish the training image, build, deploy. What is done is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.markup import escape

from onwing import doctor, image
from onwing import sam as sams
from onwing import stack as stacks
from onwing.command import Context
from onwing.console import Output
from onwing.errors import Exit, OnwingError, UsageError
from onwing.image import Image
from onwing.project import Project
from onwing.runner import Runner
from onwing.runner import run as execute
from onwing.sam import Sam
from onwing.stack import Stack
from onwing.target import LOCAL, Options, Target


@dataclass(frozen=True)
class Deployment:
    """What is about to be deployed, and where."""

    target: Target
    account: str
    revision: str
    parameters: dict[str, str]


def run(context: Context, *, yes: bool) -> Exit:
    """Check, say what will happen, ask, do it, and print what the stack is called by."""
    out = context.out
    target = context.target
    deployment = prepare(context.project, context.options, target)
    describe(deployment, lambda text: out.line(escape(text)))
    if not yes and not out.confirm("Go on?"):
        out.line("Nothing was done.")
        return Exit.FAILED
    stack, published = carry_out(context.project, deployment, out)
    out.document({"stack": stack, "image": published.uri, "revision": deployment.revision})
    out.ok(f"Stack {stack.name} is deployed ({stack.status})")
    for key, value in sorted(stack.outputs.items()):
        out.line(f"  {key}: {escape(value)}")
    out.next(f"onwing ingest --env {context.options.env} PATH", f"onwing status --env {context.options.env}")
    return Exit.OK


def prepare(project: Project, options: Options, target: Target, *, runner: Runner = execute) -> Deployment:
    """Check everything that can be checked before anything is made. Raises UsageError and OnwingError."""
    if options.env is None or options.env == LOCAL or target.access_key is not None:
        raise UsageError(
            "Name the environment to deploy to.",
            where=str(project.samconfig),
            todo="onwing deploy --env dev. (For the embedded cloud on this machine: onwing up.)",
        )
    checks = list(doctor.examine(project, options, runner=runner))
    missing = [check for check in checks if check.state == doctor.MISSING]
    if missing:
        listed = "\n".join(f"  {check.name}: {check.found.rstrip('.')}. {check.todo}" for check in missing)
        raise OnwingError(
            f"Not everything that a deployment needs is there:\n{listed}",
            where=str(target),
            todo=f"Mend these, and see the whole list: onwing doctor --env {options.env}",
        )
    account = target.client("sts").get_caller_identity()["Account"]
    revision = sams.revision(project, runner)
    parameters = {**sams.parameters_of(project, options.env), "SourceRevision": revision}
    return Deployment(target, account, revision, parameters)


def carry_out(
    project: Project, deployment: Deployment, out: Output, *, runner: Runner = execute
) -> tuple[Stack, Image]:
    """Image, build, deploy; the log is .onwing/deploy.log."""
    target = deployment.target
    log = project.state / "deploy.log"
    sam = Sam(sams.require_sam(project), project, log, runner)
    with out.step(f"Training image {image.REPOSITORY}:{deployment.revision[:20]} (docker)"):
        published = image.publish(target, project, deployment.revision, log=log, runner=runner)
    parameters = {**deployment.parameters, "ImageUri": published.uri}
    with out.step("Building the functions (sam build)"):
        sam.build(target, parameters)
    with out.step("Deploying the stack (sam deploy)"):
        sam.deploy(target, parameters)
    return stacks.get(target), published


def describe(deployment: Deployment, say: Callable[[str], None]) -> None:
    """What will be made, in words."""
    say(f"Account {deployment.account}, region {deployment.target.region}, stack {deployment.target.stack_name}:")
    say(f"  1. ECR repository {image.REPOSITORY}, if it is missing")
    say(f"  2. training image of revision {deployment.revision}, built here and pushed, if it is new")
    say("  3. the stack: bucket, key, table, topic, functions, state machine, roles (created or updated)")
    chosen = {key: value for key, value in deployment.parameters.items() if key != "SourceRevision"}
    say(f"     parameters: {', '.join(f'{key}={value}' for key, value in sorted(chosen.items())) or 'the defaults'}")
    say("It costs little while idle (key, storage, logs); each training run costs what its jobs' instances cost.")
