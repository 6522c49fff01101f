"""The monitoring machine with the real job: each captured record counted once, and silence never taken for no drift."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import captured
from tests.deployed import Deployed, until
from tests.integration.deployments import deploy_first
from tests.integration.rollouts import Rollout, end_of, now
from tests.packages import fleet_items
from tests.traffic import Traffic

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)

JOB_SECONDS = 300
ALL_SECONDS = 600  # of every endpoint that other tests have left
PROBE = "onwing-probe-"


@dataclass
class Monitored:
    """A fleet with an endpoint that is monitored."""

    deployed: Deployed
    fleet: str

    @property
    def endpoint(self) -> str:
        return f"onwing-{self.fleet}"

    def start(self, **request: Any) -> str:
        """Start the machine, for this fleet alone unless told otherwise; the execution's ARN."""
        started = self.deployed.client("stepfunctions").start_execution(
            stateMachineArn=self.deployed.outputs["MonitoringStateMachineArn"],
            name=f"{self.fleet}-{uuid.uuid4().hex[:8]}",
            input=json.dumps(request or {"fleets": [self.fleet], "reason": "test"}),
        )
        return str(started["executionArn"])

    def start_altered(self, state: str, **assigned: Any) -> str:
        """Start a copy of the machine in which a state finds something else; the execution's ARN."""
        stepfunctions = self.deployed.client("stepfunctions")
        arn = self.deployed.outputs["MonitoringStateMachineArn"]
        machine = stepfunctions.describe_state_machine(stateMachineArn=arn)
        definition = json.loads(machine["definition"])
        states = definition["States"]
        (states if state in states else states["MonitorEach"]["ItemProcessor"]["States"])[state]["Assign"] |= assigned
        copy = stepfunctions.create_state_machine(
            name=f"onwing-monitoring-{uuid.uuid4().hex[:8]}",
            definition=json.dumps(definition),
            roleArn=machine["roleArn"],
        )
        started = stepfunctions.start_execution(
            stateMachineArn=copy["stateMachineArn"], input=json.dumps({"fleets": [self.fleet]})
        )
        return str(started["executionArn"])

    def end(self, execution: str, seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """The execution when it has ended."""
        return end_of(self.deployed, execution, seconds=seconds)

    def windows(self, execution: str) -> list[dict[str, Any]]:
        """What an execution that must succeed did with windows."""
        described = self.end(execution)
        assert described["status"] == "SUCCEEDED", (described.get("error"), described.get("cause"))
        return [window for each in described["output"]["monitored"] for window in each["windows"]]

    def run(self) -> list[dict[str, Any]]:
        """Start and wait; the windows."""
        return self.windows(self.start())

    def fails(self) -> str:
        """Start and wait; why it failed."""
        described = self.end(self.start())
        assert described["status"] == "FAILED", described
        return str(described["cause"])

    def deliver(self, engines: Iterable[Any], variant: str = "v1", **more: Any) -> str:
        """A capture file with a record of each engine; when it can be in a window."""
        key = captured.put_capture(self.deployed, self.endpoint, variant, captured.records(engines), **more)
        captured.wait_for_window()
        return key

    def item(self, sort_key: str) -> dict[str, Any]:
        """One of the fleet's items, or nothing."""
        return fleet_items(self.deployed, self.fleet).get(sort_key, {})

    def closed(self) -> list[dict[str, Any]]:
        """The records of all closed windows, oldest first."""
        found = fleet_items(self.deployed, self.fleet, "WINDOW#")
        return [item["record"] for _, item in sorted(found.items())]

    def start_earlier(self, by: timedelta) -> None:
        """The champion's open window becomes older, and so does its reign."""
        start = f"{datetime.now(UTC) - by:%Y-%m-%dT%H:%M:%SZ}"
        champion = self.item("DEPLOYMENT")["champion"] | {"since": start}
        for sort_key, change, names, value in (
            (f"MONITOR#{champion['variant']}", "SET #start = :to REMOVE #open", ("start", "open"), start),
            ("DEPLOYMENT", "SET #champion = :to", ("champion",), json.dumps(champion)),
        ):
            self.deployed.client("dynamodb").update_item(
                TableName=self.deployed.outputs["TableName"],
                Key={"pk": {"S": f"FLEET#{self.fleet}"}, "sk": {"S": sort_key}},
                UpdateExpression=change,
                ExpressionAttributeNames={f"#{name}": name for name in names},
                ExpressionAttributeValues={":to": {"S": value}},
            )

    def capture_files(self) -> dict[str, list[dict[str, Any]]]:
        """The metadata of each record in each capture file."""
        return {
            key: [json.loads(line)["eventMetadata"] for line in self.deployed.read(key).splitlines()]
            for key in self.deployed.keys(f"monitoring/capture/{self.endpoint}/")
        }

    def manifest(self, record: dict[str, Any]) -> list[str]:
        """The files of a closed window."""
        key = f"monitoring/windows/{self.endpoint}/{record['variant']}/{record['id']}.manifest"
        first, *names = json.loads(self.deployed.read(key))
        prefix = first["prefix"].removeprefix(f"s3://{self.deployed.outputs['BucketName']}/")
        return [prefix + name for name in names]

    def metric(self, name: str) -> list[float]:
        """The values of one of the endpoint's metrics so far."""
        now = datetime.now(UTC)
        found = self.deployed.client("cloudwatch").get_metric_statistics(
            Namespace="Onwing",
            MetricName=name,
            Dimensions=[{"Name": "Endpoint", "Value": self.endpoint}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=2),
            Period=60,
            Statistics=["Sum", "Maximum"],
        )
        return [each["Sum"] for each in found["Datapoints"]]

    def alarms(self) -> list[dict[str, Any]]:
        """The alarm on drift, if there is one."""
        found = self.deployed.client("cloudwatch").describe_alarms(AlarmNames=[f"{self.endpoint}-data-drift"])
        return list(found["MetricAlarms"])


@pytest.fixture
def served(deployed: Deployed, fleet: str) -> Monitored:
    """An endpoint that captures nothing by itself: its capture files are the test's."""
    Rollout(deployed, fleet).serve()
    captured.put_baseline(deployed, fleet)
    return Monitored(deployed, fleet)


def test_deployment_switches_monitoring_on_and_traffic_is_judged(deployed: Deployed, fleet: str) -> None:
    deploy_first(deployed, fleet)
    captured.put_baseline(deployed, fleet)
    monitored = Monitored(deployed, fleet)
    [alarm] = monitored.alarms()
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("Onwing", "DataDrift", 1)
    assert (alarm["Statistic"], alarm["TreatMissingData"], alarm["AlarmActions"]) == ("Maximum", "ignore", [])

    captured.ask(deployed, monitored.endpoint, captured.histories(2))
    [window] = monitored.run()
    assert window["outcome"] == "open"  # two engines say nothing, and that is not "no drift"
    look = monitored.item("MONITOR#v1")["open"]
    assert (look["outcome"], look["engines"]) == ("insufficient", 2)
    assert monitored.closed() == []
    assert monitored.metric("DataDrift") == monitored.metric("RecordsMonitored") == []

    captured.ask(deployed, monitored.endpoint, captured.histories(10, first=2))
    [judged] = monitored.run()
    assert (judged["outcome"], judged["id"]) == ("ok", window["id"])
    [record] = monitored.closed()
    item = monitored.item("MONITOR#v1")
    assert item["last"] == record
    assert item["start"] == record["end"]
    assert set(item) == {"start", "last", "updated_at"}
    assert (record["outcome"], record["engines"], record["severity"], record["violations"]) == ("ok", 12, "none", 0)
    report = json.loads(deployed.read(f"{record['report']}report.json"))
    assert report["records"]["delivered"] == record["records"] >= 12
    assert report["records"]["probes"] > 0  # those of the deployment
    assert deployed.keys(f"{record['report']}constraint_violations.json")
    assert len(deployed.read(f"monitoring/predictions/{monitored.endpoint}/v1/{record['id']}.csv").splitlines()) == 13
    assert monitored.metric("RecordsMonitored") == [record["records"]]
    assert monitored.metric("DataDrift") == [record["drift"]]
    assert record["drift"] < 1


def test_every_delivered_record_is_counted_exactly_once(deployed: Deployed, fleet: str) -> None:
    """Traffic all the while; two at once, a failed job, a killed execution, a late file, too few engines."""
    deploy_first(deployed, fleet)
    captured.put_baseline(deployed, fleet)
    monitored = Monitored(deployed, fleet)
    stepfunctions = deployed.client("stepfunctions")
    with Traffic(deployed, monitored.endpoint, per_second=5) as traffic:
        captured.ask(deployed, monitored.endpoint, captured.histories(1))
        assert [window["outcome"] for window in monitored.run()] == ["open"]

        captured.ask(deployed, monitored.endpoint, captured.histories(8))
        together = [monitored.start() for _ in range(2)]
        assert len([window for each in together for window in monitored.windows(each) if closes(window)]) == 1

        deployed.plan(fleet, monitor="no space left on device")
        captured.ask(deployed, monitored.endpoint, captured.histories(8))
        assert "no space left on device" in monitored.fails()
        claim = monitored.item("MONITOR#v1")["claim"]

        deployed.plan(fleet, hold=True)
        killed = monitored.start()
        job = f"{claim['job']}-1"
        until("the job runs", lambda: self_or_none(job_status(deployed, job) == "InProgress"), seconds=180)
        stepfunctions.stop_execution(executionArn=killed)
        until("its job is stopped", lambda: self_or_none(job_status(deployed, job) == "Stopped"), seconds=180)
        assert monitored.item("MONITOR#v1")["claim"]["end"] == claim["end"]
        captured.put_capture(
            deployed,
            monitored.endpoint,
            "v1",
            captured.records(captured.histories(6)),
            when=datetime.now(UTC) - timedelta(hours=20),
        )

        deployed.plan(fleet)
        [again] = monitored.run()
        assert again["id"] == claim["id"]
        assert closes(again)
        assert monitored.closed()[-1]["end"] == claim["end"]
        assert job_status(deployed, f"{claim['job']}-2") == "Completed"
        captured.ask(deployed, monitored.endpoint, captured.histories(8))
    captured.ask(deployed, monitored.endpoint, captured.histories(1))  # delivered after the last of the traffic
    assert [closes(window) for window in monitored.run()] == [True]

    assert traffic.failures == []
    files, closed = monitored.capture_files(), monitored.closed()
    asked = [each for events in files.values() for each in events if not each.get("inferenceId", "").startswith(PROBE)]
    assert len(asked) == len(traffic.answered) + 1 + 8 + 8 + 6 + 8 + 1
    counted = Counter(each["eventId"] for record in closed for key in monitored.manifest(record) for each in files[key])
    delivered = Counter(each["eventId"] for events in files.values() for each in events)
    assert counted == delivered
    assert sum(record["records"] for record in closed) == delivered.total()
    assert sum(monitored.metric("RecordsMonitored")) == delivered.total()
    assert [record["start"] for record in closed[1:]] == [record["end"] for record in closed[:-1]]


def closes(window: dict[str, Any]) -> bool:
    """Whether a window was judged; the traffic's own engine stands still, which is a violation."""
    return window["outcome"] in ("ok", "violations")


def self_or_none(value: bool) -> bool | None:
    """For `until`."""
    return value or None


def job_status(deployed: Deployed, name: str) -> str:
    """A processing job's status; empty if there is none."""
    sagemaker = deployed.client("sagemaker")
    found = sagemaker.list_processing_jobs(NameContains=name)["ProcessingJobSummaries"]
    return next((each["ProcessingJobStatus"] for each in found if each["ProcessingJobName"] == name), "")


def test_drift_sets_off_the_alarm_and_is_no_failure(served: Monitored) -> None:
    served.deliver(captured.biased(captured.histories(20)))
    [window] = served.run()
    assert window["outcome"] == "violations"
    [record] = served.closed()
    assert (record["severity"], record["cause"]) == ("severe", "drift")
    assert record["drift"] > 1
    violations = json.loads(served.deployed.read(f"{record['report']}constraint_violations.json"))
    assert len(violations["violations"]) == record["violations"] > 0


def test_failing_job_alerts_and_leaves_its_window_for_the_next_run(served: Monitored) -> None:
    key = served.deliver(captured.histories(6))
    served.deployed.plan(served.fleet, monitor="the baseline is broken")
    cause = served.fails()
    assert f"{served.endpoint}: v1, data window" in cause
    assert "the baseline is broken" in cause
    alert = served.deployed.alert(f"{served.fleet}: monitoring failed", "the baseline is broken")
    attributes = {name: each["Value"] for name, each in alert["MessageAttributes"].items()}
    assert attributes == {"kind": "monitoring_failed", "severity": "critical", "fleet": served.fleet}
    assert alert["TopicArn"] == served.deployed.outputs["CriticalAlertsTopicArn"]
    assert f"onwing drift run {served.fleet}" in alert["Message"]
    assert served.closed() == []
    assert served.metric("DataDrift") == []

    served.deployed.plan(served.fleet)
    [window] = served.run()
    assert window["outcome"] == "ok"
    [record] = served.closed()
    assert served.manifest(record) == [key]


def test_window_that_fails_is_given_up_once_its_variant_serves_no_more(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    rollout.serve()
    captured.put_baseline(deployed, fleet)
    served = Monitored(deployed, fleet)
    key = served.deliver(captured.histories(6))
    deployed.plan(fleet, monitor="the baseline is broken")
    served.fails()
    rollout.record(champion=rollout.make(config=False) | {"since": now()})  # two promotions later
    told = len(deployed.alerts(f"{fleet}: monitoring failed"))

    for tries in (2, 3, 4):
        outcomes = {window["variant"]: window["outcome"] for window in served.run()}
        assert outcomes["v1"] == "failed"
        assert (served.closed(), served.item("MONITOR#v1")["tries"]) == ([], tries)
    claim = served.item("MONITOR#v1")["claim"]
    [given_up] = [window for window in served.run() if window["variant"] == "v1"]
    assert given_up["outcome"] == "failed"
    [record] = served.closed()
    assert (record["outcome"], record["report"], record["end"]) == ("failed", "", claim["end"])
    assert "the baseline is broken" in record["summary"]
    assert served.manifest(record) == [key]
    alert = deployed.alert(f"{fleet}: v1, a window was given up")
    attributes = {name: each["Value"] for name, each in alert["MessageAttributes"].items()}
    assert attributes == {"kind": "monitoring_failed", "severity": "warning", "fleet": fleet}
    assert alert["TopicArn"] == deployed.outputs["AlertsTopicArn"]
    uri = f"s3://{deployed.outputs['BucketName']}/monitoring/windows/{served.endpoint}/v1/{record['id']}.manifest"
    assert uri in alert["Message"]
    assert uri in record["summary"]
    assert set(served.item("MONITOR#v1")) == {"start", "last", "updated_at"}
    assert [window for window in served.run() if window["variant"] == "v1"] == []
    assert len(deployed.alerts(f"{fleet}: monitoring failed")) == told
    assert len(deployed.alerts(f"{fleet}: v1, a window was given up")) == 1


def test_insufficient_window_that_is_old_closes_as_such_and_alerts(served: Monitored) -> None:
    served.deliver(captured.histories(3))
    assert [window["outcome"] for window in served.run()] == ["open"]
    served.start_earlier(timedelta(days=2))
    [window] = served.run()
    assert window["outcome"] == "insufficient"
    [record] = served.closed()
    assert (record["outcome"], record["drift"], record["engines"]) == ("insufficient", None, 3)
    alert = served.deployed.alert(f"{served.fleet}: v1, too little traffic")
    attributes = {name: each["Value"] for name, each in alert["MessageAttributes"].items()}
    assert attributes == {"kind": "monitoring_insufficient", "severity": "warning", "fleet": served.fleet}
    assert "NOT checked for drift" in alert["Message"]
    assert not served.deployed.keys(f"{record['report']}constraint_violations.json")
    assert served.metric("WindowsInsufficient") == [1]
    assert served.metric("DataDrift") == []


def test_endpoint_that_nobody_asks_is_not_reported_as_in_order(served: Monitored) -> None:
    captured.wait_for_window()  # it begins with the promotion
    assert [window["outcome"] for window in served.run()] == ["open"]
    assert served.item("MONITOR#v1")["open"]["outcome"] == "insufficient"
    served.start_earlier(timedelta(days=2))
    assert [window["outcome"] for window in served.run()] == ["insufficient"]
    message = served.deployed.alert(f"{served.fleet}: v1, too little traffic")["Message"]
    assert f"No request of {served.endpoint} was captured" in message


def test_unreadable_capture_alerts_and_is_not_in_order(served: Monitored) -> None:
    s3 = served.deployed.client("s3")
    key = f"monitoring/capture/{served.endpoint}/v1/{datetime.now(UTC):%Y/%m/%d/%H}/00-00-000-{uuid.uuid4()}.jsonl"
    s3.put_object(Bucket=served.deployed.outputs["BucketName"], Key=key, Body=b"\x1f\x8bnot json\n" * 20)
    captured.wait_for_window()
    [window] = served.run()
    assert window["outcome"] == "unreadable"
    assert [record["outcome"] for record in served.closed()] == ["unreadable"]
    alert = served.deployed.alert(f"{served.fleet}: v1, captured traffic cannot be read")
    assert alert["TopicArn"] == served.deployed.outputs["CriticalAlertsTopicArn"]
    assert alert["MessageAttributes"]["kind"]["Value"] == "monitoring_unreadable"
    assert served.metric("WindowsUnreadable") == [1]


def test_during_a_canary_each_variant_is_judged_and_the_alarm_is_the_champions(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    rollout.serve()
    rollout.challenge(10)
    captured.put_baseline(deployed, fleet)
    monitored = Monitored(deployed, fleet)
    monitored.deliver(captured.histories(8))
    monitored.deliver(captured.biased(captured.histories(8)), "v2")
    outcomes = {window["variant"]: window["outcome"] for window in monitored.run()}
    assert outcomes == {"v1": "ok", "v2": "violations"}
    assert {record["variant"]: record["engines"] for record in monitored.closed()} == {"v1": 8, "v2": 8}
    [drift] = monitored.metric("DataDrift")
    assert drift < 1
    assert sum(monitored.metric("RecordsMonitored")) == 16


def test_what_has_no_endpoint_any_more_is_switched_off(deployed: Deployed, fleet: str) -> None:
    deploy_first(deployed, fleet)
    monitored = Monitored(deployed, fleet)
    deployed.client("sagemaker").delete_endpoint(EndpointName=monitored.endpoint)
    until("it is gone", lambda: None if Rollout(deployed, fleet).exists() else True, seconds=180)
    monitored.end(monitored.start(reason="every endpoint"), seconds=ALL_SECONDS)  # other tests' endpoints may fail

    assert monitored.alarms() == []
    assert monitored.item("DEPLOYMENT")["monitored"] is False
    assert f"{monitored.endpoint}: there is no such endpoint" in monitored.fails()


def test_endpoint_that_was_made_again_since_the_list_was_read_is_judged(served: Monitored) -> None:
    served.deliver(captured.histories(6))
    [window] = served.windows(served.start_altered("ListEndpoints", there=[]))
    assert window["outcome"] == "ok"
    assert served.item("DEPLOYMENT")["monitored"] is True
    assert len(served.alarms()) == 1


def test_endpoint_that_is_recorded_anew_meanwhile_keeps_its_flag_and_alarm(served: Monitored) -> None:
    served.deployed.client("sagemaker").delete_endpoint(EndpointName=served.endpoint)
    until("it is gone", lambda: None if Rollout(served.deployed, served.fleet).exists() else True, seconds=180)
    assert served.windows(served.start_altered("ReadDeployment", deployed_at="2026-01-01T00:00:00.000Z")) == []
    assert served.item("DEPLOYMENT")["monitored"] is True
    assert len(served.alarms()) == 1

    assert served.windows(served.start()) == [{"outcome": "switched off"}]
    assert served.item("DEPLOYMENT")["monitored"] is False
    assert served.alarms() == []


def test_endpoint_that_is_not_monitored_is_left_out_unless_it_is_asked_for(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    rollout.serve()
    rollout.put("DEPLOYMENT", {"champion": {"S": json.dumps(rollout.champion)}, "monitored": {"BOOL": False}})
    monitored = Monitored(deployed, fleet)
    assert "it is not monitored" in monitored.fails()
    assert monitored.item("MONITOR#v1") == {}
