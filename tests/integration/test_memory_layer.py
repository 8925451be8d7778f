"""The memory layer: its six operations, by the platform's own records and by another layer that stands there."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.insights import stored
from functions._core.insights.memories import lineage_of, quality_of, remembered
from functions._core.insights.memory_layer import MemoryLayer, MemoryQuery
from functions._core.insights.sources import AnalysisScope
from functions.api import platform_memory
from functions.api.platform_memory import PlatformMemory
from functions.api.source_readers import MemorySource
from tests.support.book_memory import BookFlow, BookMemory
from tests.support.builders import make_ticket
from tests.support.histories import history
from tests.support.http_api import Api, problem_of, running_api
from tests.support.insights import insight
from tests.support.runs_of_plans import Task, run_of
from tests.support.world import decision, task

HOUR = timedelta(hours=1)
PATH = "/api/v1/analytics/query"


@dataclass
class Told:
    """A layer that knows of a flow that was done and of one that failed."""

    layer: MemoryLayer
    good: str
    bad: str
    since: datetime
    until: datetime

    def query(self, text: str, **more: Any) -> MemoryQuery:
        """Return a question."""
        return MemoryQuery(text, self.since, self.until, **more)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def worked(api: Api) -> tuple[str, str]:
    """Let one flow be done and one fail."""
    await api.world.register("w-1")
    failing = {"error": {"type": "broken", "message": "disk 7 is full", "retryable": False}, "status": "FAILED"}
    api.world.workers.behave = lambda one: failing if one["task_id"] == "bad" else {"status": "COMPLETED", "output": 1}
    good = await api.world.submit(decision(task("a"), task("b", "a"), correlation_id="c-good"))
    bad = await api.world.submit(decision(task("a"), task("bad", "a"), correlation_id="c-bad"))
    for flow_id in (good, bad):
        await api.world.ended(flow_id)
    return good, bad


@pytest.fixture(params=["platform", "book"])
async def told(request: pytest.FixtureRequest, api: Api) -> Told:
    now = datetime.now(UTC)
    since, until = now - HOUR, now + HOUR
    if request.param == "platform":
        good, bad = await worked(api)
        return Told(PlatformMemory(api.app.state.services, since, until), good, bad, since, until)
    book = BookMemory([BookFlow("f-1", "c-good", None, now), BookFlow("f-2", "c-bad", "disk 7 is full", now)])
    return Told(book, "f-1", "f-2", since, until)


class TestPort:
    async def test_query_memory(self, told: Told) -> None:
        best, *_ = await told.layer.query_memory(told.query("full disk"))
        assert (best.kind, best.memory_id, best.score) == ("error", told.bad, 1.0)
        assert "disk 7 is full" in best.text
        [flow] = await told.layer.query_memory(told.query("C-GOOD"))
        assert (flow.kind, flow.memory_id) == ("flow", told.good)
        for text in ("", "   ", "unheard-of"):
            assert await told.layer.query_memory(told.query(text)) == []
        assert len(await told.layer.query_memory(told.query("c-", limit=1))) == 1

    async def test_get_context(self, told: Told) -> None:
        for subject in (told.bad, "c-bad"):
            context = await told.layer.get_context(subject)
            assert context is not None
            assert [(one["flow_id"], one["outcome"]) for one in context.flows] == [(told.bad, "FAILED")]
            assert (context.workers, context.complete) == (("w-1",), True)
        assert await told.layer.get_context("nobody") is None

    async def test_get_lineage(self, told: Told) -> None:
        for subject in (told.good, "c-good"):
            lineage = await told.layer.get_lineage(subject)
            assert lineage is not None
            kinds = [one.node_type for one in lineage.nodes]
            assert [*dict.fromkeys(kinds)][-4:] == ["decision", "plan", "ticket", "end"]
            before: set[str] = set()
            for node in lineage.nodes:
                assert {*node.made_of} <= before, "each comes after what it was made of"
                before.add(node.node_id)
            assert (lineage.nodes[-1].node_id, lineage.nodes[-1].what) == (told.good, "COMPLETED")
        assert await told.layer.get_lineage("nobody") is None

    async def test_get_quality_stats(self, told: Told) -> None:
        found = await told.layer.get_quality_stats(told.since, told.until)
        assert (found.flows, found.complete, found.completeness["worker_id"]) == (2, True, 1.0)
        assert (found.age_seconds or 0) >= 0
        before = await told.layer.get_quality_stats(told.since - 2 * HOUR, told.since)
        assert (before.flows, before.newest_at, before.age_seconds, before.gaps) == (0, None, None, ())

    async def test_invalidate_cache(self, told: Told) -> None:
        await told.layer.query_memory(told.query("disk"))
        assert await told.layer.invalidate_cache() > 0
        assert await told.layer.invalidate_cache() == 0

    async def test_list_data_assets(self, told: Told) -> None:
        assets = {one.name: one for one in await told.layer.list_data_assets()}
        assert {"flows", "tickets"} <= {*assets}
        assert assets["flows"].count == 2

    async def test_the_source_says_what_any_layer_says(self, told: Told) -> None:
        scope = AnalysisScope(told.since, told.until, correlation_id="c-bad", text="disk")
        said = await MemorySource(told.layer).read(scope)
        assert said["memories"][0]["memory_id"] == said["context"]["flows"][0]["flow_id"] == told.bad
        assert said["lineage"]["nodes"][-1]["what"] == "FAILED"
        assert said["quality"]["flows"] == 2
        assert "flows" in {one["name"] for one in said["assets"]}


class TestPlatform:
    async def test_it_is_asked_as_a_source(self, api: Api) -> None:
        _, bad = await worked(api)
        entity = {"entity_type": "flow", "entity_id": bad}
        body = {"sources": ["MEMORY"], "filters": {"entity": entity, "text": "disk"}}
        answer = await api.client.post(PATH, json=body)
        assert answer.status_code == 200, answer.text
        said = answer.json()["sources"]["MEMORY"]["data"]
        tickets = {one["what"]: one for one in said["lineage"]["nodes"] if one["node_type"] == "ticket"}
        assert tickets["bad"]["made_of"] == [tickets["a"]["node_id"]]
        assert (tickets["a"]["output_bytes"], tickets["a"]["worker_id"], tickets["bad"]["status"]) == (
            1,
            "w-1",
            "FAILED",
        )
        assert said["context"]["flows"][0]["reasons"]
        assets = {one["name"]: one for one in said["assets"]}
        assert (assets["tickets"]["count"], assets["workers"]["count"]) == (4, 1)
        assert assets["tickets"]["since"] is not None

    async def test_insights_around_a_flow_are_part_of_its_context(self, api: Api) -> None:
        _, bad = await worked(api)
        for one in (insight("near", flow_id=bad), insight("worker", worker_id="w-1"), insight("far", flow_id="f-9")):
            await stored.save(api.world.ports.key_values, one)
        now = datetime.now(UTC)
        context = await PlatformMemory(api.app.state.services, now - HOUR, now + HOUR).get_context(bad)
        assert context is not None
        assert len(context.insights) == 2

    async def test_a_large_flow_is_told_in_part_and_said_so(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        good, _ = await worked(api)
        monkeypatch.setattr(platform_memory, "TICKETS", 1)
        now = datetime.now(UTC)
        lineage = await PlatformMemory(api.app.state.services, now - HOUR, now + HOUR).get_lineage(good)
        assert lineage is not None
        assert (sum(one.node_type == "ticket" for one in lineage.nodes), lineage.complete) == (1, False)

    @pytest.mark.parametrize("name", ["a\x00b", "\x1b[2J", "' or 1=1 --", "../../etc", "é" * 255])
    async def test_strange_ids_are_known_to_nobody(self, api: Api, name: str) -> None:
        for filters in ({"correlation_id": name}, {"entity": {"entity_type": "flow", "entity_id": name}}):
            answer = await api.client.post(PATH, json={"sources": ["MEMORY"], "filters": filters, "use_cache": False})
            assert answer.status_code == 200, answer.text
            said = answer.json()["sources"]["MEMORY"]
            assert (said["status"], said["data"]["context"], said["data"]["lineage"]) == ("ok", None, None)

    async def test_a_question_that_is_too_long_is_refused(self, api: Api) -> None:
        body = {"sources": ["MEMORY"], "filters": {"text": "x" * 501}}
        problem_of(await api.client.post(PATH, json=body), 422, "invalid_data")


class TestFigures:
    def test_a_gap_is_found_and_missing_values_are_counted(self) -> None:
        course = history(3, 60)
        flows, tickets = [flow for flow, _ in course], [row for _, rows in course for row in rows]
        late = flows[-1].but(ended_at=flows[-1].ended_at + timedelta(days=30))
        lacking = [row.but(worker_ms=None) if number % 2 else row for number, row in enumerate(tickets)]
        found = quality_of([*flows[:-1], late], lacking, late.ended_at + HOUR, complete=True)
        assert found.gaps[0] == (flows[-2].ended_at, late.ended_at)
        assert found.age_seconds == 3600
        assert found.completeness["worker_id"] == 1.0
        assert found.completeness["worker_ms"] == pytest.approx(0.5, abs=0.1)
        assert "prediction" in found.completeness

    def test_as_much_as_one_look_reads_is_searched_in_good_time(self) -> None:
        course = history(4, 100)
        flows, tickets = [flow for flow, _ in course], [row for _, rows in course for row in rows]
        flows, tickets = (flows * 5)[:500], (tickets * 20)[:10_000]
        begun = time.process_time()
        remembered("x " * 250 + "worker failed", flows, tickets, [], 20)
        assert time.process_time() - begun < 2

    def test_a_flow_that_is_under_way_has_no_end_and_children_come_from_their_parent(self) -> None:
        flow, tickets = run_of(1, Task("list"))
        child = make_ticket(flow, 7, parent=tickets[0].ticket_id, level=1)
        nodes = lineage_of("f", [(flow.but(ended_at=None, outcome=None), [*tickets, child])], complete=True).nodes
        assert "end" not in {one.node_type for one in nodes}
        assert nodes[-1].made_of == (tickets[0].ticket_id,)
