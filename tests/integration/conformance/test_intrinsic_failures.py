"""localcloud.fidelity.intrinsic_failures."""

import json

from localcloud.testing import Cloud

from .steps import run


def test_failed_function_is_caught_by_its_name(localcloud: Cloud) -> None:
    each = {
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemSelector": {"parsed.$": "States.StringToJson($.text)"},
        "ItemProcessor": {"StartAt": "In", "States": {"In": {"Type": "Pass", "End": True}}},
        "Catch": [{"ErrorEquals": ["States.IntrinsicFailure"], "Next": "Caught"}],
        "End": True,
    }
    states = {"Each": each, "Caught": {"Type": "Succeed"}}
    given = {"items": [1], "text": "{no json"}
    execution = run(localcloud, states, "Each", given, QueryLanguage="JSONPath")
    assert execution["status"] == "SUCCEEDED", execution
    assert json.loads(execution["output"])["Error"] == "States.IntrinsicFailure"
