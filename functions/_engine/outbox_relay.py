"""Takes committed events out of the store to a broker: published first, removed after, so that none is lost.

An event that the broker does not take stays in the queue. Whoever is sent the same event again publishes what its
flow has left there; a sweep does the same for all that is older than a few seconds. An event may so be published
twice, with the same id.
"""

import asyncio
from collections.abc import Collection, Iterable
from datetime import timedelta

from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import receiver_of
from functions._core.ports import Broker, Clock, EventQueue, FlowStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import letter_of
from functions._core.records.models import Reason
from functions._observability.logs import ids_of, log

AT_ONCE = 32
"""Events on their way to the broker at the same time; half of the connections that one host may have."""

PAGE = 500
STALE = timedelta(seconds=5)
"""What waits longer than this was left by a process that died or a broker that was away."""

REMEMBERED = 10_000
"""Events that could not be published, by id, for whoever asks a moment later."""


class OutboxRelay:
    """Publishes events; implements `EventOutbox`."""

    def __init__(self, queue: EventQueue, store: FlowStore, broker: Broker, clock: Clock) -> None:
        self._queue = queue
        self._store = store
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, None] = {}
        self._resume = 0
        self.subscriber: Broker | None = broker
        self.handles: bool | None = None
        self._broker = broker

    @property
    def held(self) -> int:
        """How many events are on their way."""
        return len(self._under_way)

    def take(self, events: Iterable[CloudEvent]) -> None:
        """Publish events that were committed just now."""
        for event in events:
            if event.id not in self._under_way:
                self._under_way[event.id] = asyncio.create_task(self._publish(event))

    async def sent(self, events: Collection[CloudEvent]) -> None:
        """Return when events that were taken are with the broker; raise `Unavailable` when one is not."""
        tasks = [task for event in events if (task := self._under_way.get(event.id))]
        if tasks:
            await asyncio.wait(tasks)  # not `gather`: who stops waiting does not stop the publishing
        failed = sum(event.id in self._failed for event in events)
        if failed:
            raise Unavailable(f"{failed} of {len(events)} events are not published yet")

    async def resend(self, flow_id: str) -> None:
        """Publish what a flow has left in the queue; raise `Unavailable` like `sent`."""
        after = 0
        while page := await self._queue.pending(after, PAGE):
            left = [queued.event for queued in page if queued.event.extensions.get("partitionkey") == flow_id]
            self.take(left)
            await self.sent(left)
            if len(page) < PAGE:
                return
            after = page[-1].position

    async def recover(self) -> None:
        """Publish what has been left in the queue for a while; stop when the broker takes nothing of a page.

        An event that it does not take keeps none that comes after it from being published: a broker that is away is
        left alone, and the next sweep begins behind the page.
        """
        after, self._resume = self._resume, 0
        while page := await self._queue.pending(after, PAGE):
            before = self._clock.now() - STALE
            left = [queued.event for queued in page if queued.event.time <= before]
            self.take(left)
            try:
                await self.sent(left)
            except Unavailable as away:
                log.warning("publishing.behind", error=str(away))
                if all(event.id in self._failed for event in left):
                    self._resume = page[-1].position
                    return
            if len(page) < PAGE:
                return
            after = page[-1].position

    async def close(self) -> None:
        """Stop; what is not published stays in the queue."""
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _publish(self, event: CloudEvent) -> None:
        try:
            async with self._turns:
                await self._brought(event)
        except BaseException as error:
            self._failed[event.id] = None
            if len(self._failed) > REMEMBERED:
                del self._failed[next(iter(self._failed))]
            if not isinstance(error, Exception):
                raise
            log.warning("event.not_published", **ids_of(event), error=repr(error))
        else:
            self._failed.pop(event.id, None)
        finally:
            del self._under_way[event.id]

    async def _brought(self, event: CloudEvent) -> None:
        """Take an event to the broker, and out of the queue."""
        try:
            await self._broker.publish([event])
        except Rejected as refusal:
            await self._dead_letter(event, refusal)
        else:
            await self._store.commit(ChangeSet(flow_id=event.subject or "", handled=event.id))

    async def _dead_letter(self, event: CloudEvent, refusal: Rejected) -> None:
        """Make a dead letter of what the broker will never take; of a chain event, the flow's wake-up tries another."""
        log.error("event.refused_by_broker", **ids_of(event), error=str(refusal))
        reason = Reason(code=refusal.code, message=str(refusal))
        await self._queue.dead_letter(event.id, letter_of(event, receiver_of(event), reason, 1, self._clock.now()))
