"""localcloud.fidelity.log_filters."""

import json
import time

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique

LINES = {
    "job/one": ["Epoch 1/2 loss 3", "ERROR no data", json.dumps({"level": "ERROR", "code": 404, "tags": ["a", "b"]})],
    "job/two": ["Epoch 1/2 loss 5", "error in lower case"],
    "other": ["Epoch 9"],
}


@pytest.fixture(scope="module")
def group(localcloud: Cloud) -> str:
    logs, name = localcloud.client("logs"), unique("/group/")
    logs.create_log_group(logGroupName=name)
    logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    now = int(time.time() * 1000)
    for stream, lines in LINES.items():
        logs.create_log_stream(logGroupName=name, logStreamName=stream)
        events = [{"timestamp": now + number, "message": text} for number, text in enumerate(lines)]
        logs.put_log_events(logGroupName=name, logStreamName=stream, logEvents=events)
    return name


def found(cloud: Cloud, group: str, **request: object) -> list[str]:
    pages = cloud.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group, **request)
    return [event["message"] for page in pages for event in page["events"]]


def test_prefix_chooses_streams(localcloud: Cloud, group: str) -> None:
    assert sorted(found(localcloud, group, logStreamNamePrefix="job/")) == sorted(LINES["job/one"] + LINES["job/two"])
    assert found(localcloud, group, logStreamNamePrefix="job/t") == LINES["job/two"]
    with pytest.raises(ClientError, match="not both"):
        found(localcloud, group, logStreamNamePrefix="job/", logStreamNames=["other"])


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("ERROR", [LINES["job/one"][1], LINES["job/one"][2]]),
        ("Epoch loss -5", [LINES["job/one"][0]]),
        ('"no data"', [LINES["job/one"][1]]),
        ("%loss [35]%", [LINES["job/one"][0], LINES["job/two"][0]]),
        ('{ $.level = "ERROR" && ($.code >= 400 || $.code IS NULL) }', [LINES["job/one"][2]]),
        ("{ $.code = 500 }", []),
        ('{ $.tags[*] = "b" }', [LINES["job/one"][2]]),
        ("[word = Epoch, ...]", [LINES["job/one"][0], LINES["job/two"][0], LINES["other"][0]]),
    ],
)
def test_patterns_choose_lines(localcloud: Cloud, group: str, pattern: str, wanted: list[str]) -> None:
    assert sorted(found(localcloud, group, filterPattern=pattern)) == sorted(wanted)


def test_pages_follow_each_other(localcloud: Cloud, group: str) -> None:
    pages = localcloud.client("logs").get_paginator("filter_log_events")
    answers = list(pages.paginate(logGroupName=group, filterPattern="Epoch", PaginationConfig={"PageSize": 2}))
    assert sum(len(answer["events"]) for answer in answers) == 3
    assert all(len(answer["events"]) <= 2 for answer in answers)
