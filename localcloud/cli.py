"""The command: localcloud start, stop, status, env, logs, reset."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud import daemon
from localcloud.errors import LocalcloudError
from localcloud.sagemaker import quotas

EXAMPLES = f"""\
a first session:
  localcloud start --image images.toml
  eval "$(localcloud env)"
  aws s3 mb s3://data && sam deploy --guided
  localcloud logs -f
  localcloud stop

One localcloud a directory: --dir, ${daemon.DIRECTORY_VARIABLE}, or .localcloud. Exit codes: 0 well, 1 not running or
failed, 2 wrong usage. docs/localcloud.md says what it does and where it differs from AWS."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 well, 1 not running or failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except LocalcloudError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # localcloud logs | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localcloud",
        description="AWS with a working SageMaker on this machine: jobs are local processes, nothing leaves loopback.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    start = _command(commands, "start", _start, "start it, in the background unless --foreground")
    start.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    start.add_argument("--image", type=Path, action="append", default=[], help="image map (TOML); may be given again")
    start.add_argument("--slots", type=int, help="jobs at once (default: the CPUs)")
    start.add_argument("--instances", type=int, default=4, help="processes at most for one variant (default: 4)")
    start.add_argument(
        "--quota",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help='a service quota, such as "ml.m5.large for training job usage=2"; may be given again',
    )
    start.add_argument(
        "--auth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let IAM's policies decide who may do what (default); --no-auth lets everybody do everything",
    )
    start.add_argument(
        "--docker",
        action="store_true",
        help="run jobs in containers of their images, by Docker or Podman, not as processes",
    )
    start.add_argument("--forget", action="store_true", help="keep no state over a stop")
    start.add_argument(
        "--snapshot-seconds",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="save the state this often while it changes (default: 1)",
    )
    start.add_argument("--foreground", action="store_true", help="stay in the foreground; Ctrl-C stops it")
    start.add_argument("--with-parent", type=int, metavar="PID", help=argparse.SUPPRESS)  # see daemon.start(with_me)
    start.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    start.add_argument("--json", action="store_true", help="print where it runs as a JSON object")

    _command(commands, "stop", _stop, "stop it and all its jobs")
    status = _command(commands, "status", _status, "say whether and where it runs")
    status.add_argument("--json", action="store_true", help="as a JSON object")
    env = _command(commands, "env", _env, 'print what a shell needs to reach it: eval "$(localcloud env)"')
    env.add_argument("--json", action="store_true", help="as a JSON object")
    logs = _command(commands, "logs", _logs, "print the end of its log")
    logs.add_argument("-n", "--lines", type=int, default=50, help="how many lines (default: 50)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with each line as it comes; Ctrl-C ends it")
    _command(commands, "reset", _reset, "delete every resource, object and job")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: object, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument(
        "--dir",
        type=Path,
        default=daemon.default_directory(),
        help=f"where it keeps everything (default: ${daemon.DIRECTORY_VARIABLE}, or .localcloud)",
    )
    parser.set_defaults(run=run)
    return parser


def _start(options: argparse.Namespace) -> int:
    directory = options.dir.resolve()
    images = tuple(path.resolve() for path in options.image)
    if options.foreground:
        from localcloud.server import Settings, configure_logging, serve  # pulls MiniStack in

        configure_logging(options.log_level)
        serve(
            Settings(
                directory=directory,
                port=options.port,
                images=images,
                slots=options.slots,
                instances=options.instances,
                quotas=quotas.parse(options.quota),
                auth=options.auth,
                docker=options.docker,
                keep=not options.forget,
                snapshot_seconds=options.snapshot_seconds,
                parent=options.with_parent,
                log_level=options.log_level,
            )
        )
    already = daemon.find(directory) is not None
    running = daemon.start(
        directory,
        port=options.port,
        images=images,
        slots=options.slots,
        instances=options.instances,
        quotas=quotas.parse(options.quota),
        auth=options.auth,
        docker=options.docker,
        keep=not options.forget,
        snapshot_seconds=options.snapshot_seconds,
        log_level=options.log_level,
    )
    if already:
        print(
            "localcloud: it is running already, with the options of its start; stop it to change them", file=sys.stderr
        )
    _print(running, options.json)
    return 0


def _env(options: argparse.Namespace) -> int:
    directory = options.dir.resolve()
    running = daemon.find(directory)
    if running is None:
        raise daemon.NotRunning(f"no localcloud runs in {directory}: localcloud start --dir {directory}")
    if options.json:
        print(json.dumps(running.environment))
        return 0
    for name, value in running.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print("unset AWS_SESSION_TOKEN AWS_PROFILE")  # they would speak for somebody on AWS
    return 0


def _stop(options: argparse.Namespace) -> int:
    directory = options.dir.resolve()
    print("stopped" if daemon.stop(directory) else f"no localcloud runs in {directory}")
    return 0


def _status(options: argparse.Namespace) -> int:
    directory = options.dir.resolve()
    running = daemon.find(directory)
    if running is None:
        print(json.dumps({"running": False}) if options.json else f"no localcloud runs in {directory}")
        return 1
    _print(running, options.json, **daemon.status(running))
    return 0


def _logs(options: argparse.Namespace) -> int:
    directory = options.dir.resolve()
    if options.follow:
        for line in daemon.follow(directory, options.lines):
            print(line, end="", flush=True)
    if not (directory / daemon.LOG_FILE).exists():
        raise daemon.NotRunning(f"there is no log in {directory}: no localcloud has run there.")
    print(daemon.tail(directory, options.lines))
    return 0


def _reset(options: argparse.Namespace) -> int:
    daemon.reset(options.dir.resolve())
    print("reset")
    return 0


def _print(running: daemon.Running, as_json: bool, **more: Any) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "running": True,
                    "endpoint": running.endpoint,
                    "pid": running.pid,
                    "account": running.account,
                    "region": running.region,
                    "docker": running.docker,
                    **more,
                }
            )
        )
    else:
        print(
            f"localcloud runs at {running.endpoint} (process {running.pid}, log {running.directory / daemon.LOG_FILE})"
        )
        print(f'  eval "$(localcloud env --dir {shlex.quote(str(running.directory))})" makes a shell speak to it')
        if running.docker:
            print("  jobs and model servers run in containers of their images (--docker)")
        if "snapshots" in more:
            print(f"  {_saved(more['snapshots'])}")
        for each in more.get("variants", ()):
            print(f"  {_variant(each)}")


def _saved(snapshots: Mapping[str, Any] | None) -> str:
    """How the state is saved, in a sentence."""
    if snapshots is None:
        return "keeps nothing over a stop (--forget)"
    if snapshots["failed"]:
        return f"THE STATE IS NOT SAVED: {snapshots['failed']}"
    if not snapshots["taken"]:
        return "the state is about to be saved"
    size = f"{snapshots['bytes'] / 1e6:.1f} MB"
    if snapshots["current"]:
        return f"the state is saved ({size})"
    return f"all but the last {snapshots['unsaved_seconds']:.1f} s is saved ({size})"


def _variant(found: Mapping[str, Any]) -> str:
    """A variant of an endpoint, in a sentence."""
    servers, restarts = found["servers"], found["restarts"]
    return (
        f"endpoint {found['endpoint']}, variant {found['variant']}: {found['ready']} of {servers} "
        f"server{'s' if servers != 1 else ''} ready"
        + (f", restarted {restarts} time{'s' if restarts != 1 else ''}" if restarts else "")
    )


if __name__ == "__main__":
    sys.exit(main())
