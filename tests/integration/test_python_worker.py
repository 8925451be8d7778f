"""`flowc.worker`: Python functions as workers, in a process, in a program and behind one request at a time."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flowc.client import AgentTelemetry, NoAnswer
from flowc.client.tracing import CURRENT
from flowc.worker import (
    AgentClient,
    AgentConfig,
    HeartbeatMode,
    HttpRequest,
    HttpResponse,
    ServerlessWorker,
    TaskContext,
    TaskFailed,
    Worker,
    beat_for,
    serverless,
)
from functions._core.events.signatures import signature_headers
from functions._worker import context as contexts
from tests.conftest import ROOT
from tests.support.documents import blocks
from tests.support.loopback import Answer, Loopback, Request, until
from tests.support.one_machine import OneMachine, one_machine
from tests.support.stand_in_platform import SECRET, StandIn
from tests.support.world import decision, task
from tests.support.world import until as eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path_factory.mktemp("platform")) as machine:
        yield machine


class Run:
    """One task done by a worker of a function."""

    def __init__(self, ticket: dict[str, Any], flow: dict[str, Any]) -> None:
        self.ticket = ticket
        self.flow = flow


async def done_by(platform: OneMachine, handler: Callable[..., object], name: str, **more: Any) -> Run:
    """Let a worker with this handler do one task, and return how that ended."""
    async with Worker(platform.url, capabilities=[name], handler=handler, worker_id=name, grace_seconds=0):
        flow_id = await platform.submit(decision(task("a", required_capabilities=[name], **more)))
        flow = await platform.ended(flow_id)
    return Run((await platform.tickets(flow_id))["a"], flow)


class TestFunctions:
    async def test_a_plain_function_gets_the_task_and_what_it_returns_is_the_output(self, platform: OneMachine) -> None:
        def work(task: dict[str, Any]) -> object:
            print("a line of the task")  # noqa: T201 - the output of a task
            return {"seen": task["parameters"], "thread": threading.current_thread() is not threading.main_thread()}

        run = await done_by(platform, work, "plain", parameters={"n": 7})
        assert run.ticket["output"] == {"seen": {"n": 7}, "thread": True}
        logs = await platform.get(f"/api/v1/tickets/{run.ticket['ticket_id']}/logs")
        assert logs["text"] == "a line of the task\n"

    async def test_an_async_function_gets_a_context_where_it_has_a_second_parameter(self, platform: OneMachine) -> None:
        async def work(_task: dict[str, Any], context: TaskContext) -> object:
            context.log("half of it", done=3)
            await asyncio.sleep(0)
            return [context.attempt, 0 < context.seconds_left <= 60, context.cancelled, context.traceparent]

        run = await done_by(platform, work, "async", idempotent=True)
        attempt, in_time, cancelled, traceparent = run.ticket["output"]
        assert (attempt, in_time, cancelled) == (1, True, False)
        assert traceparent[:35] == run.flow["traceparent"][:35]
        logs = await platform.get(f"/api/v1/tickets/{run.ticket['ticket_id']}/logs")
        assert logs["text"] == "half of it done=3\n"

    async def test_calls_of_a_client_in_a_task_continue_its_trace(self, platform: OneMachine) -> None:
        def work(_task: dict[str, Any], context: TaskContext) -> object:
            return CURRENT.get() == context.traceparent

        assert (await done_by(platform, work, "trace")).ticket["output"] is True

    @pytest.mark.parametrize("kind", ["object", "bound", "default"])
    async def test_everything_that_can_be_called_is_a_handler(self, platform: OneMachine, kind: str) -> None:
        class Handler:
            async def __call__(self, task: dict[str, Any]) -> object:
                return task["task_id"]

            def method(self, task: dict[str, Any], context: TaskContext) -> object:
                return f"{task['task_id']}{context.attempt}"

        def with_default(task: dict[str, Any], suffix: str = "-x") -> object:
            return task["task_id"] + suffix

        handlers: dict[str, tuple[Callable[..., object], str]] = {
            "object": (Handler(), "a"),
            "bound": (Handler().method, "a1"),
            "default": (with_default, "a-x"),
        }
        handler, expected = handlers[kind]
        assert (await done_by(platform, handler, f"callable-{kind}")).ticket["output"] == expected

    async def test_a_failure_for_good_is_not_tried_again(self, platform: OneMachine) -> None:
        def work(_task: dict[str, Any]) -> object:
            raise TaskFailed("no_such_file", "the file is gone", retryable=False)

        ticket = (await done_by(platform, work, "permanent")).ticket
        assert (ticket["status"], ticket["attempt"], ticket["reason"]["code"]) == ("FAILED", 1, "no_such_file")

    async def test_a_failure_that_may_pass_is_tried_again(self, platform: OneMachine) -> None:
        tried: list[int] = []

        def work(_task: dict[str, Any], context: TaskContext) -> object:
            tried.append(context.attempt)
            if len(tried) == 1:
                raise ConnectionError("away for a moment")
            return "ok"

        ticket = (await done_by(platform, work, "passing", retry={"initial_seconds": 0.01})).ticket
        assert (ticket["status"], tried) == ("COMPLETED", [1, 2])

    async def test_progress_is_reported_and_what_makes_no_sense_refused(
        self, platform: OneMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contexts, "PROGRESS_SECONDS", 0.01)
        seen = asyncio.Event()

        async def work(_task: dict[str, Any], context: TaskContext) -> object:
            for percent in (0, 25, 50):
                context.progress(percent)
            await seen.wait()
            with pytest.raises(ValueError, match="percent"):
                context.progress(101)
            return context.percent

        async with Worker(platform.url, capabilities=["progress"], handler=work, worker_id="progress"):
            flow_id = await platform.submit(decision(task("a", required_capabilities=["progress"])))

            async def half() -> bool | None:
                ticket = (await platform.tickets(flow_id)).get("a")
                return True if ticket and ticket.get("progress") == 50 else None

            await eventually(half, "the progress of the ticket")
            seen.set()
            await platform.ended(flow_id)

    async def test_a_plain_function_learns_that_it_is_cancelled(self, platform: OneMachine) -> None:
        began, ended = threading.Event(), threading.Event()

        def work(_task: dict[str, Any], context: TaskContext) -> object:
            began.set()
            assert context.wait(60)
            with pytest.raises(TaskFailed):
                context.check()
            ended.set()
            return None

        async with Worker(platform.url, capabilities=["cancel"], handler=work, worker_id="cancel"):
            flow_id = await platform.submit(decision(task("a", required_capabilities=["cancel"])))
            await until(began.is_set, "the task to start")
            await platform.send(f"/api/v1/flows/{flow_id}/cancel", {"reason": "enough"})
            await until(ended.is_set, "the task to learn of it")
            assert (await platform.ended(flow_id))["status"] == "CANCELLED"

    async def test_what_the_platform_would_not_register_is_refused_at_once(self) -> None:
        def work(_task: dict[str, Any]) -> None:
            pass

        for wrong in ({"worker_id": "with space"}, {"slots": 0}, {"clearance": "SECRET"}, {"handler": "no:module"}):
            given: dict[str, Any] = {"capabilities": ["x"], "handler": work, **wrong}
            with pytest.raises(ValueError):  # noqa: PT011 - each says what is wrong in its own words
                Worker("http://127.0.0.1:1", **given)


class TestPull:
    async def test_a_worker_asks_for_its_tasks_and_listens_nowhere(self, platform: OneMachine) -> None:
        def work(task: dict[str, Any]) -> object:
            return task["task_id"]

        worker = Worker(platform.url, capabilities=["pull"], handler=work, worker_id="pull", delivery="pull")
        async with worker:
            await worker.registered()
            assert worker.endpoint == ""
            tasks = [task("a", required_capabilities=["pull"]), task("b", "a", required_capabilities=["pull"])]
            flow_id = await platform.submit(decision(*tasks))
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
            assert {each["worker_id"] for each in (await platform.tickets(flow_id)).values()} == {"pull"}
        assert "pull" not in {each["worker_id"] for each in (await platform.get("/api/v1/workers"))["items"]}

    async def test_a_function_asks_for_its_tasks_when_its_timer_calls_it(self, platform: OneMachine) -> None:
        function = ServerlessWorker(platform.url, worker_id="timed", capabilities=["timed"], handler=work, slots=2)
        assert await function.work() == 0
        flow_id = await platform.submit(decision(task("a", required_capabilities=["timed"])))
        assert await function.work(wait_seconds=20) == 1
        assert (await platform.ended(flow_id))["status"] == "COMPLETED"
        assert (await platform.tickets(flow_id))["a"]["output"] == {"done": "a"}

    async def test_a_function_that_was_forgotten_registers_again(self, platform: OneMachine) -> None:
        function = ServerlessWorker(platform.url, worker_id="gone", capabilities=["gone"], handler=work)
        await function.work()
        await platform.call("DELETE", "/api/v1/workers/gone")
        flow_id = await platform.submit(decision(task("a", required_capabilities=["gone"])))
        assert await function.work(wait_seconds=20) == 1
        assert (await platform.ended(flow_id))["status"] == "COMPLETED"

    async def test_a_worker_that_asks_has_no_endpoint(self) -> None:
        for wrong in ({"delivery": "pull", "endpoint": "http://x/"}, {"delivery": "post"}):
            with pytest.raises(ValueError, match=r"endpoint|push or pull"):
                Worker("http://127.0.0.1:1", capabilities=[], handler=work, **wrong)  # type: ignore[arg-type]


def work(task: dict[str, Any]) -> object:
    return {"done": task["task_id"]}


PROGRAM = """
from flowc.worker import Worker

