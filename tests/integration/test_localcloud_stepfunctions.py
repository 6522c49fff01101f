"""State machines that call AWS: SageMaker's jobs with .sync, any action through aws-sdk, errors for Retry and Catch."""

import json
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, ended, processing, training, tuning, unique

TOPIC = "arn:aws:sns:us-east-1:000000000000:never-made"
EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:never:made"
SECONDS = 180  # for whatever starts processes, beside whatever else the machine does


def machine(cloud: Cloud, states: dict[str, Any], start: str = "Task") -> str:
    definition = {"QueryLanguage": "JSONata", "StartAt": start, "States": states}
    created = cloud.client("stepfunctions").create_state_machine(
        name=unique("machine"), definition=json.dumps(definition), roleArn=ROLE
    )
    return str(created["stateMachineArn"])


def run(cloud: Cloud, states: dict[str, Any], start: str = "Task", value: Any = None) -> dict[str, Any]:
    """The ended execution's description."""
    client = cloud.client("stepfunctions")
    execution = client.start_execution(stateMachineArn=machine(cloud, states, start), input=json.dumps(value or {}))

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = client.describe_execution(executionArn=execution["executionArn"])
        return None if described["status"] == "RUNNING" else described

    return wait_for(look, SECONDS)


def task(resource: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments, "End": True, **more}


def result(cloud: Cloud, resource: str, arguments: dict[str, Any]) -> Any:
    execution = run(cloud, {"Task": task(resource, arguments)})
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    return json.loads(execution["output"])


def failure(cloud: Cloud, resource: str, arguments: dict[str, Any], caught_as: str) -> tuple[str, str]:
    """Error and cause as a Catch for that error sees them; States.Runtime cannot be caught."""
    if caught_as == "States.Runtime":
        execution = run(cloud, {"Task": task(resource, arguments)})
        return execution["error"], execution["cause"]
    catch = [{"ErrorEquals": [caught_as], "Next": "Caught", "Output": "{% $states.errorOutput %}"}]
    states = {"Task": task(resource, arguments, Catch=catch), "Caught": {"Type": "Pass", "End": True}}
    execution = run(cloud, states)
    assert execution["status"] == "SUCCEEDED", execution
    caught = json.loads(execution["output"])
    return caught["Error"], caught["Cause"]


# --- sagemaker: ---


