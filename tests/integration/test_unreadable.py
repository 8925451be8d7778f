"""One stored record that cannot be read, seen from outside: everything else goes on, and people are told of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE
from functions._adapters.sql.sqlite.recent import Recent
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import FlowStatus, Waiting, flow_id_of, ticket_id_of
from tests.conformance.damage import in_sqlite
from tests.support.builders import make_event
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, running_world, task, until

BROKEN = '{"worker_id":"zbad"}'


class Rig:
    """A platform over SQLite, and its database file."""

    def __init__(self, api: Api, store: SqliteStore, path: Path) -> None:
        self.api = api
        self.stores = store.stores
        self._path = path / DATABASE

    async def damage(self, kind: RecordKind, record_id: str) -> None:
        """Make a stored document what nobody can read."""
        await asyncio.to_thread(in_sqlite, self._path, kind, record_id, lambda _doc: BROKEN)

    async def first_ticket(self, flow_id: str) -> Ticket | None:
        """Return the first ticket of a flow that executes."""
        flow = await self.api.world.flow(flow_id)
        executes = flow is not None and flow.status is FlowStatus.EXECUTING
        return next(iter((await self.api.world.tickets(flow_id)).values()), None) if executes else None

    async def unreadable(self) -> set[tuple[str, str]]:
        """Return what the platform says that it cannot read."""
        state = await self.api.get("/ready")
        assert state["ready"] is True
        return {(record["kind"], record["record_id"]) for record in state.get("unreadable", ())}


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(Recent, "put", lambda _self, _id, record: record)  # what is at hand is not read again
    store = SqliteStore.open(tmp_path / "store")
    async with running_api(tmp_path, stores=store.stores) as api:
        yield Rig(api, store, tmp_path / "store")
    await store.close()


async def test_a_worker_that_cannot_be_read_stops_no_assignment_and_registers_again(rig: Rig) -> None:
    world = rig.api.world
    await world.register()
    await world.register("zbad")
    await rig.damage(RecordKind.WORKER, "zbad")
    flow = await world.run(task("a"), task("b", "a"))
    assert flow.status is FlowStatus.COMPLETED
    assert await rig.unreadable() == {("worker", "zbad")}
    listed = await rig.api.get("/api/v1/workers")
    assert [worker["worker_id"] for worker in listed["items"]] == ["w1"]
    assert [record["record_id"] for record in listed["unreadable"]] == ["zbad"]
    problem = problem_of(await rig.api.client.get("/api/v1/workers/zbad"), 500, "unreadable_record")
    assert "zbad" in problem["detail"]
    metrics = (await rig.api.client.get("/metrics")).text
    assert 'flowc_unreadable_records_total{kind="worker"} 1' in metrics
    heartbeat = await rig.api.client.post("/api/v1/workers/zbad/heartbeat", json={"status": "HEALTHY"})
    problem_of(heartbeat, 404, "unknown_worker")
    await world.register("zbad")
    assert await rig.unreadable() == set()
    assert len((await rig.api.get("/api/v1/workers"))["items"]) == 2
    await rig.damage(RecordKind.WORKER, "zbad")
    assert (await rig.api.client.delete("/api/v1/workers/zbad")).status_code == 204
    problem_of(await rig.api.client.get("/api/v1/workers/zbad"), 404, "unknown_worker")


async def test_the_tickets_of_a_worker_that_cannot_be_read_are_handed_on_when_it_leaves(rig: Rig) -> None:
    world = rig.api.world
    world.workers.behave = lambda one: {"status": "COMPLETED"} if one["worker_id"] == "w2" else None
    await world.register("w1")
    flow_id = await world.submit(decision(task("a")))

    async def accepted() -> Ticket | None:
        return next((t for t in (await world.tickets(flow_id)).values() if t.acknowledged_at), None)

    await until(accepted, "the ticket to be accepted")
    await rig.damage(RecordKind.WORKER, "w1")
    await world.register("w2")
    assert (await rig.api.client.delete("/api/v1/workers/w1")).status_code == 204
    assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
    history = await world.ports.views.history(flow_id, 0, 500)
    assert [(e.worker_id, e.cause) for e in history if e.type == "ticket.reassigned"] == [("w1", "worker_lost")]


async def test_a_flow_that_cannot_be_read_is_named_and_all_others_are_shown(rig: Rig) -> None:
    world = rig.api.world
    await world.register()
    bad, good = await world.run(task("a")), await world.run(task("a"))
    await rig.damage(RecordKind.FLOW, bad.flow_id)
    page = await rig.api.get("/api/v1/flows")
    assert [flow["flow_id"] for flow in page["items"]] == [good.flow_id]
    problem_of(await rig.api.client.get(f"/api/v1/flows/{bad.flow_id}"), 500, "unreadable_record")
    why = await rig.api.get(f"/api/v1/why/{bad.flow_id}")
    assert why["status"] == "UNREADABLE"
    assert "cannot be read" in why["headline"]
    assert {event["subject"] for event in (await rig.api.get("/api/v1/events", limit=500))["items"]} >= {good.flow_id}
    assert ("flow", bad.flow_id) in await rig.unreadable()


async def test_a_ticket_that_cannot_be_read_is_named_by_its_flow(rig: Rig) -> None:
    world = rig.api.world
    data = decision(task("a"), task("b"))
    flow_id = await world.submit(data)
    assert flow_id == flow_id_of(data["decision_id"])

    async def both_wait() -> Any:
        tickets = await world.tickets(flow_id)
        return [ticket.waiting for ticket in tickets.values()] == [Waiting.WORKER] * 2 or None

    await until(both_wait, "the tickets")
    bad = ticket_id_of(flow_id, "a")
    await rig.damage(RecordKind.TICKET, bad)
    await world.register()

    async def other_done() -> Any:
        tickets = await world.tickets(flow_id)
        return tickets["b"].completed_at

    await until(other_done, "the other ticket")
    why = await rig.api.get(f"/api/v1/why/{flow_id}")
    assert any(bad in text and "left out" in text for text in why["text"])
    assert (await rig.api.get(f"/api/v1/why/{bad}"))["status"] == "UNREADABLE"
    problem_of(await rig.api.client.get(f"/api/v1/tickets/{bad}"), 500, "unreadable_record")


async def test_a_ticket_that_cannot_be_read_is_an_incident_of_its_flow_at_once_and_once(
    rig: Rig, tmp_path: Path
) -> None:
    world = rig.api.world
    flow_id = await world.submit(decision(task("a")))
    ticket = await until(lambda: rig.first_ticket(flow_id), "the ticket")
    await rig.damage(RecordKind.TICKET, ticket.ticket_id)
    assert (await rig.api.get("/api/v1/incidents", flow_id=flow_id))["items"] == []
    await world.ports.store.tickets_of(flow_id)  # somebody comes across it
    for _ in range(2):
        await world.platform.catch_up()
    [incident] = (await rig.api.get("/api/v1/incidents", flow_id=flow_id))["items"]
    assert (incident["incident_type"], incident["severity"]) == ("INCONSISTENCY", "CRITICAL")
    assert incident["affected_tickets"] == [ticket.ticket_id]
    assert "cannot be read" in incident["details"][0]
    flow = await world.ports.store.flow(flow_id)
    assert flow is not None
    assert flow.status is FlowStatus.EXECUTING
    async with running_world(tmp_path / "again", stores=rig.stores) as again:  # another process, or the next one
        await again.ports.store.tickets_of(flow_id)
        await again.platform.catch_up()
    assert len((await rig.api.get("/api/v1/incidents", flow_id=flow_id))["items"]) == 1


async def test_a_record_that_is_damaged_while_it_is_at_hand_is_named_everywhere(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "store")
    async with running_api(tmp_path, stores=store.stores) as api:
        rig = Rig(api, store, tmp_path / "store")
        flow_id = await api.world.submit(decision(task("a")))
        ticket = await until(lambda: rig.first_ticket(flow_id), "the ticket")
        for kind, record_id, page in (
            (RecordKind.TICKET, ticket.ticket_id, "/api/v1/tickets"),
            (RecordKind.FLOW, flow_id, "/api/v1/flows"),
        ):
            await rig.damage(kind, record_id)
            assert (await api.get(page))["items"] == []
            for _ in range(2):
                assert (kind.value, record_id) in await rig.unreadable()
                assert (await api.get(f"/api/v1/why/{record_id}"))["status"] == "UNREADABLE"
                await api.world.ports.store.tickets_of(flow_id)
    await store.close()


async def test_a_queued_event_and_an_entry_of_telemetry_become_dead_letters_with_their_text(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = rig.api.world

    async def later() -> None:
        """Leave the telemetry where it is: a round of the clock may come before it is damaged."""

    monkeypatch.setattr(world.platform.flush_telemetry, "when_due", later)
    queue = world.platform.instruments.queue
    await queue.enqueue([make_event(1)])
    await world.ports.store.commit(ChangeSet(flow_id="f", telemetry=(make_event(2, "telemetry.frame"),)))
    await rig.damage(RecordKind.QUEUED_EVENT, "event-1")
    await rig.damage(RecordKind.TELEMETRY, "")
    assert await queue.pending(0, 9) == []
    assert await world.ports.telemetry_buffer.oldest(9) == []
    await world.platform.catch_up()
    letters = {letter["letter_id"]: letter for letter in (await rig.api.get("/api/v1/dead-letters"))["items"]}
    assert set(letters) >= {"queued_event/event-1"}
    assert sum(letter["reason"]["code"] == "unreadable" for letter in letters.values()) == 2
    assert letters["queued_event/event-1"]["event"]["raw"] == BROKEN
    assert (await queue.depth(), await world.ports.telemetry_buffer.size()) == (0, 0)
    assert await rig.unreadable() == set()
    replay = await rig.api.client.post("/api/v1/dead-letters/queued_event/event-1/replay")
    problem_of(replay, replay.status_code, "not_replayable")
    await rig.damage(RecordKind.DEAD_LETTER, "queued_event/event-1")
    assert len((await rig.api.get("/api/v1/dead-letters"))["items"]) == len(letters) - 1
    problem_of(await rig.api.client.get("/api/v1/dead-letters/queued_event/event-1"), 500, "unreadable_record")
    assert (await rig.api.client.delete("/api/v1/dead-letters/queued_event/event-1")).status_code == 204
    assert await rig.unreadable() == set()
