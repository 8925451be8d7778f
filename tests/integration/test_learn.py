"""The function `learn`: history to a shadow, to a model that serves, and back again; on a store in memory."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from functions._core.errors import Unavailable
from functions._core.learning import registry
from functions._core.learning.model_record import JUDGED_ROWS, ModelState
from functions._core.learning.progress import LEARNING, PROGRESS, TRAINING, ask, asked_for, progress_of
from functions._core.records.audits import ActionRecord
from functions._core.records.models import Reason
from functions.learn import function as learn_module
from functions.learn import trainings
from functions.learn.function import Learned
from functions.learn.trainings import CLAIM, week_of
from tests.support.learning_fleet import TICKETS, LearningFleet, trained
from tests.support.slo_history import ended_flow


@pytest.fixture
def fleet() -> LearningFleet:
    return LearningFleet()


async def serves(fleet: LearningFleet) -> Learned:
    """Let a fleet have a model that serves."""
    await trained(fleet)
    await fleet.works(JUDGED_ROWS // TICKETS)
    return await fleet.learns()


async def audits(fleet: LearningFleet) -> list[tuple[str, str, str]]:
    found = await fleet.ports.views.audits("", 50)
    return [(one.action, one.target, one.who) for one in reversed(found) if isinstance(one, ActionRecord)]


class TestCourse:
    async def test_history_is_taken_in_once(self, fleet: LearningFleet) -> None:
        await fleet.works(5)
        first, again = await fleet.learns(), await fleet.learns()
        assert (first.flows, first.rows, first.complete) == (5, 50, True)
        assert (again.flows, again.rows, again.complete) == (0, 0, True)
        progress = progress_of(await fleet.ports.key_values.get(LEARNING, PROGRESS))
        assert progress.rows == progress.profile.rows == sum(progress.days.values()) == 50

    async def test_a_training_that_was_asked_for_is_a_shadow_and_the_request_is_gone(
        self, fleet: LearningFleet
    ) -> None:
        done = await trained(fleet)
        assert done.trained is not None
        assert done.trained.record is not None
        assert done.trained.record.state is ModelState.SHADOW, done.trained.record.reasons
        assert done.trained.record.created_by == "ada"
        assert done.serving is None
        assert await asked_for(fleet.ports.key_values) is None

    async def test_a_training_of_too_few_tickets_says_so_to_whoever_has_asked_for_it(
        self, fleet: LearningFleet
    ) -> None:
        await fleet.works(2)
        done = await fleet.asks()
        assert done.trained is not None
        assert done.trained.record is None
        assert await asked_for(fleet.ports.key_values) is None
        found = await fleet.ports.views.audits("", 1)
        assert isinstance(found[0], ActionRecord)
        assert found[0].why == "no model: 20 tickets say how long work takes, and 200 are needed"
        assert await audits(fleet) == [("train_model", "duration", "ada")]

    async def test_a_claim_is_renewed_while_the_training_takes_long_and_given_back_at_its_end(
        self, fleet: LearningFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trainings, "RENEWS", 0.005)
        await fleet.works(30)
        await fleet.learns()
        entries, seen = fleet.ports.key_values, set[datetime]()

        async def works_long(*_: object) -> list[object]:
            for _round in range(3):
                fleet.clock.time += timedelta(minutes=2)
                until = fleet.clock.time + CLAIM
                while (claim := await entries.get(LEARNING, TRAINING)) is None or claim.expires_at != until:
                    await asyncio.sleep(0.001)
                seen.add(until)
            return []

        monkeypatch.setattr(trainings, "newest_rows", works_long)
        await fleet.asks()
        assert len(seen) == 3
        assert await entries.get(LEARNING, TRAINING) is None

    async def test_a_shadow_serves_once_a_hundred_tickets_have_shown_that_it_is_good(
        self, fleet: LearningFleet
    ) -> None:
        await trained(fleet)
        await fleet.works(JUDGED_ROWS // TICKETS - 1)
        waits = await fleet.learns()
        assert (waits.promoted, waits.serving) == (None, None)
        await fleet.works(1)
        done = await fleet.learns()
        assert done.promoted == "duration:1"
        assert done.serving is not None
        assert done.serving.state is ModelState.SERVING
        assert await audits(fleet) == [
            ("train_model", "duration:1", "ada"),
            ("promote_model", "duration:1", "learn"),
        ]

    async def test_a_second_one_that_is_no_better_is_refused_and_the_first_one_serves_on(
        self, fleet: LearningFleet
    ) -> None:
        await serves(fleet)
        await ask(fleet.ports.key_values, "ada", fleet.clock.time)
        await fleet.learns()
        await fleet.works(JUDGED_ROWS // TICKETS + 1)
        done = await fleet.learns()
        assert done.serving is not None
        assert done.serving.number == 1
        second = await registry.model(fleet.ports.key_values, 2)
        assert second is not None
        assert second.state is ModelState.REFUSED
        assert "1% less is asked" in second.reasons[-1]

    async def test_what_serves_is_rolled_back_when_the_estimates_are_better_by_a_fifth(
        self, fleet: LearningFleet
    ) -> None:
        await serves(fleet)
        fleet.factor = 0.1
        await fleet.works(JUDGED_ROWS // TICKETS + 2)
        done = await fleet.learns()
        assert done.rolled_back == "duration:1"
        assert done.serving is None
        assert (await audits(fleet))[-1] == ("roll_back_model", "duration:1", "learn")

    async def test_drift_is_told_where_work_takes_much_longer_than_at_the_training(self, fleet: LearningFleet) -> None:
        calm = await serves(fleet)
        fleet.factor = 2.5
        await fleet.works(30)
        await fleet.learns()
        await fleet.works(30)
        done = await fleet.learns()
        assert calm.drift is None or calm.drift.drifted == ()
        assert done.drift is not None
        assert {"ratio", "error"} <= set(done.drift.drifted)

    async def test_few_tickets_are_no_model(self, fleet: LearningFleet) -> None:
        await fleet.works(2)
        await ask(fleet.ports.key_values, "ada", fleet.clock.time)
        done = await fleet.learns()
        assert done.trained is not None
        assert (done.trained.record, done.trained.rows) == (None, 20)
        assert await registry.models(fleet.ports.key_values) == []

    async def test_a_clock_that_was_wrong_for_a_moment_does_not_end_learning(self, fleet: LearningFleet) -> None:
        right = fleet.clock.time
        fleet.clock.time += timedelta(days=365)
        await fleet.learns()
        fleet.clock.time = right
        await fleet.learns()
        await fleet.works(5)
        assert (await fleet.learns()).flows == 5

    async def test_rehearsals_teach_nothing(self, fleet: LearningFleet) -> None:
        end = fleet.clock.time
        warning = Reason(code="simulated", message="only pretended")
        await ended_flow(fleet.stores, 1, end, tickets=(fleet.ticket(end),), warnings=(warning,))
        fleet.clock.time += timedelta(minutes=5)
        done = await fleet.learns()
        assert (done.flows, done.rows) == (1, 0)


class TestRows:
    async def test_the_newest_are_read_page_by_page_each_once_also_where_many_end_at_once(
        self, fleet: LearningFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end = fleet.clock.time
        for number in range(40):
            ended = end + timedelta(milliseconds=number // 9)
            await ended_flow(fleet.stores, number, ended, tickets=(fleet.ticket(ended),))
        now = end + timedelta(minutes=1)
        monkeypatch.setattr(trainings, "PAGE", 10)
        rows = await trainings.newest_rows(fleet.ports, now, 60)
        assert len(rows) == len({row.flow_id for row in rows}) == 40
        newest = await trainings.newest_rows(fleet.ports, now, 60, at_most=15)
        assert len(newest) == 15
        assert min(row.completed_at for row in newest) >= end + timedelta(milliseconds=2)
        assert await trainings.newest_rows(fleet.ports, now, 0) == []

    async def test_more_flows_in_one_millisecond_than_a_page_holds_stop_nothing(
        self, fleet: LearningFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end = fleet.clock.time
        for number in range(25):
            ended = end if number < 20 else end - timedelta(seconds=1)
            await ended_flow(fleet.stores, number, ended, tickets=(fleet.ticket(ended),))
        monkeypatch.setattr(trainings, "PAGE", 10)
        rows = await trainings.newest_rows(fleet.ports, end + timedelta(minutes=1), 60)
        assert {row.completed_at for row in rows} == {end, end - timedelta(seconds=1)}


class TestSchedule:
    @pytest.mark.parametrize(
        ("now", "week"),
        [
            ("2026-11-29T01:59:59", "2026-11-22"),
            ("2026-11-29T02:00:00", "2026-11-29"),
            ("2026-11-30T00:00:00", "2026-11-29"),
            ("2026-12-05T23:59:59", "2026-11-29"),
        ],
    )
    def test_the_week_begins_on_sunday_at_two(self, now: str, week: str) -> None:
        assert week_of(datetime.fromisoformat(now).replace(tzinfo=UTC)) == week

    async def test_each_sunday_one_model_is_trained_and_no_other_day(self, fleet: LearningFleet) -> None:
        await fleet.works(40)
        first = await fleet.learns()
        assert first.trained is None, "the first round only notes the week"
        sunday = datetime.fromisoformat("2025-03-02T02:00:00").replace(tzinfo=UTC)
        fleet.clock.time = sunday - timedelta(seconds=1)
        assert (await fleet.learns()).trained is None
        fleet.clock.time = sunday
        done, again = await fleet.learns(), await fleet.learns()
        assert done.trained is not None
        assert done.trained.record is not None
        assert done.trained.record.created_by == "schedule"
        assert again.trained is None

    async def test_while_a_shadow_waits_the_week_trains_none(self, fleet: LearningFleet) -> None:
        await trained(fleet)
        fleet.clock.time += timedelta(days=7)
        assert (await fleet.learns()).trained is None
        assert len(await registry.models(fleet.ports.key_values)) == 1


class TestTrouble:
    async def test_two_rounds_at_once_take_history_in_once_and_train_one_model(self, fleet: LearningFleet) -> None:
        await fleet.works(40)
        await ask(fleet.ports.key_values, "ada", fleet.clock.time)
        done = await asyncio.gather(fleet.learns(), fleet.learns(), fleet.learns())
        assert sum(one.rows for one in done) == 400
        progress = progress_of(await fleet.ports.key_values.get(LEARNING, PROGRESS))
        assert progress.rows == 400
        models = await registry.models(fleet.ports.key_values)
        assert [model.state for model in models].count(ModelState.SHADOW) == 1

    async def test_a_training_that_fails_is_told_and_tried_again(self, fleet: LearningFleet) -> None:
        def broken(*_rows: object, **_more: object) -> None:
            raise MemoryError("too large")

        await fleet.works(40)
        await ask(fleet.ports.key_values, "ada", fleet.clock.time)
        assert (await fleet.learns(broken)).failed == "MemoryError('too large')"
        assert await asked_for(fleet.ports.key_values) is not None
        assert (await fleet.learns()).trained is not None

    async def test_a_model_whose_payload_is_spoilt_is_taken_out(self, fleet: LearningFleet) -> None:
        await serves(fleet)
        entries = fleet.ports.key_values
        part = await entries.get(registry.PARTS, "duration:1:0")
        assert part is not None
        await entries.put(registry.PARTS, "duration:1:0", b'"AAAA"', version=part.version)
        done = await fleet.learns()
        assert (done.rolled_back, done.serving) == ("duration:1", None)

    async def test_a_round_is_bounded_and_the_next_one_goes_on(
        self, fleet: LearningFleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(learn_module, "FLOWS", 10)
        await fleet.works(30)
        rounds = 0
        monkeypatch.setattr(learn_module, "ROUND_SECONDS", 1e-9)
        while not (await fleet.learns()).complete:
            rounds += 1
            assert rounds < 10
        progress = progress_of(await fleet.ports.key_values.get(LEARNING, PROGRESS))
        assert progress.rows == 300
        assert rounds >= 2

    async def test_a_store_that_is_away_is_said(self, fleet: LearningFleet, monkeypatch: pytest.MonkeyPatch) -> None:
        async def away(*_one: object, **_more: object) -> None:
            raise Unavailable("the store is away")

        await fleet.works(1)
        monkeypatch.setattr(fleet.ports.statistics, "ended", away)
        with pytest.raises(Unavailable):
            await fleet.learns()
