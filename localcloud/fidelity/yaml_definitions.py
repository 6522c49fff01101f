"""A template's DefinitionS3Location and DefinitionString may hold YAML, which becomes JSON.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-stepfunctions-statemachine.html ("the state
machine definition must be a JSON or YAML file"); MiniStack keeps the YAML, which then is no definition.
"""

from __future__ import annotations

import json
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

from localcloud import hooks


def install() -> None:
    """Convert whatever a template gives as a definition."""

    def make(definition_of: Any) -> Any:
        def converted(props: Any) -> str:
            text: str = definition_of(props)
            return as_json(text)

        return converted

    hooks.replace("cloudformation.definition", make)


def as_json(text: str) -> str:
    """A definition as JSON; what is neither JSON nor YAML stays as it is, and is refused later."""
    try:
        json.loads(text)
    except ValueError:
        pass
    else:
        return text
    try:
        definition = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return json.dumps(definition) if isinstance(definition, dict) else text
