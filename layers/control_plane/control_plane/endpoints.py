"""Whether an endpoint is as it should be: in service, under the configuration asked for, with its variants up."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from control_plane import clients
from control_plane.verdict import Reason

# SystemUpdating is AWS's own maintenance: the endpoint serves meanwhile.
SERVING = ("InService", "SystemUpdating")


def examine(endpoint: str, config: str, variants: list[str], *, all_weight_on: str | None = None) -> list[Reason]:
    """What is wrong with the endpoint.

    An update that failed leaves it InService under its old configuration, so the configuration's name decides. A shadow
    variant counts as a variant. With `all_weight_on`, every request has to go to that variant.
    """
    try:
        described: Any = clients.sagemaker().describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return [_reason(f"endpoint {endpoint} does not exist", "missing", "InService")]
    status = described["EndpointStatus"]
    if status not in SERVING:
        cause = described.get("FailureReason")
        message = f"endpoint {endpoint} is {status}" + (f": {cause}" if cause else ", not InService")
        return [_reason(message, status, "InService")]
    if (found := described["EndpointConfigName"]) != config:
        message = (
            f"endpoint {endpoint} serves configuration {found}, not {config}: the update was undone, or another made"
        )
        return [_reason(message, found, config)]
    production = {each["VariantName"]: each for each in described.get("ProductionVariants", [])}
    shadow = {each["VariantName"]: each for each in described.get("ShadowProductionVariants", [])}
    reasons = []
    for variant in variants:
        its = production.get(variant) or shadow.get(variant)
        if its is None:
            names = ", ".join([*production, *shadow]) or "none"
            reasons.append(_reason(f"endpoint {endpoint} has no variant {variant} (it has: {names})", names, variant))
        elif (instances := its.get("CurrentInstanceCount", 1)) < 1:  # a serverless variant has no such count
            reasons.append(_reason(f"variant {variant} of {endpoint} has no instance that is up", instances, 1))
    if all_weight_on in production:
        weights = {name: float(each.get("CurrentWeight", 0)) for name, each in production.items()}
        others = {name: weight for name, weight in weights.items() if name != all_weight_on and weight > 0}
        if others or weights[all_weight_on] <= 0:
            split = ", ".join(f"{name}: {weight:g}" for name, weight in weights.items())
            reasons.append(
                _reason(f"not all requests to {endpoint} go to {all_weight_on} (weights: {split})", split, None)
            )
    return reasons


def _reason(message: str, value: str | float, limit: str | float | None) -> Reason:
    return Reason(check="endpoint", message=message, value=value, limit=limit)
