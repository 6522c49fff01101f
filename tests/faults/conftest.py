"""A cloud that can be killed: it is this layer's own, as it may be in pieces."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.deployed import Deployed, deploy


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack on a cloud that keeps its state; whoever kills it starts it again."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "sam"
    with deploy(tmp_path_factory.mktemp("mortal"), shared, keep=True) as stack:
        yield stack
