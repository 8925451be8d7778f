"""Who waits for a slot is served by turn, then slack, then priority score, whatever order he came in."""

from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._core.records.values import Waiting
from tests.support.http_api import running_api
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until

RISKS = ("low", "critical", "medium", "low", "high", "critical", "medium", "high", "critical", "low")
BY_RISK = sorted(RISKS, key=("critical", "high", "medium", "low").index)


async def behind_a_blocked_slot(world: LocalWorld, *decisions: dict[str, Any]) -> list[str]:
    """Submit decisions while the one slot is taken, free it when all wait, and return in which order they were done."""
    world.workers.behave = lambda _assignment: None
    await world.register("w1", slots=1)
    await world.submit(decision(task("blocker")))

    async def blocked() -> bool | None:
        return bool(world.workers.assignments) or None

    await until(blocked, "the slot to be taken")
    flow_ids = [await world.submit(one) for one in decisions]

    async def all_wait() -> bool | None:
        tickets = [ticket for flow_id in flow_ids for ticket in (await world.tickets(flow_id)).values()]
        expected = sum(len(one["cognitive_plan"]["tasks"]) for one in decisions)
        return sum(ticket.waiting is Waiting.SLOT for ticket in tickets) == expected or None

    await until(all_wait, "all tickets to wait for the slot")
    world.workers.behave = lambda _assignment: {"status": "COMPLETED"}
    await world.platform.report(report_event(world.workers.assignments[0], status="COMPLETED"))
    for flow_id in flow_ids:
        await world.ended(flow_id)
    return [one["task_id"] for one in world.workers.assignments[1:]]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_within_a_flow_the_critical_tickets_go_first(tmp_path: Path, kind: str) -> None:
    tasks = [task(f"{risk}-{number}", risk_band=risk) for number, risk in enumerate(RISKS)]
    store = MemoryStore() if kind == "memory" else SqliteStore.open(tmp_path)
    async with running_world(tmp_path, store.stores) as world:
        done = await behind_a_blocked_slot(world, decision(*tasks))
    if isinstance(store, SqliteStore):
        await store.close()
    assert [task_id.partition("-")[0] for task_id in done] == BY_RISK


async def test_of_flows_that_come_together_the_critical_ones_go_first(tmp_path: Path) -> None:
    flows = [decision(task(f"{risk}-{number}", risk_band=risk)) for number, risk in enumerate(RISKS)]
    async with running_world(tmp_path) as world:
        done = await behind_a_blocked_slot(world, *flows)
    served = [task_id.partition("-")[0] for task_id in done]
    # Where a step of slack ends between the first and the last flow, those before it go first, each part by risk.
    assert served == BY_RISK or any(
        served == sorted(RISKS[:n], key=BY_RISK.index) + sorted(RISKS[n:], key=BY_RISK.index) for n in range(10)
    )


async def test_of_equal_risk_the_higher_priority_goes_first(tmp_path: Path) -> None:
    priorities = ("LOW", "CRITICAL", "NORMAL", "HIGH", "LOW", "CRITICAL")
    tasks = [task(f"{priority}-{number}", priority=priority) for number, priority in enumerate(priorities)]
    async with running_world(tmp_path) as world:
        done = await behind_a_blocked_slot(world, decision(*tasks))
    assert [task_id.partition("-")[0] for task_id in done] == ["CRITICAL", "CRITICAL", "HIGH", "NORMAL", "LOW", "LOW"]


async def test_less_slack_goes_before_more_risk(tmp_path: Path) -> None:
    urgent = decision(task("urgent", risk_band="low"), sla_deadline_seconds=600)
    critical = decision(task("critical", risk_band="critical"))
    async with running_world(tmp_path) as world:
        assert await behind_a_blocked_slot(world, critical, urgent) == ["urgent", "critical"]


async def test_the_score_that_is_shown_grows_while_a_ticket_waits(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        flow_id = await api.world.submit(decision(task("a", risk_band="critical"), sla_deadline_seconds=3))

        async def score_above(least: float) -> float | None:
            items = (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]
            return next((one["priority_score"] for one in items if one["priority_score"] > least), None)

        first = await until(lambda: score_above(0), "the ticket")
        grown = await until(lambda: score_above(first), "a higher score")
        stored = (await api.world.tickets(flow_id))["a"].priority_score
    assert stored <= first < grown <= 1
