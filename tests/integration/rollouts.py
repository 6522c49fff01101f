"""A fleet's endpoint at any point of a deployment, made by API calls, for the machines that put it in order again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.deployed import Deployed, until
from tests.integration.deployments import entered, execution_arn
from tests.packages import register, rows, version_of

WHAT = ("model-latency", "errors-5xx")
UNITS = range(1001, 1006)


def now() -> str:
    """The present moment as the machines write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run(deployed: Deployed, machine: str, request: Mapping[str, Any]) -> str:
    """Start one of the machines; the execution's ARN.

    Args:
        machine: Rollback, Backup or Recovery.
    """
    started = deployed.client("stepfunctions").start_execution(
        stateMachineArn=deployed.outputs[f"{machine}StateMachineArn"],
        name=f"{request.get('fleet', 'all')}-{uuid.uuid4().hex[:8]}",
        input=json.dumps(request),
    )
    return str(started["executionArn"])


def end_of(deployed: Deployed, execution: str, *, seconds: float = 600) -> dict[str, Any]:
    """Wait for an execution's end; its description, output parsed."""

    def probe() -> dict[str, Any] | None:
        described = deployed.client("stepfunctions").describe_execution(executionArn=execution)
        return dict(described) if described["status"] != "RUNNING" else None

    described = until(f"{execution} ended", probe, seconds=seconds)
    described["output"] = json.loads(described.get("output") or "null")
    return described


def went_back_by_weights(deployed: Deployed, execution: str) -> bool:
    """Whether a rollback saw all traffic restored before it asked the endpoint for another configuration.

    That is what makes it a matter of seconds, however busy the machine is; `make bench` measures how many.
    """
    states = [name for name, _ in entered(deployed, execution)]
    return "VerifyTraffic" in states and "UpdateEndpoint" not in states[: states.index("VerifyTraffic")]


def output_of(deployed: Deployed, execution: str) -> Any:
    """The output of an execution, which must succeed."""
    described = end_of(deployed, execution)
    assert described["status"] == "SUCCEEDED", (described.get("error"), described.get("cause"))
    return described["output"]


def failure_of(deployed: Deployed, execution: str) -> str:
    """Why an execution failed, which it must."""
    described = end_of(deployed, execution)
    assert described["status"] == "FAILED", described
    return f"{described['error']}: {described['cause']}"


