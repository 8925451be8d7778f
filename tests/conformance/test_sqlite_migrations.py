"""A data folder that an older version wrote is read as if this one had written it."""

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from functions._adapters.documents import document
from functions._adapters.sql import migrations
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE, connect
from functions._core.placement.fair_queue import QueuePosition
from functions._core.records.audits import AuditRecord
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record, as_json
from functions._core.records.statistics import FlowStatistics
from functions._core.records.values import Waiting
from tests.support.builders import T0, later, make_audit, make_flow, make_history, make_plan, make_ticket, seconds


def without(record: Record, field: str) -> str:
    """Return the document of a record that was stored when it had no such field."""
    return json.dumps({name: value for name, value in as_json(record).items() if name != field})


def written_by_the_first_version(
    folder: Path, flows: list[Flow], audits: list[AuditRecord], waiting: Sequence[Ticket] = ()
) -> None:
    connection = connect(folder / DATABASE, writes=True)
    connection.executescript(f"BEGIN; {migrations('sqlite')[0]} PRAGMA user_version = 1; COMMIT;")
    for flow in flows:
        connection.execute(
            "INSERT INTO flow (flow_id, status, version, doc) VALUES (?, ?, ?, ?)",
            (flow.flow_id, flow.status, flow.version, document(flow)),
        )
    for audit in audits:
        connection.execute("INSERT INTO audit (flow_id, doc) VALUES (?, ?)", (audit.flow_id, without(audit, "kind")))
    for ticket in waiting:
        connection.execute(
            "INSERT INTO ticket (ticket_id, flow_id, plan_id, intent_id, status, priority, requirement, latest_start,"
            " version, doc) VALUES (?, ?, '', '', 'PENDING', 'NORMAL', '[]', ?, 1, ?)",
            (
                ticket.ticket_id,
                ticket.flow_id,
                ticket.latest_start.timestamp() * 1000,
                without(ticket, "turn"),
            ),
        )
    connection.close()


async def test_flows_of_the_first_version_are_counted(tmp_path: Path) -> None:
    took = seconds(1.234)
    done = make_flow(1, status="COMPLETED", outcome="COMPLETED", ended_at=T0 + took, next_wakeup_at=None)
    failed = make_flow(2, status="FAILED", outcome="FAILED", ended_at=T0 + 2 * took, next_wakeup_at=None)
    written_by_the_first_version(tmp_path, [done, failed, make_flow(3)], [])
    store = SqliteStore.open(tmp_path)
    assert await store.stores.statistics.flows(None) == FlowStatistics(
        ended=2, completed=1, average_ms=1851, p95_ms=2468, active=1
    )
    assert (await store.stores.statistics.flows(T0 + 2 * took)).ended == 1
    assert (await store.stores.statistics.flows(T0 + 2 * took + seconds(0.001))).ended == 0
    assert await store.stores.store.flow(done.flow_id) == done
    await store.close()


async def test_tickets_that_waited_in_the_first_version_are_in_the_first_turn_by_slack(tmp_path: Path) -> None:
    flow = make_flow()
    waiting = [
        make_ticket(flow, number, waiting=Waiting.SLOT, latest_start=T0 - seconds(number)) for number in range(3)
    ]
    written_by_the_first_version(tmp_path, [flow], [], waiting)
    store = SqliteStore.open(tmp_path)
    assert await store.stores.wakeups.line(flow.flow_id, []) == QueuePosition(0, None, {0: 3})
    assert await store.stores.wakeups.claim_waiting([], T0, 5, seconds(1)) == waiting[::-1]
    await store.close()


async def test_tickets_that_waited_in_an_older_version_are_served_by_their_scores(tmp_path: Path) -> None:
    flow = make_flow()
    waiting = [
        make_ticket(flow, number, waiting=Waiting.SLOT, priority_score=score)
        for number, score in enumerate((0.5, 0.79, 0.42))
    ]
    written_by_the_first_version(tmp_path, [flow], [], waiting)
    store = SqliteStore.open(tmp_path)
    offered = await store.stores.wakeups.claim_waiting([], T0, 5, seconds(1))
    assert [ticket.task_id for ticket in offered] == ["task-1", "task-0", "task-2"]
    await store.close()


