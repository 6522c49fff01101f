"""Service quotas: how many instances, jobs and groups an account may have at once, and AWS's words when it has them.

AWS gives each account its own instance quotas (many begin at 0, others at 4 or 15), so those are unlimited here until
they are set: ``localcloud start --quota "ml.m5.large for training job usage=2"``. Quotas that AWS documents as equal
for everybody have AWS's figure: https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from localcloud.errors import LocalcloudError, ResourceLimitExceeded

TUNING_JOBS = "Number of parallel (concurrent) hyperparameter tuning jobs"
HYPERPARAMETERS = "Number of hyperparameters that can be searched"
METRICS = "Number of metrics defined per hyperparameter tuning job"
PARALLEL = "Number of parallel training jobs per hyperparameter tuning job"
TRAINING_JOBS = "Number of training jobs per hyperparameter tuning job"
PACKAGE_GROUPS = "Maximum number of SageMaker Model Package Groups allowed per account"
TRIAL_COMPONENTS = (
    "Total number of trial components allowed in a single trial, excluding those automatically created by SageMaker"
)

DEFAULTS: Mapping[str, int] = {
    TUNING_JOBS: 100,
    HYPERPARAMETERS: 30,
    METRICS: 20,
    PARALLEL: 10,
    TRAINING_JOBS: 750,
    TRIAL_COMPONENTS: 50,
}

_USAGE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9-]+ for (spot training|training|processing|transform) job usage")
_ENDPOINT = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9-]+ for endpoint usage")
_TOTALS = frozenset(
    {
        *(f"Number of instances across all {kind} jobs" for kind in ("training", "processing", "transform")),
        "Number of instances across active endpoints",
        PACKAGE_GROUPS,
    }
)


class QuotaUnknown(LocalcloudError, ValueError):
    """A quota that localcloud does not keep, or a value that is no number."""


class Quotas:
    """The quotas of every account.

    Args:
        given: name as AWS spells it → value; they go before AWS's own.

    Raises:
        QuotaUnknown: a name that localcloud does not keep, or a value below 0.
    """

    def __init__(self, given: Mapping[str, int] | None = None) -> None:
        for name, value in (given or {}).items():
            known = name in DEFAULTS or name in _TOTALS or _USAGE.fullmatch(name) or _ENDPOINT.fullmatch(name)
            if not known or value < 0:
                raise QuotaUnknown(
                    f"{name!r}={value} is no quota of localcloud's. Write, with a number of 0 or more: 'ml.m5.large "
                    f"for training job usage' (or spot training, processing, transform job, endpoint), or one of "
                    f"{', '.join(repr(each) for each in sorted({*DEFAULTS, *_TOTALS}))}."
                )
        self._values = {**DEFAULTS, **(given or {})}

    def limit(self, name: str) -> int | None:
        """A quota's value; None for no limit."""
        return self._values.get(name)

    def check(self, name: str, used: int, more: int = 1, unit: str = "Instances") -> None:
        """Refuse what would go over a quota.

        Args:
            name: the quota.
            used: what is in use now.
            more: what is asked for on top.
            unit: what is counted, as the message says it.

        Raises:
            ResourceLimitExceeded: in AWS's words.
        """
        limit = self.limit(name)
        if limit is not None and used + more > limit:
            raise ResourceLimitExceeded(
                f"The account-level service limit '{name}' is {limit} {unit}, with current utilization of {used} "
                f"{unit} and a request delta of {more} {unit}. Please use AWS Service Quotas to request an increase "
                "for this quota. If AWS Service Quotas is not available, contact AWS support to request an increase "
                "for this quota."
            )


def parse(options: Iterable[str]) -> dict[str, int]:
    """``NAME=NUMBER`` of the command line.

    Raises:
        QuotaUnknown: an option without a number.
    """
    given = {}
    for option in options:
        name, _, value = option.rpartition("=")
        if not name or not value.strip().isdigit():
            raise QuotaUnknown(f'{option!r} is no quota: write "ml.m5.large for training job usage=2".')
        given[name.strip()] = int(value)
    return given
