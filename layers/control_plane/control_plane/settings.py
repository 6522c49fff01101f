"""What a function reads from its environment, checked once at its first event."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from control_plane.errors import SettingsError
from control_plane.strategies import Stages, Strategy

M = TypeVar("M", bound=BaseModel)


class Settings(BaseModel):
    """The stack's names and limits, from the environment variables of the same names in capitals."""

    model_config = ConfigDict(frozen=True)

    project_name: str = Field(min_length=1)
    bucket_name: str = Field(min_length=3)
    table_name: str = Field(min_length=3)
    alerts_topic_arn: str = Field(pattern=r"^arn:")
    critical_topic_arn: str = Field(pattern=r"^arn:")
    training_state_machine_arn: str = Field(pattern=r"^arn:")
    # A larger object is hashed and versioned here, but its rows are checked by the processing job.
    max_validated_bytes: int = Field(default=256 * 2**20, gt=0)
    train_on_upload: Literal["ENABLED", "DISABLED"] = Field(
        default="ENABLED", description="DISABLED: an upload starts training for a fleet's first data set only"
    )


class DeploymentSettings(BaseModel):
    """What starts and stops deployments, and how they go unless an approval says otherwise."""

    model_config = ConfigDict(frozen=True)

    deployment_state_machine_arn: str = Field(pattern=r"^arn:")
    rollback_state_machine_arn: str = Field(pattern=r"^arn:")
    strategy: Literal["canary", "linear"] = "canary"
    canary_stages: Stages = Field(default=[10, 50], description="per cent; text such as 10,50 in the environment")
    bake_seconds: int = Field(default=300, ge=0)
    soak_seconds: int = Field(default=3600, ge=0)

    @field_validator("canary_stages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def default_strategy(self) -> Strategy:
        """The strategy of an approval that names none."""
        return Strategy.model_validate(
            {
                "name": self.strategy,
                "stages": self.canary_stages,
                "bake_seconds": self.bake_seconds,
                "soak_seconds": self.soak_seconds,
            }
        )


class AssessmentSettings(BaseModel):
    """The limits that a variant is judged by."""

    model_config = ConfigDict(frozen=True)

    latency_limit_ms: float = Field(default=200, gt=0)
    error_rate_limit: float = Field(default=0.01, ge=0, le=1, description="share of the requests")
    difference_tolerance: float = Field(default=15, ge=0, description="cycles, between champion and challenger")
    # Of six FD001 models that differ in seed, size and learning rate, and of two FD004 models, twelve engines' answers
    # differ by 4 to 6 cycles on average between two of them and by 8.4 at most; their RMSEs by 8.1 at most.
    rmse_margin: float = Field(
        default=10, ge=0, description="cycles that the RMSE on the probes may exceed the champion's"
    )


class WindowSettings(BaseModel):
    """How captured traffic is cut into windows."""

    model_config = ConfigDict(frozen=True)

    delivery_delay_seconds: int = Field(default=300, ge=0, description="until a delivered file is surely listed")
    max_window_seconds: int = Field(
        default=86400, ge=1, description="how long a window stays open for want of engines before it closes as such"
    )
    max_window_files: int = Field(default=10_000, ge=1, description="a window with more ends earlier")


class ViolationSettings(BaseModel):
    """When violations lead to more than an alert."""

    model_config = ConfigDict(frozen=True)

    violation_windows: int = Field(default=2, ge=1, description="consecutive windows before anything drastic")
    violation_actions: frozenset[Literal["rollback", "retrain"]] = Field(
        default=frozenset({"rollback", "retrain"}),
        description="done without a person; text such as rollback,retrain or none",
    )
    rollback_window_seconds: int = Field(
        default=86400, ge=0, description="how long after a promotion the predecessor is the better guess"
    )
    retrain_cooldown_seconds: int = Field(default=86400, ge=0)
    retrain_min_new_engines: int = Field(default=1, ge=0, description="training engines that the champion never saw")

    @field_validator("violation_actions", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",") if part.strip() not in ("", "none")]


class ReconcileSettings(BaseModel):
    """What the stack's parameters want its schedules to be."""

    model_config = ConfigDict(frozen=True)

    monitoring_schedule: Literal["ENABLED", "DISABLED"] = "ENABLED"
    schedules: Literal["ENABLED", "DISABLED"] = "ENABLED"


@cache
def load_settings() -> Settings:
    """Return the settings; raises SettingsError naming every variable that is missing or wrong."""
    return _load(Settings)


@cache
def load_deployment_settings() -> DeploymentSettings:
    """Return the deployments' settings; raises SettingsError naming every variable that is missing or wrong."""
    return _load(DeploymentSettings)


@cache
def load_assessment_settings() -> AssessmentSettings:
    """Return the assessment's settings; raises SettingsError naming every variable that is missing or wrong."""
    return _load(AssessmentSettings)


@cache
def load_violation_settings() -> ViolationSettings:
    """Return what violations lead to; raises SettingsError naming every variable that is missing or wrong."""
    return _load(ViolationSettings)


@cache
def load_reconcile_settings() -> ReconcileSettings:
    """Return the reconciliation's settings; raises SettingsError naming every variable that is missing or wrong."""
    return _load(ReconcileSettings)


@cache
def load_window_settings() -> WindowSettings:
    """Return how windows are cut; raises SettingsError naming every variable that is wrong."""
    return _load(WindowSettings)


def _load(model: type[M]) -> M:
    values: dict[str, Any] = {
        name: os.environ[name.upper()] for name in model.model_fields if name.upper() in os.environ
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"environment of the function: {problems}. Set it in template.yaml.") from error
