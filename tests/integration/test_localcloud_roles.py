"""Who may do what: callers of SageMaker's API, state machines, jobs and functions act under their roles, as on AWS."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ended, log_lines, processing, training, unique
from .roles import ACCOUNT, Statement, allow, client_of, refused

SAGEMAKER = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}"
SECONDS = 180  # for whatever starts processes, beside whatever else the machine does


def user(cloud: Cloud, *statements: Statement) -> Any:
    """A boto3 factory of clients for a new IAM user who may do this, and no more."""
    iam, name = cloud.client("iam"), unique("user")
    iam.create_user(UserName=name)
    if statements:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return client_of(cloud, key["AccessKeyId"], key["SecretAccessKey"])


def execution(cloud: Cloud, role: str, resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The ended execution of a machine that has one task and this role."""
    states = {"Task": {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True}}
    definition = json.dumps({"QueryLanguage": "JSONata", "StartAt": "Task", "States": states})
    client = cloud.client("stepfunctions")
    machine = client.create_state_machine(name=unique("roles"), definition=definition, roleArn=role)["stateMachineArn"]
    arn = client.start_execution(stateMachineArn=machine)["executionArn"]

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = client.describe_execution(executionArn=arn)
        return None if described["status"] == "RUNNING" else described

    return wait_for(look, SECONDS)


# --- SageMaker's API ------------------------------------------------------------------------------------------------


def test_caller_without_permission_is_told_action_and_resource(localcloud: Cloud, bucket: str) -> None:
    name = unique("denied")
    code, message = refused(user(localcloud)("sagemaker").create_training_job, **training(name, bucket))
    assert code == "AccessDeniedException"
    assert re.fullmatch(
        rf"User: arn:aws:iam::{ACCOUNT}:user/user-\d+ is not authorized to perform: sagemaker:CreateTrainingJob on "
        rf"resource: {SAGEMAKER}:training-job/{name} because no identity-based policy allows the "
        "sagemaker:CreateTrainingJob action",
        message,
    )


def test_explicit_deny_is_told_as_such(localcloud: Cloud) -> None:
    denying = {"Effect": "Deny", "Action": "sagemaker:List*", "Resource": "*"}
    code, message = refused(user(localcloud, allow("*"), denying)("sagemaker").list_training_jobs)
    assert code == "AccessDeniedException"
    assert message.endswith(
        "sagemaker:ListTrainingJobs on resource: * with an explicit deny in an identity-based policy"
    )


def test_permission_counts_for_the_resources_it_names_only(localcloud: Cloud, bucket: str) -> None:
    sagemaker = user(
        localcloud,
        allow("sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", on=f"{SAGEMAKER}:training-job/mine-*"),
        allow("iam:PassRole"),
    )("sagemaker")
    name = unique("mine")
    sagemaker.create_training_job(**training(name, bucket))
    assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobName"] == name
    other = unique("yours")
    assert f"training-job/{other}" in refused(sagemaker.create_training_job, **training(other, bucket))[1]


def test_passing_a_role_needs_permission_for_that_service(localcloud: Cloud, bucket: str) -> None:
    role = localcloud.role(unique("passed"))
    request = {**training(unique("pass"), bucket), "RoleArn": role}
    elsewhere = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    passing = allow("iam:PassRole", on=role, Condition=elsewhere)
    code, message = refused(user(localcloud, allow("sagemaker:*"), passing)("sagemaker").create_training_job, **request)
    assert code == "AccessDeniedException"
    assert f"iam:PassRole on resource: {role} because no identity-based policy allows the iam:PassRole" in message
    here = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    allowed = user(localcloud, allow("sagemaker:*"), allow("iam:PassRole", on=role, Condition=here))
    assert allowed("sagemaker").create_training_job(**request)["TrainingJobArn"]


