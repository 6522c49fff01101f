"""What a function reads from its environment, checked once at its first event."""

from __future__ import annotations

import os
from functools import cache

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from control_plane.errors import SettingsError


class Settings(BaseModel):
    """The stack's names and limits, from the environment variables of the same names in capitals."""

    model_config = ConfigDict(frozen=True)

    project_name: str = Field(min_length=1)
    bucket_name: str = Field(min_length=3)
    table_name: str = Field(min_length=3)
    alerts_topic_arn: str = Field(pattern=r"^arn:")
    training_state_machine_arn: str = Field(pattern=r"^arn:")
    # A larger object is hashed and versioned here, but its rows are checked by the processing job.
    max_validated_bytes: int = Field(default=256 * 2**20, gt=0)


@cache
def load_settings() -> Settings:
    """Return the settings; raises SettingsError naming every variable that is missing or wrong."""
    values = {name: os.environ[name.upper()] for name in Settings.model_fields if name.upper() in os.environ}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"environment of the function: {problems}. Set it in template.yaml.") from error
