"""The SageMaker Python SDK, as it comes from PyPI, against localcloud: its own session, its own drivers, no patches.

The SDK lives in an environment of its own (tools/sdk.lock): half a gigabyte that nothing else here needs.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from localcloud.testing import Cloud

from .localcloud_requests import unique

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venvs/sdk/bin/python"

pytestmark = pytest.mark.timeout(1800)  # the SDK's imports and waits add up, on a busy machine


def run(cloud: Cloud, directory: Path, script: str, *arguments: str) -> dict[str, Any]:
    """What came of a script that uses the SDK."""
    assert PYTHON.exists(), f"{PYTHON} is missing: make .venvs/sdk/.stamp"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= cloud.environment | {"SAGEMAKER_USER_CONFIG_OVERRIDE": str(HERE / "sdk/config.yaml")}
    ran = subprocess.run(
        [PYTHON, "-u", str(HERE / "sdk" / script), *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return result | {"errors": ran.stderr}


@pytest.fixture(scope="module")
def experiment(localcloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Process, train, tune and register, once for all tests here: the SDK's import and waits take most of a minute."""
    return run(localcloud, tmp_path_factory.mktemp("sdk"), "experiment.py", unique("sdk"))


def test_script_processor_runs_its_script_on_the_data(experiment: dict[str, Any]) -> None:
    assert experiment["half"] == 25


def test_model_trainer_runs_the_script_in_awss_own_image(experiment: dict[str, Any]) -> None:
    assert experiment["image"].endswith("amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3")
    trained = experiment["trained"]
    assert trained["status"] == "Completed"
    assert trained["artifact"].endswith("/output/model.tar.gz")
    assert trained["metrics"]["train:rmse"] < 0.1
    assert experiment["log"] == ["alpha=0.5 train:rmse=0.001386;"]


def test_trainer_streams_the_jobs_log(experiment: dict[str, Any]) -> None:
    assert "alpha=0.5 train:rmse=0.001386;" in experiment["errors"]
    assert "Running Basic Script driver" in experiment["errors"]  # the SDK's own driver, not a stand-in


def test_what_the_job_left_beside_the_model_is_where_the_trainer_says(
    experiment: dict[str, Any], localcloud: Cloud
) -> None:
    bucket, _, key = experiment["trained"]["output"].removeprefix("s3://").partition("/")
    assert localcloud.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] > 0


def test_run_of_an_experiment_keeps_its_parameters_and_metrics(experiment: dict[str, Any], localcloud: Cloud) -> None:
    run = localcloud.client("sagemaker").describe_trial_component(TrialComponentName="sdk-experiment-first")
    assert run["Parameters"] == {"alpha": {"NumberValue": 0.5}, "kind": {"StringValue": "ridge"}}
    [metric] = run["Metrics"]
    assert (metric["MetricName"], metric["Count"], metric["Last"]) == ("loss", 3, pytest.approx(1 / 3))
    assert run["OutputArtifacts"]["data"]["Value"].endswith("/train.csv")


def test_tuner_finds_the_best_of_its_jobs(experiment: dict[str, Any], localcloud: Cloud) -> None:
    tuned = experiment["tuned"]
    assert (tuned["status"], tuned["completed"]) == ("Completed", 2)
    best = localcloud.client("sagemaker").describe_training_job(TrainingJobName=tuned["best"])
    assert best["FinalMetricDataList"][0]["Value"] == pytest.approx(tuned["metric"])
    assert 0.01 <= float(best["HyperParameters"]["alpha"]) <= 100


def test_model_is_registered_and_approved(experiment: dict[str, Any]) -> None:
    registered = experiment["registered"]
    assert registered["arn"].endswith("/1")
    assert (registered["was"], registered["is"]) == ("PendingManualApproval", "Approved")
    assert registered["data"] == experiment["trained"]["artifact"]


def test_model_builder_deploys_the_script_and_predicts(localcloud: Cloud, tmp_path: Path) -> None:
    deployed = run(localcloud, tmp_path, "deploy.py", unique("sdk"))
    assert (deployed["model"], deployed["status"]) == ("sdk-model", "InService")
    assert deployed["environment"]["SAGEMAKER_PROGRAM"] == "train.py"  # script_server.py serves by it
    assert deployed["prediction"] == pytest.approx([21, 41], abs=1e-3)
    assert deployed["batch"] == pytest.approx([3, 5, 7], abs=1e-2)
    assert localcloud.client("sagemaker").list_endpoints(NameContains="sdk-endpoint")["Endpoints"] == []
