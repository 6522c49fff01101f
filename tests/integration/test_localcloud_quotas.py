"""Quotas of one's own: given at the start, refused through the API."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from localcloud.daemon import StartFailed
from localcloud.testing import localcloud

from .localcloud_requests import training, unique

STUB = Path(__file__).parent / "localcloud_images/stub.toml"
QUOTA = "ml.m5.large for training job usage"

# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)


def test_quota_of_the_command_line_is_kept(tmp_path: Path) -> None:
    with localcloud(tmp_path, images=[STUB], quotas={QUOTA: 1}) as cloud:
        cloud.role("job-role")
        cloud.client("s3").create_bucket(Bucket="quotas")
        sagemaker = cloud.client("sagemaker")
        sagemaker.create_training_job(**training(unique("first"), "quotas", hyperparameters={"sleep": "600"}))
        with pytest.raises(sagemaker.exceptions.ResourceLimitExceeded) as error:
            sagemaker.create_training_job(**training(unique("second"), "quotas"))
        assert f"The account-level service limit '{QUOTA}' is 1 Instances" in str(error.value)
        assert isinstance(error.value, ClientError)


def test_quota_that_there_is_not_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="is no quota of localcloud's"), localcloud(tmp_path, quotas={"trainings": 1}):
        pass