def test_sync_training_gives_the_description(localcloud: Cloud, bucket: str) -> None:
    name = unique("sync")
    request = training(name, bucket)
    request["ResourceConfig"] = {**request["ResourceConfig"], "InstanceCount": "{% 0.5 * 2 %}"}
    job = result(localcloud, "sagemaker:createTrainingJob.sync", request)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/model.tar.gz")
    assert isinstance(job["CreationTime"], int)
    assert job["CreationTime"] > 1_700_000_000_000
    tags = localcloud.client("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "MANAGED_BY_AWS", "Value": "STARTED_BY_STEP_FUNCTIONS"}]


def test_sync_tuning_gives_the_best_training_job(localcloud: Cloud, bucket: str) -> None:
    job = result(localcloud, "sagemaker:createHyperParameterTuningJob.sync", tuning(unique("sync"), bucket, jobs=2))
    assert set(job["BestTrainingJob"]) >= {
        "TrainingJobName",
        "TunedHyperParameters",
        "FinalHyperParameterTuningJobObjectiveMetric",
    }


def test_sync_processing_that_fails_is_a_failed_task_with_the_description(localcloud: Cloud, bucket: str) -> None:
    request = processing(unique("sync"), bucket, environment={"EXIT": "1", "MESSAGE": "column 7 is missing"})
    error, cause = failure(localcloud, "sagemaker:createProcessingJob.sync", request, "States.TaskFailed")
    assert error == "States.TaskFailed"
    described = json.loads(cause)
    assert (described["ProcessingJobStatus"], described["ExitMessage"]) == ("Failed", "column 7 is missing")


def test_request_response_does_not_wait(localcloud: Cloud, bucket: str) -> None:
    name = unique("nowait")
    answer = result(localcloud, "sagemaker:createTrainingJob", training(name, bucket, hyperparameters={"sleep": "0.5"}))
    assert list(answer) == ["TrainingJobArn"]
    assert ended(localcloud, "Training", name, SECONDS)["TrainingJobStatus"] == "Completed"


def test_sync_reacts_at_once(localcloud: Cloud, bucket: str) -> None:
    """Overhead counts: what lies between the job's end and the execution's is the state machine's own.

    The machine may be busy with something else just then, hence several; that nothing polls is a unit test's.
    """

    def overhead() -> float:
        name = unique("quick")
        execution = run(localcloud, {"Task": task("sagemaker:createTrainingJob.sync", training(name, bucket))})
        job = localcloud.client("sagemaker").describe_training_job(TrainingJobName=name)
        return float((execution["stopDate"] - job["TrainingEndTime"]).total_seconds())

    assert wait_for(lambda: overhead() < 0.5, SECONDS)


def test_errors_of_the_optimised_integration_have_their_names(localcloud: Cloud, bucket: str) -> None:
    name = unique("taken")
    create = "sagemaker:createTrainingJob"
    result(localcloud, f"{create}.sync", training(name, bucket))
    error, cause = failure(localcloud, create, training(name, bucket), "SageMaker.ResourceInUseException")
    assert error == "SageMaker.ResourceInUseException"
    assert "Error Code: ResourceInUse" in cause
    error, _ = failure(localcloud, create, training("two words", bucket), "SageMaker.AmazonSageMakerException")
    assert error == "SageMaker.AmazonSageMakerException"
    error, cause = failure(localcloud, create, {**training(name, bucket), "Nonsense": 1}, "States.Runtime")
    assert (error, "Nonsense" in cause) == ("States.Runtime", True)


def test_stopping_the_execution_stops_its_job(localcloud: Cloud, bucket: str) -> None:
    states, name = localcloud.client("stepfunctions"), unique("abandoned")
    arn = machine(
        localcloud,
        {"Task": task("sagemaker:createTrainingJob.sync", training(name, bucket, hyperparameters={"sleep": "60"}))},
    )
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]
    wait_for(lambda: _status(localcloud, name) == "InProgress", SECONDS)
    states.stop_execution(executionArn=execution)
    assert ended(localcloud, "Training", name, SECONDS)["TrainingJobStatus"] == "Stopped"
    assert states.describe_execution(executionArn=execution)["status"] == "ABORTED"


def test_task_timeout_stops_its_job(localcloud: Cloud, bucket: str) -> None:
    name = unique("timeout")
    request = training(name, bucket, hyperparameters={"sleep": "60"})
    execution = run(localcloud, {"Task": task("sagemaker:createTrainingJob.sync", request, TimeoutSeconds=1)})
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Timeout")
    assert ended(localcloud, "Training", name, SECONDS)["TrainingJobStatus"] == "Stopped"


def _status(cloud: Cloud, name: str) -> str | None:
    summaries = cloud.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    return summaries[0]["TrainingJobStatus"] if summaries else None


# --- aws-sdk: ---


def test_objects_are_put_and_read(localcloud: Cloud, bucket: str) -> None:
    key = unique("object")
    put = result(localcloud, "aws-sdk:s3:putObject", {"Bucket": bucket, "Key": key, "Body": {"a": [1, "ü"]}})
    assert put["ETag"].startswith('"')
    got = result(localcloud, "aws-sdk:s3:getObject", {"Bucket": bucket, "Key": key})
    assert json.loads(got["Body"]) == {"a": [1, "ü"]}
    assert got["LastModified"].endswith("Z")
    assert "ResponseMetadata" not in got