@pytest.mark.parametrize("trusts", [None, ["lambda.amazonaws.com"]], ids=["no role", "trusts another service"])
def test_role_that_sagemaker_cannot_assume_is_refused(localcloud: Cloud, bucket: str, trusts: list[str] | None) -> None:
    name = unique("wrong")
    role = localcloud.role(name, trusts=trusts) if trusts else f"arn:aws:iam::{ACCOUNT}:role/{name}"
    request = {**processing(unique("assume"), bucket), "RoleArn": role}
    assert refused(localcloud.client("sagemaker").create_processing_job, **request) == (
        "ValidationException",
        f"Could not assume role {role}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role.",
    )


def test_tags_in_a_request_need_permission_to_tag(localcloud: Cloud) -> None:
    sagemaker = user(localcloud, allow("sagemaker:CreateModelPackageGroup"))("sagemaker")
    request = {"ModelPackageGroupName": unique("tagged"), "Tags": [{"Key": "a", "Value": "b"}]}
    assert "sagemaker:AddTags" in refused(sagemaker.create_model_package_group, **request)[1]
    assert sagemaker.create_model_package_group(ModelPackageGroupName=unique("plain"))


def test_conditions_on_request_tags_and_instance_types_hold(localcloud: Cloud, bucket: str) -> None:
    sagemaker = user(
        localcloud,
        allow("iam:PassRole", "sagemaker:AddTags"),
        allow(
            "sagemaker:CreateTrainingJob",
            Condition={
                "StringEquals": {"aws:RequestTag/team": "turbines"},
                "ForAllValues:StringLike": {"sagemaker:InstanceTypes": "ml.m5.*"},
            },
        ),
    )("sagemaker")
    tags = [{"Key": "team", "Value": "turbines"}]
    assert sagemaker.create_training_job(**training(unique("team"), bucket, Tags=tags))
    assert refused(sagemaker.create_training_job, **training(unique("team"), bucket))[0] == "AccessDeniedException"
    large = training(unique("team"), bucket, Tags=tags)
    large["ResourceConfig"] = {**large["ResourceConfig"], "InstanceType": "ml.p4d.24xlarge"}
    assert refused(sagemaker.create_training_job, **large)[0] == "AccessDeniedException"


def test_condition_on_a_resource_s_tags_holds(localcloud: Cloud) -> None:
    root, mine, other = localcloud.client("sagemaker"), unique("mine"), unique("other")
    root.create_model_package_group(ModelPackageGroupName=mine, Tags=[{"Key": "owner", "Value": "me"}])
    root.create_model_package_group(ModelPackageGroupName=other)
    owned = {"StringEquals": {"aws:ResourceTag/owner": "me"}}
    sagemaker = user(localcloud, allow("sagemaker:DescribeModelPackageGroup", Condition=owned))("sagemaker")
    assert sagemaker.describe_model_package_group(ModelPackageGroupName=mine)
    assert refused(sagemaker.describe_model_package_group, ModelPackageGroupName=other)[0] == "AccessDeniedException"


def test_wrong_secret_is_refused(localcloud: Cloud) -> None:
    iam, name = localcloud.client("iam"), unique("forger")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    forger = client_of(localcloud, key["AccessKeyId"], "not-the-secret")("sagemaker")
    assert refused(forger.list_models)[0] in ("InvalidSignatureException", "SignatureDoesNotMatch")


