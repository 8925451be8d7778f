"""Messages of SQS: the events that they carry, and those that are to be seen again sooner or later."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions._adapters.aws.client import Client
from functions._adapters.http.cloudevents import STRUCTURED, read_events, write_structured
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent

LONGEST_DELAY = 900
"""Seconds; SQS delays no message longer."""


def read_message(body: str, received_at: datetime) -> CloudEvent:
    """Return the event that a message carries: as EventBridge passes it on, or as it is; raise `Rejected`."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise Rejected(f"the message is no JSON: {wrong}", code="malformed_event", status=400) from wrong
    if isinstance(found, Mapping) and "detail-type" in found and isinstance(found.get("detail"), Mapping):
        body = json.dumps(found["detail"])
    data = body.encode("utf-8", "surrogatepass")
    events, _ = read_events({"content-type": STRUCTURED}, data, received_at=received_at)
    return events[0]


class Queue:
    """One queue, by its URL."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    async def send(self, event: CloudEvent, delay: int) -> None:
        """Send an event that is to be seen after `delay` seconds."""
        _, body = write_structured(event)
        message = {"QueueUrl": self._url, "MessageBody": body.decode(), "DelaySeconds": min(delay, LONGEST_DELAY)}
        await self._client.call("send_message", message)

    async def see_again(self, receipt: str, delay: int) -> None:
        """Let a message that was received be seen again after `delay` seconds."""
        seen: dict[str, Any] = {"QueueUrl": self._url, "ReceiptHandle": receipt, "VisibilityTimeout": delay}
        await self._client.call("change_message_visibility", seen)


async def queue_of(client: Client, arn: str) -> Queue:
    """Return the queue of an ARN, whose URL only SQS knows."""
    *_, account, name = arn.split(":")
    answer = await client.call("get_queue_url", {"QueueName": name, "QueueOwnerAWSAccountId": account})
    return Queue(client, str(answer["QueueUrl"]))
