"""Tracks a run by the SageMaker SDK, loads it again, writes result.json; runs in the SDK's own environment.

Arguments: the experiment's name, and a bucket that is there.
"""

import json
import sys
from pathlib import Path

import boto3
from sagemaker.core.experiments.experiment import Experiment
from sagemaker.core.experiments.run import Run, load_run
from sagemaker.core.helper.session_helper import Session


def main(experiment: str, bucket: str) -> None:
    """Log, read back, delete."""
    sagemaker = boto3.client("sagemaker")
    session = Session(boto3.Session(), sagemaker_client=sagemaker, default_bucket=bucket)
    with Run(experiment_name=experiment, run_name="first", sagemaker_session=session) as run:
        run.log_parameters({"depth": 3, "kind": "tree"})
        for step, loss in enumerate((0.5, 0.25)):
            run.log_metric("loss", loss, step=step)
        run.log_confusion_matrix([1, 0, 1], [1, 1, 0], title="confusion")
    with load_run(experiment_name=experiment, run_name="first", sagemaker_session=session) as run:
        run.log_parameter("again", 1)
    [summary] = sagemaker.list_trial_components(ExperimentName=experiment)["TrialComponentSummaries"]
    component = sagemaker.describe_trial_component(TrialComponentName=summary["TrialComponentName"])
    edges = sagemaker.list_associations(SourceArn=summary["TrialComponentArn"])["AssociationSummaries"]
    said = {
        "parameters": component["Parameters"],
        "metrics": {each["MetricName"]: [each["Min"], each["Last"], each["Count"]] for each in component["Metrics"]},
        "artefacts": [edge["DestinationName"] for edge in edges],
    }
    Experiment.load(experiment, sagemaker_session=session)._delete_all(action="--force")
    Path("result.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
