"""A worker that asks for its tickets, over each store: what waits is found, given once, and given again when lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._adapters.stores import Stores
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, running_api
from tests.support.pulling import done, leased, register_pulling, running
from tests.support.world import decision, task


class LeasesSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running_one:
            yield running_one

    async def test_a_flow_is_done_with_every_answer_lost_once(self, api: Api) -> None:
        registered = await register_pulling(api, slots=3)
        again = await register_pulling(api, slots=3)
        assert (registered["delivery"], again["delivery"], again["endpoint"]) == ("pull", "pull", "")
        flow_id = await api.submit(decision(task("a"), task("b"), task("c", "a", "b")))
        ended: list[tuple[str, int]] = []
        while not (await api.world.flow(flow_id)).ended_at:  # type: ignore[union-attr] # it was admitted
            lost = await leased(api, limit=2, wait_seconds=2, running=[])
            given = await leased(api, limit=100, running=[])
            assert {str(one) for one in running(lost)} <= {str(one) for one in running(given)}
            for one in given:
                ended.append((one["task_id"], one["attempt"]))
                assert (await done(api, one))["result"] == "recorded"
        assert sorted(ended) == [("a", 1), ("b", 1), ("c", 1)]
        assert (await api.world.ended(flow_id)).status == "COMPLETED"
        kinds = [kind for kind, _ in await api.world.transitions(flow_id)]
        assert kinds.count("ticket.assigned") == 3
        assert "ticket.reassigned" not in kinds
        assert api.world.workers.assignments == []


class TestMemory(OnMemory, LeasesSuite):
    """On memory."""


class TestSqlite(OnSqlite, LeasesSuite):
    """On SQLite."""


class TestPostgres(OnPostgres, LeasesSuite):
    """On PostgreSQL."""


class TestDynamo(OnDynamo, LeasesSuite):
    """On DynamoDB."""
