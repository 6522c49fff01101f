"""Whether endpoints, their alarms and what belongs to them are what the control table says they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from control_plane import clients, coverage, endpoint_alarms, endpoints, schedules
from control_plane.findings import Finding, Scope
from control_plane.inventory import Inventory, Record

NAMES_AT_MOST = 10


def check_endpoint(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """A champion whose endpoint is missing, broken or serves something else; an endpoint that nobody knows."""
    record, endpoint = seen.record(fleet), seen.endpoints.get(fleet)
    name = f"{scope.settings.project_name}-{fleet}"
    if record.is_changing or record.under_way is not None:
        return  # a deployment: what it left half-done is a finding of its own
    if endpoint is not None and not scope.is_old(endpoint.modified):
        return
    if record.champion is None:
        if endpoint is not None:
            yield Finding(
                what="endpoint",
                where=name,
                problem=f"it is {endpoint.status}, but the control table does not know what it serves",
                action=f"onwing restore {fleet}, if there is a backup, or: aws sagemaker delete-endpoint "
                f"--endpoint-name {name}",
            )
        return
    champion = record.champion
    for reason in endpoints.examine(name, champion["config"], [champion["variant"]], all_weight_on=champion["variant"]):
        yield Finding(what="endpoint", where=name, problem=reason.message, action=f"onwing restore {fleet}")


def check_alarms(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """Alarms of a serving champion that are gone: made again as they were."""
    record, endpoint = seen.record(fleet), seen.endpoints.get(fleet)
    if record.is_changing or record.champion is None or endpoint is None or endpoint.status not in coverage.SERVING:
        return
    needed = [*endpoint_alarms.of_variant(endpoint.name, record.champion["variant"])]
    if record.monitored:
        needed.append(endpoint_alarms.of_drift(endpoint.name))
    there = {alarm["AlarmName"] for alarm in seen.alarms}
    missing = [name for name in needed if name not in there]
    if not missing:
        return
    finding = Finding(
        what="alarm",
        where=endpoint.name,
        problem=f"alarms are missing: {_names(missing)}",
        action="approve the package again, or another one: a deployment makes them",
    )

    def put() -> str:
        unknown = endpoint_alarms.put_again(scope.settings, fleet, missing, record.champion)
        made = [name for name in missing if name not in unknown]
        if unknown:
            raise LookupError(f"no backup has {_names(unknown)}" + (f"; made again: {_names(made)}" if made else ""))
        return f"made again as they were: {_names(made)}"

    yield scope.settle(finding, put)


def check_coverage(seen: Inventory, measured: coverage.Coverage) -> Iterator[Finding]:
    """What is missing for an endpoint to be watched that no other comparison makes or names."""
    for endpoint in measured.endpoints:
        if endpoint.covered or seen.record(endpoint.fleet).is_changing:
            continue  # a deployment is not done before its last step
        todo = {
            "capture": f"approve a package (onwing models --fleet {endpoint.fleet}): a deployment turns capture on",
            "baseline": f"onwing train --fleet {endpoint.fleet} --again writes one with its package",
            "monitored": f"onwing approve {endpoint.fleet}/N: a deployment turns monitoring on",
        }
        for check in endpoint.checks:
            if not check.passed and check.check in todo:
                yield Finding(
                    what="capture" if check.check == "capture" else "monitoring",
                    where=endpoint.endpoint,
                    problem=check.message,
                    action=check.action or todo[check.check],
                )


def check_schedules(scope: Scope, seen: Inventory) -> Iterator[Finding]:
    """Schedules that are missing, or on or off against the stack's parameters."""
    expected = schedules.expected(
        scope.settings.project_name,
        monitoring_state=scope.reconciling.monitoring_schedule,
        others=scope.reconciling.schedules,
    )
    for name, wanted in expected.items():
        state = schedules.read(name).state
        if state == "MISSING":
            problem, action = "the schedule is missing", "onwing deploy makes it again"
        elif state != wanted:
            problem = f"the schedule is {state}, but the stack's parameter says {wanted}"
            action = "onwing deploy, with the parameter as you want it to be"
        else:
            continue
        yield Finding(what="schedule", where=name, problem=problem, action=action)


