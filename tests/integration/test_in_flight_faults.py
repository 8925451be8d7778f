"""Limits of flows and tickets in flight, when something is wrong: no place stays free while somebody could use it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE
from functions._adapters.sql.sqlite.recent import Recent
from functions._core.errors import Rejected
from functions._core.events.commands import ClaimRequest, PauseRequest, RedriveRequest, ResumeRequest
from functions._core.placement.limits import FLOWS, TICKETS, WAITING, places, take
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import FlowStatus
from functions._core.rules import InFlightLimits
from tests.conformance.damage import in_sqlite
from tests.support.builders import T0
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until


async def waiting(world: LocalWorld, flow_id: str) -> None:
    """Wait until a flow waits for a place."""

    async def waits() -> bool | None:
        flow = await world.flow(flow_id)
        return True if flow is not None and flow.reasons else None

    await until(waits, f"{flow_id} to wait for a place")


async def test_flows_that_cannot_be_read_hold_up_nobody_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recent, "put", lambda _self, _id, record: record)  # what is at hand is not read again
    store = SqliteStore.open(tmp_path / "store")
    async with running_world(tmp_path, store.stores, max_flows=1) as world:
        first, bad, good = [await world.submit(decision(task("a"))) for _ in range(3)]
        for flow_id in (bad, good):
            await waiting(world, flow_id)
        await asyncio.to_thread(in_sqlite, tmp_path / "store" / DATABASE, RecordKind.FLOW, bad, lambda _doc: "{}")
        await world.cancel(first)
        await world.reached(good, "EXECUTING")
    await store.close()


async def test_a_flow_that_is_gone_holds_up_nobody_behind_it(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_flows=1) as world:
        first = await world.submit(decision(task("a")))
        await world.reached(first, "EXECUTING")
        await world.ports.key_values.put(WAITING, "0/gone", b'""', version=0)
        second = await world.submit(decision(task("a")))
        await waiting(world, second)
        await world.cancel(first)
        await world.reached(second, "EXECUTING")
        assert await world.ports.key_values.page(WAITING, None, 9) == []


async def test_the_many_tickets_of_a_tenant_at_its_limit_leave_the_free_place_to_another_one(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_tickets=3, tenant_max_tickets=2) as world:
        world.workers.behave = lambda _assignment: None
        await world.register(slots=50)
        urgent: dict[str, Any] = {"sla_deadline_seconds": 900, "tenant_id": "a"}
        flows = [await world.submit(decision(*(task(f"a-{n}") for n in range(20)), **urgent)) for _ in range(3)]
        last = await world.submit(decision(task("c"), tenant_id="c"))
        held = await world.ticket(last, lambda ticket: ticket.acknowledged_at is not None, "a worker has it")
        for flow_id in flows:
            await world.ticket(flow_id, lambda ticket: ticket.waiting == "SLOT", "waits for a place")
        other = await world.submit(decision(task("b"), tenant_id="b"))
        await world.ticket(other, lambda ticket: ticket.waiting == "SLOT", "waits for a place")
        await world.platform.report(report_event(assignment_of(held), status="COMPLETED"))
        await world.ticket(other, lambda ticket: ticket.acknowledged_at is not None, "a worker has it")


async def test_a_stale_place_of_a_tenant_is_taken_back_where_others_have_room(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_tickets=9, tenant_max_tickets=1) as world:
        limits = InFlightLimits(tickets=9, tenant_tickets=1)
        await take(TICKETS, {"gone/1": "a"}, limits, world.ports.key_values, T0)
        await world.register()
        flow_id = await world.submit(decision(task("a"), tenant_id="a"))
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_a_command_that_changes_nothing_takes_no_place(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_flows=1, max_tickets=1) as world:
        world.workers.behave = lambda _assignment: None
        await world.register("w1", "go")
        done = await world.submit(decision(task("a")))
        ticket = await world.ticket(done, lambda one: one.waiting == "WORKER", "waits for a worker")
        claim = ClaimRequest(flow_id=done, ticket_id=ticket.ticket_id, worker_id="w1")
        with pytest.raises(Rejected, match="does not offer"):
            await world.platform.order(claim)
        await world.platform.order(claim.but(worker_id="w9", dry_run=True))
        assert await places(TICKETS, world.ports.key_values) == ({}, 0)
        await world.platform.order(claim.but(worker_id="w9"))
        assert len((await places(TICKETS, world.ports.key_values))[0]) == 1
        await world.platform.report(report_event(assignment_of(ticket, 1), status="COMPLETED"))
        assert (await world.ended(done)).status is FlowStatus.COMPLETED
        await until(lambda: _none(world), "all places to be given back")
        with pytest.raises(Rejected, match="can be redriven"):
            await world.platform.order(RedriveRequest(flow_id=done))
        assert await _none(world)
        stopped = await world.submit(decision(task("a")))
        await world.reached(stopped, "EXECUTING")
        await world.cancel(stopped)
        await world.ended(stopped)
        await until(lambda: _none(world), "all places to be given back")
        await world.platform.order(RedriveRequest(flow_id=stopped, dry_run=True))
        assert await _none(world)
        await world.platform.order(RedriveRequest(flow_id=stopped))
        assert (await places(FLOWS, world.ports.key_values))[0].keys() == {f"{stopped}/1"}


async def test_a_flow_that_is_redriven_before_its_place_was_given_back_keeps_it(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_flows=1) as world:
        flow_id = await world.submit(decision(task("a")))
        await world.reached(flow_id, "EXECUTING")
        await world.cancel(flow_id)
        await world.platform.order(RedriveRequest(flow_id=flow_id))
        await until(lambda: _idle(world), "the places to be looked at")
        await world.reached(flow_id, "EXECUTING")
        assert (await places(FLOWS, world.ports.key_values))[0].keys() == {f"{flow_id}/1"}


async def test_a_flow_that_is_paused_while_it_waits_begins_in_its_turn_once_it_is_resumed(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_flows=1) as world:
        first, second = [await world.submit(decision(task("a"))) for _ in range(2)]
        await waiting(world, second)
        await world.platform.order(PauseRequest(flow_id=second))
        await world.cancel(first)
        third = await world.submit(decision(task("a")))
        await world.reached(third, "EXECUTING")
        await world.platform.order(ResumeRequest(flow_id=second))
        await waiting(world, second)
        await world.cancel(third)
        await world.reached(second, "EXECUTING")
        assert "flow.reemitted" not in [entry["type"] for entry in await world.history(second)]


def assignment_of(ticket: Any, attempt: int | None = None) -> Mapping[str, Any]:
    return {"ticket_id": ticket.ticket_id, "attempt": attempt or ticket.attempt, "flow_id": ticket.flow_id}


async def _none(world: LocalWorld) -> bool | None:
    left = [await places(kind, world.ports.key_values) for kind in (FLOWS, TICKETS)]
    return True if all(not held for held, _ in left) else None


async def _idle(world: LocalWorld) -> bool | None:
    return None if world.platform.busy else True
