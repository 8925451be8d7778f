"""Error budgets and freezes in a process: calculated every few minutes where it is the platform's clock, and on demand.

While there are no SLOs a round costs one small read, and nothing of it is imported. Several processes may go rounds
over one store: a budget that another has calculated is not due, and versions decide the rest.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from functions._core.errors import FlowcError
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import HANDLERS
from functions._core.ports import Ports
from functions._engine.clock import CHANCE, fresh_id
from functions._engine.freeze_release import FreezeRelease
from functions._engine.read_in_turns import ReadInTurns
from functions._observability.instruments import Instruments
from functions._observability.logs import log

if TYPE_CHECKING:  # imported when there are SLOs
    from functions._core.slo.budget import ErrorBudget
    from functions._core.slo.calculating import Calculation
    from functions._core.slo.definition import Slo
    from functions._core.slo.freezing import FreezeEvent

INTERVAL = timedelta(minutes=5)
"""How often budgets are calculated, unless the settings say otherwise."""

COUNTS_ON = timedelta(seconds=10)
"""How long a round rests in which the history of some SLOs was still counted: the next one counts on."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]


class Budgets:
    """The budgets of the store, as one process calculates and enforces them."""

    def __init__(
        self,
        ports: Ports,
        instruments: Instruments,
        send: Send,
        subscribed: Callable[[str], bool],
        chance: Random = CHANCE,
        *,
        alone: bool,
    ) -> None:
        """Begin nothing yet; `send` makes events durable, those that are `subscribed` to, by their type.

        Tickets go on when a freeze has ended, by events whose ids come from `chance`.
        A process that is not `alone`, as there is a broker, goes no rounds: functions of their own do its work.
        """
        self._ports, self._send, self._subscribed = ports, send, subscribed
        self._in_turns = replace(ports, key_values=ReadInTurns(ports.key_values))
        self._metrics, self._gauges = instruments.metrics, instruments.gauges
        self.release, self.alone = FreezeRelease(ports, send, partial(fresh_id, chance)), alone
        self.interval = INTERVAL
        self.freezes_moved = 0
        """How often freezes may have changed here; who remembers some reads them again."""
        self._next: datetime | None = None
        self._counting = False
        self._task: asyncio.Task[None] | None = None

    @property
    def ticks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What functions of their own do as time passes, by their names."""
        return {"calculate_budgets": self.calculate, "enforce_freezes": self._enforce_all}

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return self._task is not None and not self._task.done()

    async def round(self) -> None:
        """Begin to calculate and enforce if it is time."""
        now = self._ports.clock.now()
        early = self._next is not None and now < self._next <= now + self.interval
        if not self.alone or self.busy or early:
            return
        self._next = now + self.interval
        self._task = asyncio.create_task(self._round())

    async def close(self) -> None:
        """Stop; what was cut off is done by the next round."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _round(self) -> None:
        try:
            await self.tick()
        except FlowcError as error:
            self._next = None  # the next round tries again
            log.warning("budgets.failed", error=str(error))
        except Exception:  # noqa: BLE001 a round must not end those that follow
            log.exception("budgets.failed")

    async def tick(self) -> None:
        """Calculate what is due, and enforce the policies."""
        await self.calculate()
        if self._counting:
            self._next = self._ports.clock.now() + min(COUNTS_ON, self.interval)
        await self.enforce()

    async def _any(self, space: str) -> bool:
        return bool(await self._ports.key_values.page(space, None, 1))

    def _wanted(self, event_type: str) -> bool:
        """Whether an event has a receiver: with a broker there is a function for those of `HANDLERS`."""
        return self._subscribed(event_type) or (not self.alone and event_type in HANDLERS)

    async def calculate(self) -> None:
        """Calculate the budgets that are due."""
        self._counting = False
        if not await self._any("slos"):
            self._gauges.keep({})
            return
        from functions._engine.budget_metrics import gauges_of, severities_of
        from functions._engine.wiring_slo import calculate_budgets

        tell = self._tell_budget if self._wanted("sla.budget.updated") or self._wanted("sla.slo.violated") else None
        seconds = partial(self._metrics.time, "sla_calculation_duration_seconds")
        done = await calculate_budgets(self._in_turns, tell, self._failed, interval=self.interval, seconds=seconds)
        self._counting = done.results["counting"] > 0
        for status, number in done.results.items():
            self._metrics.count("sla_calculations_total", status, by=number)
        for severity in severities_of(done.violations):
            self._metrics.count("sla_slo_violations_total", severity)
        self._gauges.keep(await gauges_of(done, self._in_turns.key_values))

    async def recalculate(self, slo_id: str) -> "ErrorBudget":
        """See `Engine.recalculate`."""
        from functions._engine.wiring_slo import recalculate

        _, done = await recalculate(self._ports, slo_id, self._tell_budget)
        return done.budget

    async def enforce(self, slo_id: str | None = None) -> Sequence["FreezeEvent"]:
        """See `Engine.enforce_policies`."""
        if not await self._any("freeze-policies") and not await self._any("freezes"):
            return ()
        from functions._engine.wiring_slo import enforce_freezes

        try:
            changed = await enforce_freezes(self._in_turns, slo_id, self._tell_freeze)
        finally:
            self.freezes_moved += 1
        self._count(changed)
        return changed

    async def _enforce_all(self) -> None:
        await self.enforce()

    async def resolve(self, event_id: str, by: str, reason: str) -> "FreezeEvent":
        """See `Engine.resolve_freeze`."""
        from functions._engine.wiring_slo import resolve

        try:
            freeze = await resolve(self._ports, event_id, by, reason, self._tell_freeze)
        finally:
            self.freezes_moved += 1
        self._count([freeze])
        return freeze

    async def _tell_budget(self, slo: "Slo", done: "Calculation") -> None:
        from functions._core.slo.events import budget_events

        await self._tell(budget_events(slo, done.budget, violation=done.violation))

    async def _tell_freeze(self, freeze: "FreezeEvent") -> None:
        from functions._core.slo.events import freeze_event

        await self._tell([freeze_event(freeze)])
        await self.release.freezes_changed(ended=not freeze.active)

    async def _tell(self, events: Sequence[CloudEvent]) -> None:
        wanted = tuple(event for event in events if self._wanted(event.event_type))
        await self._send(wanted)
        for event in wanted:
            self._metrics.count("sla_events_published_total", event.event_type)

    def _count(self, changed: Sequence["FreezeEvent"]) -> None:
        """Count freezes that have begun or ended."""
        for freeze in changed:
            result = "activated" if freeze.resolved_at is None else "resolved"
            self._metrics.count("sla_policy_evaluations_total", result)
            self._metrics.count(f"sla_freezes_{result}_total", freeze.scope.value)
            if freeze.resolved_at is not None:
                lasted = (freeze.resolved_at - freeze.triggered_at).total_seconds()
                self._metrics.time("sla_freeze_duration_seconds", lasted)
        if not changed:
            self._metrics.count("sla_policy_evaluations_total", "unchanged")

    def _failed(self, slo: "Slo", error: Exception) -> None:
        known = isinstance(error, FlowcError)
        log.warning("budget.failed", slo_id=slo.slo_id, error=str(error), exc_info=None if known else error)