@dataclass
class Rollout:
    """One fleet. `champion` and `challenger` are what the control table says of them."""

    deployed: Deployed
    fleet: str
    champion: dict[str, Any] = field(default_factory=dict)
    challenger: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """Its endpoint's name."""
        return f"onwing-{self.fleet}"

    @property
    def drift_alarm(self) -> str:
        """The name of the alarm that is the endpoint's, whichever version serves."""
        return f"{self.endpoint}-data-drift"

    def serve(self) -> dict[str, Any]:
        """A first version in service, recorded as champion, with a backup."""
        self.champion = self.make(config=True)
        self.deployed.client("sagemaker").create_endpoint(
            EndpointName=self.endpoint, EndpointConfigName=self.champion["config"], Tags=self.tags()
        )
        self.settled("InService")
        self.watch()
        self.champion["since"] = now()
        self.record(champion=self.champion)
        output = output_of(self.deployed, run(self.deployed, "Backup", {"fleets": [self.fleet], "reason": "test"}))
        self.champion["backup"] = output["backups"][0]["key"]
        self.record(champion=self.champion)
        return self.champion

    def challenge(
        self, share: int = 10, behaviour: dict[str, Any] | None = None, *, phase: str = "canary", shadow: bool = False
    ) -> dict[str, Any]:
        """A second version beside the champion, as a deployment leaves it in the middle of a phase; what is under way.

        Args:
            share: of the traffic, in per cent, that it has.
            shadow: whether it is the champion's shadow.
        """
        self.challenger = self.make(behaviour, config=phase == "soak")
        config = f"{self.challenger['model']}-{'shadow' if shadow else 'canary'}"
        beside = [self.variant(self.challenger, 1 if shadow else 0)]
        variants = {"ShadowProductionVariants": beside} if shadow else {}
        self.deployed.client("sagemaker").create_endpoint_config(
            EndpointConfigName=config,
            ProductionVariants=[self.variant(self.champion, 1), *([] if shadow else beside)],
            **variants,
        )
        self.update(config)
        if share:
            self.shift(share)
        under_way = self.under_way(share, config, phase)
        if phase == "soak":
            self.challenger["since"] = now()
            self.record(champion=self.challenger, predecessor=self.champion, under_way=under_way)
        else:
            self.record(champion=self.champion, under_way=under_way)
        self.lock(under_way["execution"])
        return under_way

    def promote(self) -> None:
        """The soak is over: the challenger stands alone, the champion's things are gone."""
        self.challenge(100, phase="soak")
        sagemaker = self.deployed.client("sagemaker")
        self.update(self.challenger["config"])
        sagemaker.delete_endpoint_config(EndpointConfigName=self.champion["config"])
        sagemaker.delete_endpoint_config(EndpointConfigName=f"{self.challenger['model']}-canary")
        sagemaker.delete_model(ModelName=self.champion["model"])
        self.deployed.client("cloudwatch").delete_alarms(AlarmNames=self.alarms_of(self.champion["variant"]))
        self.record(champion=self.challenger, predecessor=self.champion)
        self.lock(None)

    # --- pieces ---

    def make(self, behaviour: dict[str, Any] | None = None, *, config: bool) -> dict[str, Any]:
        """A package with its model and alarms and, if asked for, the configuration in which it stands alone."""
        package = register(self.deployed, self.fleet, behaviour=behaviour)
        sagemaker = self.deployed.client("sagemaker")
        described = sagemaker.describe_model_package(ModelPackageName=package)
        container = described["InferenceSpecification"]["Containers"][0]
        evaluation = described["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].split("/", 3)[3]
        version = version_of(package)
        name = f"{self.endpoint}-v{version}-{uuid.uuid4().hex[:8]}"
        role = self.deployed.client("iam").list_roles()["Roles"]
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=next(each["Arn"] for each in role if "EndpointRole" in each["RoleName"]),
            PrimaryContainer={"Image": container["Image"], "ModelDataUrl": container["ModelDataUrl"]},
            Tags=self.tags(),
        )
        served = {
            "version": version,
            "variant": f"v{version}",
            "package_arn": package,
            "model": name,
            "config": name,
            "artifact_sha256": described["CustomerMetadataProperties"]["artifact_sha256"],
            "dataset_version": described["CustomerMetadataProperties"]["dataset_version"],
            "probes": evaluation.replace("report.json", "probes.json"),
            "backup": "",
            "since": "",
        }
        if config:
            sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[self.variant(served, 1)])
        for what in WHAT:
            self.deployed.client("cloudwatch").put_metric_alarm(
                AlarmName=f"{self.endpoint}-v{version}-{what}",
                AlarmDescription=f"{what} of a test",
                AlarmActions=[self.deployed.outputs["AlertsTopicArn"]],
                OKActions=[self.deployed.outputs["AlertsTopicArn"]],
                Namespace="AWS/SageMaker",
                MetricName="ModelLatency",
                Dimensions=[
                    {"Name": "EndpointName", "Value": self.endpoint},
                    {"Name": "VariantName", "Value": f"v{version}"},
                ],
                Statistic="Average",
                Period=60,
                EvaluationPeriods=1,
                Threshold=200_000,
                ComparisonOperator="GreaterThanThreshold",
                TreatMissingData="notBreaching",
            )
        return served

    def watch(self) -> None:
        """The endpoint's own alarm, as a promotion puts it."""
        self.deployed.client("cloudwatch").put_metric_alarm(
            AlarmName=self.drift_alarm,
            AlarmDescription="drift of a test",
            Namespace="Onwing",
            MetricName="DataDrift",
            Dimensions=[{"Name": "Endpoint", "Value": self.endpoint}],
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="ignore",
        )

    def variant(self, served: dict[str, Any], weight: float) -> dict[str, Any]:
        """A production variant."""
        return {
            "VariantName": served["variant"],
            "ModelName": served["model"],
            "InitialInstanceCount": 1,
            "InstanceType": "ml.c7i.large",
            "InitialVariantWeight": weight,
        }

    def update(self, config: str) -> None:
        """Serve another configuration."""
        self.deployed.client("sagemaker").update_endpoint(EndpointName=self.endpoint, EndpointConfigName=config)
        assert self.settled("InService")["EndpointConfigName"] == config

    def shift(self, share: int) -> None:
        """Give the challenger a share of the traffic, in per cent."""
        self.deployed.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=self.endpoint,
            DesiredWeightsAndCapacities=[
                {"VariantName": self.champion["variant"], "DesiredWeight": 100 - share},
                {"VariantName": self.challenger["variant"], "DesiredWeight": share},
            ],
        )
        self.settled("InService")

    def under_way(self, share: int, config: str, phase: str, mode: str = "canary") -> dict[str, Any]:
        """What a deployment of the challenger, which nobody runs any more, has written."""
        return {
            "execution": execution_arn(self.deployed, self.challenger["package_arn"]),
            "version": self.challenger["version"],
            "mode": mode,
            "phase": phase,
            "share": share,
            "challenger": self.challenger,
            "fallback": None if mode == "first" else self.champion,
            "config": config,
            "started_at": now(),
            "approved_at": now(),
            "request": 2,
        }

    def record(self, **documents: dict[str, Any]) -> None:
        """Write DEPLOYMENT."""
        item = {name: {"S": json.dumps(document)} for name, document in documents.items()}
        self.put("DEPLOYMENT", {**item, "monitored": {"BOOL": True}, "updated_at": {"S": now()}})

    def lock(self, owner: str | None) -> None:
        """Write LOCK, or remove it."""
        if owner is None:
            self.deployed.client("dynamodb").delete_item(
                TableName=self.deployed.outputs["TableName"],
                Key={"pk": {"S": f"FLEET#{self.fleet}"}, "sk": {"S": "LOCK"}},
            )
        else:
            self.put("LOCK", {"owner": {"S": owner}, "since": {"S": now()}})

    def put(self, sort_key: str, item: dict[str, Any]) -> None:
        """Write one of the fleet's items."""
        keys = {"pk": {"S": f"FLEET#{self.fleet}"}, "sk": {"S": sort_key}}
        self.deployed.client("dynamodb").put_item(TableName=self.deployed.outputs["TableName"], Item={**keys, **item})

    def settled(self, status: str) -> dict[str, Any]:
        """Wait until the endpoint is in a status; its description."""

        def probe() -> dict[str, Any] | None:
            described = self.deployed.client("sagemaker").describe_endpoint(EndpointName=self.endpoint)
            return dict(described) if described["EndpointStatus"] == status else None

        return until(f"{self.endpoint} is {status}", probe)

    def verify(self) -> str:
        """What the assessment says of the champion: in order, and alone?"""
        request = {"phase": "verify", "fleet": self.fleet, "endpoint": self.endpoint, "challenger": self.champion}
        answer = self.deployed.client("lambda").invoke(
            FunctionName=self.deployed.outputs["AssessFunctionName"], Payload=json.dumps(request)
        )
        return str(json.loads(answer["Payload"].read())["verdict"])

    def exists(self) -> bool:
        """Whether there is an endpoint."""
        found = self.deployed.client("sagemaker").list_endpoints(NameContains=self.endpoint)["Endpoints"]
        return self.endpoint in [each["EndpointName"] for each in found]

    def alarms_of(self, variant: str) -> list[str]:
        """The names of a variant's alarms."""
        prefix = f"{self.endpoint}-{variant}-"
        found = self.deployed.client("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
        return sorted(each["AlarmName"] for each in found)

    def predictions(self) -> list[Any]:
        """The endpoint's answers for a few engines."""
        body = "\n".join(rows(unit, 40 + unit % 60) for unit in UNITS).encode()
        answer = self.deployed.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=self.endpoint, ContentType="text/csv", Body=body
        )
        return list(json.loads(answer["Body"].read())["predictions"])

    def tags(self) -> list[dict[str, str]]:
        """As everything made outside the stack has them."""
        return [{"Key": "onwing:project", "Value": "onwing"}, {"Key": "onwing:fleet", "Value": self.fleet}]
