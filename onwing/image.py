"""The training image on AWS: build it, push it to ECR, and say by which digest it is to be used."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from onwing.errors import error_code
from onwing.project import Project
from onwing.runner import Runner, must, run
from onwing.target import Target

REPOSITORY = "onwing-turbofan"


@dataclass(frozen=True)
class Image:
    """An image in ECR."""

    repository_uri: str
    tag: str
    digest: str

    @property
    def uri(self) -> str:
        """By digest: what is deployed can never change under its name."""
        return f"{self.repository_uri}@{self.digest}"


def publish(target: Target, project: Project, tag: str, *, log: Path, runner: Runner = run) -> Image:
    """The image of this revision in ECR: the one that is there, else built and pushed. Raises CommandFailed."""
    repository = ensure_repository(target)
    digest = find_digest(target, tag)
    if digest is None:
        build(project, f"{repository}:{tag}", log=log, runner=runner)
        login(target, repository, runner=runner)
        must(runner(["docker", "push", f"{repository}:{tag}"], log=log), "docker push", log=log)
        digest = find_digest(target, tag)
    assert digest is not None, "a pushed image has a digest"
    return Image(repository, tag, digest)


def ensure_repository(target: Target) -> str:
    """The URI of the ECR repository, made if it is missing: tags cannot be moved, images are scanned."""
    ecr = target.client("ecr")
    try:
        found = ecr.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    except ClientError as error:
        if error_code(error) != "RepositoryNotFoundException":
            raise
        found = ecr.create_repository(
            repositoryName=REPOSITORY,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            tags=[{"Key": "onwing:stack", "Value": target.stack_name}],
        )["repository"]
    return str(found["repositoryUri"])


def find_digest(target: Target, tag: str) -> str | None:
    """The digest of the image with this tag, or None."""
    try:
        answer = target.client("ecr").describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])
    except ClientError as error:
        if error_code(error) in ("ImageNotFoundException", "RepositoryNotFoundException"):
            return None
        raise
    return str(answer["imageDetails"][0]["imageDigest"])


def build(project: Project, name: str, *, log: Path, runner: Runner = run) -> None:
    """`docker build` for the instances that jobs run on, whatever this machine is."""
    command = [
        "docker",
        "build",
        "--platform",
        "linux/amd64",
        "--file",
        "training_image/Dockerfile",
        "--tag",
        name,
        ".",
    ]
    # SageMaker refuses image indexes, which buildx makes to hold provenance.
    env = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    must(runner(command, cwd=project.root, env=env, log=log), "docker build", log=log)


def login(target: Target, repository: str, *, runner: Runner = run) -> None:
    """`docker login` with ECR's token of twelve hours, which goes by stdin and not by the command line."""
    token = target.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    registry = repository.partition("/")[0]
    command = ["docker", "login", "--username", user, "--password-stdin", registry]
    must(runner(command, stdin=password), "docker login")
