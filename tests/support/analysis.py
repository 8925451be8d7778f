"""A platform whose history is analysed: a clock that is set by hand, flows that have ended, and who is told."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from functions._adapters.stores import Stores
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.insights.insight import Insight
from functions._core.insights.stored import all_insights
from functions._core.insights.window import LENGTH
from functions.analyze.function import DELAY, Analyzed, analyze
from tests.support.builders import T0, later, make_flow, make_step, make_ticket, seconds
from tests.support.slo_history import ports_of


class ToldInsights:
    """Whoever sends the events about insights."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []
        self.away = False

    async def __call__(self, events: Sequence[CloudEvent]) -> None:
        if self.away:
            raise Unavailable("nobody is there")
        self.events += events

    def of(self, event_type: str = "insights.analyzed") -> list[Insight]:
        """Return the insights that were told by events of a type."""
        return [Insight.model_validate(event.data) for event in self.events if event.event_type == event_type]


class AnalysedPlatform:
    """Ports over a store at a moment, and the analysis of what ends there."""

    def __init__(self, stores: Stores) -> None:
        self.stores, self.told, self.number = stores, ToldInsights(), 0
        self.ports, self.clock = ports_of(stores)
        self.clock.time = T0

    async def tick(self) -> Analyzed:
        """Let the analysis do what is due."""
        return await analyze(self.ports, self.told)

    async def next_window(self) -> Analyzed:
        """Let the window that is under way pass, and be looked at."""
        begun = T0 + (self.clock.time - T0) // LENGTH * LENGTH
        self.clock.time = begun + LENGTH + DELAY
        return await self.tick()

    async def insights(self) -> Sequence[Insight]:
        """Return what is stored, the newest first."""
        return await all_insights(self.ports.key_values)

    async def ended(self, outcome: str = "COMPLETED", *, said: Any = None, tickets: int = 1, **fields: Any) -> str:
        """Store a flow that ends now after two seconds, each of its tickets after one; return its id.

        `said` is in its decision; a flow that failed has tickets that failed at `bad`. `fields` are those of tickets.
        """
        self.number += 1
        end = self.clock.time
        flow = make_flow(self.number, received_at=end - seconds(2), sla_deadline=end + seconds(60), tickets_generated=1)
        failed = outcome in {"FAILED", "TIMED_OUT"}
        ticket: dict[str, Any] = {
            "status": "FAILED" if failed else "COMPLETED",
            "attempt": 1,
            "worker_id": "bad" if failed else "good",
            "ready_at": end - seconds(1),
            "assigned_at": end - seconds(1),
            "completed_at": end,
            "actual_duration_ms": None if failed else 1000,
            "estimated_duration_ms": 1000,
            "next_wakeup_at": None,
        }
        if failed:
            ticket["reason"] = {"code": "TASK_FAILED", "message": "it broke"}
        made = [make_ticket(flow, place, **{**ticket, **fields}) for place in range(1, tickets + 1)]
        decision = None if said is None else json.dumps({"cognitive_plan": {"tasks": []}, **said}).encode()
        await self.stores.store.commit(make_step(flow, *made, decision=decision))
        phases = (*flow.phases, {"status": outcome, "entered_at": end})
        more = {"status": outcome, "outcome": outcome, "ended_at": end, "next_wakeup_at": None, "phases": phases}
        await self.stores.store.commit(make_step(later(flow, **more)))
        return flow.flow_id

    async def end_some(self, number: int, outcome: str = "COMPLETED", **fields: Any) -> None:
        """Store some flows that end one after the other, half a second apart."""
        for _ in range(number):
            self.clock.time += timedelta(milliseconds=500)
            await self.ended(outcome, **fields)
