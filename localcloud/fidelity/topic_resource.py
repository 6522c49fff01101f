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
    handlers = hooks.get("cloudformation.types")[TYPE]
    create, update = handlers["create"], handlers["update"]

    def apply(arn: str, old: Props, new: Props) -> None:
        for name in ATTRIBUTES:
            if (value := new.get(name)) != old.get(name):
                text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                clients.get("sns", hooks.current_scope()).set_topic_attributes(
                    TopicArn=arn, AttributeName=name, AttributeValue=text
                )

    def created(logical_id: str, props: Props, stack_name: str) -> Any:
        arn, attributes = create(logical_id, props, stack_name)
        apply(arn, {}, props)
        return arn, attributes

    def updated(physical_id: str, old: Props, new: Props, stack_name: str, *rest: Any) -> Any:
        arn, attributes = update(physical_id, old, new, stack_name, *rest)
        apply(arn, old if arn == physical_id else {}, new)
        return arn, attributes

    handlers.update(create=created, update=updated)
