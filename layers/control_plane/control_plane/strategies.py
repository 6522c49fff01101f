"""How a challenger gets its traffic: the part of a deployment's input that the stack or a person chooses."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

StrategyName = Literal["canary", "linear", "ab", "shadow"]
Share = Annotated[int | float, Field(gt=0, lt=100)]  # per cent; 100 is promotion


def _rising(stages: list[int | float]) -> list[int | float]:
    if any(after <= before for before, after in pairwise(stages)):
        raise ValueError("each stage must be larger than the one before")
    return stages


Stages = Annotated[list[Share], AfterValidator(_rising)]


class Strategy(BaseModel):
    """A strategy in full. The state machine looks at the figures and the two flags only, never at the name."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: StrategyName
    stages: Stages = Field(description="per cent of the traffic that the challenger gets, stage by stage")
    bake_seconds: int = Field(ge=0, description="how long a stage is watched")
    soak_seconds: int = Field(ge=0, description="how long the predecessor stays ready at weight 0")
    hold: bool = Field(description="keep the last stage until a person decides")
    shadow: bool = Field(description="send the challenger copies of the requests first, until a person decides")

    @model_validator(mode="before")
    @classmethod
    def _flags_follow_from_name(cls, values: object) -> object:
        if isinstance(values, dict):
            name = values.get("name")
            return {"hold": name in ("ab", "shadow"), "shadow": name == "shadow", **values}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Strategy:
        if self.hold != (self.name in ("ab", "shadow")) or self.shadow != (self.name == "shadow"):
            raise ValueError(f"hold {self.hold} and shadow {self.shadow} do not belong to strategy {self.name}")
        if self.name == "ab" and len(self.stages) != 1:
            raise ValueError("an A/B test has one stage: the challenger's share")
        return self