def check_orphans(scope: Scope, seen: Inventory) -> Iterator[Finding]:
    """Models, configurations and alarms of variants that nothing serves and no deployment works on."""
    project = re.escape(scope.settings.project_name)
    made = re.compile(rf"{project}-([A-Za-z0-9]{{1,10}})-v\d+-[0-9a-f]{{8}}(-canary|-shadow)?")
    alarm = re.compile(rf"{project}-([A-Za-z0-9]{{1,10}})-(v\d+)-({'|'.join(endpoint_alarms.OF_VARIANT)})")
    drift = re.compile(rf"{project}-([A-Za-z0-9]{{1,10}})-data-drift")
    stray: dict[str, dict[str, list[str]]] = {}

    def note(fleet: str, kind: str, name: str) -> None:
        stray.setdefault(fleet, {}).setdefault(kind, []).append(name)

    for kind, listed in (("model", seen.models), ("endpoint configuration", seen.configs)):
        for name, created in listed.items():
            if (match := made.fullmatch(name)) and scope.is_old(created):
                note(match[1], kind, name)
    for each in seen.alarms:
        match = alarm.fullmatch(each["AlarmName"]) or drift.fullmatch(each["AlarmName"])
        if match and scope.is_old(each.get("AlarmConfigurationUpdatedTimestamp")):
            note(match[1], "alarm", each["AlarmName"])
    for fleet, kinds in sorted(stray.items()):
        record = seen.record(fleet)
        if record.is_changing:
            continue
        used = _used_by(scope.settings.project_name, seen, fleet, record)
        if used is None:
            continue
        for kind, names in kinds.items():
            if unused := sorted(set(names) - used):
                yield Finding(
                    what="orphans",
                    where=f"{scope.settings.project_name}-{fleet}",
                    problem=f"{len(unused)} {kind}{'s' if len(unused) > 1 else ''} that nothing uses: {_names(unused)}",
                    action=f"delete: {_DELETE[kind]}",
                )


_DELETE = {
    "model": "aws sagemaker delete-model --model-name NAME",
    "endpoint configuration": "aws sagemaker delete-endpoint-config --endpoint-config-name NAME",
    "alarm": "aws cloudwatch delete-alarms --alarm-names NAME",
}


def _used_by(project: str, seen: Inventory, fleet: str, record: Record) -> set[str] | None:
    """The names of models, configurations and alarms that a fleet's endpoint and its deployments use.

    None if nobody can tell: the endpoint serves a configuration that is not the project's, which is a finding already.
    """
    name = f"{project}-{fleet}"
    under_way = record.under_way or {}
    served = [each for each in (record.champion, under_way.get("challenger"), under_way.get("fallback")) if each]
    used = {each[member] for each in served for member in ("model", "config")} | {under_way.get("config", "")}
    variants = {each["variant"] for each in served}
    if fleet in seen.endpoints:
        sagemaker = clients.sagemaker()
        config = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
        if not config.startswith(f"{project}-"):
            return None
        described = sagemaker.describe_endpoint_config(EndpointConfigName=config)
        shown = [*described["ProductionVariants"], *described.get("ShadowProductionVariants", [])]
        used |= {config, endpoint_alarms.of_drift(name), *(each.get("ModelName", "") for each in shown)}
        variants |= {each["VariantName"] for each in shown}
    return used | {alarm for variant in variants for alarm in endpoint_alarms.of_variant(name, variant)}


def _names(names: list[str]) -> str:
    more = len(names) - NAMES_AT_MOST
    return ", ".join(names[:NAMES_AT_MOST]) + (f" and {more} more" if more > 0 else "")
