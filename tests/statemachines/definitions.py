"""Reading the state machines and the template as the tests need them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MACHINES = sorted((ROOT / "statemachines").glob("*.asl.json"))
SUBSTITUTION = re.compile(r"\$\{(\w+)\}")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags, each read as {tag: value}."""


def _tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tag)


def load_template() -> dict[str, Any]:
    """template.yaml; `!Ref X` is {"Ref": "X"}."""
    document = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)
    assert isinstance(document, dict)
    return document


def load_machine(path: Path) -> dict[str, Any]:
    """A definition with every ${Substitution} replaced by a number, which fits both in text and in JSONata."""
    text = path.read_text()
    text = text.replace("${FleetGates}", "{}")
    document = json.loads(SUBSTITUTION.sub("1", text))
    assert isinstance(document, dict)
    return document


def walk_states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state, those inside Map and Parallel too."""
    for name, state in machine["States"].items():
        yield name, state
        for inner in [state.get("ItemProcessor"), *state.get("Branches", [])]:
            if inner:
                yield from walk_states(inner)


def expressions(value: Any) -> Iterator[str]:
    """Every JSONata expression below a value, without its {% %}."""
    if isinstance(value, str):
        if value.startswith("{%"):
            assert value.endswith("%}"), f"unclosed expression: {value}"
            yield value[2:-2].strip()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def targets(state: dict[str, Any]) -> list[str]:
    """The states that may follow."""
    found = [state[key] for key in ("Next", "Default") if key in state]
    found += [rule["Next"] for rule in state.get("Choices", [])]
    return found + [catcher["Next"] for catcher in state.get("Catch", [])]