def test_request_without_credentials_is_refused(localcloud: Cloud) -> None:
    import urllib.error
    import urllib.request

    headers = {"X-Amz-Target": "SageMaker.ListTrainingJobs", "Content-Type": "application/x-amz-json-1.1"}
    request = urllib.request.Request(localcloud.endpoint, b"{}", headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert "MissingAuthenticationToken" in caught.value.read().decode()


# --- state machines -------------------------------------------------------------------------------------------------

TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:nobody-s"
QUEUE = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/nobody-s"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:nobody-s"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:nobody-s"
TASKS = "arn:aws:states:::"


@pytest.mark.parametrize(
    ("resource", "arguments", "error", "action", "on"),
    [
        (
            f"{TASKS}dynamodb:updateItem",
            {"TableName": "nobody-s", "Key": {"pk": {"S": "1"}}},
            "DynamoDB.AmazonDynamoDBException",
            "dynamodb:UpdateItem",
            f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/nobody-s",
        ),
        (
            f"{TASKS}sns:publish",
            {"TopicArn": TOPIC, "Message": "m"},
            "SNS.AuthorizationErrorException",
            "SNS:Publish",
            TOPIC,
        ),
        (
            f"{TASKS}sqs:sendMessage",
            {"QueueUrl": QUEUE, "MessageBody": "m"},
            "SQS.AmazonSQSException",
            "sqs:sendmessage",
            f"arn:aws:sqs:us-east-1:{ACCOUNT}:nobody-s",
        ),
        (
            f"{TASKS}lambda:invoke",
            {"FunctionName": "nobody-s"},
            "Lambda.AWSLambdaException",
            "lambda:InvokeFunction",
            FUNCTION,
        ),
        (FUNCTION, {}, "Lambda.AWSLambdaException", "lambda:InvokeFunction", FUNCTION),
        (
            f"{TASKS}states:startExecution",
            {"StateMachineArn": MACHINE},
            "StepFunctions.AWSStepFunctionsException",
            "states:StartExecution",
            MACHINE,
        ),
        (
            f"{TASKS}events:putEvents",
            {"Entries": [{"Source": "s", "DetailType": "d", "Detail": {}}]},
            "Events.AmazonEventBridgeException",
            "events:PutEvents",
            f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/default",
        ),
        (
            f"{TASKS}sagemaker:createTrainingJob",
            training("nobody-s", "test-bucket"),
            "SageMaker.AmazonSageMakerException",
            "sagemaker:CreateTrainingJob",
            f"{SAGEMAKER}:training-job/nobody-s",
        ),
        (
            f"{TASKS}aws-sdk:sagemaker:describeTrainingJob",
            {"TrainingJobName": "nobody-s"},
            "SageMaker.SageMakerException",
            "sagemaker:DescribeTrainingJob",
            f"{SAGEMAKER}:training-job/nobody-s",
        ),
        (
            f"{TASKS}aws-sdk:s3:getObject",
            {"Bucket": "test-bucket", "Key": "nobody-s"},
            "S3.AccessDeniedException",  # S3.S3Exception where the SDK does not model it
            "s3:GetObject",
            '"arn:aws:s3:::test-bucket/nobody-s"',
        ),
        (
            f"{TASKS}aws-sdk:dynamodb:getItem",
            {"TableName": "nobody-s", "Key": {"pk": {"S": "1"}}},
            "DynamoDb.DynamoDbException",
            "dynamodb:GetItem",
            f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/nobody-s",
        ),
        (
            f"{TASKS}aws-sdk:sfn:describeExecution",
            {"ExecutionArn": f"arn:aws:states:us-east-1:{ACCOUNT}:execution:nobody-s:x"},
            "Sfn.SfnException",
            "states:DescribeExecution",
            f"arn:aws:states:us-east-1:{ACCOUNT}:execution:nobody-s:x",
        ),
    ],
    ids=lambda value: value.removeprefix(TASKS) if isinstance(value, str) and value.startswith("arn") else "",
)
def test_task_that_its_role_does_not_allow_fails_in_the_service_s_words(
    localcloud: Cloud, bucket: str, resource: str, arguments: dict[str, Any], error: str, action: str, on: str
) -> None:
    name = unique("nothing")
    role = localcloud.role(name, allow("sts:GetCallerIdentity"))
    failed = execution(localcloud, role, resource, arguments)
    assert (failed["status"], failed["error"]) == ("FAILED", error)
    assert re.match(
        rf"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/[A-Za-z]{{32}} is not authorized to perform: {action} on "
        rf"resource: {re.escape(on)} because no identity-based policy allows the {action} action \(Service: ",
        failed["cause"],
    ), failed["cause"]


def test_task_acts_as_the_role_of_its_machine(localcloud: Cloud) -> None:
    name = unique("acting")
    ran = execution(localcloud, localcloud.role(name), f"{TASKS}aws-sdk:sts:getCallerIdentity", {})
    assert f"assumed-role/{name}/" in json.loads(ran["output"])["Arn"]


def test_sync_task_needs_permission_to_tag_and_pass_the_job_s_role(localcloud: Cloud, bucket: str) -> None:
    jobs = f"{SAGEMAKER}:training-job/*"
    described = allow("sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", on=jobs)
    rules = allow("events:PutTargets", "events:PutRule", "events:DescribeRule")
    tagging, passing = allow("sagemaker:AddTags", on=jobs), allow("iam:PassRole")
    resource = f"{TASKS}sagemaker:createTrainingJob.sync"

    def run(*statements: Statement) -> dict[str, Any]:
        role = localcloud.role(unique("sync"), described, rules, *statements)
        return execution(localcloud, role, resource, training(unique("sync"), bucket))

    assert "sagemaker:AddTags" in run(passing)["cause"]
    assert "iam:PassRole" in run(tagging)["cause"]
    assert run(tagging, passing)["status"] == "SUCCEEDED"


# --- jobs and functions ---------------------------------------------------------------------------------------------


def test_job_s_process_acts_under_the_job_s_role(localcloud: Cloud, bucket: str) -> None:
    name = unique("whoami")
    role = localcloud.role(unique("job"))
    request = processing(name, bucket, environment={"STUB_WHOAMI": "1"})
    localcloud.client("sagemaker").create_processing_job(**{**request, "RoleArn": role})
    assert ended(localcloud, "Processing", name, SECONDS)["ProcessingJobStatus"] == "Completed"
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rsplit('/', 1)[1]}/SageMaker"
    assert f"I am {arn}" in log_lines(localcloud, "/aws/sagemaker/ProcessingJobs", name)


