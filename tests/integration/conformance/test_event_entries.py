"""localcloud.fidelity.event_entries."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import first_message, rule

GOOD = {"Source": "somebody", "DetailType": "kind", "Detail": "{}"}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"Source": ""}, "InvalidArgument"),
        ({"DetailType": ""}, "InvalidArgument"),
        ({"Detail": "not JSON"}, "MalformedDetail"),
        ({"Detail": "[1]"}, "MalformedDetail"),
        ({"Source": "aws.sagemaker"}, "NotAuthorizedForSourceException"),
    ],
)
def test_wrong_entry_fails_and_the_others_do_not(localcloud: Cloud, wrong: dict[str, Any], code: str) -> None:
    answer = localcloud.client("events").put_events(Entries=[GOOD, {**GOOD, **wrong}])
    assert answer["FailedEntryCount"] == 1
    assert "EventId" in answer["Entries"][0]
    assert answer["Entries"][1]["ErrorCode"] == code


def test_event_has_the_time_that_its_entry_says(localcloud: Cloud) -> None:
    source = unique("source")
    url = rule(localcloud, {"source": [source]})
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    entry = {"Source": source, "DetailType": "kind", "Detail": "{}", "Time": when, "Resources": ["arn:a"]}
    localcloud.client("events").put_events(Entries=[entry])
    event = first_message(localcloud, url)
    assert (event["time"], event["resources"]) == ("2026-01-02T03:04:05Z", ["arn:a"])


def test_request_over_a_megabyte_is_refused(localcloud: Cloud) -> None:
    entry = {**GOOD, "Detail": json.dumps({"text": "x" * 600_000})}
    with pytest.raises(ClientError, match="ValidationException"):
        localcloud.client("events").put_events(Entries=[entry, entry])
