"""localcloud.fidelity.execution_timeout."""

from localcloud.testing import Cloud

from ..localcloud_requests import ended, training, unique
from .steps import events_of, run


def test_execution_that_runs_too_long_is_timed_out_and_its_job_stopped(localcloud: Cloud, bucket: str) -> None:
    name = unique("toolong")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
        "Arguments": training(name, bucket, hyperparameters={"sleep": "3600"}),
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
        "End": True,
    }
    # Long enough for the job to be there when the time is up.
    execution = run(localcloud, {"Task": task, "Caught": {"Type": "Succeed"}}, TimeoutSeconds=12)
    assert (execution["status"], execution["error"]) == ("TIMED_OUT", "States.Timeout")
    assert "output" not in execution
    assert events_of(localcloud, execution["executionArn"])[-1]["type"] == "ExecutionTimedOut"
    assert ended(localcloud, "Training", name)["TrainingJobStatus"] == "Stopped"
