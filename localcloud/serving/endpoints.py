"""Endpoints: model servers behind a name, changed without losing a request, back to what they were when that fails.

docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html (statuses),
docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html (updates).
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from localcloud.cloudwatch import metrics
from localcloud.containers.container_contract import ContractError
from localcloud.errors import ApiError, ValidationException
from localcloud.jobs.platform import Platform, limited
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.serving import endpoint_configs, plans
from localcloud.serving.data_capture import DataCapture
from localcloud.serving.endpoint_descriptions import describe, events
from localcloud.serving.instance_metrics import InstanceMetrics
from localcloud.serving.model_servers import STOP_GRACE, Fleet, Serving
from localcloud.serving.plans import Plan, Variant
from localcloud.serving.router import Route, Router
from localcloud.serving.routes import route_of
from localcloud.serving.traffic_shift import RolledBack, Shift, check_deployment
from localcloud.store import Record, Scope, now

logger = logging.getLogger("localcloud.serving")

KIND = "endpoint"
LOG_GROUP = "/aws/sagemaker/Endpoints"
# How long a change of weights shows as Updating; the traffic itself is shifted at once. Minutes on AWS.
UPDATING_SECONDS = 0.25
# A request takes 60 s at most, so that this is always enough for those in flight.
DRAIN_SECONDS = 65.0
# How long a stop of localcloud waits for the answers that are to be captured.
LAST_DRAIN_SECONDS = 1.0
RESTARTED = "localcloud was stopped while the endpoint was being created; create it again."


class Unhealthy(Exception):
    """A variant could not be served; the text is the FailureReason."""


@dataclass
class Live:
    """What runs for one endpoint."""

    fleets: dict[str, Fleet] = field(default_factory=dict)
    capture: DataCapture | None = None


class Endpoints:
    """CreateEndpoint and its family."""

    operations = (
        "CreateEndpoint",
        "DescribeEndpoint",
        "ListEndpoints",
        "DeleteEndpoint",
        "UpdateEndpoint",
        "UpdateEndpointWeightsAndCapacities",
    )
    partial: ClassVar[dict[str, str]] = {
        "UpdateEndpoint": "RollingUpdatePolicy moves the traffic in batches, but starts all new servers before the "
        "first; RollbackMaximumBatchSize has no effect.",
        "CreateEndpoint": "a server that ends three times before it is healthy is given up at once, not after the "
        "health check's time. A variant has at most as many processes as `localcloud start --instances` says (4), "
        "however many instances it asks for.",
    }

    def __init__(self, platform: Platform, tags: Tags, router: Router) -> None:
        self._platform = platform
        self._store = platform.store
        self._tags = tags
        self._router = router
        self._most = platform.instances
        self._live: dict[tuple[Scope, str], Live] = {}
        self._starting: set[Fleet] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._instances = InstanceMetrics(self.fleets, platform.directory)

    # --- operations ---

    def create_endpoint(self, scope: Scope, request: Record) -> Record:
        """Start serving a configuration."""
        name = request["EndpointName"]
        arn = scope.arn(KIND, name)
        with self._store.lock:
            table = self._store.table(scope, KIND)
            if name in table:
                raise ValidationException(f'Cannot create already existing endpoint "{arn}".')
            config = endpoint_configs.find(self._platform, scope, request["EndpointConfigName"])
            plan = plans.make(self._platform, scope, config)
            check_deployment(request.get("DeploymentConfig"), plan)
            self._check_quotas(scope, plan)
            record: Record = {
                "Arn": arn,
                "EndpointName": name,
                "EndpointArn": arn,
                "EndpointConfigName": config["EndpointConfigName"],
                "EndpointStatus": "Creating",
                "CreationTime": now(),
                "LastModifiedTime": now(),
                "_plan": plan,
                "_pending": None,
            }
            if "DeploymentConfig" in request:
                record["LastDeploymentConfig"] = request["DeploymentConfig"]
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = record
            self._emit(scope, record)
        self._in_background(self._create, scope, record)
        return {"EndpointArn": arn}

    def describe_endpoint(self, scope: Scope, request: Record) -> Record:
        """Everything about one endpoint."""
        with self._store.lock:
            return self._described(scope, self._find(scope, request["EndpointName"]))

    def list_endpoints(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            found = listing.select(
                self._store.table(scope, KIND).values(), request, name="EndpointName", status="EndpointStatus"
            )
            sort = {"Name": "EndpointName", "CreationTime": "CreationTime", "Status": "EndpointStatus"}
            chosen, token = listing.page(found, request, sort=sort)
            shape = service_model("sagemaker").shape_for("EndpointSummary")
            return {"Endpoints": [copy.deepcopy(project(shape, each)) for each in chosen], "NextToken": token}  # type: ignore[arg-type]

    def delete_endpoint(self, scope: Scope, request: Record) -> Record:
        """Stop serving; requests in flight are answered first."""
        with self._store.lock:
            record = self._find(scope, request["EndpointName"])
            if record["EndpointStatus"] not in ("InService", "Failed", "OutOfService"):
                raise self._in_progress(record)
            with self._store.changing(record):
                record["EndpointStatus"] = "Deleting"
            self._router.remove(scope, record["EndpointName"])
            self._emit(scope, record)
        self._in_background(self._delete, scope, record)
        return {}

    def update_endpoint(self, scope: Scope, request: Record) -> Record:
        """Serve another configuration: its servers first, then the traffic, then the old servers' end."""
        with self._store.lock:
            record = self._in_service(scope, request["EndpointName"])
            config = endpoint_configs.find(self._platform, scope, request["EndpointConfigName"])
            plan = plans.make(self._platform, scope, config)
            if request.get("RetainAllVariantProperties"):
                excluded = frozenset(
                    each["VariantPropertyType"] for each in request.get("ExcludeRetainedVariantProperties", [])
                )
                plans.retain(plan, record["_plan"], excluded)
            elif request.get("ExcludeRetainedVariantProperties"):
                raise ValidationException(
                    "ExcludeRetainedVariantProperties can be specified only when RetainAllVariantProperties is true."
                )
            deployment = request.get("DeploymentConfig")
            if request.get("RetainDeploymentConfig"):
                if deployment:
                    raise ValidationException(
                        "DeploymentConfig and RetainDeploymentConfig cannot be specified together."
                    )
                deployment = record.get("LastDeploymentConfig")
            check_deployment(deployment, plan)
            self._check_quotas(scope, plan, record)
            with self._store.changing(record):
                record["EndpointStatus"] = "Updating"
                record.pop("FailureReason", None)
                record["_pending"] = {"plan": plan, "start": now(), "status": "Creating", "deployment": deployment}
            self._emit(scope, record)
        self._in_background(self._update, scope, record)
        return {"EndpointArn": record["EndpointArn"]}

    def update_endpoint_weights_and_capacities(self, scope: Scope, request: Record) -> Record:
        """Shift traffic between variants at once, and change their numbers of instances."""
        with self._store.lock:
            record = self._in_service(scope, request["EndpointName"])
            known = {variant["name"] for variant in record["_plan"]["variants"]}
            wanted = {each["VariantName"]: each for each in request["DesiredWeightsAndCapacities"]}
            if unknown := sorted(set(wanted) - known):
                raise ValidationException(
                    f"The variant name(s) {', '.join(repr(each) for each in unknown)} do not exist in endpoint "
                    f'"{record["EndpointArn"]}".'
                )
            if len(wanted) < len(request["DesiredWeightsAndCapacities"]):
                raise ValidationException("A variant name can be given only once in DesiredWeightsAndCapacities.")
            before, plan = record["_plan"], copy.deepcopy(record["_plan"])
            for variant in plan["variants"]:
                change = wanted.get(variant["name"], {})
                variant["weight"] = float(change.get("DesiredWeight", variant["weight"]))
                variant["instances"] = int(change.get("DesiredInstanceCount", variant["instances"]))
            self._check_quotas(scope, plan, record)
            with self._store.changing(record):
                record["EndpointStatus"] = "Updating"
                record.pop("FailureReason", None)
                record["_plan"] = plan
            grown = _instances(record["_plan"]) != _instances(before)
            if not grown:
                self._set_route(scope, record)
            self._emit(scope, record)
        self._in_background(self._rescale, scope, record, before, grown)
        return {"EndpointArn": record["EndpointArn"]}

    # --- the server's life ---

    def restored(self) -> None:
        """After a restart with kept state: serve again what was in service."""
        again: list[tuple[Scope, Record]] = []
        with self._store.lock:
            found = [
                (scope, record)
                for scope, kind, table in self._store.tables()
                if kind == KIND
                for record in list(table.values())
            ]
            for scope, record in found:
                status = record["EndpointStatus"]
                if status == "Deleting":
                    del self._store.table(scope, KIND)[record["EndpointName"]]
                    self._tags.drop(scope, record["Arn"])
                elif status == "Creating":
                    self._settle(scope, record, "Failed", RESTARTED)
                elif status != "Failed":
                    with self._store.changing(record):
                        record["EndpointStatus"] = "SystemUpdating"
                        if record["_pending"]:
                            record["FailureReason"] = (
                                "localcloud was stopped while the endpoint was being updated; it serves its previous "
                                "configuration."
                            )
                        record["_pending"] = None
                    self._router.set(scope, record["EndpointName"], Route(()))  # known, not there yet
                    again.append((scope, record))
        for scope, record in again:
            self._in_background(self._create, scope, record)

    def forget_all(self) -> None:
        """End every server and want nothing of the endpoints any more (a reset)."""
        with self._lock:
            live, self._live = dict(self._live), {}
            starting = list(self._starting)
        for (scope, name), each in live.items():
            self._router.remove(scope, name)
            if each.capture is not None:
                each.capture.close(deliver=False)
        _stop([*starting, *(fleet for each in live.values() for fleet in each.fleets.values())], 0.5)

    def deliver(self) -> None:
        """Take no more requests, and write down what was captured; the state is saved after it."""
        with self._lock:
            live = dict(self._live)
        for scope, name in live:
            self._router.remove(scope, name)
        deadline = time.monotonic() + LAST_DRAIN_SECONDS
        for each in live.values():
            if each.capture is not None:
                for fleet in each.fleets.values():
                    fleet.drain(max(0.0, deadline - time.monotonic()))
                each.capture.close()

    def close(self) -> None:
        """End every server."""
        self._closing.set()
        self._instances.close()
        self.deliver()
        with self._lock:
            live = dict(self._live)
            starting = list(self._starting)
            threads = list(self._threads)
        _stop([*starting, *(fleet for each in live.values() for fleet in each.fleets.values())], 1.0)
        deadline = time.monotonic() + 5
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def fleets(self) -> list[tuple[Scope, str, str, Fleet]]:
        """Everything that runs: account, endpoint, variant, instances."""
        with self._lock:
            return [
                (scope, name, variant, fleet)
                for (scope, name), live in self._live.items()
                for variant, fleet in live.fleets.items()
            ]

    # --- inside: in the background ---

    def _create(self, scope: Scope, record: Record) -> None:
        try:
            fleets = self._launch(scope, record["EndpointName"], record["_plan"])
        except Unhealthy as error:
            self._router.remove(scope, record["EndpointName"])
            self._settle(scope, record, "Failed", str(error))
            return
        if not self._goes_live(scope, record, fleets, record["_plan"]):
            return
        self._set_route(scope, record)
        self._settle(scope, record, "InService")

    def _update(self, scope: Scope, record: Record) -> None:
        name, pending = record["EndpointName"], record["_pending"]
        plan: Plan = pending["plan"]
        shift = Shift(pending["deployment"])
        self._emit(scope, record)
        try:
            fleets = self._launch(scope, name, plan)
        except Unhealthy as error:
            self._roll_back(scope, record, str(error))
            return
        with self._lock:
            live = self._live.get((scope, name))
        if live is None or self._gone(scope, record):
            _stop(list(fleets.values()), 0.5)
            return
        old_plan, old_fleets, old_capture = record["_plan"], live.fleets, live.capture
        capture = self._capture(scope, name, plan)

        def send(share: float) -> None:
            self._router.set(scope, name, route_of(plan, fleets, capture, share, old_plan, old_fleets))

        def stage(status: str) -> None:
            with self._store.lock:
                with self._store.changing(record):
                    pending["status"] = status
                    pending["changed"] = now()
                self._emit(scope, record)

        try:
            shift.run(
                send,
                stage,
                lambda: self._gone(scope, record),
                lambda names: self._platform.in_alarm(scope, names),
                sum(_instances(plan)),
            )
        except RolledBack as error:
            with self._store.changing(record):
                record["EndpointStatus"] = "RollingBack"
            self._emit(scope, record)
            self._router.set(scope, name, route_of(old_plan, old_fleets, old_capture))
            _retire(list(fleets.values()))
            if capture is not None:
                capture.close()
            self._roll_back(scope, record, str(error))
            return
        if not self._goes_live(scope, record, fleets, plan, capture):
            return
        with self._store.changing(record):
            record["_plan"] = plan
            record["_pending"] = None
            record["EndpointConfigName"] = plan["config"]
            if pending["deployment"]:
                record["LastDeploymentConfig"] = pending["deployment"]
            else:
                record.pop("LastDeploymentConfig", None)
        self._set_route(scope, record)
        _retire(list(old_fleets.values()))
        if old_capture is not None:
            old_capture.close()
        self._settle(scope, record, "InService")

    def _roll_back(self, scope: Scope, record: Record, reason: str) -> None:
        """Back to the old configuration, which has been served all the time."""
        if self._gone(scope, record):
            return
        if record["EndpointStatus"] != "RollingBack":
            with self._store.changing(record):
                record["EndpointStatus"] = "RollingBack"
            self._emit(scope, record)
        with self._store.changing(record):
            record["_pending"] = None
        self._settle(scope, record, "InService", reason)

    def _rescale(self, scope: Scope, record: Record, before: Plan, grown: bool) -> None:
        name = record["EndpointName"]
        with self._lock:
            live = self._live.get((scope, name))
        if live is None:
            return
        if grown:
            for variant in record["_plan"]["variants"]:
                deadline = time.monotonic() + variant["startup"]
                if live.fleets[variant["name"]].resize(self._processes(variant), deadline):
                    with self._store.changing(record):
                        record["EndpointStatus"] = "RollingBack"
                        record["_plan"] = before
                    self._emit(scope, record)
                    for each in before["variants"]:
                        live.fleets[each["name"]].resize(self._processes(each), time.monotonic() + each["startup"])
                    self._set_route(scope, record)
                    self._settle(scope, record, "InService", _not_healthy(variant["name"]))
                    return
            self._set_route(scope, record)
        else:
            self._closing.wait(UPDATING_SECONDS)
        self._settle(scope, record, "InService")

    def _delete(self, scope: Scope, record: Record) -> None:
        name = record["EndpointName"]
        with self._lock:
            live = self._live.pop((scope, name), None)
        if live is not None:
            _retire(list(live.fleets.values()))
            if live.capture is not None:
                live.capture.close()
        with self._store.lock:
            if self._store.table(scope, KIND).get(name) is record:
                del self._store.table(scope, KIND)[name]
                self._tags.drop(scope, record["Arn"])

    def _launch(self, scope: Scope, name: str, plan: Plan) -> dict[str, Fleet]:
        """Start a plan's servers and wait until all of them are healthy.

        Raises:
            Unhealthy: one is not; none is left running.
        """
        fleets: dict[str, Fleet] = {}
        try:
            for variant in plans.all_variants(plan):
                fleet = self._fleet(scope, name, plan, variant)
                fleets[variant["name"]] = fleet
                with self._lock:
                    self._starting.add(fleet)
                fleet.start(self._processes(variant))
            begin = time.monotonic()
            for variant in plans.all_variants(plan):
                if failure := fleets[variant["name"]].wait_healthy(begin + variant["startup"]):
                    logger.warning("endpoint %s, variant %s: %s", name, variant["name"], failure)
                    raise Unhealthy(_not_healthy(variant["name"]))
            if self._closing.is_set():
                raise Unhealthy(RESTARTED)
        except (ContractError, ApiError) as error:
            _stop(list(fleets.values()), 0.5)
            raise Unhealthy(getattr(error, "message", str(error))) from error
        except Exception:
            _stop(list(fleets.values()), 0.5)
            raise
        finally:
            with self._lock:
                self._starting.difference_update(fleets.values())
        return fleets

    def _fleet(self, scope: Scope, name: str, plan: Plan, variant: Variant) -> Fleet:
        def died(code: int) -> None:
            logger.warning("endpoint %s, variant %s: a server ended with exit code %s", name, variant["name"], code)
            dimensions = {"EndpointName": name, "VariantName": variant["name"]}
            metrics.put(scope, "localcloud/Endpoints", "ModelServerRestarts", 1, "Count", dimensions)

        invocations, utilization = plans.metric_seconds(plan)
        serving = Serving(
            name=f"{name}-{variant['name']}",
            served=variant["served"],
            log_group=f"{LOG_GROUP}/{name}",
            log_prefix=variant["name"],
            startup_seconds=variant["startup"],
            invocations_every=invocations,
            utilization_every=utilization,
        )
        return Fleet(self._platform, scope, serving, died)

    def _goes_live(
        self, scope: Scope, record: Record, fleets: dict[str, Fleet], plan: Plan, capture: DataCapture | None = None
    ) -> bool:
        """Make these servers the endpoint's; False, and they are ended, when nobody wants them any more."""
        with self._lock:
            wanted = not self._gone(scope, record)
            if wanted:
                name = record["EndpointName"]
                self._live[scope, name] = Live(fleets, capture or self._capture(scope, name, plan))
        if wanted:
            self._instances.start()
        else:
            self._router.forget(scope, record["EndpointName"], fleets.values())
            _stop(list(fleets.values()), 0.5)
            if capture is not None:
                capture.close(deliver=False)
        return wanted

    # --- inside: what there is ---

    def _processes(self, variant: Variant) -> int:
        return min(int(variant["instances"]), self._most)

    def _capture(self, scope: Scope, name: str, plan: Plan) -> DataCapture | None:
        config = plan["capture"]
        if not config or not config.get("EnableCapture", True):
            return None
        roles = {variant["name"]: variant["served"]["RoleArn"] for variant in plans.all_variants(plan)}
        return DataCapture(self._platform, scope, name, config, roles)

    def _check_quotas(self, scope: Scope, plan: Plan, instead_of: Record | None = None) -> None:
        """Refuse a plan whose instances would go over a quota. The caller holds the store's lock."""
        used: Counter[str] = Counter()
        for record in self._store.table(scope, KIND).values():
            if record is not instead_of and record["EndpointStatus"] not in ("Failed", "Deleting"):
                used += _by_type(record["_plan"])
        wanted, quotas = _by_type(plan), self._platform.quotas
        for kind, count in wanted.items():
            quotas.check(f"{kind} for endpoint usage", used[kind], count)
        quotas.check("Number of instances across active endpoints", used.total(), wanted.total())

    def _set_route(self, scope: Scope, record: Record) -> None:
        with self._lock:
            live = self._live.get((scope, record["EndpointName"]))
        if live is not None:
            self._router.set(scope, record["EndpointName"], route_of(record["_plan"], live.fleets, live.capture))

    def _find(self, scope: Scope, name: str) -> Record:
        record = self._store.table(scope, KIND).get(name)
        if record is None:
            raise ValidationException(f'Could not find endpoint "{scope.arn(KIND, name)}".')
        return record

    def _in_service(self, scope: Scope, name: str) -> Record:
        record = self._find(scope, name)
        status = record["EndpointStatus"]
        if status == "Failed":
            raise ValidationException(
                f'Cannot update endpoint "{record["EndpointArn"]}" in status Failed: it can only be deleted.'
            )
        if status != "InService":
            raise self._in_progress(record)
        return record

    def _in_progress(self, record: Record) -> ValidationException:
        return ValidationException(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')

    def _gone(self, scope: Scope, record: Record) -> bool:
        return self._store.table(scope, KIND).get(record["EndpointName"]) is not record or self._closing.is_set()

    def _settle(self, scope: Scope, record: Record, status: str, reason: str | None = None) -> None:
        """Put an endpoint into a status that lasts and tell EventBridge."""
        with self._store.lock:
            if self._store.table(scope, KIND).get(record["EndpointName"]) is not record:
                return  # forgotten by a reset
            with self._store.changing(record):
                record["EndpointStatus"] = status
                if reason:
                    record["FailureReason"] = limited(reason)
            self._emit(scope, record)  # now: who has seen the status may change it at once

    def _described(self, scope: Scope, record: Record) -> Record:
        with self._lock:
            live = self._live.get((scope, record["EndpointName"]))
        return describe(record, live.fleets if live is not None else None, self._most)

    def _emit(self, scope: Scope, record: Record) -> None:
        with self._store.lock:
            described, tags = self._described(scope, record), self._tags.of(scope, record["Arn"])
            found = list(events(record, described, tags, self._most))
        for detail_type, detail in found:
            self._platform.events.emit(scope, detail_type, record["Arn"], detail)

    def _in_background(self, work: Callable[..., None], scope: Scope, record: Record, *more: Any) -> None:
        """Run a change in a thread of its own; whatever goes wrong, the endpoint settles."""

        def guarded() -> None:
            try:
                work(scope, record, *more)
            except Exception as error:
                logger.exception("endpoint %s: an error of localcloud itself", record["EndpointName"])
                status = "Failed" if record["EndpointStatus"] in ("Creating", "SystemUpdating") else "InService"
                with self._store.changing(record):
                    record["_pending"] = None
                self._settle(scope, record, status, f"InternalServerError: {type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=guarded, name=f"endpoint-{record['EndpointName']}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()


def _by_type(plan: Plan) -> Counter[str]:
    """How many instances of each type a plan has."""
    found: Counter[str] = Counter()
    for variant in plans.all_variants(plan):
        if variant["type"]:
            found[variant["type"]] += variant["instances"]
    return found


def _instances(plan: Plan) -> list[int]:
    return [variant["instances"] for variant in plan["variants"]]


def _not_healthy(variant: str) -> str:
    return (
        f"The primary container for production variant {variant} did not pass the ping health check. Please check "
        "CloudWatch logs for this endpoint."
    )


def _retire(fleets: list[Fleet]) -> None:
    """End fleets to which no new requests go, once those in flight are answered."""
    for fleet in fleets:
        fleet.drain(DRAIN_SECONDS)
    _stop(fleets, STOP_GRACE)


def _stop(fleets: Sequence[Fleet], grace: float) -> None:
    threads = [threading.Thread(target=fleet.stop, args=(grace,), daemon=True) for fleet in fleets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(grace + 10)
