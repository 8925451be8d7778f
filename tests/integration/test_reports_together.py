"""Reports that arrive while their flow is busy: one commit for all, an answer to each."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from functions._adapters.sql.sqlite.store import SqliteStore
from functions._core.engine import ReportResult
from functions._core.errors import Conflict, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until

MIDDLE = ("b", "c", "d")
DIAMOND = (task("a"), *(task(name, "a") for name in MIDDLE), task("z", *MIDDLE))

Assignments = Mapping[str, Mapping[str, Any]]


@asynccontextmanager
async def at_the_middle(tmp_path: Path) -> AsyncIterator[tuple[LocalWorld, str, Assignments]]:
    """Run a diamond until its middle is with the worker, which says nothing by itself from then on."""
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda said: {"status": "COMPLETED"} if said["task_id"] in {"a", "z"} else None
        flow_id = await world.submit(decision(*DIAMOND))
        await until(lambda: _held(world), "the assignments of the middle")
        yield world, flow_id, {said["task_id"]: said for said in world.workers.assignments}


async def _held(world: LocalWorld) -> bool | None:
    held = await world.ports.ticket_counts.held_by("w1", 10)
    return True if len([t for t in held if t.task_id in MIDDLE and t.acknowledged_at]) == len(MIDDLE) else None


async def heard(world: LocalWorld, flow_id: str, *events: CloudEvent) -> list[ReportResult | BaseException]:
    """Send reports while the flow is busy, then let it go on."""
    busy = asyncio.Event()
    job = world.platform._executor.submit(flow_id, busy.wait)
    reports = [asyncio.create_task(world.platform.report(event)) for event in events]
    await asyncio.sleep(0)
    busy.set()
    await job
    return await asyncio.gather(*reports, return_exceptions=True)


async def test_reports_that_wait_together_are_one_commit_and_each_is_recorded(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, flow_id, assignments):
        dispatcher, steps = world.platform.dispatcher, list[ChangeSet]()
        committed = dispatcher._committed

        def noted(step: ChangeSet) -> None:
            steps.append(step)
            committed(step)

        dispatcher._committed = noted
        events = [report_event(assignments[name], status="COMPLETED", output=name) for name in MIDDLE]
        assert await heard(world, flow_id, *events) == [ReportResult("recorded")] * 3
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
    assert [ticket.task_id for ticket in steps[0].tickets if ticket.task_id in MIDDLE] == list(MIDDLE)
    assert [event.data["ticket_ids"] for event in steps[0].events] == [[tickets["z"].ticket_id]]
    assert not [ticket for step in steps[1:] for ticket in step.tickets if ticket.task_id in MIDDLE]
    assert (flow.status, flow.tally) == (FlowStatus.COMPLETED, {"COMPLETED": 5})
    assert [tickets[name].output for name in MIDDLE] == list(MIDDLE)


async def test_each_caller_hears_of_its_own_report_only(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, flow_id, assignments):
        b, c, d = (assignments[name] for name in MIDDLE)
        answers = await heard(
            world,
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
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(*(task(name) for name in MIDDLE), task("z", "b")))
        await until(lambda: _held(world), "the assignments")
        by_task = {said["task_id"]: said for said in world.workers.assignments}
        broken = {"type": "broken", "message": "it cannot be done", "retryable": False}
        answers = await heard(
            world,
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
    async with at_the_middle(tmp_path) as (world, flow_id, assignments):
        busy = asyncio.Event()
        job = world.platform._executor.submit(flow_id, busy.wait)
        events = [report_event(assignments[name], status="COMPLETED") for name in MIDDLE]
        reports = [asyncio.create_task(world.platform.report(event)) for event in events]
        await asyncio.sleep(0)
        reports[0].cancel()
        busy.set()
        await job
        assert await asyncio.gather(*reports[1:]) == [ReportResult("recorded")] * 2
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_a_conflict_repeats_all_of_them_on_newer_records(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, flow_id, assignments):
        dispatcher = world.platform.dispatcher
        behind, commits = dispatcher._ports.store, 0

        class Contended:
            """The store, to which somebody else commits first, once."""

            def __getattr__(self, name: str) -> Any:
                return getattr(behind, name)

            async def commit(self, step: ChangeSet) -> None:
                nonlocal commits
                commits += 1
                if commits == 1:
                    ticket = step.tickets[0]
                    known = (await behind.tickets([ticket.ticket_id]))[ticket.ticket_id]
                    await behind.commit(ChangeSet(flow_id=flow_id, tickets=(known.but(version=known.version + 1),)))
                await behind.commit(step)

        dispatcher._ports = replace(dispatcher._ports, store=Contended())
        events = [report_event(assignments[name], status="COMPLETED") for name in MIDDLE]
        assert await heard(world, flow_id, *events) == [ReportResult("recorded")] * 3
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
    assert commits > 1


async def test_a_report_that_cannot_be_stored_is_refused_alone(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, flow_id, assignments):
        store = SqliteStore.open(tmp_path / "sqlite")
        try:
            flow = await world.ports.store.flow(flow_id)
            assert flow is not None
            tickets = tuple(t.but(version=1) for t in await world.ports.store.tickets_of(flow_id))
            await store.stores.store.commit(ChangeSet(flow_id=flow_id, flow=flow.but(version=1), tickets=tickets))
            dispatcher = world.platform.dispatcher
            dispatcher._ports = replace(
                dispatcher._ports,
                store=store.stores.store,
                ticket_counts=store.stores.ticket_counts,
                wakeups=store.stores.wakeups,
            )
            outputs: Sequence[str] = ("fine", "\ud800", "fine")
            events = [
                report_event(assignments[name], status="COMPLETED", output=output)
                for name, output in zip(MIDDLE, outputs, strict=True)
            ]
            answers = await heard(world, flow_id, *events)
        finally:
            await store.close()
    assert [getattr(answer, "result", None) or getattr(answer, "code", None) for answer in answers] == [
        "recorded",
        "not_storable",
        "recorded",
    ]


async def test_all_hear_of_a_store_that_is_away(tmp_path: Path) -> None:
    async with at_the_middle(tmp_path) as (world, flow_id, assignments):
        dispatcher = world.platform.dispatcher
        behind = dispatcher._ports.store

        class Away:
            def __getattr__(self, name: str) -> Any:
                return getattr(behind, name)

            async def commit(self, _step: ChangeSet) -> None:
                raise Conflict

        dispatcher._ports = replace(dispatcher._ports, store=Away())
        events = [report_event(assignments[name], status="COMPLETED") for name in MIDDLE]
        answers = await heard(world, flow_id, *events)
        dispatcher._ports = replace(dispatcher._ports, store=behind)
    assert [type(answer) for answer in answers] == [Conflict] * 3
