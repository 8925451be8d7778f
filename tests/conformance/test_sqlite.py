import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE, connect
from functions._adapters.sql.sqlite.recent import Recent
from functions._adapters.stores import Stores
from functions._adapters.ticket_parts import TICKETS
from functions._core.records.set_aside import RecordKind
from tests.conformance import suites
from tests.conformance.damage import in_sqlite
from tests.conformance.unreadable import Damage
from tests.support.builders import T0, make_flow, make_plan, make_step, make_ticket, make_worker, seconds


class Sqlite:
    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[Stores]:
        store = SqliteStore.open(tmp_path)
        yield store.stores
        await store.close()


class TestChildren(Sqlite, suites.ChildrenSuite): ...


class TestOutputs(Sqlite, suites.OutputsSuite): ...


class TestDeadLetters(Sqlite, suites.DeadLettersSuite): ...


class TestDeliveries(Sqlite, suites.DeliveriesSuite): ...


class TestEventQueue(Sqlite, suites.EventQueueSuite): ...


class TestFlowStore(Sqlite, suites.FlowStoreSuite): ...


class TestHealing(Sqlite, suites.HealingSuite): ...


class TestKeyValues(Sqlite, suites.SweptKeyValuesSuite): ...


class TestRegistry(Sqlite, suites.RegistrySuite): ...


class TestStatistics(Sqlite, suites.StatisticsSuite): ...


class TestHistory(Sqlite, suites.HistorySuite): ...


class TestRetention(Sqlite, suites.RetentionSuite): ...


class TestTicketCounts(Sqlite, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(Sqlite, suites.TelemetryBufferSuite): ...


class TestUnreadable(Sqlite, suites.UnreadableHistorySuite, suites.UnreadableSuite):
    @pytest.fixture
    def damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Damage:
        # What is at hand is not read again.
        monkeypatch.setattr(Recent, "put", lambda _self, _id, record: record)

        async def damage(kind: RecordKind, record_id: str, change: Callable[[str], str]) -> None:
            await asyncio.to_thread(in_sqlite, tmp_path / DATABASE, kind, record_id, change)

        return damage

    async def test_text_that_is_no_json_is_an_unreadable_record_too(self, stores: Stores, damage: Damage) -> None:
        await stores.registry.put(make_worker(1))
        await damage(RecordKind.WORKER, "worker-1", lambda _doc: '{"a')
        assert await stores.registry.workers() == []
        assert "JSON" in stores.set_aside.records()[0].why

    @pytest.mark.parametrize("damaged", [b"", b"x", zlib.compress(b"[]"), zlib.compress(b"[1]")])
    async def test_a_part_that_cannot_be_read_sets_its_tickets_aside_and_no_others(
        self, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes
    ) -> None:
        monkeypatch.setattr(Recent, "put", lambda _self, _id, record: record)
        flow = make_flow()
        plan = make_plan(flow, TICKETS + 2)
        await stores.store.commit(make_step(flow, *plan))
        with closing(connect(tmp_path / DATABASE, writes=True)) as connection:
            connection.execute("UPDATE ticket_part SET doc = ? WHERE part = 1", (damaged,))
        assert await stores.store.tickets_of(flow.flow_id) == [*plan[TICKETS:]]
        assert len(stores.set_aside.records(RecordKind.TICKET)) == TICKETS

    async def test_a_part_is_forgotten_with_the_last_of_its_tickets(self, stores: Stores, tmp_path: Path) -> None:
        ended = make_flow(1, status="COMPLETED", outcome="COMPLETED", ended_at=T0, next_wakeup_at=None)
        await stores.store.commit(make_step(ended, *make_plan(ended, TICKETS + 2)))
        await stores.store.commit(make_step(make_flow(2), make_ticket(make_flow(2))))
        left = []
        with closing(connect(tmp_path / DATABASE, writes=False)) as connection:
            while await stores.retention.forget_ended(T0 + seconds(1), TICKETS - 1):
                left.append([part for (part,) in connection.execute("SELECT part FROM ticket_part")])
        assert left[0] == [1, 2, 3]
        assert left[-1] == [3]


class TestLabels(Sqlite):
    async def test_labels_are_forgotten_with_their_records(self, stores: Stores, tmp_path: Path) -> None:
        marks = {"team": "pay", "env": "prod"}
        ended = make_flow(1, status="COMPLETED", outcome="COMPLETED", ended_at=T0, next_wakeup_at=None, labels=marks)
        await stores.store.commit(make_step(ended, *make_plan(ended, 3, labels=marks)))
        await stores.store.commit(make_step(make_flow(2, labels=marks)))
        with closing(connect(tmp_path / DATABASE, writes=False)) as connection:
            while await stores.retention.forget_ended(T0 + seconds(1), 2):
                pass
            left = [
                connection.execute(f"SELECT count(*) FROM {table}_label").fetchone()[0]  # noqa: S608 the names are ours
                for table in ("flow", "ticket")
            ]
        assert left == [2, 0]


class TestViews(Sqlite, suites.ViewsSuite): ...


class TestWakeups(Sqlite, suites.WakeupsSuite): ...