@pytest.mark.parametrize("missing", ["s3:ListBucket", "s3:GetObject"])
def test_job_whose_role_cannot_read_its_input_fails_and_says_so(localcloud: Cloud, bucket: str, missing: str) -> None:
    allowed = {"s3:ListBucket", "s3:GetObject", "s3:PutObject"} - {missing}
    role = localcloud.role(unique("blind"), allow(*allowed))
    key = f"{unique('input')}/data.csv"
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"1")
    name = unique("blind")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{key}"}}
    request = training(name, bucket, InputDataConfig=[{"ChannelName": "train", "DataSource": source}])
    localcloud.client("sagemaker").create_training_job(**{**request, "RoleArn": role})
    job = ended(localcloud, "Training", name, SECONDS)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Data download failed")
    assert "AccessDenied" in job["FailureReason"]
    assert (
        f"assumed-role/{role.rsplit('/', 1)[1]}/SageMaker is not authorized to perform: {missing}"
        in (job["FailureReason"])
    )


def test_job_whose_role_cannot_write_its_output_fails_and_says_so(localcloud: Cloud, bucket: str) -> None:
    role = localcloud.role(unique("mute"), allow("s3:GetObject", "s3:ListBucket"))
    name = unique("mute")
    localcloud.client("sagemaker").create_processing_job(**{**processing(name, bucket), "RoleArn": role})
    job = ended(localcloud, "Processing", name, SECONDS)
    assert job["ProcessingJobStatus"] == "Failed"
    assert "AccessDenied" in job["FailureReason"]
    assert "s3:PutObject" in job["FailureReason"]


