"""The stack's function: it writes each event to the table, and fails for those that ask for it."""

import json
import os
import time

import boto3
from greeting import GREETING  # from the layer

TABLE = boto3.client("dynamodb")


def handler(event, context):  # type: ignore[no-untyped-def]
    if "fail" in event or "fail" in json.dumps(event.get("detail", {})):
        raise ValueError("asked to fail")
    TABLE.put_item(
        TableName=os.environ["TABLE"],
        Item={
            "pk": {"S": event.get("detail-type", "none")},
            "sk": {"S": f"{time.time_ns()}"},
            "event": {"S": json.dumps(event)},
            "pid": {"N": str(os.getpid())},
            "greeting": {"S": GREETING},
        },
    )
    return {"flavour": os.environ["FLAVOUR"], "pid": os.getpid()}
