"""localcloud.fidelity.error_types."""

import json

from localcloud.testing import Cloud

from .steps import function, run

SOURCE = """
class TableFull(Exception):
    pass

def handler(event, context):
    raise TableFull("no room for " + event.get("name", "nobody"))
"""


def test_error_is_called_by_its_class(localcloud: Cloud) -> None:
    failing = function(localcloud, SOURCE)
    answer = localcloud.client("lambda").invoke(FunctionName=failing["FunctionName"], Payload=b'{"name": "a"}')
    assert answer["FunctionError"] == "Unhandled"
    payload = json.loads(answer["Payload"].read())
    assert (payload["errorType"], payload["errorMessage"]) == ("TableFull", "no room for a")


def test_state_machine_catches_it_by_that_name(localcloud: Cloud) -> None:
    failing = function(localcloud, SOURCE)
    states = {
        "Task": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": failing["FunctionName"], "Payload": {"name": "b"}},
            "Catch": [{"ErrorEquals": ["TableFull"], "Next": "Caught", "Output": "{% $states.errorOutput %}"}],
            "End": True,
        },
        "Caught": {"Type": "Pass", "End": True},
    }
    execution = run(localcloud, states)
    assert execution["status"] == "SUCCEEDED", execution
    caught = json.loads(execution["output"])
    assert (caught["Error"], json.loads(caught["Cause"])["errorMessage"]) == ("TableFull", "no room for b")


def test_function_that_ends_its_process_has_exited(localcloud: Cloud) -> None:
    ending = function(localcloud, "import os\ndef handler(event, context):\n    os._exit(3)\n")
    answer = localcloud.client("lambda").invoke(FunctionName=ending["FunctionName"])
    payload = json.loads(answer["Payload"].read())
    assert payload["errorType"] == "Runtime.ExitError"
    assert payload["errorMessage"].endswith("Error: Runtime exited without providing a reason")
