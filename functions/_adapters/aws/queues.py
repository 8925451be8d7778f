"""The queues of the functions: an event that a function handles goes straight into its queue.

The bus takes what subscribers want and what no function handles. Between two functions it would ask a price for each
event, take its time, and lead to the same queue.
"""

from collections.abc import Callable, Mapping, Sequence

from functions._adapters.aws.claims import Claims
from functions._adapters.aws.client import Client
from functions._adapters.aws.messages import Queue
from functions._adapters.http.cloudevents import write_structured
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import HANDLERS
from functions._core.ports import Broker

LARGEST = 255 * 1024
"""Bytes of an event that a message holds; more is claimed from a bucket."""


class FunctionQueues:
    """Sends each event to the function that handles it; implements `ports.Broker`."""

    def __init__(
        self,
        client: Client,
        urls: Mapping[str, str],
        bus: Broker,
        claims: Claims | None,
        wanted: Callable[[str], bool],
    ) -> None:
        """Use an open client of `sqs`; `urls` are those of the queues by function.

        `bus` takes the events that have no queue, and those whose type is `wanted` by subscribers.
        """
        self._queues = {function: Queue(client, url) for function, url in urls.items()}
        self._bus = bus
        self._claims = claims
        self._wanted = wanted

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Send the events; raise `Unavailable` when a queue or the bus does not take one."""
        for event in events:
            if queue := self._queue_for(event):
                await queue.send(await self._small(event), 0)
        on_bus = [event for event in events if self._wanted(event.event_type) or self._queue_for(event) is None]
        if on_bus:
            await self._bus.publish(on_bus)

    def _queue_for(self, event: CloudEvent) -> Queue | None:
        return self._queues.get(HANDLERS.get(event.event_type, ""))

    async def _small(self, event: CloudEvent) -> CloudEvent:
        if self._claims is None or len(write_structured(event)[1]) <= LARGEST:
            return event
        return await self._claims.checked_in(event)
