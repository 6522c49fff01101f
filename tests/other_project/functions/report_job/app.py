"""Keeps a report of each training job that has ended."""

import json
import os

import boto3

s3 = boto3.client("s3")


def handler(event, context):
    job = event["detail"]
    report = {
        "job": job["TrainingJobName"],
        "status": job["TrainingJobStatus"],
        "reason": job.get("FailureReason"),
    }
    s3.put_object(Bucket=os.environ["BUCKET"], Key=f"reports/{job['TrainingJobName']}.json", Body=json.dumps(report))
