"""template.yaml: what cfn-lint does not know about this project."""

from __future__ import annotations

import json
import re
from typing import Any

import botocore.session
import pytest

from tests.statemachines.definitions import ROOT, load_template

TEMPLATE = load_template()
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


def test_every_function_has_a_folder_a_sample_event_and_a_log_group_with_retention() -> None:
    functions = of_type("AWS::Serverless::Function")
    assert {f["CodeUri"].removeprefix("functions/") for f in functions.values()} == {
        folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists()
    }
    for function in functions.values():
        folder = function["CodeUri"].removeprefix("functions/")
        assert json.loads((ROOT / "events" / f"{folder}.json").read_text())
        log_group = RESOURCES[function["LoggingConfig"]["LogGroup"]["Ref"]]["Properties"]
        assert "RetentionInDays" in log_group


def test_every_asynchronous_target_has_a_dead_letter_queue_with_an_alarm() -> None:
    queues = set()
    for target in of_type("AWS::Serverless::Function").values():
        if "Events" in target:  # else it is only called by a state machine that waits for it
            queues.add(target["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Destination"]["GetAtt"])
    for target in [*of_type("AWS::Serverless::Function").values(), *of_type("AWS::Serverless::StateMachine").values()]:
        for event in target.get("Events", {}).values():
            if event["Type"] == "SNS":  # its retries are SNS's own
                queues.add(event["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]["GetAtt"])
                continue
            queues.add(event["Properties"]["DeadLetterConfig"]["Arn"]["GetAtt"])
            assert event["Properties"]["RetryPolicy"]["MaximumRetryAttempts"] > 0
    for rule in of_type("AWS::Events::Rule").values():
        for target in rule["Targets"]:
            queues.add(target["DeadLetterConfig"]["Arn"]["GetAtt"])
    watched = {
        alarm["Dimensions"][0]["Value"].get("GetAtt", "") for alarm in of_type("AWS::CloudWatch::Alarm").values()
    }
    assert {queue.split(".")[0] for queue in queues} == {dimension.split(".")[0] for dimension in watched} - {""}


def test_alert_rule_covers_what_the_machines_cannot_catch() -> None:
    machines = set(of_type("AWS::Serverless::StateMachine"))
    detail = of_type("AWS::Events::Rule")["ExecutionStatusRule"]["EventPattern"]["detail"]
    assert set(detail["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    assert {reference["Ref"] for reference in detail["stateMachineArn"]} == machines


def test_every_machine_has_an_alarm_on_its_failures() -> None:
    watched = {
        alarm["Dimensions"][0]["Value"]["Ref"]
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == "ExecutionsFailed"
    }
    assert watched == set(of_type("AWS::Serverless::StateMachine"))


def test_deployment_that_ends_badly_starts_a_rollback() -> None:
    rule = of_type("AWS::Events::Rule")["DeploymentEndedRule"]
    assert set(rule["EventPattern"]["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    assert rule["EventPattern"]["detail"]["stateMachineArn"] == [{"Ref": "DeploymentStateMachine"}]
    [target] = rule["Targets"]
    assert target["Arn"] == {"Ref": "RollbackStateMachine"}
    sample = re.sub(r"<(\w+)>", r'"\1"', target["InputTransformer"]["InputTemplate"])
    assert json.loads(sample)["trigger"] == "deployment_ended"


def test_machines_may_reject_a_package_but_not_approve_one() -> None:
    statement = next(
        s
        for s in statements({"Policies": [of_type("AWS::IAM::ManagedPolicy")["EndpointPolicy"]]})
        if s["Action"] == "sagemaker:UpdateModelPackage"
    )
    assert statement["Condition"] == {"StringEquals": {"sagemaker:ModelApprovalStatus": "Rejected"}}


def statements(properties: dict[str, Any]) -> list[dict[str, Any]]:
    documents = [p.get("PolicyDocument", p) for p in properties.get("Policies", [])]
    return [statement for document in documents for statement in document["Statement"]]


@pytest.mark.parametrize("kind", ["AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::Serverless::Function"])
def test_wildcard_resource_only_with_a_reason_beside_it(kind: str) -> None:
    lines = (ROOT / "template.yaml").read_text().splitlines()
    assert all("#" in line for line in lines if line.strip().startswith('Resource: "*"'))
    for name, properties in of_type(kind).items():
        for statement in statements(properties if "Policies" in properties else {"Policies": [properties]}):
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert not [action for action in actions if action.endswith(":*") or action == "*"], name


def test_instance_types_are_ones_that_sagemaker_knows() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    for parameter, shape in [
        ("ProcessingInstanceType", "ProcessingInstanceType"),
        ("TrainingInstanceType", "TrainingInstanceType"),
        ("EndpointInstanceType", "ProductionVariantInstanceType"),
    ]:
        assert TEMPLATE["Parameters"][parameter]["Default"] in model.shape_for(shape).enum


def test_names_of_jobs_fit_their_limits() -> None:
    """A tuning job's name is <project>-<fleet>-<8 characters>-<redrives and retries> in at most 32 characters."""
    assert "{0,7}" in TEMPLATE["Parameters"]["ProjectName"]["AllowedPattern"]
    project, fleet = "p" * 8, "F" * 10
    assert len(f"{project}-{fleet}-12345678-00") <= 32
    assert len(f"{project}-{fleet}-12345678-evaluate-00") <= 63
    assert len(f"{project}-{fleet}-v99999-12345678-canary") <= 63


def test_bucket_is_versioned_encrypted_private_and_sends_events() -> None:
    bucket = of_type("AWS::S3::Bucket")["Bucket"]
    assert bucket["VersioningConfiguration"]["Status"] == "Enabled"
    assert bucket["NotificationConfiguration"]["EventBridgeConfiguration"]["EventBridgeEnabled"] is True
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    default = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
    assert default["KMSMasterKeyID"] == {"GetAtt": "Key.Arn"}
    policy = {s["Sid"]: s for s in of_type("AWS::S3::BucketPolicy")["BucketPolicy"]["PolicyDocument"]["Statement"]}
    assert policy["ArtefactsAreWrittenOnce"]["Condition"] == {"Null": {"s3:if-none-match": True}}
    assert policy["TlsOnly"]["Effect"] == "Deny"
