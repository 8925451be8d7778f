"""Clients of the emulator that lose, delay, count or refuse what goes through them; the table behind them is real."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from functions._adapters.aws.client import Client

Arguments = Mapping[str, Any]
Answer = Mapping[str, Any]
Call = Callable[[str, Arguments], Awaitable[Answer]]


class Between:
    """A client with something between it and the wire: `act` gets the call and how to make it."""

    def __init__(self, client: Client, act: Callable[[Call, str, Arguments], Awaitable[Answer]]) -> None:
        self._client = client
        self._act = act

    async def call(self, operation: str, arguments: Arguments) -> Answer:
        return await self._act(self._client.call, operation, arguments)


class Counting:
    """A client that counts calls."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.calls: Counter[str] = Counter()

    async def call(self, operation: str, arguments: Arguments) -> Answer:
        self.calls[operation] += 1
        return await self._client.call(operation, arguments)


WRITES = frozenset({"update_item", "delete_item", "transact_write_items", "batch_write_item"})


class Ahead:
    """A clock that is `ahead` of the time it started with."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self.ahead = timedelta()

    def now(self) -> datetime:
        return self._start + self.ahead


class Died(BaseException):
    """Ends a process where a test wants it to end: nothing that it would do after that is done."""