def work(task, context):
    print("the task runs", flush=True)
    context.wait(2)
    return {"done": task["description"]}

Worker(capabilities=["process"], handler=work, worker_id="process").run()
"""


async def test_a_worker_of_a_few_lines_lets_its_task_end_when_it_is_told_to_stop(
    platform: OneMachine, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    environment = {**os.environ, "FLOWC_URL": platform.url, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-c", PROGRAM], stdout=out, stderr=out, env=environment
        )
    try:
        flow_id = await platform.submit(decision(task("a", required_capabilities=["process"])))
        await until(lambda: "the task runs" in log.read_text(), "the task to start")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0, log.read_text()
        assert (await platform.ended(flow_id))["status"] == "COMPLETED", log.read_text()
        assert (await platform.tickets(flow_id))["a"]["attempt"] == 1
        assert "whsec_" not in log.read_text()
    finally:
        process.kill()
        process.wait(60)


class FakeClock:
    """A sleep whose time passes when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._turns: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._turns.get()

    def passes(self) -> None:
        self._turns.put_nowait(None)


class Registry(Loopback):
    """The agents' side of the registry, which a test can let forget or fail."""

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.script: list[Answer] = []

    async def _answer(self, request: Request) -> Answer:
        if self.script and "heartbeat" in request.path:
            return self.script.pop(0)
        if (request.method, request.path) == ("POST", "/api/v1/agents"):
            said = {"agent_id": request.json.get("agent_id") or "given", "heartbeat_interval_seconds": 30}
            return Answer(201, json.dumps(said).encode())
        return Answer(204, b"") if request.method == "DELETE" else Answer(200, b'{"status": "HEALTHY", "cancel": []}')

    def said(self) -> list[str]:
        return [f"{request.method} {request.path.removeprefix('/api/v1/agents')}" for request in self.requests]


