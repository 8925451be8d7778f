"""Tickets that no worker may be given: they were changed where they are stored, or refer to more than fits."""

import json
import re
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE
from functions._core.records.audits import IncidentRecord
from functions._core.records.values import FlowStatus, TicketStatus, Waiting, ticket_id_of
from tests.support.ordering import ticket_at
from tests.support.world import LocalWorld, decision, running_world, task

KIB = 1024


async def nothing_to_do(world: LocalWorld, flow_id: str) -> None:
    """Wait until the task `pay` waits for a worker and the task `book` is done."""
    await ticket_at(world, flow_id, "pay", waiting=Waiting.WORKER)
    await ticket_at(world, flow_id, "book", status=TicketStatus.COMPLETED)


def change_parameters(database: Path, ticket_id: str) -> None:
    """Change what a stored ticket asks for, as somebody with access to the file could."""
    with closing(sqlite3.connect(database)) as connection, connection:
        ((part, place, packed),) = connection.execute(
            "SELECT part, place, ticket_part.doc FROM ticket JOIN ticket_part USING (part) WHERE ticket_id = ?",
            (ticket_id,),
        ).fetchall()
        tickets = json.loads(zlib.decompress(packed))
        tickets[place]["parameters"]["amount"] = 1_000_000
        changed = connection.execute(
            "UPDATE ticket_part SET doc = ? WHERE part = ?", (zlib.compress(json.dumps(tickets).encode()), part)
        )
        assert changed.rowcount == 1


async def test_a_ticket_that_was_changed_while_the_platform_was_down_is_never_executed(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    plan = (
        task("pay", parameters={"amount": 1}),
        task("thank", "pay"),
        task("book", compensation=True, required_capabilities=["books"]),
    )
    async with running_world(tmp_path, store.stores) as world:
        await world.register("books", "books")
        flow_id = await world.submit(decision(*plan))
        await nothing_to_do(world, flow_id)
    await store.close()
    change_parameters(tmp_path / DATABASE, ticket_id_of(flow_id, "pay"))

    store = SqliteStore.open(tmp_path)
    async with running_world(tmp_path, store.stores) as world:
        await world.register("w1")
        await world.register("books", "books")
        await world.register("w2")
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
        asked = [one["task_id"] for one in world.workers.assignments]
        incidents = await world.ports.views.audits(flow_id, 50)
        metrics = world.platform.metrics.text().decode()
    await store.close()

    assert "pay" not in asked
    assert tickets["pay"].status is TicketStatus.FAILED
    assert tickets["pay"].reason is not None
    assert tickets["pay"].reason.code == "ticket_corrupted"
    assert tickets["pay"].retry_count == 0
    assert tickets["thank"].status is TicketStatus.CANCELLED
    assert tickets["book"].status is TicketStatus.COMPENSATED
    assert flow.status is FlowStatus.FAILED
    raised = [one for one in incidents if isinstance(one, IncidentRecord)]
    assert [(one.incident_type.value, one.severity.value) for one in raised] == [("INCONSISTENCY", "CRITICAL")]
    assert re.search(r"orchestration_incidents_total\{(?=.*INCONSISTENCY)(?=.*CRITICAL).*\} 1\.0", metrics)


async def test_a_ticket_that_refers_to_more_than_fits_fails_at_once_and_says_why(tmp_path: Path) -> None:
    many = {f"p{number}": {"$output": "big"} for number in range(2_000)}
    async with running_world(tmp_path) as world:
        await world.register("w1")
        world.workers.behave = lambda _assignment: {"status": "COMPLETED", "output": {"text": "x" * 200 * KIB}}
        flow = await world.run(task("big"), task("fan", "big", parameters=many), sla_deadline_seconds=600)
        failed = (await world.tickets(flow.flow_id))["fan"]
        asked = [one["task_id"] for one in world.workers.assignments]
    assert asked == ["big"]
    assert failed.status is TicketStatus.FAILED
    assert failed.retry_count == 0
    assert failed.reason is not None
    assert failed.reason.code == "references_too_large"
    assert "2000 references" in failed.reason.message


async def test_how_much_references_may_stand_for_is_a_setting(tmp_path: Path) -> None:
    async with running_world(tmp_path, references_bytes=KIB) as world:
        await world.register("w1")
        world.workers.behave = lambda _assignment: {"status": "COMPLETED", "output": "x" * KIB}
        flow = await world.run(task("a"), task("b", "a", parameters={"text": {"$output": "a"}}))
        refused = (await world.tickets(flow.flow_id))["b"]
    assert refused.reason is not None
    assert (refused.reason.code, f"{KIB} bytes" in refused.reason.message) == ("references_too_large", True)


async def test_small_parts_of_many_large_outputs_are_filled_in(tmp_path: Path) -> None:
    sources = [task(f"s{number}") for number in range(60)]
    parts = [{"$output": one["task_id"], "path": "/name"} for one in sources]
    async with running_world(tmp_path) as world:
        await world.register("w1", slots=100)
        world.workers.behave = lambda one: {
            "status": "COMPLETED",
            "output": {"name": one["task_id"], "rest": "x" * 100 * KIB},
        }
        last = task("last", *(one["task_id"] for one in sources), parameters={"parts": parts})
        await world.run(*sources, last, sla_deadline_seconds=600)
        [given] = [one for one in world.workers.assignments if one["task_id"] == "last"]
    assert given["parameters"] == {"parts": [one["task_id"] for one in sources]}


async def test_an_assignment_has_its_parameters_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register("w1")
        await world.run(task("a", parameters={"text": "only-once"}, template_id="t1"))
        [given] = world.workers.assignments
    assert json.dumps(given, default=str).count("only-once") == 1
    assert given["parameters"] == {"text": "only-once"}
    assert given["payload"] == {"ticket_id": given["ticket_id"], "template_id": "t1"}
