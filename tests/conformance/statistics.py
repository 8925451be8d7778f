"""What every `Statistics` must do."""

from functions._adapters.stores import Stores
from functions._core.records.models import Flow
from functions._core.records.statistics import FlowStatistics
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, later, make_flow, make_step, seconds

NOTHING = FlowStatistics(ended=0, completed=0, average_ms=None, p95_ms=None, active=0)


async def begun(stores: Stores, number: int, **changes: object) -> Flow:
    flow = make_flow(number, **changes)
    await stores.store.commit(make_step(flow))
    return flow


async def ended(stores: Stores, number: int, took: float, outcome: str = "COMPLETED", start: float = 0) -> None:
    """Let a flow begin `start` seconds after T0, and end `took` seconds later."""
    flow = await begun(stores, number, received_at=T0 + seconds(start))
    end = {"status": outcome, "outcome": outcome, "ended_at": T0 + seconds(start + took), "next_wakeup_at": None}
    await stores.store.commit(make_step(later(flow, **end)))


class StatisticsSuite(StoresSuite):
    async def test_without_flows_there_is_nothing_to_say(self, stores: Stores) -> None:
        assert await stores.statistics.flows(None) == NOTHING
        assert await stores.statistics.flows(T0) == NOTHING

    async def test_ten_ended_flows_and_two_under_way(self, stores: Stores) -> None:
        for number in range(1, 11):
            await ended(stores, number, number, "FAILED" if number == 3 else "COMPLETED")
        await begun(stores, 11)
        await begun(stores, 12, status="EXECUTING")
        assert await stores.statistics.flows(None) == FlowStatistics(
            ended=10, completed=9, average_ms=5_500, p95_ms=10_000, active=2
        )

    async def test_p95_is_the_nearest_rank(self, stores: Stores) -> None:
        for number, rank in ((1, 1), (2, 2), (19, 19), (20, 19), (21, 20)):
            for missing in range((await stores.statistics.flows(None)).ended + 1, number + 1):
                await ended(stores, missing, missing)
            assert (await stores.statistics.flows(None)).p95_ms == rank * 1000

    async def test_a_window_counts_what_ended_in_it_and_everything_that_is_active(self, stores: Stores) -> None:
        await ended(stores, 1, took=1, start=0)
        await ended(stores, 2, took=2, start=10)
        await ended(stores, 3, took=30, outcome="TIMED_OUT", start=0)
        await begun(stores, 4, received_at=T0 - seconds(10_000))
        assert await stores.statistics.flows(T0 + seconds(12)) == FlowStatistics(
            ended=2, completed=1, average_ms=16_000, p95_ms=30_000, active=1
        )
        assert (await stores.statistics.flows(T0 + seconds(31))).ended == 0

    async def test_a_flow_whose_outcome_is_known_is_active_until_its_end(self, stores: Stores) -> None:
        await begun(stores, 1, status="PUBLISHING", outcome="COMPLETED")
        assert await stores.statistics.flows(None) == FlowStatistics(
            ended=0, completed=0, average_ms=None, p95_ms=None, active=1
        )

    async def test_ended_flows_of_a_span_come_the_last_to_end_first(self, stores: Stores) -> None:
        for number, took in ((1, 30.0), (2, 10.0), (3, 20.0), (4, 20.001), (5, 40.0)):
            await ended(stores, number, took)
        await begun(stores, 6)

        async def found(since: float, until: float, limit: int = 9) -> list[str]:
            flows = await stores.statistics.ended(T0 + seconds(since), T0 + seconds(until), limit)
            return [flow.decision_id.removeprefix("decision-") for flow in flows]

        assert await found(10, 40) == ["1", "4", "3", "2"]
        assert await found(10, 40.001, limit=2) == ["5", "1"]
        assert await found(10.001, 20.001) == ["3"]
        assert await found(41, 99) == []

    async def test_flows_under_way_are_those_that_have_not_ended(self, stores: Stores) -> None:
        assert await stores.statistics.under_way(9) == []
        await ended(stores, 1, took=1)
        expected = [await begun(stores, 2, risk_band="high"), await begun(stores, 3, status="PUBLISHING")]
        found = await stores.statistics.under_way(9)
        assert sorted(found, key=lambda flow: flow.decision_id) == expected
        assert len(await stores.statistics.under_way(1)) == 1

    async def test_the_earliest_deadline_of_each_risk_band_is_known_while_it_counts(self, stores: Stores) -> None:
        assert await stores.statistics.deadlines() == {}
        late = await begun(stores, 1, risk_band="high", sla_deadline=T0 + seconds(20))
        early = await begun(stores, 2, risk_band="high", sla_deadline=T0 + seconds(10))
        await begun(stores, 3, risk_band="low", sla_deadline=T0 + seconds(30))
        assert await stores.statistics.deadlines() == {"high": T0 + seconds(10), "low": T0 + seconds(30)}
        early = later(early, status="PUBLISHING", outcome="COMPLETED")
        await stores.store.commit(make_step(early))
        assert await stores.statistics.deadlines() == {"high": T0 + seconds(20), "low": T0 + seconds(30)}
        # C1 reads the decision's own words: the flow as it came had the platform's.
        late = later(late, risk_band="critical", sla_deadline=T0 + seconds(40))
        await stores.store.commit(make_step(late))
        assert await stores.statistics.deadlines() == {"critical": T0 + seconds(40), "low": T0 + seconds(30)}
        # While people are waited for the time of the SLA does not run.
        await stores.store.commit(make_step(later(late, status="PAUSED")))
        assert await stores.statistics.deadlines() == {"low": T0 + seconds(30)}
