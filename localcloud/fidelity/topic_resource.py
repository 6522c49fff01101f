"""AWS::SNS::Topic applies KmsMasterKeyId, SignatureVersion, TracingConfig and ContentBasedDeduplication.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sns-topic.html; MiniStack keeps of a
template's topic its name, display name, tags and subscriptions, so that nobody would need the key of an encrypted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.clients import Clients

TYPE = "AWS::SNS::Topic"
ATTRIBUTES = ("KmsMasterKeyId", "SignatureVersion", "TracingConfig", "ContentBasedDeduplication")

Props = Mapping[str, Any]


def install(clients: Clients) -> None:
    """Wrap the type's handlers."""

    def apply(arn: str, old: Props, new: Props) -> None:
        for name in ATTRIBUTES:
            if (value := new.get(name)) != old.get(name):
                text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                clients.get("sns", hooks.current_scope()).set_topic_attributes(
                    TopicArn=arn, AttributeName=name, AttributeValue=text
                )

    hooks.after_provisioning(TYPE, apply)
