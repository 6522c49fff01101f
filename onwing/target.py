"""Which cloud a command talks to: an endpoint or AWS's own, a region, credentials, a stack. Nothing else differs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ProfileNotFound

from onwing import embedded
from onwing.errors import NotDeployed, UsageError
from onwing.project import Project

DEFAULT_STACK = "onwing"
LOCAL = "local"


class EndpointSession(boto3.Session):
    """A boto3 session all of whose clients go to one endpoint, also those that the SageMaker SDK makes for itself."""

    def __init__(self, endpoint_url: str | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._endpoint_url = endpoint_url

    def client(self, *args: Any, **kwargs: Any) -> Any:
        if self._endpoint_url is not None:
            kwargs.setdefault("endpoint_url", self._endpoint_url)
        return super().client(*args, **kwargs)


@dataclass(frozen=True)
class Options:
    """What the command line and the environment say about the target; None where they say nothing."""

    env: str | None = None
    stack: str | None = None
    profile: str | None = None
    region: str | None = None


@dataclass(frozen=True)
class Target:
    """A cloud and a stack in it. `endpoint_url` is None on AWS."""

    region: str
    stack_name: str
    endpoint_url: str | None = None
    profile: str | None = None
    env: str | None = None
    # The embedded cloud takes any credentials; real ones must never be sent to it, nor searched for on the network.
    access_key: str | None = None

    @cached_property
    def session(self) -> EndpointSession:
        """The session that every client of this target comes from."""
        arguments: dict[str, Any] = {"region_name": self.region, "profile_name": self.profile}
        if self.access_key is not None:
            # AWS_PROFILE, which may be set for other work, is not looked at.
            core = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
            keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": "none"}
            arguments = {"region_name": self.region, "botocore_session": core, **keys}
        try:
            return EndpointSession(self.endpoint_url, **arguments)
        except ProfileNotFound as error:
            raise UsageError(
                f"{error}.", where="--profile", todo="List profiles: `aws configure list-profiles`."
            ) from None

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def client(self, service: str) -> Any:
        """A boto3 client of the service, made once."""
        if service not in self._clients:
            config = Config(
                retries={"mode": "standard", "max_attempts": 4},
                connect_timeout=10,
                read_timeout=30,
                user_agent_extra="onwing",
                max_pool_connections=20,
            )
            self._clients[service] = self.session.client(service, config=config)
        return self._clients[service]

    def __str__(self) -> str:
        parts = [self.endpoint_url or "AWS", self.region]
        if self.profile and self.access_key is None:
            parts.append(f"profile {self.profile}")
        return ", ".join([*parts, f"stack {self.stack_name}"])

    @property
    def command_env(self) -> dict[str, str | None]:
        """The environment that makes sam and docker talk to the same target; None takes a variable away."""
        env: dict[str, str | None] = {
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "SAM_CLI_TELEMETRY": "0",
        }
        if self.endpoint_url is not None:
            # No metadata service: looking for one costs seconds.
            env |= {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_EC2_METADATA_DISABLED": "true"}
        if self.access_key is not None:
            env |= {
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": "none",
                "AWS_PROFILE": None,
                "AWS_SESSION_TOKEN": None,
            }
        elif self.profile is not None:
            env["AWS_PROFILE"] = self.profile
        return env


def resolve(options: Options, project: Project) -> Target:
    """Find the target.

    An explicit AWS_ENDPOINT_URL wins. Else `--env local` is the embedded cloud of this checkout, any other environment
    is AWS. Without --env: the embedded cloud if it runs, else AWS. Raises NotDeployed when the embedded cloud was asked
    for and does not run, UsageError for an environment or profile that does not exist.
    """
    settings = project.environment(options.env) if options.env else {}
    stack = options.stack or settings.get("stack_name") or DEFAULT_STACK
    profile = options.profile or os.environ.get("AWS_PROFILE") or settings.get("profile") or None
    explicit = os.environ.get("AWS_ENDPOINT_URL")
    if explicit:
        dummy = None if os.environ.get("AWS_ACCESS_KEY_ID") or profile else embedded.ACCOUNT
        region = options.region or settings.get("region") or _region_from_environment() or "us-east-1"
        return Target(region, stack, explicit, profile, options.env, dummy)
    if options.env in (None, LOCAL):
        cloud = embedded.running(project)
        if cloud is not None:
            return local(cloud, project, options)
        if options.env == LOCAL:
            raise NotDeployed(
                "The embedded cloud does not run.", where=str(project.cloud_dir), todo="Start it: `onwing up`."
            )
    region = options.region or settings.get("region") or _region_from_environment() or _region_of(profile)
    if region is None:
        raise UsageError(
            "No AWS region is set." if options.env else "There is no embedded cloud running, and no AWS region is set.",
            todo="Start the embedded cloud with `onwing up`; or for AWS give --region or set AWS_REGION.",
        )
    return Target(region, stack, None, profile, options.env)


def local(cloud: embedded.Embedded, project: Project, options: Options) -> Target:
    """The target that is this embedded cloud."""
    stack = options.stack or project.environment(LOCAL).get("stack_name") or DEFAULT_STACK
    return Target(cloud.region, stack, cloud.endpoint, None, LOCAL, cloud.account)


def _region_from_environment() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _region_of(profile: str | None) -> str | None:
    """The region that the profile (or the default one) names in AWS's configuration files."""
    try:
        region = botocore.session.Session(profile=profile).get_config_variable("region")
    except ProfileNotFound as error:
        raise UsageError(f"{error}.", where="--profile", todo="List profiles: `aws configure list-profiles`.") from None
    return str(region) if region else None
