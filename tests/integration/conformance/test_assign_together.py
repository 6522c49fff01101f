"""localcloud.fidelity.assign_together."""

import json

from localcloud.testing import Cloud

from .steps import run


def test_all_expressions_of_an_assign_see_the_old_values(localcloud: Cloud) -> None:
    states = {
        "Set": {"Type": "Pass", "Assign": {"a": 1, "b": 2}, "Next": "Swap"},
        "Swap": {"Type": "Pass", "Assign": {"a": "{% $b %}", "b": "{% $a %}"}, "Next": "Tell"},
        "Tell": {"Type": "Succeed", "Output": ["{% $a %}", "{% $b %}"]},
    }
    assert json.loads(run(localcloud, states, "Set")["output"]) == [2, 1]
