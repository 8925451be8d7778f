"""From a decision to an insight that everybody sees: eighteen checks on one platform."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from functions._core.insights.insight import Insight, insight_hash
from functions._core.insights.window import LENGTH
from functions._core.ports import Ports
from functions._core.records.worker import OWN_ANALYST
from functions.analyze.function import DELAY, Analyzed, analyze
from tests.support.analysis import ToldInsights
from tests.support.http_api import Api, running_api
from tests.support.world import decision, task

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILURES = 4


class LaterClock:
    """The time of the platform, and some more."""

    def __init__(self, ports: Ports) -> None:
        self.behind, self.ahead = ports.clock, timedelta()

    def now(self) -> datetime:
        """Return the time."""
        return self.behind.now() + self.ahead


@dataclass
class Course:
    """What has happened on the platform, and what everybody says of it."""

    api: Api
    flows: dict[str, str]
    first: Analyzed
    done: Analyzed
    told: ToldInsights
    listed: list[dict[str, Any]]

    @property
    def failure(self) -> dict[str, Any]:
        """The insight about the flows that failed."""
        return next(one for one in self.listed if one["metadata"]["rule"] == "flow-failure")

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return what a route answers."""
        answer = await self.api.client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return what a route answers to a question."""
        answer = await self.api.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    async with running_api(tmp_path_factory.mktemp("analysts")) as api:
        world, told = api.world, ToldInsights()
        clock = LaterClock(world.ports)
        ports = replace(world.ports, clock=clock)
        first = await analyze(ports, told)
        await world.register("w-1")
        broken = {"type": "broken", "message": "disk 7 is full", "retryable": False}
        world.workers.behave = lambda asked: (
            {"status": "FAILED", "error": broken} if asked["task_id"] == "bad" else {"status": "COMPLETED"}
        )
        names = ["good", *(f"bad-{n}" for n in range(FAILURES))]
        flows = {
            name: await world.submit(decision(task(name[:3].rstrip("-")), correlation_id=f"c-{name}")) for name in names
        }
        for flow_id in flows.values():
            await world.ended(flow_id)
        clock.ahead = LENGTH + DELAY
        done = await analyze(ports, told)
        listed = (await api.client.get("/api/v1/insights")).json()["items"]
        yield Course(api, flows, first, done, told, listed)


async def _1_the_decisions_are_flows_that_have_ended(course: Course) -> None:
    outcomes = [(await course.get(f"flows/{flow_id}"))["outcome"] for flow_id in course.flows.values()]
    assert outcomes == ["COMPLETED", *["FAILED"] * FAILURES]


async def _2_history_has_a_line_for_each(course: Course) -> None:
    items = (await course.get("history/flows"))["items"]
    assert {one["flow_id"] for one in items} == set(course.flows.values())


async def _3_the_first_look_begins_now(course: Course) -> None:
    assert course.first == Analyzed()


async def _4_the_window_is_closed_once(course: Course) -> None:
    assert (course.done.windows >= 1, course.done.failed) == (True, {})


async def _5_the_failures_are_an_insight(course: Course) -> None:
    assert course.failure["insight_type"] == "OPERATIONAL"
    assert course.failure["metrics"]["flows"] == FAILURES


async def _6_its_hash_holds(course: Course) -> None:
    stored = Insight.model_validate(course.failure)
    assert stored.hash == insight_hash(stored)


async def _7_its_scores_are_shares_and_its_priority_a_word(course: Course) -> None:
    assert 0 < course.failure["confidence_score"] <= 1
    assert 0 < course.failure["impact_score"] <= 1
    assert course.failure["priority"] in {"LOW", "MEDIUM", "HIGH", "CRITICAL"}


async def _8_it_recommends_something(course: Course) -> None:
    assert course.failure["recommendations"][0]["action"]


async def _9_it_is_found_by_its_id(course: Course) -> None:
    assert await course.get(f"insights/{course.failure['insight_id']}") == course.failure


async def _10_it_is_found_by_what_it_is_about(course: Course) -> None:
    about = next(one for one in course.failure["related_entities"] if one["entity_type"] == "flow")
    assert about["entity_id"] in course.flows.values()
    found = await course.get(f"insights/by-entity/flow/{about['entity_id']}")
    assert course.failure["insight_id"] in {one["insight_id"] for one in found["items"]}


async def _11_it_is_found_by_its_tags(course: Course) -> None:
    found = await course.get("insights/by-tags", tags=course.failure["tags"], match="all")
    assert course.failure["insight_id"] in {one["insight_id"] for one in found["items"]}


async def _12_it_is_found_by_a_query(course: Course) -> None:
    found = await course.post("insights/query", {"query_type": "BY_TYPE", "insight_type": "OPERATIONAL"})
    assert course.failure["insight_id"] in {one["insight_id"] for one in found["items"]}


async def _13_it_is_counted(course: Course) -> None:
    numbers = await course.get("insights/statistics", window_hours=0)
    assert (numbers["total"], sum(numbers["insights_by_type"].values())) == (len(course.listed), len(course.listed))


async def _14_everybody_is_told(course: Course) -> None:
    assert {one.insight_id for one in course.told.of()} == {one["insight_id"] for one in course.listed}
    keys = {event.extensions["partitionkey"] for event in course.told.events}
    assert keys == {one["insight_id"] for one in course.listed}


async def _15_those_who_act_are_told_by_its_type(course: Course) -> None:
    assert course.failure["insight_id"] in {one.insight_id for one in course.told.of("insights.operational")}
    assert course.failure["insight_id"] not in {one.insight_id for one in course.told.of("insights.strategic")}


async def _16_sources_agree_about_what_happened(course: Course) -> None:
    found = await course.post("analytics/query", {"use_cache": False})
    assert found["partial"] is False
    said = found["sources"]["HISTORICAL"]["data"]
    assert (said["outcomes"]["FAILED"], said["outcomes"]["COMPLETED"]) == (FAILURES, 1)
    assert found["sources"]["GRAPH"]["data"]["causal_chains"][0]["count"] == FAILURES


async def _17_the_error_is_found_by_other_words(course: Course) -> None:
    found = await course.get("semantics/errors", query="full disks")
    error = next(one for one in found["items"] if one["kind"] == "error")
    assert (error["count"], set(error["flows"]) < set(course.flows.values())) == (FAILURES, True)


async def _18_the_analyst_is_listed_and_the_status_says_what_works(course: Course) -> None:
    agents = (await course.get("agents", type="ANALYST"))["items"]
    assert [one["agent_id"] for one in agents] == [OWN_ANALYST]
    status = await course.get("status")
    assert (status["status"], status["insights"]["kept"]) == ("ok", len(course.listed))
    assert (await course.api.client.get("/live")).status_code == 200


CHECKS: list[Callable[[Course], Any]] = [
    check for name, check in globals().items() if name.startswith("_") and name[1:2].isdigit()
]


async def test_there_are_eighteen() -> None:
    assert len(CHECKS) == 18


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))
async def test_check(course: Course, check: Callable[[Course], Any]) -> None:
    await check(course)
