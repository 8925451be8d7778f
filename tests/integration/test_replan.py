"""Another plan, or another care, for a flow that is under way."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from functions._core.decision.reading import document_in
from functions._core.errors import Rejected
from functions._core.events.commands import AdjustRequest, RedriveRequest, ReplanRequest
from functions._core.machine.replay import StoredState, differences, fold
from functions._core.planning.replan import left_out, new_decision
from functions._core.planning.replan import replan as difference
from functions._core.planning.tickets import intact
from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.values import FlowStatus, Priority, TicketStatus
from functions._engine.clock import SystemClock
from tests.support.builders import T0
from tests.support.http_api import problem_of, running_api
from tests.support.world import LocalWorld, decision, report_event, running_world, task


def plan(*tasks: Mapping[str, Any]) -> dict[str, Any]:
    return {"plan_id": "any", "tasks": list(tasks)}


async def held(world: LocalWorld, flow_id: str, task_id: str) -> None:
    def has_it(ticket: Any) -> bool:
        return bool(ticket.task_id == task_id and ticket.acknowledged_at)

    await world.ticket(flow_id, has_it, f"is {task_id} and has a worker")


async def report(world: LocalWorld, flow_id: str, task_id: str, **said: Any) -> None:
    ticket = (await world.tickets(flow_id))[task_id]
    assignment = {"ticket_id": ticket.ticket_id, "attempt": ticket.attempt, "flow_id": flow_id}
    await world.platform.report(report_event(assignment, **said))


async def begun(world: LocalWorld, *tasks: Mapping[str, Any], **more: Any) -> str:
    """Return a flow of which the workers have what is ready, and say nothing of it."""
    world.workers.behave = lambda _assignment: None
    await world.register(slots=50)
    flow_id = await world.submit(decision(*tasks, **more))
    await held(world, flow_id, tasks[0]["task_id"])
    return flow_id


async def same_as_told(world: LocalWorld, flow_id: str) -> tuple[str, ...]:
    """Return where the records of a flow are not as its history says."""
    flow = await world.flow(flow_id)
    assert flow is not None
    entries = await world.ports.views.history(flow_id, 0, 5000)
    tickets = await world.ports.store.tickets_of(flow_id)
    assert all(map(intact, tickets))
    return differences(fold(entries), flow, map(StoredState.of, tickets))


async def test_unaffected_tickets_stay_removed_ones_are_cancelled_and_new_ones_are_made(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow_id = await begun(world, task("a"), task("b", "a"), task("c", "b"))
        before = await world.tickets(flow_id)
        new = plan(task("a"), task("c", "a"), task("d", "a", "c"))
        order = ReplanRequest(flow_id=flow_id, cognitive_plan=new, requested_by="ada", reason="no b")
        tried = await world.platform.order(order.but(dry_run=True))
        assert await world.tickets(flow_id) == before
        done = await world.platform.order(order)
        assert [(one.type, one.task_id) for one in tried.changes] == [(one.type, one.task_id) for one in done.changes]
        after = await world.tickets(flow_id)
        kept, was = after["a"], before["a"]
        assert (kept.ticket_id, kept.hash, kept.attempt, kept.worker_id) == (was.ticket_id, was.hash, 1, was.worker_id)
        assert (after["b"].status, after["b"].reason and after["b"].reason.code) == ("CANCELLED", "replanned")
        assert (after["c"].status, after["c"].open_dependencies, after["c"].ticket_id) == (
            "PENDING",
            1,
            before["c"].ticket_id,
        )
        assert (after["d"].status, after["d"].open_dependencies) == ("PENDING", 1)  # it waits for a by way of c
        for name in ("a", "c", "d"):
            await held(world, flow_id, name)
            await report(world, flow_id, name, status="COMPLETED")
        flow = await world.ended(flow_id)
        audits = await world.ports.views.audits(flow_id, 9, kind=AuditKind.ACTION)
        assert await same_as_told(world, flow_id) == ()
    assert (flow.status, flow.dropped, flow.tickets_generated) == (FlowStatus.COMPLETED, 1, 4)
    assert [(one.action, one.who) for one in audits if isinstance(one, ActionRecord)] == [("replan_flow", "ada")]


async def test_what_workers_have_begun_is_taken_away_by_force_alone_and_what_is_done_never(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow_id = await begun(world, task("a"), task("b", "a"))
        other = ReplanRequest(flow_id=flow_id, cognitive_plan=plan(task("a", parameters={"n": 2}), task("b", "a")))
        with pytest.raises(Rejected, match="say force"):
            await world.platform.order(other)
        await world.platform.order(other.but(force=True))
        assert [one["attempt"] for one in world.workers.cancellations] == [1]
        again = await world.ticket(flow_id, lambda t: t.task_id == "a" and t.attempt == 2, "is a again")
        assert again.parameters == {"n": 2}
        await held(world, flow_id, "a")
        await report(world, flow_id, "a", status="COMPLETED")
        await held(world, flow_id, "b")
        third = plan(task("a", parameters={"n": 3}), task("b", "a"))
        with pytest.raises(Rejected, match="another id"):
            await world.platform.order(other.but(cognitive_plan=third, force=True))
        await report(world, flow_id, "b", status="COMPLETED")
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
        with pytest.raises(Rejected, match="only a flow whose tickets are at work"):
            await world.platform.order(other)
        assert await same_as_told(world, flow_id) == ()


async def test_a_task_that_failed_is_changed_or_left_out_and_its_flow_completes(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        never = {"retry": {"max_retries": 0}}
        flow_id = await begun(world, task("x"), task("a", **never), task("b", "a"), task("c", **never))
        for name in ("a", "c"):
            await held(world, flow_id, name)
            await report(world, flow_id, name, status="FAILED", error={"type": "e", "message": "no"})
        assert (await world.tickets(flow_id))["b"].status == "CANCELLED"
        new = plan(task("x"), task("a", **never), task("n", "a"))
        with pytest.raises(Rejected, match="came to nothing"):
            await world.platform.order(ReplanRequest(flow_id=flow_id, cognitive_plan=new))
        new = plan(task("x"), task("a", parameters={"n": 2}), task("b", "a"))
        await world.platform.order(ReplanRequest(flow_id=flow_id, cognitive_plan=new))
        for name in ("x", "a", "b"):
            await held(world, flow_id, name)
            await report(world, flow_id, name, status="COMPLETED")
        flow = await world.ended(flow_id)
        assert await same_as_told(world, flow_id) == ()
    assert (flow.status, flow.dropped) == (FlowStatus.COMPLETED, 1)


async def test_what_a_plan_has_left_out_is_not_redriven(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow_id = await begun(world, task("a", retry={"max_retries": 0}), task("b", "a"))
        new = plan(task("a", retry={"max_retries": 0}))
        await world.platform.order(ReplanRequest(flow_id=flow_id, cognitive_plan=new))
        await report(world, flow_id, "a", status="FAILED", error={"type": "e", "message": "no"})
        assert (await world.ended(flow_id)).status is FlowStatus.FAILED
        await world.platform.order(RedriveRequest(flow_id=flow_id))
        await held(world, flow_id, "a")
        await report(world, flow_id, "a", status="COMPLETED")
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_open_tickets_get_another_priority_more_retries_and_more_time(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow_id = await begun(world, task("a"), task("b", "a"), sla_deadline_seconds=3600)
        before, old = await world.tickets(flow_id), await world.flow(flow_id)
        order = AdjustRequest(flow_id=flow_id, priority=Priority.CRITICAL, max_retries=9, sla_seconds=7200)
        assert (await world.platform.order(order.but(dry_run=True))).changes
        assert await world.tickets(flow_id) == before
        new = (await world.platform.order(order)).flow
        after = await world.tickets(flow_id)
        assert old is not None
        assert (new.priority, (new.sla_deadline - old.sla_deadline).total_seconds() > 3500) == (Priority.CRITICAL, True)
        for name, ticket in after.items():
            assert (ticket.priority, ticket.sla.max_retries) == (Priority.CRITICAL, 9)
            assert ticket.sla.deadline > before[name].sla.deadline
            assert intact(ticket)
        assert (await world.platform.order(order.but(sla_seconds=None))).changes == ()
        for name in ("a", "b"):
            await held(world, flow_id, name)
            await report(world, flow_id, name, status="COMPLETED")
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
        audits = await world.ports.views.audits(flow_id, 9, kind=AuditKind.ACTION)
        assert [one.action for one in audits if isinstance(one, ActionRecord)] == ["adjust_flow"]
        assert await same_as_told(world, flow_id) == ()
        with pytest.raises(Rejected, match="only a flow whose tickets are at work"):
            await world.platform.order(order)


async def test_over_http_a_wrong_plan_is_refused_with_everything_that_is_wrong_and_a_huge_one_unread(
    tmp_path: Path,
) -> None:
    async with running_api(tmp_path, max_body=100_000) as api:
        flow_id = await begun(api.world, task("a"))
        path = f"/api/v1/flows/{flow_id}/replan"
        wrong = {"cognitive_plan": plan(task("a", "b"), task("c", "c"))}
        detail = problem_of(await api.client.post(path, json=wrong), 422, "invalid_plan")["detail"]
        assert "no task of the plan" in detail
        assert "depends on itself" in detail
        problem_of(await api.client.post(path, json={}), 422, "invalid_data")
        huge = {"cognitive_plan": plan(task("a", parameters={"x": "x" * 200_000}))}
        problem_of(await api.client.post(path, json=huge), 413, "too_large")
        fine = {"cognitive_plan": plan(task("a"), task("b", "a")), "dry_run": True}
        answer = await api.client.post(path, json=fine)
        assert answer.status_code == 200
        assert [one["type"] for one in answer.json()["changes"]] == ["flow.replanned"]
        adjusted = await api.client.post(f"/api/v1/flows/{flow_id}/adjust", json={"priority": "high"})
        assert (adjusted.status_code, adjusted.json()["priority"]) == (202, "HIGH")
        problem_of(await api.client.post(f"/api/v1/flows/{flow_id}/adjust", json={"priorty": "x"}), 422, "invalid_data")


def a_plan(chance: Random) -> dict[str, Any]:
    """Return any plan of some of eight tasks, each in one of two forms."""
    names = [f"t{n}" for n in range(8) if chance.random() < 0.7] or ["t0"]
    tasks = []
    for place, name in enumerate(names):
        after = [one for one in names[:place] if chance.random() < 0.3]
        form = {"n": 2} if chance.random() < 0.2 else {}
        tasks.append(task(name, *after, parameters=form, retry={"max_retries": 1, "initial_ms": 1}))
    return plan(*tasks)


@pytest.mark.parametrize("seed", range(12))
async def test_no_sequence_of_plans_and_reports_loses_a_ticket_or_moves_one_wrongly(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda _assignment: None
        await world.register(slots=50)
        present = a_plan(chance)
        flow_id = await world.submit(decision(*present["tasks"]))
        for _ in range(25):
            assignments = list(world.workers.assignments)
            step = chance.random()
            if step < 0.35:
                new = a_plan(chance)
                order = ReplanRequest(flow_id=flow_id, cognitive_plan=new, force=chance.random() < 0.6)
                with suppress(Rejected):
                    await world.platform.order(order)
                    present = new
            elif assignments:
                said = {"status": "COMPLETED"}
                if chance.random() < 0.15:
                    said = {"status": "FAILED"}
                await world.platform.report(report_event(chance.choice(assignments), **said))
            await asyncio.sleep(0)
        world.workers.behave = lambda _assignment: {"status": "COMPLETED"}
        for assignment in list(world.workers.assignments):
            await world.platform.report(report_event(assignment, status="COMPLETED"))
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
        assert await same_as_told(world, flow_id) == ()
    wanted = {one["task_id"] for one in present["tasks"]}
    assert wanted <= tickets.keys()
    if flow.status is FlowStatus.COMPLETED:
        assert {tickets[name].status for name in wanted} == {TicketStatus.COMPLETED}
    assert sum(map(left_out, tickets.values())) == flow.dropped
    assert flow.tickets_generated == len(tickets)


async def test_the_same_plan_again_changes_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow_id = await begun(world, task("a"), task("b", "a"), task("c", "a", "b"))
        new = ReplanRequest(flow_id=flow_id, cognitive_plan=plan(task("a"), task("c", "a")))
        assert (await world.platform.order(new)).changes
        before = await world.tickets(flow_id)
        assert (await world.platform.order(new)).changes == ()
        assert await world.tickets(flow_id) == before
        flow = await world.flow(flow_id)
        assert flow is not None
        document = document_in(await world.ports.store.decision(flow_id))
        assert isinstance(document, dict)
        decided, later = new_decision(document, new.cognitive_plan, T0), SystemClock().now() + timedelta(minutes=5)
        again = difference(flow, list(before.values()), decided, later, world.platform.rules, force=False)
        assert (again.kept, again.changed, again.added, again.removed, again.unmoved) == ([], [], [], [], 2)


async def test_a_task_waits_for_one_that_is_done_again_though_the_one_between_stays_done(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        undone = (task("a", compensation=True), task("b", "a"), task("c", "a", "b", retry={"max_retries": 0}))
        flow_id = await begun(world, *undone)
        for name in ("a", "b"):
            await held(world, flow_id, name)
            await report(world, flow_id, name, status="COMPLETED")
        await held(world, flow_id, "c")
        await report(world, flow_id, "c", status="FAILED", error={"type": "e", "message": "no"})
        await held(world, flow_id, "compensate:a")
        await report(world, flow_id, "compensate:a", status="COMPLETED")
        assert (await world.ended(flow_id)).status is FlowStatus.FAILED
        await world.platform.order(RedriveRequest(flow_id=flow_id))
        await held(world, flow_id, "a")
        await world.platform.order(ReplanRequest(flow_id=flow_id, cognitive_plan=plan(*undone, task("d", "c"))))
        assert (await world.tickets(flow_id))["c"].open_dependencies == 1
        for name in ("a", "c", "d"):
            await held(world, flow_id, name)
            await report(world, flow_id, name, status="COMPLETED")
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_two_plans_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow_id = await begun(world, task("a"))
        plans = [ReplanRequest(flow_id=flow_id, cognitive_plan=plan(task("a"), task(f"b{n}", "a"))) for n in range(6)]
        await asyncio.gather(*map(world.platform.order, plans))
        assert await same_as_told(world, flow_id) == ()
        tickets = await world.tickets(flow_id)
        flow = await world.flow(flow_id)
        assert flow is not None
        assert (flow.tickets_generated, flow.dropped) == (7, 5)
        assert [t.status for t in tickets.values()].count(TicketStatus.CANCELLED) == 5


async def test_a_large_flow_gets_another_plan(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        tasks = [task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(5_000)]
        flow_id = await begun(world, *tasks)
        other = [*tasks[:2_500], *(task(f"n{n}", f"t{n}") for n in range(2_500))]
        await world.platform.order(ReplanRequest(flow_id=flow_id, cognitive_plan=plan(*other)))
        flow = await world.flow(flow_id)
        assert flow is not None
        assert (flow.tickets_generated, flow.dropped) == (7_500, 2_500)
        assert await same_as_told(world, flow_id) == ()