def test_function_acts_under_its_role(localcloud: Cloud, bucket: str) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr(
            "app.py",
            "import boto3\n"
            "def handler(event, context):\n"
            "    arn = boto3.client('sts').get_caller_identity()['Arn']\n"
            "    try:\n"
            "        boto3.client('s3').list_objects_v2(Bucket=event['bucket'])\n"
            "    except Exception as error:\n"
            "        return [arn, str(error)]\n",
        )
    name = unique("function")
    role = localcloud.role(name, allow("logs:*"))
    client = localcloud.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime="python3.11",
        Handler="app.handler",
        Role=role,
        Code={"ZipFile": code.getvalue()},
        Timeout=120,
    )
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"bucket": bucket}))
    arn, error = json.loads(answer["Payload"].read())
    assert arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{name}"
    assert "AccessDenied" in error
    assert f'{arn} is not authorized to perform: s3:ListBucket on resource: "arn:aws:s3:::{bucket}"' in error


def test_without_auth_everybody_may_do_everything(tmp_path: Any) -> None:
    from localcloud.testing import localcloud as running

    with running(tmp_path, auth=False) as cloud:
        cloud.client("s3").create_bucket(Bucket="open-bucket")
        stranger = client_of(cloud, "AKIANOBODY", "nothing")
        assert stranger("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
        machine = stranger("stepfunctions").create_state_machine(
            name="open",
            definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/never-made",
        )
        assert machine["stateMachineArn"]


# --- rules and schedules --------------------------------------------------------------------------------------------


def rule_to(cloud: Cloud, target: str, role: str | None = None) -> tuple[str, str]:
    """A rule with this target, and the queue that its dead letters come to: the source of its events, and a URL."""
    events, sqs, name = cloud.client("events"), cloud.client("sqs"), unique("rule")
    rule = events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))["RuleArn"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    entry: dict[str, Any] = {"Id": "1", "Arn": target, "DeadLetterConfig": {"Arn": queue}}
    events.put_targets(Rule=name, Targets=[{**entry, "RoleArn": role} if role else entry])
    return name, url


def dead_letter(cloud: Cloud, source: str, url: str) -> dict[str, str]:
    """Put an event, and give the attributes of the dead letter that comes of it."""
    entry = {"Source": source, "DetailType": "test", "Detail": "{}"}
    cloud.client("events").put_events(Entries=[entry])
    sqs = cloud.client("sqs")
    request = {"QueueUrl": url, "MessageAttributeNames": ["All"]}
    message = wait_for(lambda: sqs.receive_message(**request).get("Messages"), SECONDS)[0]
    return {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}


def test_rule_starts_a_machine_under_its_target_s_role_only(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    machine = client.create_state_machine(
        name=unique("ruled"),
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
        roleArn=localcloud.role(unique("ruled")),
    )["stateMachineArn"]
    powerless = localcloud.role(unique("powerless"), allow("sqs:*"))
    letter = dead_letter(localcloud, *rule_to(localcloud, machine, powerless))
    assert letter["ERROR_CODE"] == "NO_PERMISSIONS"
    assert f"is not authorized to perform: states:StartExecution on resource: {machine}" in letter["ERROR_MESSAGE"]
    starting = localcloud.role(unique("starting"), allow("states:StartExecution", on=machine))
    source, _ = rule_to(localcloud, machine, starting)
    localcloud.client("events").put_events(Entries=[{"Source": source, "DetailType": "test", "Detail": "{}"}])
    assert wait_for(lambda: client.list_executions(stateMachineArn=machine)["executions"], SECONDS)


def test_rule_needs_the_key_of_an_encrypted_topic(localcloud: Cloud) -> None:
    kms, sns = localcloud.client("kms"), localcloud.client("sns")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    topic = sns.create_topic(Name=unique("sealed"), Attributes={"KmsMasterKeyId": key})["TopicArn"]
    publishing = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [publishing]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    letter = dead_letter(localcloud, *rule_to(localcloud, topic))
    assert letter["ERROR_CODE"] == "NO_PERMISSIONS"
    assert f"kms:GenerateDataKey on resource: {key}" in letter["ERROR_MESSAGE"]
