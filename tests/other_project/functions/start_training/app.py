"""Starts the workflow for each file that is uploaded."""

import json
import os
from urllib.parse import unquote_plus

import boto3

states = boto3.client("stepfunctions")


def handler(event, context):
    for record in event["Records"]:
        request = {
            "bucket": record["s3"]["bucket"]["name"],
            "key": unquote_plus(record["s3"]["object"]["key"]),
        }
        name = request["key"].rsplit("/", 1)[-1].removesuffix(".csv").replace(" ", "-")
        states.start_execution(
            stateMachineArn=os.environ["STATE_MACHINE"],
            name=f"{name}-{record['s3']['object']['sequencer'][-8:]}",
            input=json.dumps(request),
        )
