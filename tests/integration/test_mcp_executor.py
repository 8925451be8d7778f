"""Tools of MCP servers as tickets: a real server of the official package, what it answers, and what may be called."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.mcp_session import PROTOCOL
from functions._executors.mcp import KEY, McpExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import assigned
from tests.support.loopback import Answer, Loopback, Request
from tests.support.mcp_server import mcp_server
from tests.support.processes import running_platform, worker_process
from tests.support.world import decision, task


def jobs_at(url: str, tools: str = "weather/*", **more: str) -> JobsExecutor:
    settings = ExecutorSettings.from_environment({"WORKER_MCP_WEATHER_URL": url, "WORKER_TOOLS": tools, **more})
    return JobsExecutor([McpExecutor(settings)], pauses=(0.0, 0.0, 0.0))


def call(tool: str = "forecast", server: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"provider": "mcp", "server": server, "tool": tool, "arguments": arguments}


async def run(jobs: JobsExecutor, parameters: dict[str, Any], *, idempotent: bool = True) -> Any:
    try:
        return await jobs.run(assigned(parameters, task_type="TOOL", idempotent=idempotent))
    finally:
        await jobs.aclose()


async def failure(jobs: JobsExecutor, parameters: dict[str, Any], *, idempotent: bool = True) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, parameters, idempotent=idempotent)
    return failed.value


@pytest.mark.parametrize("stateless", [True, False])
async def test_a_tool_is_called_with_its_arguments_and_its_result_is_the_output(stateless: bool) -> None:
    async with mcp_server(json_response=stateless, stateless=stateless) as url:
        output = await run(jobs_at(url), call(city="Oslo", days=2))
    assert (output["result"]["city"], output["result"]["days"]) == ("Oslo", 2)


async def test_a_tool_that_fails_fails_the_ticket_with_its_words() -> None:
    async with mcp_server(json_response=True, stateless=True) as url:
        failed = await failure(jobs_at(url), call("storm", city="Oslo"))
        assert failed.kind == "tool_failed"
        assert "no station in Oslo" in str(failed)
        assert (await failure(jobs_at(url), call("forecast", city="Oslo", days="many"))).kind == "tool_failed"
        assert (await failure(jobs_at(url), call("unknown"))).kind == "tool_failed"


@pytest.mark.parametrize(
    ("parameters", "tools"),
    [
        (call(city="Oslo"), ""),
        (call(city="Oslo"), "weather/storm"),
        (call(city="Oslo"), "other/*"),
        (call(city="Oslo", server="other"), "*/*"),
    ],
)
async def test_what_the_owner_does_not_allow_is_not_called(parameters: dict[str, Any], tools: str) -> None:
    async with Loopback() as server:
        failed = await failure(jobs_at(server.url, tools), parameters)
        assert (failed.kind, failed.retryable) == ("not_allowed", False)
        assert not server.requests


class Talking(Loopback):
    """An MCP server that answers a call of a tool as a test says."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers, self.answer = list(answers), self.talk

    async def talk(self, request: Request) -> Answer:
        if request.method != "POST":
            return Answer(500)
        message: Mapping[str, Any] = request.json
        if message["method"] == "initialize":
            return self.said({"id": message["id"], "result": {"protocolVersion": PROTOCOL}})
        return Answer(202) if "id" not in message else self.answers.pop(0)

    @staticmethod
    def said(message: Mapping[str, Any]) -> Answer:
        headers = {"content-type": "application/json", "mcp-session-id": "s-1"}
        return Answer(200, json.dumps({"jsonrpc": "2.0", **message}).encode(), headers)


async def test_a_server_that_is_away_for_a_moment_is_asked_again_with_the_same_key() -> None:
    done = Talking.said({"id": 2, "result": {"content": [{"type": "text", "text": "fine"}]}})
    async with Talking(Answer(503), done) as server:
        output = await run(jobs_at(server.url, WORKER_MCP_WEATHER_TOKEN="t-1"), call(city="Oslo"))
        calls = [one for one in server.requests if one.method == "POST" and one.json["method"] == "tools/call"]
        assert output["result"] == [{"type": "text", "text": "fine"}]
        keys = [one.json["params"]["_meta"][KEY] for one in calls]
        assert len(keys) == 2
        assert len({*keys}) == 1
        assert {one.headers["authorization"] for one in server.requests} == {"Bearer t-1"}
        assert [one.headers["mcp-session-id"] for one in calls] == ["s-1", "s-1"]


def calls_of(server: Loopback) -> int:
    return sum(1 for one in server.requests if one.method == "POST" and one.json["method"] == "tools/call")


@pytest.mark.parametrize(("idempotent", "calls"), [(True, 4), (False, 1)])
async def test_a_call_that_may_have_been_carried_out_is_repeated_where_it_may_be(idempotent: bool, calls: int) -> None:
    async with Talking(*[Answer(500)] * 4) as server:
        failed = await failure(jobs_at(server.url), call(city="Oslo"), idempotent=idempotent)
        assert (failed.retryable, calls_of(server)) == (idempotent, calls)


async def test_a_tool_that_does_not_answer_is_not_called_twice_where_it_must_not_be() -> None:
    async with Loopback() as server:
        held = asyncio.Event()

        async def silent(_: Request) -> Answer:
            await held.wait()
            return Answer(500)

        server.answer = silent
        failed = await failure(jobs_at(server.url), {**call(), "timeout_seconds": 1}, idempotent=False)
        assert (failed.kind, failed.retryable, len(server.requests)) == ("unknown_outcome", False, 1)
        held.set()


async def test_a_server_that_says_that_it_did_nothing_is_asked_again_all_the_same() -> None:
    done = Talking.said({"id": 2, "result": {"content": []}})
    async with Talking(Answer(503), done) as server:
        assert (await run(jobs_at(server.url), call(city="Oslo"), idempotent=False))["result"] == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"not json", {"content-type": "application/json"}),
        Answer(200, b"[" * 100_000, {"content-type": "application/json"}),
        Answer(200, b'{"id": 2, "result": 7}', {"content-type": "application/json"}),
        Answer(200, b"data: {}\n\n" * 1_000, {"content-type": "text/event-stream"}),
        Answer(302, b"", {"location": "http://127.0.0.1:1/"}),
        Answer(200, b'"' + b"x" * 5_000_000, {"content-type": "application/json"}),
    ],
)
async def test_an_answer_that_is_none_fails_the_ticket(answer: Answer) -> None:
    async with Talking(*[answer] * 4) as server:
        failed = await failure(jobs_at(server.url), call(city="Oslo"))
        assert failed.kind in {"bad_tool_answer", "tool_failed", "unexpected_status"}


async def test_a_task_of_the_type_tool_is_done_by_a_worker_with_the_executor(tmp_path: Path) -> None:
    plan = decision(task("ask", task_type="tool", parameters=call(city="Oslo", days=3), required_capabilities=[]))
    async with mcp_server(json_response=True, stateless=True) as url, running_platform(tmp_path) as platform:
        worker = worker_process(tmp_path, platform.url, "tools-1", "--executor", "mcp")
        worker.environment = {"WORKER_MCP_WEATHER_URL": url, "WORKER_TOOLS": "weather/forecast"}
        platform.hired.append(worker)
        worker.start()
        flow_id = await platform.submit(plan)
        flow = await platform.ended(flow_id)
        tickets = await platform.tickets(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert tickets["ask"]["task_type"] == "TOOL"
    assert tickets["ask"]["output"]["result"]["days"] == 3
