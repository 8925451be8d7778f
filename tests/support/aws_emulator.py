"""What tests of the AWS adapters need of the emulator: clients of each service, queues and buses of their own."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from functions._adapters.aws.client import Client, Clients


class Aws:
    """The services of one test; what it makes has names of its own."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.name = f"flowc-{uuid4().hex[:12]}"

    def of(self, service: str) -> Client:
        return self.clients.of(service)

    async def queue(self, suffix: str = "queue", **attributes: str) -> tuple[str, str]:
        """Return the URL and the ARN of a new queue."""
        sqs = self.of("sqs")
        made = await sqs.call("create_queue", {"QueueName": f"{self.name}-{suffix}", "Attributes": attributes})
        url = str(made["QueueUrl"])
        asked = await sqs.call("get_queue_attributes", {"QueueUrl": url, "AttributeNames": ["QueueArn"]})
        return url, str(asked["Attributes"]["QueueArn"])

    async def bus_into(self, arn: str) -> str:
        """Return the name of a new bus whose events all go to a queue."""
        events = self.of("events")
        await events.call("create_event_bus", {"Name": self.name})
        pattern = json.dumps({"source": [{"prefix": "/"}]})
        await events.call("put_rule", {"Name": self.name, "EventBusName": self.name, "EventPattern": pattern})
        target = {"Id": "queue", "Arn": arn}
        await events.call("put_targets", {"Rule": self.name, "EventBusName": self.name, "Targets": [target]})
        return self.name

    async def bucket(self) -> str:
        """Return the name of a new bucket."""
        where = {"LocationConstraint": "eu-central-1"}
        await self.of("s3").call("create_bucket", {"Bucket": self.name, "CreateBucketConfiguration": where})
        return self.name

    async def secret(self, suffix: str, text: str) -> str:
        """Return the ARN of a new secret."""
        made = await self.of("secretsmanager").call(
            "create_secret", {"Name": f"{self.name}-{suffix}", "SecretString": text}
        )
        return str(made["ARN"])

    async def messages(self, url: str, number: int, seconds: float = 10.0) -> list[Mapping[str, Any]]:
        """Receive and delete `number` messages; fewer when no more come."""
        found: list[Mapping[str, Any]] = []
        until = asyncio.get_running_loop().time() + seconds
        while len(found) < number and asyncio.get_running_loop().time() < until:
            asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
            for message in (await self.of("sqs").call("receive_message", asked)).get("Messages", []):
                found.append(message)
                handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
                await self.of("sqs").call("delete_message", handle)
            await asyncio.sleep(0.02)
        return found


@contextmanager
def aws() -> Iterator[Aws]:
    """Give the services, as the environment names them."""
    clients = Clients()
    try:
        yield Aws(clients)
    finally:
        clients.close()
