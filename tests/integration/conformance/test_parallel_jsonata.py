"""localcloud.fidelity.parallel_jsonata."""

import json
from typing import Any

from localcloud.testing import Cloud

from .steps import run


def branch(name: str, output: Any) -> dict[str, Any]:
    return {"StartAt": name, "States": {name: {"Type": "Pass", "End": True, "Output": output}}}


def test_arguments_output_and_assign_are_honoured(localcloud: Cloud) -> None:
    states = {
        "Both": {
            "Type": "Parallel",
            "Branches": [branch("One", "{% $states.input.n + 1 %}"), branch("Two", "{% $states.input.n + 2 %}")],
            "Arguments": {"n": "{% $states.input.start %}"},
            "Output": {"sum": "{% $sum($states.result) %}"},
            "Assign": {"first": "{% $states.result[0] %}"},
            "Next": "Done",
        },
        "Done": {"Type": "Succeed", "Output": {"sum": "{% $states.input.sum %}", "first": "{% $first %}"}},
    }
    execution = run(localcloud, states, "Both", {"start": 4})
    assert json.loads(execution["output"]) == {"sum": 11, "first": 5}


def test_each_branch_has_a_context_of_its_own(localcloud: Cloud) -> None:
    def slow(name: str, seconds: int) -> dict[str, Any]:
        tell = {"Type": "Pass", "End": True, "Output": "{% $states.context.State.Name %}"}
        hold = {"Type": "Wait", "Seconds": seconds, "Next": name}
        return {"StartAt": f"Hold{name}", "States": {f"Hold{name}": hold, name: tell}}

    states = {"Both": {"Type": "Parallel", "Branches": [slow("One", 1), slow("Two", 1), slow("Three", 0)], "End": True}}
    execution = run(localcloud, states, "Both")
    assert json.loads(execution["output"]) == ["One", "Two", "Three"]
