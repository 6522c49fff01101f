"""Service quotas: AWS's words, AWS's figures, and figures of one's own."""

import pytest

from localcloud.errors import ResourceLimitExceeded
from localcloud.sagemaker.quotas import PARALLEL, Quotas, QuotaUnknown, parse

TRAINING = "ml.m5.large for training job usage"


def test_quota_that_would_be_exceeded_is_refused_in_awss_words() -> None:
    quotas = Quotas({TRAINING: 4})
    quotas.check(TRAINING, 3)
    with pytest.raises(ResourceLimitExceeded) as error:
        quotas.check(TRAINING, 3, 2)
    assert error.value.status == 400
    assert error.value.message == (
        "The account-level service limit 'ml.m5.large for training job usage' is 4 Instances, with current utilization "
        "of 3 Instances and a request delta of 2 Instances. Please use AWS Service Quotas to request an increase for "
        "this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota."
    )


def test_instances_are_unlimited_until_told_and_tuning_has_awss_limits() -> None:
    Quotas().check(TRAINING, 10_000)
    assert Quotas().limit(PARALLEL) == 10
    assert Quotas({PARALLEL: 100}).limit(PARALLEL) == 100


def test_options_name_quotas_that_exist() -> None:
    assert parse([f"{TRAINING}=2", f"{PARALLEL} = 20"]) == {TRAINING: 2, PARALLEL: 20}
    for wrong in ("ml.m5.large", f"{TRAINING}=two", "=2"):
        with pytest.raises(QuotaUnknown, match="write"):
            parse([wrong])
    with pytest.raises(QuotaUnknown, match="is no quota"):
        Quotas({"ml.m5.large for trainings": 2})
