"""localcloud.fidelity.shared_layers."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import PYTHON, function, packed

SOURCE = """
import os
import greeting

def handler(event, context):
    return {"greeting": greeting.GREETING, "inode": os.stat(greeting.__file__).st_ino}
"""


def test_functions_share_one_unpacked_layer(localcloud: Cloud) -> None:
    client = localcloud.client("lambda")
    layer = client.publish_layer_version(
        LayerName=unique("layer"),
        Content={"ZipFile": packed("python/greeting.py", f"GREETING = {unique('hello')!r}\n")},
        CompatibleRuntimes=[PYTHON],
    )["LayerVersionArn"]
    answers = []
    for _ in range(2):
        name = function(localcloud, SOURCE, Layers=[layer])["FunctionName"]
        answer = client.invoke(FunctionName=name)
        assert "FunctionError" not in answer
        answers.append(json.loads(answer["Payload"].read()))
    assert answers[0] == answers[1]
    assert answers[0]["greeting"].startswith("hello")
