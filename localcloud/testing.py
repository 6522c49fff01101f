"""For tests: a localcloud of one's own for the length of a block, and clients that speak to it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from localcloud import daemon

Found = TypeVar("Found")

READ_SECONDS = 600
SERVICES_THAT_ACT = tuple(f"{name}.amazonaws.com" for name in ("sagemaker", "states", "lambda", "events", "scheduler"))


@dataclass
class Cloud:
    """A localcloud that runs.

    Args:
        running: where it runs.
    """

    running: daemon.Running
    _clients: dict[str, Any] = field(default_factory=dict)
    _start: Callable[[], daemon.Running] | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return self.running.endpoint

    @property
    def environment(self) -> dict[str, str]:
        """What a client's process needs in its environment."""
        return self.running.environment

    @property
    def account(self) -> str:
        """The account of its clients."""
        return self.running.account

    def client(self, service: str) -> Any:
        """A boto3 client, made once; it does not retry, so that a test sees what was answered, and is patient: a busy
        machine takes its time to start the function that is invoked."""
        if service not in self._clients:
            factory: Any = boto3.session.Session().client
            self._clients[service] = factory(
                service,
                endpoint_url=self.endpoint,
                region_name=self.running.region,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(
                    retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=READ_SECONDS
                ),
            )
        return self._clients[service]

    def kill(self) -> None:
        """End the server as kill -9 and a loss of power do, without a chance to save anything."""
        os.kill(self.running.pid, signal.SIGKILL)
        wait_for(lambda: daemon.find(self.running.directory) is None)

    def start_again(self) -> None:
        """Start it on the same directory, with the same settings."""
        assert self._start is not None, "only a localcloud of `localcloud()` can be started again"
        self.running = self._start()
        self._clients.clear()

    def role(self, name: str, *statements: Mapping[str, Any], trusts: Sequence[str] = SERVICES_THAT_ACT) -> str:
        """Make an IAM role, and give its ARN.

        Args:
            statements: of its policy; none for one that allows everything.
            trusts: the services that may assume it.
        """
        allowed = statements or ({"Effect": "Allow", "Action": "*", "Resource": "*"},)
        trusted = {"Effect": "Allow", "Principal": {"Service": list(trusts)}, "Action": "sts:AssumeRole"}
        iam = self.client("iam")
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trusted))["Role"]
        iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=_policy(*allowed))
        return str(role["Arn"])


def _policy(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@contextmanager
def localcloud(
    directory: Path,
    images: Sequence[Path] = (),
    slots: int | None = None,
    instances: int | None = None,
    quotas: Mapping[str, int] | None = None,
    auth: bool = True,
    docker: bool = False,
    keep: bool = False,
) -> Iterator[Cloud]:
    """A localcloud that keeps nothing unless told to, from the start to the end of the block, or of the process.

    Args:
        images: image maps.
        slots: how many jobs run at once.
        instances: how many processes a variant of an endpoint has at most.
        quotas: service quotas, by AWS's names.
        auth: whether IAM's policies decide who may do what.
        docker: whether jobs run in containers of their images.
        keep: whether its state is saved, so that it can be killed and started again.

    Raises:
        StartFailed: with the end of its log.
    """

    def start() -> daemon.Running:
        return daemon.start(
            directory,
            images=images,
            slots=slots,
            instances=instances,
            quotas=quotas,
            auth=auth,
            docker=docker,
            keep=keep,
            with_me=True,
        )

    try:
        yield Cloud(start(), _start=start)
    finally:
        daemon.stop(directory)


def wait_for(look: Callable[[], Found | None], seconds: float = 120.0, pause: float = 0.02) -> Found:
    """What ``look`` finds, as soon as it finds something.

    Raises:
        TimeoutError: it found nothing in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing within {seconds} s")
        time.sleep(pause)
