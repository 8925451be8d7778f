"""Slack beside branches: once a part of the plan is skipped, the tickets beside it no longer leave time for it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.machine import relief
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus
from tests.support.world import LocalWorld, decision, report_event, running_world, task

FALSE = 'outputs["gate"] == true'


def branches(**of_join: Any) -> list[dict[str, Any]]:
    """Return tasks of which `long` and `join` are skipped once `gate` has ended, while `slow` is at work.

    Before that the longest path after `slow` is 90 s of `join`; after it is 9 s of `other`.
    """
    return [
        task("gate"),
        task("slow", estimated_duration_ms=10_000),
        task("long", "gate", when=FALSE, estimated_duration_ms=1_000),
        task("join", "long", "slow", estimated_duration_ms=90_000, **of_join),
        task("other", "slow", estimated_duration_ms=9_000),
    ]


async def stood(world: LocalWorld, *tasks: dict[str, Any], scope: str = "") -> tuple[Flow, Ticket, Ticket]:
    """Run a plan up to the skip; return the flow and the ticket `slow`, before and after that."""
    world.workers.behave = lambda _assignment: None
    await world.register(slots=50)
    flow_id = await world.submit(decision(*tasks))
    await world.ticket(
        flow_id, lambda one: one.task_id == f"{scope}gate" and one.acknowledged_at is not None, "is accepted"
    )
    before = (await world.tickets(flow_id))[f"{scope}slow"]
    gate = next(given for given in world.workers.assignments if given["task_id"] == f"{scope}gate")
    await world.platform.report(report_event(gate, status="COMPLETED", output=False))
    await world.ticket(flow_id, lambda one: one.task_id == f"{scope}long" and not one.live, "is skipped")
    flow, tickets = await world.flow(flow_id), await world.tickets(flow_id)
    assert flow is not None
    assert tickets[f"{scope}long"].status is TicketStatus.SKIPPED
    return flow, before, tickets[f"{scope}slow"]


async def test_a_ticket_gets_back_the_time_that_it_left_for_a_skipped_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow, before, after = await stood(world, *branches())
        assert (before.tail_ms, after.tail_ms) == (90_000, 9_000)
        left, given = flow.sla_deadline - before.sla.deadline, flow.sla_deadline - after.sla.deadline
        assert abs(given - left / 10) < timedelta(milliseconds=3)  # shared out as before, in proportion to estimates
        assert after.latest_start == after.sla.deadline - timedelta(seconds=10)
        assert after.latest_start > before.latest_start
        assert after.hash == before.hash


async def test_a_ticket_after_which_nothing_is_left_has_the_time_up_to_the_deadline(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow, _, after = await stood(world, *branches()[:-1])
        assert (after.tail_ms, after.sla.deadline) == (0, flow.sla_deadline)


async def test_a_join_that_goes_on_keeps_the_time_that_was_left_for_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        _, before, after = await stood(world, *branches(on_skipped="any"))
        assert (after.tail_ms, after.sla, after.latest_start) == (90_000, before.sla, before.latest_start)


async def test_within_a_sub_flow_the_time_of_the_ticket_around_it_is_the_limit(tmp_path: Path) -> None:
    around = task("around", task_type="SUBFLOW", plan={"tasks": branches()[:-1]})
    last = task("last", "around", estimated_duration_ms=50_000)
    async with running_world(tmp_path) as world:
        flow, before, after = await stood(world, around, last, scope="around/")
        limit = (await world.tickets(flow.flow_id))["around"].sla.deadline
        assert (before.tail_ms, after.tail_ms) == (140_000, 50_000)
        assert before.sla.deadline < after.sla.deadline == limit < flow.sla_deadline


async def test_where_too_many_are_before_a_skipped_ticket_they_keep_what_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relief, "RELIEVED", 1)
    async with running_world(tmp_path) as world:
        _, before, after = await stood(world, *branches())
        assert (after.tail_ms, after.sla) == (before.tail_ms, before.sla)
