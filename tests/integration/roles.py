"""Clients that act under a role, for tests of who may do what."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from localcloud.testing import READ_SECONDS, Cloud

ACCOUNT = "000000000000"
Statement = dict[str, Any]


def allow(*actions: str, on: str | list[str] = "*", **condition: Any) -> Statement:
    """A statement of a policy."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **condition}


def client_of(cloud: Cloud, access_key: str, secret: str, token: str | None = None) -> Any:
    """What makes clients for somebody's keys; they do not retry."""
    factory: Any = boto3.session.Session().client
    return lambda service: factory(
        service,
        endpoint_url=cloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=READ_SECONDS),
    )


def acting(cloud: Cloud, name: str, *statements: Statement) -> Any:
    """What makes clients that act under a new role, which may do this and no more."""
    role = cloud.role(name, *(statements or (allow("sts:GetCallerIdentity"),)), trusts=["sagemaker.amazonaws.com"])
    trust = f'{{"Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "{ACCOUNT}"}}, "Action": "sts:AssumeRole"}}]}}'
    cloud.client("iam").update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return client_of(cloud, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def refused(call: Any, **request: Any) -> tuple[str, str]:
    """The code and message that a call is refused with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def status_of_refusal(call: Any, **request: Any) -> int:
    """The HTTP status that a call is refused with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    return int(caught.value.response["ResponseMetadata"]["HTTPStatusCode"])
