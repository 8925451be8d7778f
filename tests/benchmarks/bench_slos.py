"""SLOs: what it takes to recalculate a thousand of them over a history of a million tickets, on SQLite."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus, Outcome, TicketStatus
from functions._core.slo.stored import budgets
from functions._engine.budgets import COUNTS_ON
from functions._engine.keyed_executor import HeavyWork
from functions.calculate_budgets.function import Calculated, calculate_budgets
from tests.support.builders import make_flow, make_step, make_ticket, seconds
from tests.support.clocks import HandClock
from tests.support.slo_history import NOW, ports_of, slo
from tests.support.slo_history import stored as put
from tests.support.turns import measured_turns

FLOWS = int(os.environ.get("BENCH_FLOWS", "25000"))
TICKETS, SLOS = 40, 1_000
SINCE_LAST = 500
"""Flows that end between two calculations: 100 a minute."""

TOGETHER = 50
"""Flows that are stored at once."""

TEAMS, TYPES = 100, ("BUILD", "TEST", "DEPLOY")
SPAN = timedelta(days=30)
BOUND_S = 10.0


def queries() -> Sequence[dict[str, Any]]:
    """Return what a thousand SLOs ask for: most of them a team's flows, some its tickets, a few everything."""
    found: list[dict[str, Any]] = []
    for number in range(SLOS):
        labels = {"team": f"team-{number % TEAMS}"}
        kind = number // TEAMS
        if kind < 4:
            found.append({"measure": "completion_time", "within_ms": 1000 * (kind + 1), "labels": labels})
        elif kind < 6:
            found.append({"measure": ("flow_success", "sla_met")[kind - 4], "labels": labels})
        elif kind < 9:
            found.append({"measure": "ticket_success", "labels": labels, "task_type": TYPES[kind - 6]})
        else:
            found.append({"measure": "completion_time", "within_ms": 10_000 + number})
    return found


async def fill(store: SqliteStore, first: int, ends: Sequence[timedelta]) -> None:
    """Store flows that ended so long ago, each with its tickets, as fast as they can be made."""
    form = make_flow(1)
    kinds = [TYPES[place % len(TYPES)] for place in range(TICKETS)]
    tickets = [make_ticket(form, place, task_type=kind, next_wakeup_at=None) for place, kind in enumerate(kinds)]

    def step(number: int, ago: timedelta) -> ChangeSet:
        outcome, end = "FAILED" if number % 97 == 0 else "COMPLETED", NOW - ago
        flow_id, fields = f"flow-{number}", {"assigned_at": end, "ready_at": end, "completed_at": end}
        done = [
            one.but(ticket_id=f"{flow_id}-{place}", flow_id=flow_id, status=TicketStatus(outcome), **fields)
            for place, one in enumerate(tickets)
        ]
        flow = form.but(
            flow_id=flow_id,
            decision_id=flow_id,
            labels={"team": f"team-{number % TEAMS}"},
            received_at=end - seconds(1),
            sla_deadline=end + seconds(60),
            status=FlowStatus(outcome),
            outcome=Outcome(outcome),
            ended_at=end,
            next_wakeup_at=None,
        )
        return make_step(flow, *done)

    for at in range(0, len(ends), TOGETHER):
        few = enumerate(ends[at : at + TOGETHER], first + at)
        await asyncio.gather(*(store.stores.store.commit(step(number, ago)) for number, ago in few))


async def tick(ports: Ports) -> Calculated:
    return await calculate_budgets(ports, None, lambda which, error: print(which.slo_id, error), interval=seconds(300))


async def counted(ports: Ports, clock: HandClock) -> int:
    """Calculate until the history is counted and all budgets are there; return how many ticks that took."""
    ticks = 0
    while True:
        ticks += 1
        done = await tick(ports)
        if not done.results["counting"]:
            return ticks
        clock.move(COUNTS_ON.total_seconds())


@pytest.mark.timeout(3600)
async def test_a_thousand_slos_are_recalculated_in_seconds_over_a_million_tickets(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "flowc.db")
    plain, clock = ports_of(store.stores)
    ports = replace(plain, beside=HeavyWork(threads=True).run)  # as one machine has it
    try:
        await fill(store, 1, [SPAN * number / FLOWS + timedelta(minutes=2) for number in range(FLOWS)])
        slos = [slo(f"slo-{number}", query) for number, query in enumerate(queries())]
        await put(ports, *slos)
        begun, wall = time.process_time(), time.perf_counter()
        with measured_turns() as turns:
            ticks = await counted(ports, clock)
        first, first_wall = time.process_time() - begun, time.perf_counter() - wall
        clock.move(300)
        await fill(store, FLOWS + 1, [seconds(-290 * number / SINCE_LAST) for number in range(SINCE_LAST)])
        begun, wall = time.process_time(), time.perf_counter()
        done = await tick(ports)
        again, wall = time.process_time() - begun, time.perf_counter() - wall
        assert done.results == {"success": SLOS, "no_data": 0, "counting": 0, "error": 0}
        assert len(await budgets(ports.key_values)) == SLOS
    finally:
        await store.close()
    print(
        f"\n{SLOS} SLOs over {FLOWS * TICKETS} tickets: all budgets were there after {ticks} ticks, {first:.1f} s CPU, "
        f"{first_wall:.1f} s, the longest turn {1000 * turns.longest:.0f} ms; "
        f"recalculated with {SINCE_LAST} flows more in {again:.2f} s of CPU, {wall:.2f} s"
    )
    assert max(again, wall) < BOUND_S
