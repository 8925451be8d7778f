"""The result of a flow over HTTP, on each store: what the plan declares, made of stored outputs, within limits."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.events.commands import ReplanRequest
from functions._core.events.subscribers import transition_event
from functions._core.records.history import HistoryEntry
from functions._core.records.record import from_json
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, task

KIB = 1024


def planned(*tasks: Mapping[str, Any], result: Any = None, **more: Any) -> dict[str, Any]:
    """Return a decision whose plan declares a result."""
    document = decision(*tasks, **more)
    document["cognitive_plan"]["result"] = result
    return document


def outputs(**by_task: Any) -> Any:
    """Return workers that complete with these outputs; a task without one fails."""

    def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        task_id = assignment["task_id"]
        return {"status": "COMPLETED", "output": by_task[task_id]} if task_id in by_task else {"status": "FAILED"}

    return behave


async def ended(api: Api, document: Mapping[str, Any]) -> str:
    """Carry out a decision and return its flow id after the end."""
    flow_id = await api.world.submit(document)
    await api.world.ended(flow_id)
    return flow_id


async def result_of(api: Api, flow_id: str) -> dict[str, Any]:
    """Return the result of a flow."""
    found: dict[str, Any] = await api.get(f"/api/v1/flows/{flow_id}/result")
    return found


class ResultsSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores, references_bytes=2 * KIB) as running:
            await running.world.register()
            yield running

    async def test_the_result_is_what_the_plan_declares(self, api: Api) -> None:
        api.world.workers.behave = outputs(a={"rows": [1, 2], "rest": "x" * 10_000}, b="done")
        declared = {"first": {"$output": "a", "path": "/rows/0"}, "all": [{"$output": "b"}], "version": 1}
        flow_id = await ended(api, planned(task("a"), task("b", "a"), result=declared))
        found = await result_of(api, flow_id)
        result = {"first": 1, "all": ["done"], "version": 1}
        assert found == {"flow_id": flow_id, "outcome": "COMPLETED", "result": result, "reasons": []}

    async def test_without_a_declaration_it_is_the_outputs_of_the_last_tasks(self, api: Api) -> None:
        api.world.workers.behave = outputs(a="A", b="B", c=None)
        flow_id = await ended(api, planned(task("a"), task("b", "a"), task("c", "a")))
        assert (await result_of(api, flow_id))["result"] == {"b": "B", "c": None}

    async def test_it_is_refused_before_the_end_with_the_time_that_is_left(self, api: Api) -> None:
        api.world.workers.behave = lambda _assignment: None
        flow_id = await api.world.submit(planned(task("a")))
        await api.world.reached(flow_id, "EXECUTING")
        refused = problem_of(await api.client.get(f"/api/v1/flows/{flow_id}/result"), 409, "not_ended")
        assert "the flow is EXECUTING and has no result yet; it has 1" in refused["detail"]
        assert 0 < refused["sla_remaining_ms"] < 14_400_000
        problem_of(await api.client.get("/api/v1/flows/nothing/result"), 404, "unknown_flow")

    async def test_a_flow_that_did_not_complete_says_why(self, api: Api) -> None:
        api.world.workers.behave = outputs(a="A")
        flow_id = await ended(
            api, planned(task("a"), task("b", "a", retry={"max_retries": 0}), result={"$output": "a"})
        )
        found = await result_of(api, flow_id)
        assert (found["outcome"], found["result"]) == ("FAILED", None)
        assert "b" in found["reasons"][0]["message"]

    async def test_a_result_that_is_too_large_says_how_to_get_parts(self, api: Api) -> None:
        api.world.workers.behave = outputs(a="x" * 3 * KIB)
        for declared in (None, {"$output": "a"}):
            flow_id = await ended(api, planned(task("a"), result=declared))
            refused = problem_of(await api.client.get(f"/api/v1/flows/{flow_id}/result"), 413, "result_too_large")
            assert "GET /api/v1/tickets/{ticket_id}" in refused["detail"]

    async def test_a_declaration_that_does_not_fit_the_outputs_is_refused_by_name(self, api: Api) -> None:
        api.world.workers.behave = outputs(a={"n": 1})
        flow_id = await ended(api, planned(task("a"), result={"$output": "a", "path": "/rows"}))
        refused = problem_of(await api.client.get(f"/api/v1/flows/{flow_id}/result"), 409, "unresolved_reference")
        assert refused["detail"].startswith("result: the output of task 'a' has nothing at '/rows'")


class TestOnMemory(OnMemory, ResultsSuite):
    async def test_another_plan_changes_which_tasks_are_the_last(self, api: Api) -> None:
        api.world.workers.behave = outputs(a="A", c="C")
        flow_id = await api.world.submit(planned(task("a"), task("b", "a", required_capabilities=["nobody"])))
        await api.world.ticket(flow_id, lambda ticket: ticket.status == "COMPLETED", "is completed")
        plan = {"plan_id": "other", "tasks": [task("a"), task("c", "a")]}
        order = ReplanRequest(flow_id=flow_id, requested_by="ada", reason="another way", cognitive_plan=plan)
        await api.world.platform.order(order)
        await api.world.ended(flow_id)
        assert (await result_of(api, flow_id))["result"] == {"c": "C"}

    async def test_the_end_of_a_flow_names_the_address_of_its_result(self, api: Api) -> None:
        flow_id = await ended(api, planned(task("a")))
        flow = await api.world.flow(flow_id)
        assert flow is not None
        lines = [from_json(HistoryEntry, line) for line in await api.world.history(flow_id)]
        [event] = [transition_event(line, flow) for line in lines if line.type == "flow.completed"]
        assert event.data["detail"]["result"] == f"/api/v1/flows/{flow_id}/result"


class TestOnSqlite(OnSqlite, ResultsSuite):
    pass


class TestOnPostgres(OnPostgres, ResultsSuite):
    pass


class TestOnDynamo(OnDynamo, ResultsSuite):
    pass