async def test_validations_of_the_first_version_are_found_as_such(tmp_path: Path) -> None:
    flow = make_flow()
    audits = [make_audit(flow, 1), make_audit(flow, 2, valid=False)]
    written_by_the_first_version(tmp_path, [flow], audits)
    store = SqliteStore.open(tmp_path)
    assert await store.stores.views.audits(None, 10) == audits[::-1]
    await store.close()


async def test_deadlines_of_flows_that_an_older_version_began_count(tmp_path: Path) -> None:
    deadline = T0 + seconds(1.234)
    open_one = make_flow(1, status="EXECUTING", risk_band="high", sla_deadline=deadline)
    decided = make_flow(2, status="PUBLISHING", outcome="FAILED", risk_band="high", sla_deadline=T0)
    written_by_the_first_version(tmp_path, [open_one, decided], [])
    store = SqliteStore.open(tmp_path)
    assert await store.stores.statistics.deadlines() == {"high": deadline}
    await store.close()


async def test_a_ticket_of_an_older_version_changes_and_keeps_its_whole_document(tmp_path: Path) -> None:
    flow = make_flow()
    old = make_ticket(flow, waiting=Waiting.SLOT, parameters={"a": [1]})
    written_by_the_first_version(tmp_path, [flow], [], [old])
    store = SqliteStore.open(tmp_path)
    assert await store.stores.store.tickets([old.ticket_id]) == {old.ticket_id: old}
    changed = later(old, worker_id="worker-1", status="ASSIGNED", waiting=None)
    added = make_ticket(flow, 2)
    await store.stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(changed, added)))
    await store.close()
    store = SqliteStore.open(tmp_path)
    assert await store.stores.store.tickets_of(flow.flow_id) == [changed, added]
    await store.close()


async def test_the_history_of_an_older_version_is_found_by_its_flow(tmp_path: Path) -> None:
    flow = make_flow()
    written_by_the_first_version(tmp_path, [flow, make_flow(2)], [])
    connection = connect(tmp_path / DATABASE, writes=True)
    for one in (flow, make_flow(2)):
        row = (one.flow_id, document(make_history(one)))
        connection.execute("INSERT INTO history (flow_id, doc) VALUES (?, ?)", row)
    connection.close()
    store = SqliteStore.open(tmp_path)
    assert await store.stores.views.history(flow.flow_id, 0, 9) == [make_history(flow, seq=1)]
    assert len(await store.stores.views.history(None, 0, 9)) == 2
    await store.close()


async def test_tickets_of_the_version_without_waits_may_wait_be_skipped_and_have_children(tmp_path: Path) -> None:
    flow = make_flow()
    older = list(takewhile(lambda script: "'WAITING'" not in script, migrations("sqlite")))
    connection = connect(tmp_path / DATABASE, writes=True)
    for number, script in enumerate(older, 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
    waits, skipped = make_plan(flow, 2)
    for ticket in (waits, skipped):
        doc = json.loads(document(ticket))
        for name in ("control", "parent", "index", "item", "children", "labels"):
            del doc[name]
        connection.execute(
            "INSERT INTO ticket (ticket_id, flow_id, plan_id, intent_id, status, priority, latest_start, version, doc)"
            " VALUES (?, ?, '', '', 'PENDING', 'NORMAL', 0, 1, ?)",
            (ticket.ticket_id, ticket.flow_id, json.dumps(doc)),
        )
    connection.close()
    store = SqliteStore.open(tmp_path)
    assert await store.stores.store.tickets_of(flow.flow_id) == [waits, skipped]
    changed = (later(waits, status="WAITING", waiting="CHILDREN"), later(skipped, status="SKIPPED"))
    child = make_ticket(flow, 3, parent=waits.ticket_id, index=0)
    await store.stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(*changed, child)))
    found, _ = await store.stores.views.find_tickets({"parent": waits.ticket_id}, None, 9)
    assert found == [child]
    assert await store.stores.store.tickets_of(flow.flow_id, live_only=True) == [changed[0], child]
    await store.close()
