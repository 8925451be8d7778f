"""The event source mapping between a queue and a function: Lambda's pollers, over the emulator's real SQS.

It is test equipment. Receive counts, visibility and redrive are the emulator's. What fails stays in the queue and comes
again after the queue's visibility timeout, `speed` times sooner than the template says; while a function works on a
message, the timeout is the template's own.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.aws.functions import Function, FunctionError
from tests.support.dynamodb import ENVIRONMENT

IDLE_S = 3.0
"""How often a queue is looked at although nobody was seen to send to it: SQS itself moves to dead letter queues."""

LATE_S = 0.05
"""How long after the end of a delay a queue is looked at: the emulator's clock is read at another moment."""

ATTRIBUTES = {"AWSTraceHeader", "DeadLetterQueueSourceArn"}
Message = Mapping[str, Any]


@dataclass(frozen=True)
class Mapped:
    """What the template says of a mapping; `visibility` is the queue's timeout, `largest` the batch size."""

    queue_url: str
    queue_arn: str
    visibility: float
    largest: int = 10
    at_once: int | None = None
    partial: bool = True


@dataclass
class Again:
    """Which messages a queue delivers twice, as a standard queue may; half of them while the first is worked on."""

    share: float = 0.0
    seed: int = 0
    delivered: int = 0
    draw: random.Random = field(init=False)
    _drawn: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Seed the generator."""
        self.draw = random.Random(self.seed)

    def fate(self, message: Message) -> str:
        """Return `during`, `after` or nothing; a message that comes again is not drawn once more."""
        name = message["MessageId"]
        if name in self._drawn:
            return ""
        drawn = self.draw.random()
        fate = "" if drawn >= self.share else "during" if drawn < self.share / 2 else "after"
        self._drawn[name] = fate
        self.delivered += bool(fate)
        return fate


class EventSource:
    """One mapping. `run` it; `wake` it when something was sent to its queue.

    `postponed` are the receipts of messages whose next visit the function itself has set.
    """

    def __init__(
        self,
        sqs: Any,
        mapped: Mapped,
        function: Function,
        *,
        speed: float = 1,
        again: Again | None = None,
        postponed: Collection[str] = (),
    ) -> None:
        self.mapped = mapped
        self.function = function
        self.counts: Counter[str] = Counter()
        self._sqs = sqs
        self._speed = speed
        self._again = again or Again()
        self._postponed = postponed
        self._wakes: list[asyncio.Event] = []

    def wake(self, after: float = 0) -> None:
        """Let every poller look, at once or in `after` seconds."""
        if after > 0:
            asyncio.get_running_loop().call_later(after + LATE_S, self.wake)
            return
        for event in self._wakes:
            event.set()

    async def run(self) -> None:
        """Poll for ever, with as many pollers as the function may have environments, if the mapping allows as many."""
        pollers = min(self.function.at_once, self.mapped.at_once or self.function.at_once)
        self._wakes = [asyncio.Event() for _ in range(pollers)]
        async with asyncio.TaskGroup() as group:
            for event in self._wakes:
                group.create_task(self._poll(event))

    async def _poll(self, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            messages = await self._received()
            if messages:
                await self._batch(messages)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await wake.wait()

    async def _received(self) -> Sequence[Message]:
        answer = await self._sqs.receive_message(
            QueueUrl=self.mapped.queue_url,
            MaxNumberOfMessages=self.mapped.largest,
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        found: Sequence[Message] = answer.get("Messages", [])
        return found

    async def _batch(self, messages: Sequence[Message]) -> None:
        fates = {message["MessageId"]: self._again.fate(message) for message in messages}
        await self._seen_again([m for m in messages if fates[m["MessageId"]] == "during"], 0)
        self.counts["batches"] += 1
        self.counts["messages"] += len(messages)
        try:
            answer = await self.function.invoke({"Records": [record(m, self.mapped.queue_arn) for m in messages]})
        except FunctionError:
            failed: Collection[str] = set(fates)
        else:
            failed = failures(answer, set(fates)) if self.mapped.partial else ()
        self.counts["failed"] += len(failed)
        done = [m for m in messages if m["MessageId"] not in failed]
        await self._delete([m for m in done if not fates[m["MessageId"]]])
        await self._seen_again([m for m in done if fates[m["MessageId"]] == "after"], 0)
        waiting = [m for m in messages if m["MessageId"] in failed and fates[m["MessageId"]] != "during"]
        waiting = [message for message in waiting if message["ReceiptHandle"] not in self._postponed]
        await self._seen_again(waiting, math.ceil(self.mapped.visibility / self._speed))

    async def _seen_again(self, messages: Sequence[Message], seconds: int) -> None:
        entries = [
            {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds}
            for place, message in enumerate(messages)
        ]
        if entries:
            await self._sqs.change_message_visibility_batch(QueueUrl=self.mapped.queue_url, Entries=entries)
            self.wake(seconds)

    async def _delete(self, messages: Sequence[Message]) -> None:
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        if entries:
            await self._sqs.delete_message_batch(QueueUrl=self.mapped.queue_url, Entries=entries)


def record(message: Message, queue_arn: str) -> dict[str, Any]:
    """Return a message as Lambda shows it to a function."""
    attributes = {name: str(value) for name, value in message.get("Attributes", {}).items()}
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": attributes,
        "messageAttributes": {
            name: {
                **{key[:1].lower() + key[1:]: value for key, value in attribute.items()},
                "stringListValues": [],
                "binaryListValues": [],
            }
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": ENVIRONMENT["AWS_DEFAULT_REGION"],
    }


def failures(answer: Any, batch: Collection[str]) -> Collection[str]:
    """Return which messages a function says it has not handled; all of them when what it says makes no sense."""
    if answer is None or answer == {}:
        return ()
    if not isinstance(answer, Mapping):
        return batch
    said = answer.get("batchItemFailures")
    if said is None or said == []:
        return ()
    if not isinstance(said, list):
        return batch
    named = [item.get("itemIdentifier") if isinstance(item, Mapping) else None for item in said]
    return set(named) if all(name in batch for name in named) else batch  # type: ignore[arg-type]
