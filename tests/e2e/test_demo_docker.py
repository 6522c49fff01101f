"""The demo in the real training image, beside the demo with processes. Slow, and the image is 2 GB: only on request.

    ONWING_TEST_IMAGE=1 pytest tests/e2e/test_demo_docker.py

ONWING_BUILD_OPTIONS is passed on, say for a base of one's own (tools/debian_base.sh).
"""

from __future__ import annotations

import os

import pytest

from localcloud.containers import engine
from localcloud.containers.docker_runtime import DIRECTORY_LABEL
from tests.e2e.conftest import Checkout


@pytest.mark.skipif("ONWING_TEST_IMAGE" not in os.environ, reason="builds a 2 GB image: set ONWING_TEST_IMAGE=1")
@pytest.mark.timeout(3600)
def test_jobs_in_the_image_give_the_model_that_they_give_as_processes(checkout: Checkout) -> None:
    options = os.environ.get("ONWING_BUILD_OPTIONS", "")
    demo = ("demo", "--simulated", "--budget", "quick", "--only", "train")
    checkout.onwing(*demo, "--docker", timeout=1800, ONWING_BUILD_OPTIONS=options)
    in_containers = checkout.report
    directory = checkout.folder / ".onwing/localcloud"
    assert engine.find().containers(f"{DIRECTORY_LABEL}={directory}") == []
    checkout.assert_nothing_runs()
    checkout.onwing("down", "--purge", "--yes")

    checkout.onwing(*demo, timeout=1800)
    as_processes = checkout.report

    assert in_containers["model"]["status"] == "PendingManualApproval"
    for figure in ("rmse", "phm08"):
        assert in_containers["model"][figure] == pytest.approx(as_processes["model"][figure], rel=1e-3)
