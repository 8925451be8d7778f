"""The queue of the one-machine platform: every committed event is handled until it succeeds or becomes a letter.

The table is the truth; memory holds a bounded part of it. An event that fails is tried again after a pause that
doubles, with jitter; one that is refused, or fails too often, goes to the dead letters.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from functions._core.delivery import GiveUp, RetryAfter, RetryLimits, next_delivery
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import BESIDE, handler_of, receiver_of
from functions._core.ports import Broker, EventQueue, Ports, Queued
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import letter_of
from functions._core.records.models import Reason
from functions._core.rules import Rules
from functions._engine.dispatch import Dispatcher, flow_of
from functions._engine.keyed_executor import KeyedExecutor
from functions._observability.logs import ids_of, log

PAGE = 500
SUBSCRIBER_TURNS = 8
BESIDE_TURNS = 4
UNAVAILABLE_TRIES = 12
"""With pauses that double this is about ten minutes; after that a person should look."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 60.0
"""Seconds before an event is delivered again; the pause doubles from the first to the longest."""


@dataclass(slots=True)
class _Lane:
    """Events of one kind on their way; `behind` when there are more in the table than memory takes."""

    executor: KeyedExecutor
    known: set[str] = field(default_factory=set)
    behind: bool = False


class LocalBroker:
    """Moves events from the queue to their functions, and to subscribers; implements `EventOutbox`."""

    def __init__(
        self,
        queue: EventQueue,
        dispatcher: Dispatcher,
        executor: KeyedExecutor,
        ports: Ports,
        rules: Rules,
        limit: int,
        chance: Random,
    ) -> None:
        """Hold at most `limit` chain events in memory, and as many for subscribers; `chance` spreads repetitions."""
        self._chance = chance
        self._queue = queue
        self._dispatcher = dispatcher
        self._ports = ports
        self._limits = RetryLimits(
            unavailable=UNAVAILABLE_TRIES, broken=rules.failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE
        )
        self._limit = limit
        self._chain = _Lane(executor)
        # Subscribers have turns of their own, few and apart: one that is slow or dead must not hold up any flow.
        self._outgoing = _Lane(KeyedExecutor(concurrency=SUBSCRIBER_TURNS, limit=limit))
        # Beside the chain, too: what is done there gives commands, which take their turns in the chain. Few need it.
        self._beside: _Lane | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self.subscriber: Broker | None = None
        self.handles: bool | None = True

    @property
    def held(self) -> int:
        """How many events are in memory."""
        return sum(len(lane.known) for lane in self._lanes)

    @property
    def _lanes(self) -> tuple[_Lane, ...]:
        return self._chain, self._outgoing, *([self._beside] if self._beside else [])

    async def recover(self) -> None:
        """Take up what an earlier process has left, or another one that is no more."""
        await self._queue.take_over()
        await self._refill()

    def take(self, events: Iterable[CloudEvent]) -> None:
        """Handle events that were committed just now."""
        for event in events:
            self._accept(Queued(0, event, 0, None))

    async def close(self) -> None:
        """Stop; what is left is in the table."""
        self.handles = False
        for timer in self._timers:
            timer.cancel()
        await self._outgoing.executor.close()
        if self._beside is not None:
            await self._beside.executor.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, queued: Queued) -> None:
        lane = self._lane(queued.event)
        if queued.event.id in lane.known:
            return
        if len(lane.known) >= self._limit:
            lane.behind = True
            return
        lane.known.add(queued.event.id)
        pause = (queued.not_before - self._ports.clock.now()).total_seconds() if queued.not_before else 0.0
        self._after(max(0.0, pause), partial(self._submit, queued))

    def _submit(self, queued: Queued) -> None:
        event = queued.event
        lane = self._lane(event)
        try:
            lane.executor.submit(flow_of(event), partial(self._work, queued))
        except Unavailable:
            lane.known.discard(event.id)
            lane.behind = True

    def _lane(self, event: CloudEvent) -> "_Lane":
        if handler_of(event) is None:
            return self._outgoing
        if event.event_type not in BESIDE:
            return self._chain
        if self._beside is None:
            self._beside = _Lane(KeyedExecutor(concurrency=BESIDE_TURNS, limit=self._limit))
        return self._beside

    async def _work(self, queued: Queued) -> None:
        try:
            await self._handle(queued.event)
        except Exception as error:  # noqa: BLE001 the one broad except: no function may stop the platform
            match next_delivery(error, queued.attempts + 1, self._limits):
                case GiveUp() as given_up:
                    await self._dead_letter(queued, given_up)
                case RetryAfter(pause):
                    await self._again(queued, pause, error)
        else:
            self._done(queued.event)

    async def _handle(self, event: CloudEvent) -> None:
        if self._lane(event) is self._chain:
            handled = await self._dispatcher.handle(event, queued=True)
            if handled.step.handled is None:
                await self._remove(event)
            return
        if self._lane(event) is self._beside:
            if self._dispatcher.beside is not None:
                await self._dispatcher.beside(event)
        elif self.subscriber is not None:
            await self.subscriber.publish([event])
        await self._remove(event)

    async def _remove(self, event: CloudEvent) -> None:
        await self._ports.store.commit(ChangeSet(flow_id=event.subject or "", handled=event.id))

    async def _again(self, queued: Queued, pause: float, error: Exception) -> None:
        event, attempts = queued.event, queued.attempts + 1
        log.warning("event.failed", **ids_of(event), attempts=attempts, error=repr(error))
        pause *= 0.8 + 0.4 * self._chance.random()
        not_before = self._ports.clock.now() + timedelta(seconds=pause)
        try:
            await self._queue.postpone(event.id, attempts, not_before)
        except Unavailable as away:
            log.warning("event.postponed_in_memory_only", **ids_of(event), error=str(away))
        self._after(pause, partial(self._submit, Queued(queued.position, event, attempts, not_before)))

    async def _dead_letter(self, queued: Queued, given_up: GiveUp) -> None:
        event, reason = queued.event, given_up.reason
        letter = letter_of(event, receiver_of(event), reason, queued.attempts + 1, self._ports.clock.now())
        log.error("event.buried", **ids_of(event), code=reason.code, reason=reason.message)
        try:
            # The flow first: were it the other way round, a crash in between would leave it to its deadline.
            if given_up.breaks_flow and self._lane(event) is self._chain:
                await self._give_up_step(event, reason)
            await self._queue.dead_letter(event.id, letter)
        except Exception as error:  # noqa: BLE001 what cannot be kept now is kept later; nothing is dropped
            log.warning("event.not_buried", **ids_of(event), error=repr(error))
            self._after(LONGEST_PAUSE, partial(self._submit, queued))
            return
        self._done(event)

    async def _give_up_step(self, event: CloudEvent, reason: Reason) -> None:
        flow_id = flow_of(event)
        if await self._ports.store.flow(flow_id) is not None:
            await self._dispatcher.broke(flow_id, reason)

    def _done(self, event: CloudEvent) -> None:
        lane = self._lane(event)
        lane.known.discard(event.id)
        if lane.behind and len(lane.known) < self._limit // 2:
            lane.behind = False
            self._spawn(self._refill())

    async def _refill(self) -> None:
        """Read the table from the start until memory is full; what is in memory already is passed over."""
        position = 0
        while any(len(lane.known) < self._limit for lane in self._lanes):
            page = await self._queue.pending(position, PAGE)
            for queued in page:
                self._accept(queued)
            if len(page) < PAGE:
                return
            position = page[-1].position

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        if seconds <= 0:
            call()
            return

        def fire() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(seconds, fire)
        self._timers.add(timer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
