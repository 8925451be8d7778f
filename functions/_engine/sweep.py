"""The clock of the platform: sleeps until the nearest wake-up, then acts on everything that is due.

Between wake-ups it looks around every few seconds for what may have been missed: waiting tickets that a free slot
could take, telemetry that the sink may take by now.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from functions._core.errors import FlowcError, Unreadable
from functions._core.ports import Due, Ports
from functions._core.records.change_set import ChangeSet
from functions._observability.logs import log

PAGE = 200
LEASE = timedelta(seconds=30)
"""A record whose wake-up was claimed comes due again after this, should the claimant die."""

ROUND = timedelta(seconds=5)
SHORTEST_SLEEP = 0.001
LONGEST_SLEEP = timedelta(seconds=5)
"""Bounds what a clock that was set back can cost, and how late a wake-up is that another process has armed."""


class Sweeper:
    """Claims due records, page by page, and hands each to `act`; does `rounds` every few seconds."""

    def __init__(
        self, ports: Ports, act: Callable[[Due], Awaitable[object]], rounds: Callable[[], Awaitable[None]]
    ) -> None:
        """Begin nothing yet; `run` does."""
        self._ports = ports
        self._act = act
        self._rounds = rounds
        self._next: datetime | None = None
        self.longest_sleep = LONGEST_SLEEP
        self.begin: Callable[[datetime], datetime | None] = lambda _now: None
        """Begins what else is due at a moment, such as schedules; returns when the first is that is not."""
        self._woken = asyncio.Event()

    def arm(self, at: datetime) -> None:
        """Make sure to wake up at `at` or earlier."""
        if self._next is None or at < self._next:
            self._next = at
            self._woken.set()

    def observe(self, step: ChangeSet) -> None:
        """Make sure to wake up in time for what a committed step has armed."""
        records = (*((step.flow,) if step.flow else ()), *step.tickets)
        nearest = min((r.next_wakeup_at for r in records if r.next_wakeup_at), default=None)
        if nearest is not None:
            self.arm(nearest)

    async def run(self) -> None:
        """Sweep until cancelled; a store that does not answer is asked again.

        Rounds are a task of their own: what they wait for, a telemetry sink say, must not make wake-ups late.
        """
        rounds = asyncio.create_task(self._go_round())
        try:
            while True:
                await self._guarded(self.sweep)
                await self._sleep()
        finally:
            rounds.cancel()
            await asyncio.wait({rounds})

    async def _go_round(self) -> None:
        while True:
            await self._guarded(self._rounds)
            await asyncio.sleep(ROUND.total_seconds())

    async def sweep(self, in_time: Callable[[], bool] = lambda: True) -> None:
        """Act on everything that is due now, as long as there is time: the rest stays due."""
        while in_time():
            now = self._ports.clock.now()
            page = await self._ports.wakeups.claim_due(now, PAGE, LEASE)
            await asyncio.gather(*(self._acted(due) for due in page))
            if len(page) < PAGE:
                break
        self._next = None
        for following in (await self._ports.wakeups.next_due(), self.begin(self._ports.clock.now())):
            if following is not None:
                self.arm(following)

    async def tick(self) -> None:
        """Act on everything that is due now and go one round: what a schedule outside asks for."""
        await self.sweep()
        await self._rounds()

    async def _acted(self, due: Due) -> None:
        try:
            await self._act(due)
        except Unreadable:
            return  # told when the record was set aside; it comes due again after the lease
        except FlowcError as error:
            log.warning("wakeup.failed", **_about(due), error=str(error))
        except Exception:  # noqa: BLE001 one broken record must not keep the others from what is due
            log.exception("wakeup.failed", **_about(due))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:  # noqa: BLE001 the clock must not stop, whatever one round runs into
            log.exception("sweep.failed")

    async def _sleep(self) -> None:
        self._woken.clear()
        now = self._ports.clock.now()
        until = min(now + self.longest_sleep, self._next) if self._next else now + self.longest_sleep
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes at the same moment as the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(SHORTEST_SLEEP, (until - now).total_seconds())):
                await self._woken.wait()


def _about(due: Due) -> Mapping[str, object]:
    """Return the fields of a line about a wake-up; its flow is not read for that, so no correlation id is known."""
    ticket = {"ticket_id": due.record_id} if due.kind == "ticket" else {}
    return {"kind": due.kind, "record_id": due.record_id, "flow_id": due.flow_id, **ticket}
