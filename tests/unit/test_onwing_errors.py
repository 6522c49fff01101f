"""What an operator is told when AWS says no."""

from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, NoRegionError, ProfileNotFound

from onwing.errors import Exit, OnwingError, UsageError, translate

from .onwing_fakes import client_error


def test_missing_credentials_offer_sign_in_and_the_embedded_cloud() -> None:
    error = translate(NoCredentialsError(), "AWS, us-east-1, stack onwing")
    assert error.where == "AWS, us-east-1, stack onwing"
    assert "aws sso login" in error.todo
    assert "onwing up" in error.todo


def test_unreachable_endpoint_names_it() -> None:
    error = translate(EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), "here")
    assert "http://127.0.0.1:1" in error.what
    assert "onwing up" in error.todo


@pytest.mark.parametrize("error", [ProfileNotFound(profile="nobody"), NoRegionError()])
def test_a_wrong_profile_or_no_region_is_wrong_usage(error: Exception) -> None:
    translated = translate(error, "AWS")  # type: ignore[arg-type]
    assert isinstance(translated, UsageError)
    assert translated.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        ("ExpiredToken", "sign in again"),
        ("InvalidClientTokenId", "does not know these credentials"),
        ("AccessDeniedException", "You may not call DescribeStacks"),
        ("ThrottlingException", "try again"),
        ("SomethingElse", "--debug"),
    ],
)
def test_codes_of_aws_come_with_what_to_do(code: str, todo: str) -> None:
    error = translate(client_error(code, "no", "DescribeStacks"), "AWS")
    assert type(error) is OnwingError
    assert error.what == f"{code}: no"
    assert error.where == "DescribeStacks on AWS"
    assert todo in error.todo
