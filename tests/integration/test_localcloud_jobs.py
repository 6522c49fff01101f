"""Jobs of SageMaker that really run: contract in, artefacts, logs and statuses out."""

import io
import tarfile

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ended, lines_so_far, log_lines, processing, training, tuning, unique

# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def keys(cloud: Cloud, bucket: str, prefix: str) -> list[str]:
    found = cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", [])]


# --- training ---


def test_training_job_gets_channels_and_leaves_a_model(localcloud: Cloud, bucket: str) -> None:
    sagemaker, s3 = localcloud.client("sagemaker"), localcloud.client("s3")
    name = unique("train")
    s3.put_object(Bucket=bucket, Key=f"{name}/deep/rows.txt", Body=b"1")
    channel = {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}/"}},
    }

    arn = sagemaker.create_training_job(
        **training(name, bucket, hyperparameters={"x": "2"}, InputDataConfig=[channel])
    )["TrainingJobArn"]
    job = ended(localcloud, "Training", name)

    assert arn == f"arn:aws:sagemaker:us-east-1:{localcloud.account}:training-job/{name}"
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    passed = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    # Pending as well where jobs of another module still have the slots.
    assert [status for status in passed if status != "Pending"] == [
        *("Starting", "Downloading", "Training", "Uploading", "Completed")
    ]
    assert all("EndTime" in step for step in job["SecondaryStatusTransitions"])
    [metric] = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("val:rmse", 1.0)
    artefact = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert artefact == f"s3://{bucket}/models/{name}/output/model.tar.gz"
    body = s3.get_object(Bucket=bucket, Key=f"models/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as packed:
        assert packed.getnames() == ["model.txt"]
    assert "channel train: ['deep/rows.txt']" in log_lines(localcloud, "/aws/sagemaker/TrainingJobs", name)


def test_failure_file_becomes_the_failure_reason(localcloud: Cloud, bucket: str) -> None:
    name = unique("fails")
    localcloud.client("sagemaker").create_training_job(
        **training(name, bucket, hyperparameters={"fail": "the sky is falling"})
    )
    job = ended(localcloud, "Training", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "AlgorithmError: the sky is falling, exit code: 1"
    assert job["ModelArtifacts"] == {"S3ModelArtifacts": ""}


def test_missing_input_fails_the_job(localcloud: Cloud, bucket: str) -> None:
    name = unique("no-input")
    channel = {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/nothing/here/"}},
    }
    localcloud.client("sagemaker").create_training_job(**training(name, bucket, InputDataConfig=[channel]))
    job = ended(localcloud, "Training", name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: ")
    assert "nothing/here" in job["FailureReason"]


def test_stopped_training_job_keeps_its_model(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("stopped")
    sagemaker.create_training_job(**training(name, bucket, hyperparameters={"sleep": "600"}))
    wait_for(lambda: "Val RMSE: 4.000000" in lines_so_far(localcloud, "/aws/sagemaker/TrainingJobs", name))

    sagemaker.stop_training_job(TrainingJobName=name)
    job = ended(localcloud, "Training", name)

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/model.tar.gz")
    with pytest.raises(ClientError) as error:
        sagemaker.stop_training_job(TrainingJobName=name)
    assert refused(error) == (
        "ValidationException",
        "The request was rejected because the training job is in status Stopped.",
    )


def test_max_runtime_stops_the_job(localcloud: Cloud, bucket: str) -> None:
    name = unique("too-long")
    localcloud.client("sagemaker").create_training_job(
        **training(name, bucket, hyperparameters={"sleep": "600"}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    )
    job = ended(localcloud, "Training", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_jobs_beyond_the_slots_wait_their_turn(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    names = [unique("queue") for _ in range(6)]  # the fixture has four slots
    for name in names:
        sagemaker.create_training_job(**training(name, bucket, hyperparameters={"sleep": "0.4"}))
    jobs = [ended(localcloud, "Training", name) for name in names]
    assert {job["TrainingJobStatus"] for job in jobs} == {"Completed"}
    first_end = min(job["TrainingEndTime"] for job in jobs)
    assert sum(job["TrainingStartTime"] < first_end for job in jobs) <= 4


def test_taken_name_unknown_image_and_wrong_names_are_refused(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("once")
    sagemaker.create_training_job(**training(name, bucket))
    with pytest.raises(ClientError) as error:
        sagemaker.create_training_job(**training(name, bucket))
    code, message = refused(error)
    assert code == "ResourceInUse"
    assert message.startswith("Training job names must be unique within an AWS account and region")

    with pytest.raises(ClientError) as error:
        sagemaker.create_training_job(**training("two words", bucket))
    assert refused(error) == (
        "ValidationException",
        "1 validation error detected: Value 'two words' at 'trainingJobName' failed to satisfy constraint: Member must "
        "satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    )

    elsewhere = training(unique("image"), bucket)
    elsewhere["AlgorithmSpecification"]["TrainingImage"] = "somebody/elses:1"
    with pytest.raises(ClientError) as error:
        sagemaker.create_training_job(**elsewhere)
    code, message = refused(error)
    assert code == "ValidationException"
    assert "somebody/elses:1" in message

    with pytest.raises(ClientError) as error:
        sagemaker.describe_training_job(TrainingJobName="never-was")
    assert refused(error) == ("ValidationException", "Requested resource not found.")
    ended(localcloud, "Training", name)


def test_training_jobs_are_listed_by_name_status_and_page(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    prefix = unique("listed")
    for number in range(3):
        sagemaker.create_training_job(**training(f"{prefix}-{number}", bucket))
    for number in range(3):
        ended(localcloud, "Training", f"{prefix}-{number}")

    first = sagemaker.list_training_jobs(
        NameContains=prefix.upper(), StatusEquals="Completed", SortBy="Name", SortOrder="Ascending", MaxResults=2
    )
    rest = sagemaker.list_training_jobs(
        NameContains=prefix,
        StatusEquals="Completed",
        SortBy="Name",
        SortOrder="Ascending",
        MaxResults=2,
        NextToken=first["NextToken"],
    )
    assert [job["TrainingJobName"] for job in first["TrainingJobSummaries"]] == [f"{prefix}-0", f"{prefix}-1"]
    assert [job["TrainingJobName"] for job in rest["TrainingJobSummaries"]] == [f"{prefix}-2"]
    assert "NextToken" not in rest
    assert sagemaker.list_training_jobs(NameContains=prefix, StatusEquals="Failed")["TrainingJobSummaries"] == []


# --- processing ---


def test_processing_job_carries_inputs_in_and_outputs_out(localcloud: Cloud, bucket: str) -> None:
    sagemaker, s3 = localcloud.client("sagemaker"), localcloud.client("s3")
    name = unique("process")
    s3.put_object(Bucket=bucket, Key=f"{name}/a.txt", Body=b"hello")
    source = {
        "S3Uri": f"s3://{bucket}/{name}/",
        "LocalPath": "/opt/ml/processing/input/data",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
    }
    sagemaker.create_processing_job(
        **processing(
            name,
            bucket,
            environment={"WISH": "care", "MESSAGE": "all is well"},
            ProcessingInputs=[{"InputName": "data", "S3Input": source}],
        )
    )
    job = ended(localcloud, "Processing", name)

    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == ("Completed", "all is well")
    assert keys(localcloud, bucket, f"results/{name}/") == [f"results/{name}/deep/result.txt"]
    body = s3.get_object(Bucket=bucket, Key=f"results/{name}/deep/result.txt")["Body"].read()
    assert body == b"made with care"
    assert "input data/a.txt: hello" in log_lines(localcloud, "/aws/sagemaker/ProcessingJobs", name)


def test_failed_processing_job_uploads_nothing_and_keeps_its_message(localcloud: Cloud, bucket: str) -> None:
    name = unique("process-fails")
    localcloud.client("sagemaker").create_processing_job(
        **processing(name, bucket, environment={"EXIT": "3", "MESSAGE": "no such column"})
    )
    job = ended(localcloud, "Processing", name)
    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == ("Failed", "no such column")
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert keys(localcloud, bucket, f"results/{name}/") == []


def test_processing_job_can_be_stopped(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("process-stops")
    sagemaker.create_processing_job(**processing(name, bucket, environment={"SLEEP": "600"}))
    sagemaker.stop_processing_job(ProcessingJobName=name)
    assert ended(localcloud, "Processing", name)["ProcessingJobStatus"] == "Stopped"


def test_unknown_processing_job_is_named(localcloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        localcloud.client("sagemaker").describe_processing_job(ProcessingJobName="never-was")
    assert refused(error) == ("ValidationException", "Could not find requested job with name: never-was")


# --- tuning ---


def test_tuning_job_finds_its_best_training_job(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("tune")
    sagemaker.create_hyper_parameter_tuning_job(**tuning(name, bucket, jobs=5, static={"k": "v"}))
    job = ended(localcloud, "HyperParameterTuning", name)

    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 5
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 5, "Pending": 0, "Failed": 0}
    trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending"
    )["TrainingJobSummaries"]
    values = [trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in trials]
    assert values == sorted(values)
    assert len(values) == 5
    best = job["BestTrainingJob"]
    assert best["TrainingJobName"] == trials[0]["TrainingJobName"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"] == {
        "Type": "Minimize",
        "MetricName": "val:rmse",
        "Value": values[0],
    }
    trial = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert trial["TrainingJobName"].startswith(f"{name}-00")
    assert trial["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert trial["HyperParameters"] == {
        "k": "v",
        "_tuning_objective_metric": "val:rmse",
        **best["TunedHyperParameters"],
    }


def test_tuning_job_whose_trials_all_fail_fails(localcloud: Cloud, bucket: str) -> None:
    few, many = unique("few-fail"), unique("many-fail")
    sagemaker = localcloud.client("sagemaker")
    sagemaker.create_hyper_parameter_tuning_job(**tuning(few, bucket, jobs=2, static={"fail": "no"}))
    sagemaker.create_hyper_parameter_tuning_job(**tuning(many, bucket, jobs=20, static={"fail": "no"}))
    job = ended(localcloud, "HyperParameterTuning", few)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("All training jobs failed.")
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2
    assert "BestTrainingJob" not in job
    job = ended(localcloud, "HyperParameterTuning", many)
    assert job["FailureReason"].startswith("No training job succeeded after 5 attempts.")
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] < 8


def test_tuning_job_without_its_metric_fails(localcloud: Cloud, bucket: str) -> None:
    name = unique("no-metric")
    localcloud.client("sagemaker").create_hyper_parameter_tuning_job(
        **tuning(name, bucket, jobs=2, static={"metric": "none"})
    )
    job = ended(localcloud, "HyperParameterTuning", name)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No objective metrics found")
    assert job["ObjectiveStatusCounters"]["Failed"] == 2


def test_stopping_a_tuning_job_stops_its_trials(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("stop-tune")
    sagemaker.create_hyper_parameter_tuning_job(**tuning(name, bucket, static={"sleep": "600"}))
    wait_for(
        lambda: sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)[
            "TrainingJobSummaries"
        ]
    )
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    job = ended(localcloud, "HyperParameterTuning", name)
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0
    assert job["TrainingJobStatusCounters"]["Stopped"] >= 1


def test_tuning_refuses_what_sagemaker_refuses(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("tune-once")
    sagemaker.create_hyper_parameter_tuning_job(**tuning(name, bucket, jobs=1, parallel=1))
    with pytest.raises(ClientError) as error:
        sagemaker.create_hyper_parameter_tuning_job(**tuning(name, bucket))
    assert refused(error) == (
        "ResourceInUse",
        f"A hyperparameter tuning job with the name, {name}, already exists. Choose a different name.",
    )
    with pytest.raises(ClientError) as error:
        sagemaker.create_hyper_parameter_tuning_job(**tuning("x" * 33, bucket))
    assert "length less than or equal to 32" in refused(error)[1]
    objective = {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "other"}}
    with pytest.raises(ClientError) as error:
        sagemaker.create_hyper_parameter_tuning_job(**tuning(unique("t"), bucket, config=objective))
    assert refused(error)[1].startswith("A metric is required for this hyperparameter tuning job objective.")
    with pytest.raises(ClientError) as error:
        sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="never-was")
    assert refused(error)[0] == "ResourceNotFound"
    ended(localcloud, "HyperParameterTuning", name)


# --- beyond the plain job ---


def test_pipe_mode_feeds_a_real_container_epoch_by_epoch(localcloud: Cloud, bucket: str) -> None:
    s3, name = localcloud.client("s3"), unique("pipe")
    for key, body in (("a", b"one,"), ("b", b"two")):
        s3.put_object(Bucket=bucket, Key=f"{name}/{key}", Body=body)
    channel = {
        "ChannelName": "train",
        "InputMode": "Pipe",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}/"}},
    }
    localcloud.client("sagemaker").create_training_job(
        **training(name, bucket, hyperparameters={"pipe": "2"}, InputDataConfig=[channel])
    )
    job = ended(localcloud, "Training", name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    lines = log_lines(localcloud, "/aws/sagemaker/TrainingJobs", name)
    assert [line for line in lines if line.startswith("epoch")] == ["epoch 0: b'one,two'", "epoch 1: b'one,two'"]


def test_stopped_job_leaves_checkpoints_with_which_the_next_goes_on(localcloud: Cloud, bucket: str) -> None:
    sagemaker, s3 = localcloud.client("sagemaker"), localcloud.client("s3")
    first, second = unique("first"), unique("second")
    settings = {
        "CheckpointConfig": {"S3Uri": f"s3://{bucket}/checkpoints/{first}"},
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    }
    sagemaker.create_training_job(
        **{**training(first, bucket, hyperparameters={"checkpoint": "epoch 1", "sleep": "600"}), **settings}
    )

    def kept() -> bytes:
        if not keys(localcloud, bucket, f"checkpoints/{first}/"):
            return b""
        body: bytes = s3.get_object(Bucket=bucket, Key=f"checkpoints/{first}/latest")["Body"].read()
        return body

    # While the job runs; a file goes up while it is being written, too.
    wait_for(lambda: kept() == b"epoch 1")
    sagemaker.stop_training_job(TrainingJobName=first)
    assert ended(localcloud, "Training", first)["TrainingJobStatus"] == "Stopped"
    sagemaker.create_training_job(**{**training(second, bucket, hyperparameters={"checkpoint": "epoch 2"}), **settings})
    ended(localcloud, "Training", second)
    assert "checkpoint latest: epoch 1" in log_lines(localcloud, "/aws/sagemaker/TrainingJobs", second)
    assert s3.get_object(Bucket=bucket, Key=f"checkpoints/{first}/latest")["Body"].read() == b"epoch 2"
