"""Timers for processes that live no longer than an event: a delayed message for what is due before the next tick.

The schedule ticks once a minute, and no more exactly than to the minute. What is due sooner is asked for by a message
to the function that sweeps, and whoever has swept asks for what comes next. So one message is enough for all that is
due behind it: a process that knows of one under way sends no other for what is later.
"""

import asyncio
from datetime import datetime, timedelta
from math import ceil

from functions._adapters.aws.messages import Queue
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.ports import Clock, Wakeups
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import format_time
from functions._engine.clock import fresh_id
from functions._observability.logs import log

SOURCE = "/flowc/timer"
HORIZON = timedelta(minutes=2)
"""The longest that two ticks may be apart; what is due later is found by the next of them."""

VISIBLE = timedelta(seconds=2)
"""After this an index tells of what was committed: a message that comes sooner may not find it."""

SHORTEST = timedelta(seconds=1)
"""The shortest delay of a message."""


class Timers:
    """The wake-ups that this process has armed, and the messages that it has sent for them."""

    def __init__(self, queue: Queue | None, clock: Clock) -> None:
        """Without a queue the schedule has to do."""
        self._queue = queue
        self._clock = clock
        self._armed: dict[str, datetime] = {}
        self._sent: datetime | None = None
        self._message = ""

    def observe(self, step: ChangeSet) -> None:
        """Take note of the wake-ups of a committed step; those of the same records that were noted before are void."""
        flows = {step.flow.flow_id: step.flow.next_wakeup_at} if step.flow else {}
        for record_id, at in {**flows, **{t.ticket_id: t.next_wakeup_at for t in step.tickets}}.items():
            if at is None:
                self._armed.pop(record_id, None)
            else:
                self._armed[record_id] = at

    def came(self, event: CloudEvent) -> None:
        """Take note of a message that has come, perhaps a moment early: it covers nothing any more."""
        if event.id == self._message:
            self._sent = None

    async def set(self) -> None:
        """Ask for the nearest of the wake-ups noted, unless the schedule or another message brings it."""
        nearest = min(self._armed.values(), default=None)
        self._armed.clear()
        if nearest is not None:
            await self._ask(nearest, VISIBLE)

    async def set_next(self, wakeups: Wakeups) -> None:
        """Ask for the nearest wake-up of all records: what a sweep ends with, unless another is to come before that."""
        self._armed.clear()
        try:
            nearest = await wakeups.next_due()
        except Unavailable as away:  # what the invocation has done stays done: the next tick finds the rest
            log.warning("timer.not_set", error=str(away))
            return
        if nearest is not None:
            await self._ask(nearest, timedelta())

    async def _ask(self, at: datetime, visible: timedelta) -> None:
        """Ask for a sweep, unless one is to come in time that will find it: not before it is `visible`."""
        now = self._clock.now()
        covered = self._sent is not None and now + visible <= self._sent <= max(at, now + SHORTEST)
        if self._queue is None or covered or at > now + HORIZON:
            return
        delay = ceil(max(at - now, SHORTEST).total_seconds())
        event = CloudEvent(
            id=fresh_id(),
            source=SOURCE,
            type=type_of("clock.ticked"),
            time=now,
            data={"due_at": format_time(at)},
        )
        try:
            await asyncio.shield(self._queue.send(event, delay))
        except Unavailable as away:
            log.warning("timer.not_set", due_at=format_time(at), error=str(away))  # the next tick finds it
        else:
            self._sent, self._message = now + timedelta(seconds=delay), event.id
