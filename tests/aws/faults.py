"""What goes wrong between functions and AWS, drawn from a seed: each in the form in which AWS says it.

It is test equipment. `Faults` stands between (see `wire.py`): conflicts of transactions, throttling, batches done in
part, answers that are lost after the deed, and functions that die in the midst of a batch, before or after a write.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.aws.wire import Answer, Call, Forward, answer_of

SINGLE = frozenset({"dynamodb.PutItem", "dynamodb.UpdateItem", "dynamodb.DeleteItem"})
TRANSACTION = "dynamodb.TransactWriteItems"
WRITES = SINGLE | {TRANSACTION, "dynamodb.BatchWriteItem"}
BATCHES = frozenset({"dynamodb.BatchGetItem", "dynamodb.BatchWriteItem", "events.PutEvents"})
DEEDS = WRITES | {"events.PutEvents", "sqs.SendMessage"}
DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
Json = Any


@dataclass
class Faults:
    """How likely each fault is for a call that it can befall; `on` is whether anything goes wrong at all."""

    seed: int = 0
    conflict: float = 0.0
    throttled: float = 0.0
    partial: float = 0.0
    lost: float = 0.0
    crash: float = 0.0
    crashes: int = 2
    """How often a function dies at most: fewer times than its queue's messages may be received."""
    kill: Callable[[str], None] = lambda _caller: None
    on: bool = True
    done: Counter[str] = field(default_factory=Counter)
    """How often each fault was done."""
    killed: Counter[str] = field(default_factory=Counter)
    """How often which function was killed."""
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the generator."""
        self.draw = random.Random(self.seed)

    async def __call__(self, call: Call, forward: Forward) -> Answer | None:
        """Let a call through, or do to it what is drawn."""
        if not self.on:
            return await forward(call.body)
        if call.name in BATCHES and self._drawn(self.partial, "partial"):
            return await self._in_part(call, forward)
        if refused := self._refused(call):
            return refused
        if call.name in DEEDS and self._mortal(call) and self._drawn(self.crash, "crash"):
            await self._dies(call, forward)
            return None
        answer = await forward(call.body)
        return None if call.name in WRITES and self._drawn(self.lost, "lost") else answer

    def _refused(self, call: Call) -> Answer | None:
        if call.name.startswith("dynamodb.") and self._drawn(self.throttled, "throttled"):
            return self._throttled(call)
        if call.name in SINGLE | {TRANSACTION} and self._drawn(self.conflict, "conflict"):
            return self._conflict(call)
        return None

    def _drawn(self, share: float, what: str) -> bool:
        drawn = self.draw.random() < share
        self.done[what] += drawn
        return drawn

    def _mortal(self, call: Call) -> bool:
        return self.killed[call.function] < self.crashes

    async def _dies(self, call: Call, forward: Forward) -> None:
        """Kill the function that calls: half of the time before its deed is done, half of the time after."""
        self.killed[call.function] += 1
        if self.draw.random() < 0.5:
            await forward(call.body)
        self.kill(call.caller)

    def _throttled(self, call: Call) -> Answer:
        if call.name == TRANSACTION and self.draw.random() < 0.5:
            return self._cancelled(call, "ThrottlingError", "Throughput exceeds the current capacity of your table.")
        names = [
            f"{DYNAMODB}ProvisionedThroughputExceededException",
            "com.amazon.coral.availability#ThrottlingException",
        ]
        return answer_of({"__type": self.draw.choice(names), "message": "Rate exceeded"}, 400)

    def _conflict(self, call: Call) -> Answer:
        text = "Transaction is ongoing for the item"
        if call.name == TRANSACTION:
            return self._cancelled(call, "TransactionConflict", text)
        return answer_of({"__type": f"{DYNAMODB}TransactionConflictException", "message": text}, 400)

    def _cancelled(self, call: Call, code: str, text: str) -> Answer:
        """Return the refusal of a transaction for the sake of one of its items."""
        count = len(call.json["TransactItems"])
        reasons: list[Mapping[str, str]] = [{"Code": "None"} for _ in range(count)]
        reasons[self.draw.randrange(count)] = {"Code": code, "Message": text}
        codes = ", ".join(reason["Code"] for reason in reasons)
        told = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
        kind = f"{DYNAMODB}TransactionCanceledException"
        return answer_of({"__type": kind, "Message": told, "CancellationReasons": reasons}, 400)

    async def _in_part(self, call: Call, forward: Forward) -> Answer:
        """Do a part of a batch, at least one of it, and leave the rest to the caller."""
        how = {"BatchGetItem": self._get, "BatchWriteItem": self._write, "PutEvents": self._put}
        return await how[call.name.partition(".")[2]](call.json, forward)

    async def _get(self, arguments: Json, forward: Forward) -> Answer:
        ((table, wanted),) = arguments["RequestItems"].items()
        taken, left = self._split(wanted["Keys"])
        answer = await forward(_dump({**arguments, "RequestItems": {table: {**wanted, "Keys": taken}}}))
        rest = {table: {**wanted, "Keys": left}} if left else {}
        return answer if answer.status >= 400 else answer_of({**answer.json, "UnprocessedKeys": rest})

    async def _write(self, arguments: Json, forward: Forward) -> Answer:
        ((table, requests),) = arguments["RequestItems"].items()
        taken, left = self._split(requests)
        answer = await forward(_dump({**arguments, "RequestItems": {table: taken}}))
        return answer if answer.status >= 400 else answer_of({"UnprocessedItems": {table: left} if left else {}})

    async def _put(self, arguments: Json, forward: Forward) -> Answer:
        """Refuse some of the entries, perhaps all: each has its own fate."""
        refused = {n for n in range(len(arguments["Entries"])) if self.draw.random() < 0.5}
        taken = [entry for n, entry in enumerate(arguments["Entries"]) if n not in refused]
        results: list[Json] = (await forward(_dump({"Entries": taken}))).json["Entries"] if taken else []
        error = {"ErrorCode": "InternalFailure", "ErrorMessage": "An internal failure occurred."}
        entries = [error if n in refused else results.pop(0) for n in range(len(arguments["Entries"]))]
        return answer_of({"FailedEntryCount": len(refused), "Entries": entries})

    def _split(self, values: list[Json]) -> tuple[list[Json], list[Json]]:
        count = self.draw.randint(1, len(values))
        shuffled = self.draw.sample(values, len(values))
        return shuffled[:count], shuffled[count:]


def _dump(document: Json) -> bytes:
    return answer_of(document).body
