"""Runs schedules: looks at those that are due, starts their flows, and stores when each comes next.

A look while nothing is due reads the first wake-up and nothing else, however many schedules there are. The moment of
the first one is remembered, so that the timer wakes for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from functions._core.engine import CommandResult
from functions._core.errors import Conflict, FlowcError, Rejected, Unreadable
from functions._core.events.commands import AnyCommand, CancelRequest
from functions._core.events.envelope import CloudEvent
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import Entry, Ports
from functions._core.records.values import add_time
from functions._core.schedules.wakeups import WAKEUPS, first, read_key
from functions._engine.sweep import Sweeper
from functions._observability.logs import log
from functions._observability.metrics import Metrics

if TYPE_CHECKING:  # imported when a schedule is due
    from functions._core.schedules.record import ScheduleRecord

PAGE, PAGES = 50, 20
"""Schedules that are looked at together, and how often in one round; another round does the rest."""

POSTPONED = timedelta(seconds=30)
"""After this a schedule is looked at again that could not be looked at."""

Admit = Callable[[CloudEvent], Awaitable[str]]
Order = Callable[[AnyCommand], Awaitable[CommandResult]]


class Schedules:
    """The schedules of the store, as one process runs them. Several may do so: whoever is first runs a moment."""

    def __init__(
        self, ports: Ports, metrics: Metrics, admit: Admit, order: Order, timer: Sweeper | None = None
    ) -> None:
        """Begin nothing yet; the `timer` of the process, if it has one, wakes for what is due."""
        if timer is not None:
            timer.begin = self.begin
        self._ports, self._metrics = ports, metrics
        self._admit, self._order, self._timer = admit, order, timer
        self._next: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return self._task is not None and not self._task.done()

    def arm(self, at: datetime) -> None:
        """Make sure to look at `at` or earlier."""
        if self._next is None or at < self._next:
            self._next = at
        if self._timer is not None:
            self._timer.arm(at)

    def begin(self, now: datetime) -> datetime | None:
        """Begin a round if a wake-up has come that is known of; else return when the first one is."""
        if self.busy:
            return None  # its end arms the timer
        if self._next is None or self._next > now:
            return self._next
        self._task = asyncio.create_task(self._round())
        return None

    async def round(self) -> None:
        """Look at what is due, also at what other processes have armed."""
        if not self.busy:
            self._task = asyncio.create_task(self._round())
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Stop; what was cut off is done by the next look."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _round(self) -> None:
        self._next = None
        try:
            following = await first(self._ports.key_values)
            for _ in range(PAGES):
                if following is None or following > self._ports.clock.now() or not await self._page():
                    break
                following = await first(self._ports.key_values)
        except FlowcError as error:
            log.warning("schedules.failed", error=str(error))  # the next round of the sweeper tries again
            return
        if following is not None:
            self.arm(following)

    async def _page(self) -> bool:
        """Look at the schedules that are due first; tell whether any of their wake-ups has gone."""
        now = self._ports.clock.now()
        page = await self._ports.key_values.page(WAKEUPS, None, PAGE)
        due = [entry for entry in page if read_key(entry.key)[0] <= now]
        return any(await asyncio.gather(*map(self._look, due)))

    async def _look(self, wakeup: Entry) -> bool:
        """Look at a schedule; tell whether its wake-up has gone."""
        from functions._core.schedules import stored

        _, name = read_key(wakeup.key)
        try:
            await self._decide(name, wakeup)
        except Conflict:
            return False  # another process, or a person, was faster, and has armed what comes next
        except FlowcError as error:
            log.warning("schedule.failed", schedule=name, error=str(error))
        except Exception:  # noqa: BLE001 one broken schedule must not keep the others from what is due
            log.exception("schedule.failed", schedule=name)
        else:
            return True
        await stored.postpone(self._ports.key_values, wakeup, add_time(self._ports.clock.now(), POSTPONED))
        return True

    async def _decide(self, name: str, wakeup: Entry) -> None:
        from functions._core.schedules import course, stored

        schedule, version = await stored.read(self._ports.key_values, name)
        if schedule is None:
            await stored.forget(self._ports.key_values, name, version, wakeup)
            return
        now = self._ports.clock.now()
        found = course.due(schedule, now)
        flows = await self._flows(course.asked_for(schedule, found))
        decided = course.decide(schedule, found, flows, now)
        for flow_id in decided.cancels:
            await self._cancel(name, flow_id)
        after = decided.schedule
        for moment in decided.starts:
            try:
                await self._admit(course.event_of(schedule, moment, now))
            except Rejected as refusal:
                log.warning(
                    "schedule.refused", schedule=name, flow_id=course.run_id_of(name, moment), error=str(refusal)
                )
                after = course.refused(after, moment, str(refusal))
            else:
                lateness = (self._ports.clock.now() - course.begins_at(schedule, moment)).total_seconds()
                if moment in found.made:
                    self._metrics.time("flowc_schedules_lateness_seconds", max(0.0, lateness))
        await stored.moved(self._ports.key_values, after, version, wakeup)
        self._count(schedule, after)

    async def _flows(self, flow_ids: Collection[str]) -> Mapping[str, bool]:
        """Return which of these flows there are, and whether each of them goes on."""
        found = dict(zip(flow_ids, await asyncio.gather(*map(self._goes_on, flow_ids)), strict=True))
        return {flow_id: goes_on for flow_id, goes_on in found.items() if goes_on is not None}

    async def _goes_on(self, flow_id: str) -> bool | None:
        try:
            flow = await self._ports.store.flow(flow_id)
        except Unreadable:
            return False  # nothing waits for what nobody can read
        return None if flow is None else flow.status not in ENDED_FLOWS

    async def _cancel(self, name: str, flow_id: str) -> None:
        order = CancelRequest(flow_id=flow_id, requested_by=f"schedule {name}", reason="the next run begins")
        try:
            await self._order(order)
        except Rejected as refusal:
            log.info("schedule.not_cancelled", schedule=name, flow_id=flow_id, reason=str(refusal))  # it has ended

    def _count(self, before: "ScheduleRecord", after: "ScheduleRecord") -> None:
        self._metrics.count("flowc_schedules_due_total")
        for result, number in after.counts.items():
            if more := number - before.counts.get(result, 0):
                self._metrics.count("flowc_schedules_runs_total", result, by=more)
