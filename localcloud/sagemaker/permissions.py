"""What each operation of SageMaker's API needs: the resource that it acts on, its condition keys, the roles it passes.

docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemakerai.html. An operation's name says what it
acts on (CreateTrainingJob: training-job/TrainingJobName); what does not follow from the name stands in a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from localcloud.iam.identity import Identity, NotAssumable, tag_context
from localcloud.store import Scope

SERVICE = "sagemaker.amazonaws.com"

_OPERATION = re.compile(
    r"^(?:Create|Describe|Update|Delete|Stop|Start|Add|Remove|Get|Put|Invoke)(?P<noun>[A-Za-z]+?)"
    r"(?:Policy|WeightsAndCapacities|Async|WithResponseStream)?$"
)
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Where an operation's resource is not <kind>/<its Name>: the members that name it, and its kind.
_KINDS = {"Experiment": "experiment", "Trial": "experiment-trial", "TrialComponent": "experiment-trial-component"}
_MEMBERS = {
    "ListTrainingJobsForHyperParameterTuningJob": ("HyperParameterTuningJob", "HyperParameterTuningJobName"),
    "AssociateTrialComponent": ("TrialComponent", "TrialComponentName"),
    "DisassociateTrialComponent": ("TrialComponent", "TrialComponentName"),
    "BatchPutMetrics": ("TrialComponent", "TrialComponentName"),
}
_ROLE_MEMBERS = frozenset({"RoleArn", "ExecutionRoleArn"})
# Condition keys whose values stand in the request: the key, and the members that hold them at any depth.
_CONDITIONS: dict[str, tuple[str, ...]] = {
    "sagemaker:InstanceTypes": ("InstanceType",),
    "sagemaker:VolumeKmsKey": ("VolumeKmsKeyId",),
    "sagemaker:VpcSecurityGroupIds": ("SecurityGroupIds",),
    "sagemaker:VpcSubnets": ("Subnets",),
}
_SINGLE_CONDITIONS: dict[str, tuple[str, ...]] = {
    "sagemaker:OutputKmsKey": ("KmsKeyId",),
    "sagemaker:MaxRuntimeInSeconds": ("MaxRuntimeInSeconds",),
    "sagemaker:NetworkIsolation": ("EnableNetworkIsolation",),
    "sagemaker:InterContainerTrafficEncryption": ("EnableInterContainerTrafficEncryption",),
    "sagemaker:ModelApprovalStatus": ("ModelApprovalStatus",),
}


class Need(NamedTuple):
    """One thing that a caller must be allowed."""

    action: str
    resource: str


def needs(scope: Scope, operation: str, request: Mapping[str, Any]) -> list[Need]:
    """What a caller of an operation must be allowed, the operation itself first."""
    resource = resource_of(scope, operation, request)
    found = [Need(f"sagemaker:{'InvokeEndpoint' if operation.startswith('InvokeEndpoint') else operation}", resource)]
    if operation in ("CreateEndpoint", "UpdateEndpoint") and isinstance(request.get("EndpointConfigName"), str):
        found.append(Need(found[0].action, scope.arn("endpoint-config", request["EndpointConfigName"])))
    if operation != "AddTags" and request.get("Tags"):
        found.append(Need("sagemaker:AddTags", resource))
    return found


def resource_of(scope: Scope, operation: str, request: Mapping[str, Any]) -> str:
    """The ARN of what an operation acts on; ``*`` where the action knows no resources."""
    if isinstance(arn := request.get("ResourceArn"), str):
        return arn  # AddTags, ListTags, DeleteTags
    if operation in _MEMBERS:
        noun, member = _MEMBERS[operation]
    elif (match := _OPERATION.match(operation)) is not None:
        noun, member = match["noun"], f"{match['noun']}Name"
    else:
        return "*"
    if operation == "CreateModelPackage" and isinstance(group := request.get("ModelPackageGroupName"), str):
        return scope.arn("model-package", f"{group.rsplit('/', 1)[-1]}/*")  # its version is not known yet
    if noun.endswith("JobDefinition"):
        member = "JobDefinitionName"  # of all four kinds
    name = request.get(member) or request.get(f"{noun}Arn")
    if not isinstance(name, str):
        return "*"
    kind = _KINDS.get(noun) or _WORD.sub("-", noun).lower()
    return name if name.startswith("arn:") else scope.arn(kind, name)


def conditions(request: Mapping[str, Any], resource_tags: Mapping[str, str]) -> dict[str, Any]:
    """The condition keys of a request."""
    tags = request.get("Tags")
    context = tag_context(tags if isinstance(tags, list) else [], resource_tags)
    if isinstance(keys := request.get("TagKeys"), list):
        context["aws:TagKeys"] = keys  # DeleteTags
    for key, members in _CONDITIONS.items():
        if found := [value for _, value in _walk(request, members)]:
            context[key] = [item for value in found for item in (value if isinstance(value, list) else [value])]
    for key, members in _SINGLE_CONDITIONS.items():
        for _, value in _walk(request, members):
            context[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return context


def authorise(
    identity: Identity,
    scope: Scope,
    access_key: str,
    operation: str,
    request: Any,
    tags_of: Callable[[str], Mapping[str, str]],
) -> None:
    """Let a caller of an operation pass who may perform it and pass its roles.

    Args:
        request: as it came, which may be no request at all.
        tags_of: a resource's tags by its ARN.

    Raises:
        Denied: as SageMaker words it.
    """
    asked = request if isinstance(request, Mapping) else {}
    wanted = needs(scope, operation, asked)
    context = conditions(asked, tags_of(wanted[0].resource))
    for need in wanted:
        identity.authorise(scope, access_key, need.action, need.resource, context)
    for role in passed_roles(asked):
        identity.authorise(scope, access_key, "iam:PassRole", role, {"iam:PassedToService": SERVICE})


def check_roles(identity: Identity, scope: Scope, request: Mapping[str, Any]) -> None:
    """Refuse roles that SageMaker could not assume.

    Raises:
        NotAssumable: the first of them.
    """
    for role in passed_roles(request):
        if not identity.assumable(scope, role, SERVICE):
            raise NotAssumable(role, SERVICE)


def passed_roles(request: Mapping[str, Any]) -> list[str]:
    """The roles that a request hands to SageMaker, each once."""
    return list(dict.fromkeys(value for _, value in _walk(request, _ROLE_MEMBERS) if isinstance(value, str)))


def _walk(value: Any, members: frozenset[str] | tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every member of a name, at any depth."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in members and item is not None:
                yield name, item
            else:
                yield from _walk(item, members)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, members)
