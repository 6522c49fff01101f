"""Models, endpoint configurations and endpoints: real servers, changed without losing a request."""

import pytest

from localcloud.testing import Cloud

from .serving import config, endpoint, invoke, model, variant


@pytest.fixture(scope="module")
def served(localcloud: Cloud, bucket: str) -> str:
    """An endpoint of one variant."""
    return endpoint(localcloud, config(localcloud, variant("main", model(localcloud, bucket, NAME="main"))))


def test_an_endpoint_answers_with_its_model(localcloud: Cloud, served: str) -> None:
    answer = invoke(localcloud, served, b'{"x": 1}')
    assert (answer["name"], answer["variant"]) == ("main", "main")
    assert answer["files"] == ["weights.txt"]
    assert answer["size"] == 8
