"""SLOs: what it takes to recalculate a thousand of them over a history of a million tickets, on SQLite."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus, Outcome, TicketStatus
from functions._core.slo.counting import own_history
from functions._core.slo.definition import Slo
from functions._core.slo.stored import budgets
from functions.calculate_budgets.function import calculate_budgets
from tests.support.builders import make_flow, make_step, make_ticket, seconds
from tests.support.clocks import HandClock
from tests.support.slo_history import NOW, ports_of, slo
from tests.support.slo_history import stored as put

FLOWS, TICKETS, SLOS = 25_000, 40, 1_000
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


async def counted(ports: Ports, slos: Sequence[Slo], now: Any) -> int:
    """Count the history as ticks do; return how many of them it took."""
    wanted = [one.sli_query.history for one in slos if one.sli_query.history is not None]
    looks = 0
    while True:
        looks += 1
        found = await own_history(ports, wanted, now)
        target = (now - timedelta(days=90)).timestamp() * 1000 + 3_600_000
        if all(one.complete and one.hours.since <= target for one in found.values()):
            return looks


@pytest.mark.timeout(3600)
async def test_a_thousand_slos_are_recalculated_in_seconds_over_a_million_tickets(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "flowc.db")
    ports, clock = ports_of(store.stores)
    assert isinstance(clock, HandClock)
    try:
        await fill(store, 1, [SPAN * number / FLOWS + timedelta(minutes=2) for number in range(FLOWS)])
        slos = [slo(f"slo-{number}", query) for number, query in enumerate(queries())]
        await put(ports, *slos)
        begun = time.process_time()
        looks = await counted(ports, slos, clock.now())
        first = time.process_time() - begun
        clock.move(300)
        await fill(store, FLOWS + 1, [seconds(-290 * number / SINCE_LAST) for number in range(SINCE_LAST)])
        begun, wall = time.process_time(), time.perf_counter()
        done = await calculate_budgets(
            ports, None, lambda which, error: print(which.slo_id, error), interval=seconds(300)
        )
        again, wall = time.process_time() - begun, time.perf_counter() - wall
        assert done.results == {"success": SLOS, "no_data": 0, "error": 0}
        assert len(await budgets(ports.key_values)) == SLOS
    finally:
        await store.close()
    print(
        f"\n{SLOS} SLOs over {FLOWS * TICKETS} tickets: counted the first time in {looks} ticks, {first:.1f} s of CPU; "
        f"recalculated with {SINCE_LAST} flows more in {again:.2f} s of CPU, {wall:.2f} s"
    )
    assert again < BOUND_S
