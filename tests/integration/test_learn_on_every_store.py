"""The function `learn` on each store: what is taken in, trained, judged and served is the same."""

from functions._adapters.stores import Stores
from functions._core.learning.model_record import JUDGED_ROWS, ModelState
from functions._engine.predictions import RememberedPredictions
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.learning_fleet import TICKETS, LearningFleet


class OnEveryStore:
    async def test_from_history_to_a_model_that_serves(self, stores: Stores) -> None:
        fleet = LearningFleet(stores)
        await fleet.works(22)
        first = await fleet.learns()
        assert (first.flows, first.rows, first.complete) == (22, 220, True)
        shadow = await fleet.asks()
        assert shadow.trained is not None
        assert shadow.trained.record is not None
        assert (shadow.trained.record.state, shadow.trained.rows) == (ModelState.SHADOW, 220)
        await fleet.works(JUDGED_ROWS // TICKETS)
        done = await fleet.learns()
        assert (done.rows, done.promoted) == (100, "duration:1")
        serving = None
        predictions = RememberedPredictions(fleet.ports.key_values, acts=True)
        while serving is None:
            serving = await predictions.serving()
        assert serving.predictor.version == "duration:1"


class TestMemory(OnMemory, OnEveryStore):
    pass


class TestSqlite(OnSqlite, OnEveryStore):
    pass


class TestPostgres(OnPostgres, OnEveryStore):
    pass


class TestDynamo(OnDynamo, OnEveryStore):
    pass