@pytest.mark.parametrize(
    ("resource", "arguments", "error"),
    [
        ("aws-sdk:s3:getObject", {"Bucket": "test-bucket", "Key": "no"}, "S3.NoSuchKeyException"),
        ("aws-sdk:s3:headObject", {"Bucket": "test-bucket", "Key": "no"}, "S3.NoSuchKeyException"),
        ("aws-sdk:s3:getObject", {"Bucket": "never-made", "Key": "no"}, "S3.NoSuchBucketException"),
        ("aws-sdk:dynamodb:getItem", {"TableName": "none", "Key": {}}, "DynamoDb.ResourceNotFoundException"),
        (
            "aws-sdk:sagemaker:describeHyperParameterTuningJob",
            {"HyperParameterTuningJobName": "none"},
            "SageMaker.ResourceNotFoundException",
        ),
        # SageMaker answers an unlisted ValidationException here, which Step Functions knows by the service only.
        ("aws-sdk:sagemaker:describeTrainingJob", {"TrainingJobName": "none"}, "SageMaker.SageMakerException"),
        ("aws-sdk:sns:publish", {"TopicArn": TOPIC, "Message": "m"}, "Sns.NotFoundException"),
        ("aws-sdk:sfn:describeExecution", {"ExecutionArn": EXECUTION}, "Sfn.ExecutionDoesNotExistException"),
        (
            "aws-sdk:cloudwatch:setAlarmState",
            {"AlarmName": "none", "StateValue": "OK", "StateReason": "so"},
            "CloudWatch.ResourceNotFoundException",
        ),
        ("aws-sdk:s3:getObject", {"Bucket": "test-bucket"}, "States.Runtime"),
        ("aws-sdk:s3:getObject", {"Bucket": "test-bucket", "Key": "k", "Nonsense": 1}, "States.Runtime"),
        ("aws-sdk:nonsense:doIt", {}, "States.Runtime"),
    ],
)  # fmt: skip
def test_errors_of_the_sdk_integration_have_their_names(
    localcloud: Cloud, bucket: str, resource: str, arguments: dict[str, Any], error: str
) -> None:
    found, cause = failure(localcloud, resource, arguments, error)
    assert found == error, cause


def test_conditions_of_dynamodb_have_their_names(localcloud: Cloud) -> None:
    table = unique("table")
    localcloud.client("dynamodb").create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    put = {"TableName": table, "Item": {"Pk": {"S": "a"}, "pk": {"S": "a"}, "n": {"N": "1"}, "gone": {"Nul": True}}}
    once = {**put, "ConditionExpression": "attribute_not_exists(pk)"}
    result(localcloud, "aws-sdk:dynamodb:putItem", once)
    error, _ = failure(localcloud, "aws-sdk:dynamodb:putItem", once, "DynamoDb.ConditionalCheckFailedException")
    assert error == "DynamoDb.ConditionalCheckFailedException"
    items = {"TransactItems": [{"Put": once}]}
    error, _ = failure(
        localcloud, "aws-sdk:dynamodb:transactWriteItems", items, "DynamoDb.TransactionCanceledException"
    )
    assert error == "DynamoDb.TransactionCanceledException"
    got = result(localcloud, "aws-sdk:dynamodb:getItem", {"TableName": table, "Key": {"pk": {"S": "a"}}})
    assert got["Item"] == {"pk": {"S": "a"}, "Pk": {"S": "a"}, "n": {"N": "1"}, "gone": {"Nul": True}}


def test_parameters_and_results_are_in_pascal_case(localcloud: Cloud) -> None:
    arn = machine(localcloud, {"Task": {"Type": "Pass", "End": True}})
    started = result(localcloud, "aws-sdk:sfn:startExecution", {"StateMachineArn": arn, "Input": "{}"})
    assert set(started) == {"ExecutionArn", "StartDate"}
    described = result(localcloud, "aws-sdk:sfn:describeStateMachine", {"StateMachineArn": arn})
    assert described["Type"] == "STANDARD"


def test_retry_sees_the_error(localcloud: Cloud, bucket: str) -> None:
    key = unique("late")
    retry = [{"ErrorEquals": ["S3.NoSuchKeyException"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 1000}]
    states = localcloud.client("stepfunctions")
    arn = machine(localcloud, {"Task": task("aws-sdk:s3:getObject", {"Bucket": bucket, "Key": key}, Retry=retry)})
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]

    def failures() -> list[str]:
        events = states.get_execution_history(executionArn=execution, reverseOrder=True)["events"]
        return [event["taskFailedEventDetails"]["error"] for event in events if event["type"] == "TaskFailed"]

    wait_for(failures, SECONDS)
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"here")
    wait_for(lambda: states.describe_execution(executionArn=execution)["status"] == "SUCCEEDED", SECONDS)
    assert set(failures()) == {"S3.NoSuchKeyException"}
