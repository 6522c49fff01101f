"""localcloud.fidelity.notification_events."""

from localcloud.testing import Cloud

from .measures import topic
from .steps import first_message, function, queue

SOURCE = """
import json, os, boto3
def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(event))
"""


def test_a_function_gets_the_notification_in_lambdas_words(localcloud: Cloud) -> None:
    client, sns, (arn, _), (url, _) = (
        localcloud.client("lambda"),
        localcloud.client("sns"),
        topic(localcloud),
        queue(localcloud),
    )
    made = function(localcloud, SOURCE, Timeout=300, Environment={"Variables": {"QUEUE": url}})
    client.add_permission(
        FunctionName=made["FunctionName"],
        StatementId="sns",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=arn,
    )
    subscribed = sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=made["FunctionArn"])["SubscriptionArn"]
    published = sns.publish(TopicArn=arn, Message="plain")["MessageId"]

    (record,) = first_message(localcloud, url, 240)["Records"]
    assert record["EventSource"] == "aws:sns"
    assert record["EventVersion"] == "1.0"
    assert record["EventSubscriptionArn"] == subscribed
    notification = record["Sns"]
    assert notification["SigningCertUrl"].startswith("https://")
    assert "Unsubscribe" in notification["UnsubscribeUrl"]
    assert notification.keys().isdisjoint({"SigningCertURL", "UnsubscribeURL"})
    assert (notification["Type"], notification["MessageId"], notification["TopicArn"]) == (
        "Notification",
        published,
        arn,
    )
    assert (notification["Message"], notification["Subject"], notification["MessageAttributes"]) == ("plain", None, {})

    sns.publish(
        TopicArn=arn,
        Subject="Drift",
        Message="named",
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "drift"}},
    )
    (record,) = first_message(localcloud, url)["Records"]
    assert record["Sns"]["Subject"] == "Drift"
    assert record["Sns"]["MessageAttributes"] == {"kind": {"Type": "String", "Value": "drift"}}
