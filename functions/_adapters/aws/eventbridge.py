"""An EventBridge bus: each entry carries a whole CloudEvent in its `Detail`.

What is published at the same time goes in one call, and each event learns its own fate: of ten entries a call may
refuse one.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from functions._adapters.aws.claims import Claims
from functions._adapters.aws.client import Client
from functions._adapters.http.cloudevents import write_structured
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent

ENTRIES = 10
"""Entries of one call."""

BYTES = 256 * 1024
"""Of an entry, and of a call: every target takes as much, and every event so far that was larger was a mistake."""

ROOM = 1024
"""Bytes of an entry, and of what is put around it on its way, beside the event."""

REFUSED = frozenset({"NotAuthorizedForSourceException", "InvalidArgument", "MalformedDetail"})
"""What is wrong with an entry itself."""

PAUSES = (0.05, 0.2, 0.8)
"""Seconds before what a bus has not taken is tried again; who calls tries again later, with longer pauses."""

Entry = Mapping[str, Any]
Waiting = tuple[Entry, int, asyncio.Future[str]]
"""An entry, its bytes, and what came of it: nothing, or why it was not taken."""


class EventBridgeBroker:
    """Publishes to a bus; implements `ports.Broker`."""

    def __init__(self, client: Client, bus: str, claims: Claims | None) -> None:
        """Use an open client of `events`; without `claims` large events are tried as they are."""
        self._client = client
        self._bus = bus
        self._claims = claims
        self._waiting: list[Waiting] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Put the events on the bus; raise `Unavailable` when it does not take some, `Rejected` when it never will."""
        left = [await self._entry(event) for event in events]
        why = ""
        for pause in (*PAUSES, None):
            fates = await asyncio.gather(*(self._put(entry, size) for entry, size in left))
            left = [one for one, fate in zip(left, fates, strict=True) if fate]
            why = next(filter(None, fates), "")
            if not left:
                return
            if refused := next((fate for fate in fates if fate in REFUSED), None):
                raise Rejected(f"EventBridge refuses it: {refused}", code="refused_by_broker", status=400)
            if pause is not None:
                await asyncio.sleep(pause)
        raise Unavailable(f"EventBridge has not taken {len(left)} of {len(events)} events: {why}")

    async def _entry(self, event: CloudEvent) -> tuple[Entry, int]:
        _, body = write_structured(event)
        if len(body) + ROOM > BYTES and self._claims is not None:
            event = await self._claims.checked_in(event)
            _, body = write_structured(event)
        entry = {
            "EventBusName": self._bus,
            "Source": event.source,
            "DetailType": event.type,
            "Detail": body.decode(),
            "Time": event.time,
        }
        return entry, len(body) + ROOM

    async def _put(self, entry: Entry, size: int) -> str:
        """Let an entry go with those that are published at the same time; return why it was not taken, if so."""
        fate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((entry, size, fate))
        return await fate

    def _flush(self) -> None:
        for call in calls(self._waiting):
            task = asyncio.create_task(self._send(call))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._waiting = []

    async def _send(self, call: Sequence[Waiting]) -> None:
        try:
            answer = await self._client.call("put_events", {"Entries": [entry for entry, _, _ in call]})
            results = [str(result.get("ErrorCode") or "") for result in answer["Entries"]]
        except Exception as error:  # noqa: BLE001 whoever waits must learn that the call has failed, however it has
            results = [str(error) or type(error).__name__] * len(call)
        for (_, _, fate), result in zip(call, results, strict=True):
            if not fate.done():
                fate.set_result(result)


def calls(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Yield what goes together: up to ten entries, and no more bytes than one call may have."""
    call: list[Waiting] = []
    size = 0
    for one in waiting:
        if call and (len(call) == ENTRIES or size + one[1] > BYTES):
            yield call
            call, size = [], 0
        call.append(one)
        size += one[1]
    if call:
        yield call
