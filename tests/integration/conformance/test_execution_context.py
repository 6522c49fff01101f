"""localcloud.fidelity.execution_context."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import ROLE
from .steps import run

OUTPUT = {
    "role": "{% $states.context.Execution.RoleArn %}",
    "redrives": "{% $states.context.Execution.RedriveCount %}",
}


def test_context_has_role_and_redrive_count(localcloud: Cloud) -> None:
    execution = run(localcloud, {"Tell": {"Type": "Pass", "Output": OUTPUT, "End": True}}, "Tell")
    assert json.loads(execution["output"]) == {"role": ROLE, "redrives": 0}


def test_choice_can_ask_for_them(localcloud: Cloud) -> None:
    states = {
        "Again": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.context.Execution.RedriveCount = 0 %}", "Next": "First"}],
            "Default": "Later",
        },
        "First": {"Type": "Succeed", "Output": "first"},
        "Later": {"Type": "Succeed", "Output": "later"},
    }
    assert json.loads(run(localcloud, states, "Again")["output"]) == "first"
