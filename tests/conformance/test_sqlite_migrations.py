"""A data folder that an older version wrote is read as if this one had written it."""

from pathlib import Path

from functions._adapters.sql import migrations
from functions._adapters.sqlite import SqliteStore
from functions._adapters.sqlite.folder import DATABASE, connect
from functions._core.audits import AuditRecord
from functions._core.models import Flow
from functions._core.statistics import FlowStatistics
from tests.builders import T0, make_audit, make_flow, seconds


def written_by_the_first_version(folder: Path, flows: list[Flow], audits: list[AuditRecord]) -> None:
    connection = connect(folder / DATABASE, writes=True)
    connection.executescript(f"BEGIN; {migrations('sqlite')[0]} PRAGMA user_version = 1; COMMIT;")
    for flow in flows:
        connection.execute(
            "INSERT INTO flow (flow_id, status, version, doc) VALUES (?, ?, ?, ?)",
            (flow.flow_id, flow.status, flow.version, flow.model_dump_json()),
        )
    for audit in audits:
        connection.execute(
            "INSERT INTO audit (flow_id, doc) VALUES (?, ?)", (audit.flow_id, audit.model_dump_json(exclude={"kind"}))
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


async def test_validations_of_the_first_version_are_found_as_such(tmp_path: Path) -> None:
    flow = make_flow()
    audits = [make_audit(flow, 1), make_audit(flow, 2, valid=False)]
    written_by_the_first_version(tmp_path, [flow], audits)
    store = SqliteStore.open(tmp_path)
    assert await store.stores.views.audits(None, 10) == audits[::-1]
    await store.close()
