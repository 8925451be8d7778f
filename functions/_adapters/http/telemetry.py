"""Telemetry sinks: an HTTP endpoint that takes batches, a broker that takes events, a file of JSON lines."""

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from functions._adapters.http.client import HttpClient, post_to_setting
from functions._adapters.http.cloudevents import write_batch, write_structured
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Broker

EVENTS_PER_POST = 100
"""Keeps a POST well below the body limits that collectors and gateways have."""


class BrokerTelemetrySink:
    """Publishes telemetry as events like all others; implements `ports.TelemetrySink`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """Publish the events in order; raises `Rejected` when the broker refuses one of them."""
        await self._broker.publish(events)


class HttpTelemetrySink:
    """Posts batches of CloudEvents; implements `ports.TelemetrySink`."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._url = url

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """POST the events in order, some at a time; only 2xx means that they were taken.

        Raises `Unavailable` where repeating may help, else `Rejected` with the sink's status. A redirect is a refusal,
        too: it is never followed, because only the first address has been checked.
        """
        for start in range(0, len(events), EVENTS_PER_POST):
            message = write_batch(events[start : start + EVENTS_PER_POST])
            reply = await post_to_setting(self._client, self._url, *message)
            if reply.ok:
                continue
            said = f"the telemetry sink answered {reply.status}"
            if reply.passing:
                raise Unavailable(said)
            raise Rejected(said, code="refused_by_sink", status=reply.status)


class FileTelemetrySink:
    """Appends events to a file, one structured CloudEvent a line; implements `ports.TelemetrySink`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = threading.Lock()

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """Append the events, on the disk before return; after a failure none of them is in the file."""
        lines = b"".join(write_structured(event)[1] + b"\n" for event in events)
        try:
            await asyncio.to_thread(self._append_alone, lines)
        except OSError as error:
            raise Unavailable(f"the telemetry file cannot be written: {error}") from error

    def _append_alone(self, lines: bytes) -> None:
        with self._one_at_a_time:
            _append(self._path, lines)


def _append(path: Path, lines: bytes) -> None:
    """Append whole lines: what a full disk cuts short is taken back, what a crash did is not built upon."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(-1, os.SEEK_END)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