class TestAgents:
    async def test_entering_registers_beats_follow_each_30_s_and_leaving_deregisters(self) -> None:
        clock = FakeClock()
        async with Registry() as registry:
            config = AgentConfig(url=registry.url, agent_type="SCOUT", capabilities=("python", "terraform"))
            async with AgentClient(config, sleep=clock.sleep) as agent:
                assert agent.agent_id == "given"
                await until(lambda: clock.asked, "the heartbeat to wait")
                assert clock.asked == [30.0]
                agent.telemetry = AgentTelemetry(success_rate=0.95, active_tasks=2)
                clock.passes()
                await until(lambda: len(clock.asked) == 2, "the first heartbeat")
            assert registry.said() == ["POST ", "POST /given/heartbeat", "DELETE /given"]
            said = {"agent_type": "SCOUT", "capabilities": ["python", "terraform"], "delivery": "pull"}
            assert registry.requests[0].json == said
            beat = registry.requests[1].json
            assert beat == {"status": "HEALTHY", "telemetry": {"success_rate": 0.95, "active_tasks": 2}}

    async def test_an_agent_that_was_forgotten_registers_again_and_a_lost_beat_does_no_harm(self) -> None:
        clock = FakeClock()
        cancelled: list[str] = []
        async with Registry() as registry:
            config = AgentConfig(url=registry.url, agent_id="a-1", capabilities=("python",))
            client = AgentClient(config, sleep=clock.sleep, on_cancel=cancelled.extend)
            async with client:
                registry.script = [
                    Answer(404, b'{"code": "unknown_agent", "detail": "no"}'),
                    Answer(400, b"{}"),
                    Answer(200, b'{"cancel": ["t-1"]}'),
                ]
                for beats in (2, 3, 4):
                    clock.passes()
                    await until(lambda beats=beats: len(clock.asked) == beats, "the next heartbeat")  # type: ignore[misc]
            assert registry.said().count("POST ") == 2
            assert cancelled == ["t-1"]

    async def test_a_registry_that_is_away_is_told_at_once(self) -> None:
        with pytest.raises(NoAnswer):
            async with AgentClient(AgentConfig(url="http://127.0.0.1:1", capabilities=("x",))):
                pass

    async def test_settings_come_from_the_environment(self) -> None:
        config = AgentConfig.from_environment(
            {
                "FLOWC_URL": "http://platform:8080",
                "FLOWC_API_KEY": "secret-key",
                "AGENT_ID": "scout-1",
                "AGENT_TYPE": "scout",
                "AGENT_CAPABILITIES": "python, terraform,",
                "AGENT_METADATA": '{"version": "1.0.0"}',
                "AGENT_HEARTBEAT_SECONDS": "10",
            }
        )
        assert (config.agent_type, config.capabilities, config.heartbeat_seconds) == (
            "SCOUT",
            ("python", "terraform"),
            10,
        )
        assert config.metadata == {"version": "1.0.0"}
        assert "secret-key" not in repr(config)
        for wrong in ({"AGENT_METADATA": "{"}, {"AGENT_HEARTBEAT_SECONDS": "0"}, {"AGENT_TYPE": "a b"}):
            with pytest.raises(ValueError):  # noqa: PT011 - each says what is wrong in its own words
                AgentConfig.from_environment(wrong)


