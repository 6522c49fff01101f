"""Stack, executions and status: what is asked, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from onwing import executions, status, status_view
from onwing import stack as stacks
from onwing.endpoints import Endpoint
from onwing.errors import NotDeployed, NotFound, UsageError
from onwing.monitoring import Coverage, Monitored, Window

from .onwing_fakes import MACHINE, STACK, FakeClient, at, client_error, context_with, target_with, text


def stack(state: str = "CREATE_COMPLETE") -> dict[str, Any]:
    return {
        "Stacks": [
            {
                "StackName": "onwing",
                "StackStatus": state,
                "Outputs": [{"OutputKey": "BucketName", "OutputValue": "b"}],
                "Parameters": [{"ParameterKey": "SettleSeconds", "ParameterValue": "3"}],
            }
        ]
    }


def test_a_stack_is_known_by_its_outputs_and_parameters() -> None:
    found = stacks.get(target_with(cloudformation=FakeClient(describe_stacks=stack())))
    assert found.bucket == "b"
    assert found.parameters == {"SettleSeconds": "3"}
    with pytest.raises(NotDeployed, match="TableName"):
        _ = found.table


@pytest.mark.parametrize(
    "answer",
    [client_error("ValidationError", "Stack with id onwing does not exist"), {"Stacks": []}, stack("DELETE_COMPLETE")],
)
def test_no_stack_says_how_to_deploy(answer: Any) -> None:
    with pytest.raises(NotDeployed) as caught:
        stacks.get(target_with(cloudformation=FakeClient(describe_stacks=answer)))
    assert "onwing up" in caught.value.todo


def test_another_error_is_not_taken_for_no_stack() -> None:
    client = FakeClient(describe_stacks=client_error("AccessDenied"))
    with pytest.raises(Exception, match="AccessDenied"):
        stacks.find(target_with(cloudformation=client))


def runs(*names: str, running: str = "") -> FakeClient:
    return FakeClient(
        list_executions={
            "executions": [
                {
                    "executionArn": f"arn:{name}",
                    "name": name,
                    "status": "RUNNING" if name == running else "SUCCEEDED",
                    "startDate": at(-order),
                }
                for order, name in enumerate(names)
            ]
        }
    )


NAMES = ("FD002-aaaaaaaaaaaa-1", "FD001-bbbbbbbbbbbb-2", "FD001-bbbbbbbbbbbb-1", "FD001-cccccccccccc-1")


@pytest.mark.parametrize(
    ("named", "fleet", "found"),
    [
        ("arn:aws:states:x", None, "arn:aws:states:x"),
        (None, None, "arn:FD002-aaaaaaaaaaaa-1"),
        (None, "FD001", "arn:FD001-bbbbbbbbbbbb-2"),
        ("FD001-bbbbbbbbbbbb-1", None, "arn:FD001-bbbbbbbbbbbb-1"),
        ("bbbb", None, "arn:FD001-bbbbbbbbbbbb-2"),
        ("FD001-c", None, "arn:FD001-cccccccccccc-1"),
    ],
)
def test_an_execution_is_found_by_what_people_call_it(named: str | None, fleet: str | None, found: str) -> None:
    assert executions.find(target_with(stepfunctions=runs(*NAMES)), STACK, named, fleet) == found


def test_the_running_execution_is_meant_before_newer_ones_that_have_ended() -> None:
    target = target_with(stepfunctions=runs(*NAMES, running=NAMES[3]))
    assert executions.find(target, STACK, None) == f"arn:{NAMES[3]}"


def test_an_execution_that_is_not_there_or_ambiguous_is_refused() -> None:
    target = target_with(stepfunctions=runs(*NAMES))
    with pytest.raises(NotFound, match="nothing"):
        executions.find(target, STACK, "nothing")
    with pytest.raises(UsageError, match="may mean"):
        executions.find(target, STACK, "FD001")
    with pytest.raises(NotFound, match="fleet FD009"):
        executions.find(target, STACK, None, "FD009")


def test_status_gathers_everything() -> None:
    table = FakeClient(
        query=lambda **query: {"Items": ITEMS.get(query["ExpressionAttributeValues"][":partition"]["S"], [])}
    )
    s3 = FakeClient(
        list_objects_v2={
            "Contents": [
                {"Key": "data/quarantine/old.txt.report.json", "LastModified": at(0)},
                {"Key": "data/quarantine/bad.txt", "LastModified": at(1)},
                {"Key": "data/quarantine/bad.txt.report.json", "LastModified": at(1)},
            ]
        }
    )
    resources = {
        "StackResourceSummaries": [
            {"LogicalResourceId": "DLQ", "PhysicalResourceId": "url", "ResourceType": "AWS::SQS::Queue"},
            {"LogicalResourceId": "A", "PhysicalResourceId": "own-alarm", "ResourceType": "AWS::CloudWatch::Alarm"},
            {"LogicalResourceId": "Fn", "PhysicalResourceId": "fn", "ResourceType": "AWS::Lambda::Function"},
        ]
    }
    target = target_with(
        dynamodb=table,
        s3=s3,
        stepfunctions=runs(*NAMES),
        sagemaker=FakeClient(
            list_model_package_groups={"ModelPackageGroupSummaryList": []}, list_endpoints={"Endpoints": []}
        ),
        cloudwatch=FakeClient(
            describe_alarms={
                "MetricAlarms": [
                    {"AlarmName": "own-alarm", "StateReason": "1 event", "StateUpdatedTimestamp": at(5)},
                    {"AlarmName": "onwing-FD001-v2-errors-5xx", "StateUpdatedTimestamp": at(9)},
                    {"AlarmName": "onwing-FD001-v3-silent", "ActionsEnabled": False, "StateUpdatedTimestamp": at(9)},
                    {"AlarmName": "somebody-elses", "StateUpdatedTimestamp": at(1)},
                    {"AlarmName": "onwing-FD001-data-drift", "StateUpdatedTimestamp": at(7)},
                    {"AlarmName": "onwing-dev-FD001-v2-errors-5xx", "StateUpdatedTimestamp": at(1)},
                ]
            }
        ),
        cloudformation=FakeClient(list_stack_resources=resources),
        scheduler=FakeClient(get_schedule={"State": "ENABLED", "ScheduleExpression": "rate(1 hour)"}),
        sqs=FakeClient(get_queue_attributes={"Attributes": {"ApproximateNumberOfMessages": "2"}}),
        **{"lambda": FakeClient(invoke=client_error("AccessDeniedException", "no"))},
    )
    found = status.read(target, STACK, limit=3)
    assert [fleet.fleet for fleet in found.fleets] == ["FD001"]
    assert found.fleets[0].newest is not None
    assert found.fleets[0].newest.status == "registered"
    assert [run.name for run in found.executions] == list(NAMES[:3])
    assert [item.name for item in found.quarantined] == ["bad.txt", "old.txt"]
    assert [alarm.name for alarm in found.alarms] == [
        "onwing-FD001-v2-errors-5xx",
        "onwing-FD001-data-drift",
        "own-alarm",
    ]
    assert found.coverage is None
    assert "AccessDenied" in found.coverage_problem
    assert [(queue.name, queue.waiting) for queue in found.dead_letters] == [("DLQ", 2)]


ITEMS = {
    "FLEETS": [{"pk": {"S": "FLEETS"}, "sk": {"S": "FD001"}}],
    "FLEET#FD001": [
        {
            "sk": {"S": "DATASET"},
            "dataset_version": {"S": "v1"},
            "revision": {"N": "3"},
            "version_revision": {"N": "3"},
        },
        {
            "sk": {"S": "VERSION#v1"},
            "attempt": {"N": "1"},
            "status": {"S": "registered"},
            "execution_arn": {"S": f"{MACHINE}:x"},
        },
    ],
}


@pytest.mark.parametrize(
    ("coverage", "problem", "said"),
    [
        (Coverage(100.0, [{"endpoint": "onwing-FD001", "checks": [{"passed": True}]}]), "", ["coverage: 100 %"]),
        (
            Coverage(50.0, [{"endpoint": "onwing-FD001", "checks": [{"passed": False, "message": "no baseline"}]}]),
            "",
            ["coverage: 50 %", "onwing-FD001: no baseline"],
        ),
        (None, "coverage is not known: no answer", ["coverage is not known: no answer"]),
    ],
)
def test_monitoring_coverage_is_said_in_per_cent_with_what_is_missing(
    coverage: Coverage | None, problem: str, said: list[str]
) -> None:
    endpoint = Endpoint("onwing-FD001", "FD001", "InService")
    monitored = Monitored("FD001", "onwing-FD001", "v7", True, "insufficient", Window("w", engines=3))
    found = status.Status(STACK, [], [], [], [endpoint], [monitored], coverage, problem, [], [], [])
    context = context_with()
    status_view.show_status(context.out, found)
    shown = text(context)
    for expected in [*said, "insufficient"]:
        assert expected in shown
