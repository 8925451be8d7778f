"""Reports that arrive while their flow is busy: one commit for all, an answer to each."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from functions._adapters.memory.store import MemoryStore
from functions._adapters.sql.sqlite.store import SqliteStore
from functions._adapters.stores import Stores
from functions._core.engine import ReportResult
from functions._core.errors import Conflict, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus
from tests.support.slow_store import SlowStore, slowed
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until

MIDDLE = ("b", "c", "d")
DIAMOND = (task("a"), *(task(name, "a") for name in MIDDLE), task("z", *MIDDLE))

Assignments = Mapping[str, Mapping[str, Any]]


@asynccontextmanager
async def at_the_middle(
    tmp_path: Path, stores: Stores | None = None
) -> AsyncIterator[tuple[LocalWorld, SlowStore, str, Assignments]]:
    """Run a diamond until its middle is with the worker, which says nothing by itself from then on."""
    stores, store = slowed(stores or MemoryStore().stores)
    async with running_world(tmp_path, stores, joins=False) as world:
        await world.register()
        world.workers.behave = lambda said: {"status": "COMPLETED"} if said["task_id"] in {"a", "z"} else None
        flow_id = await world.submit(decision(*DIAMOND))
        await until(lambda: _held(world), "the assignments of the middle")
        yield world, store, flow_id, {said["task_id"]: said for said in world.workers.assignments}


async def _held(world: LocalWorld) -> bool | None:
    held = await world.ports.ticket_counts.held_by("w1", 10)
    return True if len([t for t in held if t.task_id in MIDDLE and t.acknowledged_at]) == len(MIDDLE) else None


async def heard(
    world: LocalWorld, store: SlowStore, flow_id: str, *events: CloudEvent
) -> list[ReportResult | BaseException]:
    """Send reports while the flow is busy, then let it go on."""
    async with busy(world, store, flow_id):
        reports = [asyncio.create_task(world.platform.report(event)) for event in events]
        await asyncio.sleep(0)
    return await asyncio.gather(*reports, return_exceptions=True)


@asynccontextmanager
async def busy(world: LocalWorld, store: SlowStore, flow_id: str) -> AsyncIterator[None]:
    """Keep the flow busy with a check that waits for the store."""
    async with store.held():
        checking = asyncio.create_task(world.platform.recheck(flow_id))
        await asyncio.sleep(0)
        yield
    await asyncio.wait([checking])  # it may fail as the reports do


async def test_reports_that_wait_together_are_one_commit_and_each_is_recorded(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, store, flow_id, assignments):
        store.steps.clear()
        events = [report_event(assignments[name], status="COMPLETED", output=name) for name in MIDDLE]
        assert await heard(world, store, flow_id, *events) == [ReportResult("recorded")] * 3
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
        steps = [step for step in store.steps if step.history]
    assert [ticket.task_id for ticket in steps[0].tickets if ticket.task_id in MIDDLE] == list(MIDDLE)
    assert [event.data["ticket_ids"] for event in steps[0].events] == [[tickets["z"].ticket_id]]
    assert not [ticket for step in steps[1:] for ticket in step.tickets if ticket.task_id in MIDDLE]
    assert (flow.status, flow.tally) == (FlowStatus.COMPLETED, {"COMPLETED": 5})
    assert [tickets[name].output for name in MIDDLE] == list(MIDDLE)


async def test_each_caller_hears_of_its_own_report_only(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, store, flow_id, assignments):
        b, c, d = (assignments[name] for name in MIDDLE)
        answers = await heard(
            world,
            store,
            flow_id,
            report_event(b, status="RUNNING", progress=50),
            report_event({**b, "ticket_id": "nobody"}, status="COMPLETED"),
            report_event({**c, "attempt": 7}, status="COMPLETED"),
            report_event(assignments["a"], status="COMPLETED"),
            report_event(b, status="COMPLETED"),
            report_event(d, status="COMPLETED"),
            report_event(d, status="COMPLETED"),
            report_event(c, status="no such word"),
        )
        tickets = await world.tickets(flow_id)
    assert [answer for answer in answers if isinstance(answer, ReportResult)] == [
        ReportResult("recorded"),
        ReportResult("superseded", cancel=(c["ticket_id"],)),
        ReportResult("duplicate"),
        ReportResult("recorded"),
        ReportResult("recorded"),
        ReportResult("duplicate"),
    ]
    refusals = [answer for answer in answers if isinstance(answer, Rejected)]
    assert [(refusal.code, refusal.status) for refusal in refusals] == [("unknown_ticket", 404), ("invalid_data", 422)]
    assert [tickets[name].status.value for name in MIDDLE] == ["COMPLETED", "ASSIGNED", "COMPLETED"]
    assert tickets["b"].started_at is not None


async def test_last_tickets_that_end_together_end_the_flow_at_once(tmp_path: Path) -> None:
    stores, store = slowed(MemoryStore().stores)
    async with running_world(tmp_path, stores) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(*(task(name) for name in MIDDLE), task("z", "b")))
        await until(lambda: _held(world), "the assignments")
        by_task = {said["task_id"]: said for said in world.workers.assignments}
        broken = {"type": "broken", "message": "it cannot be done", "retryable": False}
        answers = await heard(
            world,
            store,
            flow_id,
            report_event(by_task["b"], status="FAILED", error=broken),
            report_event(by_task["c"], status="FAILED", error=broken),
            report_event(by_task["d"], status="COMPLETED"),
        )
        flow = await world.ports.store.flow(flow_id)
        assert flow is not None
        assert flow.outcome is not None
        flow = await world.ended(flow_id)
    assert answers == [ReportResult("recorded")] * 3
    assert (flow.status, flow.tally) == (FlowStatus.FAILED, {"COMPLETED": 1, "FAILED": 2, "CANCELLED": 1})


async def test_who_stops_waiting_does_not_stop_the_others(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, store, flow_id, assignments):
        events = [report_event(assignments[name], status="COMPLETED") for name in MIDDLE]
        async with busy(world, store, flow_id):
            reports = [asyncio.create_task(world.platform.report(event)) for event in events]
            await asyncio.sleep(0)
            reports[0].cancel()
        assert await asyncio.gather(*reports[1:]) == [ReportResult("recorded")] * 2
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_a_conflict_repeats_all_of_them_on_newer_records(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, store, flow_id, assignments):
        commits = 0

        async def contended(step: ChangeSet) -> None:
            """Commit first, once, as somebody else."""
            nonlocal commits
            commits += bool(step.tickets)
            if step.tickets and commits == 1:
                ticket = step.tickets[0]
                known = (await store.behind.tickets([ticket.ticket_id]))[ticket.ticket_id]
                await store.behind.commit(ChangeSet(flow_id=flow_id, tickets=(known.but(version=known.version + 1),)))

        store.before = contended
        events = [report_event(assignments[name], status="COMPLETED") for name in MIDDLE]
        assert await heard(world, store, flow_id, *events) == [ReportResult("recorded")] * 3
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
    assert commits > 1


async def test_a_report_that_cannot_be_stored_is_refused_alone(tmp_path: Path) -> None:
    sqlite = SqliteStore.open(tmp_path / "sqlite")
    async with at_the_middle(tmp_path, sqlite.stores) as (world, store, flow_id, assignments):
        outputs: Sequence[str] = ("fine", "\ud800", "fine")
        events = [
            report_event(assignments[name], status="COMPLETED", output=output)
            for name, output in zip(MIDDLE, outputs, strict=True)
        ]
        answers = await heard(world, store, flow_id, *events)
    await sqlite.close()
    assert [getattr(answer, "result", None) or getattr(answer, "code", None) for answer in answers] == [
        "recorded",
        "not_storable",
        "recorded",
    ]


async def test_all_hear_of_a_store_that_is_away(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, store, flow_id, assignments):

        async def away(_step: ChangeSet) -> None:
            raise Conflict

        store.before = away
        events = [report_event(assignments[name], status="COMPLETED") for name in MIDDLE]
        answers = await heard(world, store, flow_id, *events)
    assert [type(answer) for answer in answers] == [Conflict] * 3