class Function:
    """A serverless function with an address: every request is handled, one at a time."""

    def __init__(self, server: Loopback, worker: ServerlessWorker) -> None:
        self.worker = worker
        self._one = asyncio.Lock()
        self.answers: list[int] = []
        server.answer = self._handle

    async def _handle(self, request: Request) -> Answer:
        async with self._one:
            given = HttpRequest(request.method, request.path, request.headers, request.body)
            response: HttpResponse = await self.worker.handle(given)
        self.answers.append(response.status)
        return Answer(response.status, response.body, response.headers)


class Shared:
    """A secret store that several instances share."""

    text: str | None = None

    def load(self) -> str | None:
        return self.text

    def save(self, text: str) -> None:
        self.text = text


def function_of(server: Loopback, url: str, name: str, **more: Any) -> ServerlessWorker:
    given: dict[str, Any] = {"handler": work, "capabilities": [name], **more}
    return ServerlessWorker(url, worker_id=name, endpoint=f"{server.url}/", **given)


class TestServerless:
    async def test_a_function_does_a_flow_and_beats_with_its_requests(self, platform: OneMachine) -> None:
        async with Loopback() as server:
            function = Function(server, function_of(server, platform.url, "fn"))
            await function.worker.beat()
            what = decision(task("a", required_capabilities=["fn"]), task("b", "a", required_capabilities=["fn"]))
            flow_id = await platform.submit(what)
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
            assert (await platform.tickets(flow_id))["b"]["output"] == {"done": "b"}
            assert set(function.answers) == {202}

    async def test_a_new_instance_finds_its_secret_in_the_store(self, platform: OneMachine) -> None:
        shared = Shared()
        async with Loopback() as server:
            await function_of(server, platform.url, "instances", secrets=shared).beat()
            function = Function(server, function_of(server, platform.url, "instances", secrets=shared))
            flow_id = await platform.submit(decision(task("a", required_capabilities=["instances"])))
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
            assert function.answers == [202]

    async def test_a_new_instance_without_a_store_registers_and_gets_the_message_again(
        self, platform: OneMachine
    ) -> None:
        async with Loopback() as server:
            await function_of(server, platform.url, "forgetful").beat()
            function = Function(server, function_of(server, platform.url, "forgetful"))
            flow_id = await platform.submit(decision(task("a", required_capabilities=["forgetful"])))
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
            assert (function.answers[0], function.answers[-1]) == (503, 202)

    async def test_a_task_that_takes_too_long_fails_in_time(self, platform: OneMachine) -> None:
        left: list[float] = []

        async def forever(_task: dict[str, Any], context: TaskContext) -> None:
            left.append(context.seconds_left)
            await asyncio.Event().wait()

        async with Loopback() as server:
            worker = function_of(server, platform.url, "too-long", handler=forever, task_seconds=0.05)
            Function(server, worker)
            await worker.beat()
            what = decision(task("a", required_capabilities=["too-long"]), risk_band="low")
            flow_id = await platform.submit(what)
            await until(lambda: server.requests, "the assignment")

            async def failed() -> bool | None:
                ticket = (await platform.tickets(flow_id))["a"]
                return True if ticket.get("reason") and ticket["reason"]["code"] == "timeout" else None

            await eventually(failed, "the attempt to fail")
            await platform.send(f"/api/v1/flows/{flow_id}/cancel", {"reason": "enough"})
        assert 0 <= max(left) <= 0.05

    async def test_a_stranger_makes_it_do_nothing(self) -> None:
        did: list[object] = []
        async with StandIn() as platform:
            worker = ServerlessWorker(
                platform.url, worker_id="w-1", endpoint="http://fn.test/", capabilities=["x"], handler=did.append
            )
            await worker.beat()
            body = json.dumps({"ticket_id": "t", "attempt": 1, "callback_url": f"{platform.url}/reports"}).encode()
            attributes = {"ce-specversion": "1.0", "ce-id": "e", "ce-source": "/x", "content-type": "application/json"}
            attributes["ce-type"] = "io.neuralhive.ticket.assigned.v1"
            now = datetime.now(UTC)
            for proof in (
                {},
                signature_headers("whsec_c3RyYW5nZXI=", "ticket-assigned_e", now, body),
                {"webhook-id": "é", "webhook-timestamp": "x", "webhook-signature": "v1,☃"},
            ):
                response = await worker.handle(HttpRequest("POST", "/", {**attributes, **proof}, body))
                assert response.status == 401, proof
            signed = signature_headers(SECRET, "ticket-assigned_e", now, body)
            huge = HttpRequest("POST", "/", {**attributes, **signed}, b" " * 5_000_000)
            assert (await worker.handle(huge)).status == 413
            assert did == []
            assert (await worker.handle(HttpRequest("POST", "/", {**attributes, **signed}, body))).status == 202
            assert len(did) == 1
            assert platform.statuses == ["COMPLETED"]
            assert (await worker.handle(HttpRequest("GET", "/health", {}))).status == 200

    @pytest.mark.parametrize(("mode", "beats"), [(HeartbeatMode.PIGGYBACK, 2), (HeartbeatMode.SCHEDULED, 0)])
    async def test_requests_beat_where_the_mode_says_so(
        self, monkeypatch: pytest.MonkeyPatch, mode: HeartbeatMode, beats: int
    ) -> None:
        now = [1000.0]
        monkeypatch.setattr(serverless, "monotonic", lambda: now[0])
        async with StandIn() as platform:
            worker = ServerlessWorker(
                platform.url, worker_id="w-1", endpoint="http://fn.test/", capabilities=[], handler=work, heartbeat=mode
            )
            await worker.beat()
            for later in (1.0, 15.0, 1.0, 15.0):
                now[0] += later
                await worker.handle(HttpRequest("GET", "/health", {}))
            assert len(platform.heartbeats) == beats
            await worker.beat()
            assert len(platform.heartbeats) == beats + 1

    async def test_a_timer_beats_for_the_functions_that_answer(self) -> None:
        async def sick(_: Request) -> Answer:
            return Answer(500)

        async with StandIn() as platform, Loopback() as well, Loopback() as ill:
            ill.answer = sick
            endpoints = {"w-1": f"{well.url}/", "ill": ill.url, "away": "http://127.0.0.1:1/"}
            assert await beat_for(endpoints, platform.url) == ["w-1"]
            assert len(platform.heartbeats) == 1
            assert [request.path for request in well.requests] == ["/health"]


async def test_the_blocks_of_the_guide_that_its_session_does_not_run_work_as_well(
    platform: OneMachine, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "guides" / "python.md").read_text(encoding="utf-8")
    files = {block.file: block.text for block in blocks(page) if block.file}
    strict: dict[str, Any] = {}
    exec(files["strict.py"], strict)  # noqa: S102 - a page of ours
    there = tmp_path / "there.txt"
    there.write_text("its text", encoding="utf-8")
    run = await done_by(platform, strict["read"], "strict", parameters={"path": str(there)})
    assert run.ticket["output"] == "its text"
    run = await done_by(platform, strict["read"], "strict-2", parameters={"path": str(tmp_path / "nowhere")})
    assert (run.ticket["attempt"], run.ticket["reason"]["code"]) == (1, "no_such_file")
    function: dict[str, Any] = {}
    exec(files["function.py"], function)  # noqa: S102 - a page of ours
    status, _, body = await function["answer"]("GET", "/health", {}, b"")
    assert (status, json.loads(body)["worker_id"]) == (200, "greeter-function")
    assert await function["greet"]({"parameters": {"name": "you"}}) == {"text": "Hello, you!"}
