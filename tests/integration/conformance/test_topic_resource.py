"""localcloud.fidelity.topic_resource."""

from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import deploy


def topic(**properties: Any) -> dict[str, Any]:
    return {"Topic": {"Type": "AWS::SNS::Topic", "Properties": properties}}


def test_key_and_signature_are_as_the_template_says(localcloud: Cloud) -> None:
    sns, stack = localcloud.client("sns"), unique("topic")
    key = localcloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    arn = deploy(localcloud, stack, topic(KmsMasterKeyId=key, SignatureVersion="2"))["Topic"]
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert (attributes["KmsMasterKeyId"], attributes["SignatureVersion"]) == (key, "2")
    assert deploy(localcloud, stack, topic(DisplayName="open"), update=True)["Topic"] == arn
    assert not sns.get_topic_attributes(TopicArn=arn)["Attributes"].get("KmsMasterKeyId")
