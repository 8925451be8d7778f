"""The result of a pipeline is in the store with its end: a process that dies before it has told it loses nothing."""

from collections.abc import Sequence
from pathlib import Path

from functions._adapters.stores import Stores
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.pipelines import RESULTS, PipelineResult
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.forge_pipelines import CAPABILITIES, does, pipeline
from tests.support.world import running_world, until


class Subscriber:
    """Takes results, unless it is away; implements `Broker`."""

    def __init__(self, *, away: bool) -> None:
        self.away = away
        self.asked = 0
        self.results: list[PipelineResult] = []

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Keep the results."""
        told = [event for event in events if event.event_type == RESULTS]
        self.asked += len(told)
        if self.away:
            raise Unavailable("nobody is there")
        self.results += [PipelineResult.model_validate(event.data) for event in told]


class ResultsSuite:
    async def test_a_result_outlives_the_process_that_has_made_it(self, stores: Stores, tmp_path: Path) -> None:
        async with running_world(tmp_path, stores) as world:
            world.platform.outbox.subscriber = lost = Subscriber(away=True)
            world.workers.behave = does()
            await world.register("forge-1", *CAPABILITIES)
            flow_id = await world.submit(pipeline("k", ticket_id="build-1"))
            assert (await world.ended(flow_id)).status == "COMPLETED"

            async def tried() -> bool | None:
                return lost.asked > 0 or None

            await until(tried, "the result is told to nobody")
        heard = Subscriber(away=False)
        async with running_world(tmp_path, stores) as world:
            world.platform.outbox.subscriber = heard
            await world.platform.outbox.recover()

            async def told() -> bool | None:
                return bool(heard.results) or None

            await until(told, "the result is told")
        (result,) = heard.results
        assert (result.pipeline_id, result.status, result.ticket_id) == (flow_id, "COMPLETED", "build-1")
        assert len(result.artifacts) == 5


class TestOnMemory(OnMemory, ResultsSuite):
    """In memory."""


class TestOnSqlite(OnSqlite, ResultsSuite):
    """On one machine."""


class TestOnPostgres(OnPostgres, ResultsSuite):
    """On PostgreSQL."""


class TestOnDynamo(OnDynamo, ResultsSuite):
    """On DynamoDB."""
