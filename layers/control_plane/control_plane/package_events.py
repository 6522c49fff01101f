"""EventBridge's SageMaker Model Package State Change: what of it counts here, whatever shape its values have.

Shape: https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html. Times come as
ISO-8601 or as seconds or milliseconds since the epoch, as numbers or as text; the example there has whole seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_in_utc)]


class PackageDetail(BaseModel):
    """The package as it was after the change."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    arn: str | None = Field(default=None, alias="ModelPackageArn")
    group: str | None = Field(default=None, alias="ModelPackageGroupName", description="none: a package by itself")
    version: int | None = Field(default=None, alias="ModelPackageVersion")
    status: str | None = Field(default=None, alias="ModelApprovalStatus")
    comment: str | None = Field(default=None, alias="ApprovalDescription")
    last_modified: Instant | None = Field(default=None, alias="LastModifiedTime")


class PackageStateChange(BaseModel):
    """One event. It may be repeated, late, and about any part of the package, not only its approval."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: Instant | None = None
    resources: list[str] = Field(default=[])
    detail: PackageDetail

    @model_validator(mode="after")
    def _says_what_and_when(self) -> PackageStateChange:
        if self.detail.arn is None and not self.resources:
            raise ValueError("neither detail.ModelPackageArn nor resources names the model package")
        if self.detail.last_modified is None and self.time is None:
            raise ValueError("neither detail.LastModifiedTime nor time says when the model package was changed")
        return self

    @property
    def arn(self) -> str:
        """The package's ARN."""
        return self.detail.arn or self.resources[0]

    @property
    def modified(self) -> datetime:
        """When the package was changed, in UTC; without LastModifiedTime when the event was sent, shortly after."""
        moment = self.detail.last_modified or self.time
        assert moment is not None  # checked above
        return moment
