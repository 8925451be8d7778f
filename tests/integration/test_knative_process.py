"""One function as a real process over a real PostgreSQL: how it starts, what it imports, how it stops."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from functions._adapters.http.cloudevents import write_binary
from functions._adapters.sql.postgres.store import PostgresStore
from functions._adapters.stores import Stores
from functions._core.decision.admission import admit
from functions._core.events.envelope import CloudEvent
from functions._core.records.values import FlowStatus
from functions._core.rules import Rules
from functions._hosts.knative.function import KnativeFunction
from functions._worker.http_server import HttpServer
from tests.support.knative import SharedStore, environment, event_of
from tests.support.loopback import Answer, Loopback, Request
from tests.support.processes import Process, free_port, processes
from tests.support.world import PATIENCE_S, decision, decision_event, task, until

NOT_NEEDED = {"fastapi", "httpx", "opentelemetry", "prometheus_client", "rich", "sqlite3", "starlette", "typer"}

SERVED = """
import atexit, runpy, sys
names = sys.argv[1].split(",")
sys.argv = ["functions", sys.argv[2]]
atexit.register(lambda: print("imported:", *(name for name in names if sys.modules.get(name))))
runpy.run_module("functions", run_name="__main__", alter_sys=True)
"""

BY_FUNC_PYTHON = """
from func_python.cloudevent import serve
from functions.validate.handler import new
serve(new)
"""


@pytest.fixture
async def sink() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


async def admitted(database_url: str) -> CloudEvent:
    """Put a flow into the database as the api does, and return the event that C1 is sent."""
    store = await PostgresStore.open(database_url)
    try:
        return await put_into(store.stores)
    finally:
        await store.close()


async def put_into(stores: Stores) -> CloudEvent:
    data = decision(task("a"))
    _, step = admit(decision_event(data), json.dumps(data).encode(), datetime.now(UTC), Rules())
    await stores.store.commit(replace(step, events=()))
    return step.events[0]


async def left_in(database_url: str, event: CloudEvent) -> tuple[FlowStatus | None, int]:
    """Return where the flow of an event is, and how many events are not published."""
    store = await PostgresStore.open(database_url)
    try:
        flow = await store.stores.store.flow(event.extensions["partitionkey"])
        return flow.status if flow else None, await store.stores.queue.depth()
    finally:
        await store.close()


def function_process(name: str, folder: Path, told: Mapping[str, str]) -> tuple[Process, str]:
    """Return a function that is not started yet, and its URL; `told` is its environment beside the port."""
    port = free_port()
    told = {key: value for key, value in told.items() if key != "FLOWC_PORT"}
    return Process([name], folder / f"{name}.log", {**told, "PORT": str(port)}), f"http://127.0.0.1:{port}"


async def ready(client: httpx.AsyncClient, url: str) -> None:
    async def answers() -> bool | None:
        try:
            return (await client.get(f"{url}/health/readiness")).status_code == 200 or None
        except httpx.TransportError:
            return None

    await until(answers, f"the function at {url}")


async def test_on_sigterm_what_runs_is_answered_and_published_and_the_process_ends(
    database_url: str, tmp_path: Path, sink: Loopback
) -> None:
    event = await admitted(database_url)
    arrived, released = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Answer:
        arrived.set()
        await released.wait()
        return Answer()

    sink.answer = slow
    process, url = function_process("validate", tmp_path, environment(sink.url, database_url=database_url))
    with processes() as started:
        started.append(process)
        process.start()
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            await ready(client, url)
            headers, body = write_binary(event)
            answering = asyncio.create_task(client.post(url, content=body, headers=headers))
            await arrived.wait()
            assert process.running is not None
            running = process.running
            running.send_signal(signal.SIGTERM)
            await until(lambda: refused(url), "the end of listening")
            released.set()
            assert (await answering).status_code == 202
        assert await asyncio.to_thread(running.wait, 20) == 0
    assert await left_in(database_url, event) == (FlowStatus.GENERATING, 0)
    assert "plan.validated" in [event_of(request).event_type for request in sink.requests]


async def refused(url: str) -> bool | None:
    async with httpx.AsyncClient() as client:
        try:
            await client.get(f"{url}/health/liveness")
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            return None  # it was let in as the door closed
    return None


async def test_killed_between_commit_and_publication_it_leaves_everything_to_the_redelivery(
    database_url: str, tmp_path: Path, sink: Loopback
) -> None:
    event = await admitted(database_url)
    arrived = asyncio.Event()

    async def hanging(_request: Request) -> Answer:
        arrived.set()
        await asyncio.sleep(60)
        return Answer()

    sink.answer = hanging
    process, url = function_process("validate", tmp_path, environment(sink.url, database_url=database_url))
    headers, body = write_binary(event)
    with processes() as started:
        started.append(process)
        process.start()
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            await ready(client, url)
            sending = asyncio.create_task(client.post(url, content=body, headers=headers))
            await arrived.wait()
            process.kill()
            with pytest.raises(httpx.TransportError):
                await sending
            first = {event_of(request).id for request in sink.requests}
            status, unpublished = await left_in(database_url, event)
            assert status is FlowStatus.GENERATING
            assert unpublished >= len(first) >= 1
            sink.reset()
            process.start()
            await ready(client, url)
            assert (await client.post(url, content=body, headers=headers)).status_code == 202
    assert first <= {event_of(request).id for request in sink.requests}, "under the ids they had"
    assert len(sink.requests) == unpublished
    assert await left_in(database_url, event) == (FlowStatus.GENERATING, 0)


async def test_a_step_function_imports_no_web_framework_and_no_command_line(database_url: str, sink: Loopback) -> None:
    port = free_port()
    told = environment(sink.url, database_url=database_url, port=port)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVED,
        ",".join(sorted(NOT_NEEDED | {"uvicorn"})),
        "validate",
        env=told,
        stdout=subprocess.PIPE,
    )
    try:
        async with httpx.AsyncClient() as client:
            await ready(client, f"http://127.0.0.1:{port}")
            process.terminate()
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert out.decode().split() == ["imported:", "uvicorn"]


async def test_without_its_database_a_function_lives_and_waits_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    process, url = function_process("validate", tmp_path, environment())
    with processes() as started:
        started.append(process)
        process.start()
        async with httpx.AsyncClient() as client:
            await until(lambda: lives(client, url), "a sign of life")
            assert (await client.get(f"{url}/health/readiness")).status_code == 503
        assert process.running is not None
        process.running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.running.wait, 20) == 0


async def lives(client: httpx.AsyncClient, url: str) -> bool | None:
    try:
        return (await client.get(f"{url}/health/liveness")).status_code == 200
    except httpx.TransportError:
        return None


def test_everything_that_is_missing_is_named_and_the_sink_with_what_brings_it(tmp_path: Path) -> None:
    told = {"FLOWC_WORKER_KEY": "short", "K_CE_OVERRIDES": '{"extensions": {"Bad": 1}}', "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-m", "functions", "api"],
        env=told,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 2
    for named in ("FLOWC_WORKER_KEY", "K_CE_OVERRIDES", "SinkBinding"):
        assert named in run.stderr, run.stderr
    told |= {"FLOWC_WORKER_KEY": "k" * 32}
    run = subprocess.run(
        [sys.executable, "-m", "functions", "api"],
        env=told,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    for named in ("FLOWC_DATABASE_URL", "FLOWC_PUBLIC_URL", "FLOWC_API_KEY", "K_SINK"):
        assert named in run.stderr, run.stderr


async def test_func_python_itself_serves_what_a_handler_exposes(
    database_url: str, tmp_path: Path, sink: Loopback
) -> None:
    event = await admitted(database_url)
    port = free_port()
    told = {**environment(sink.url, database_url=database_url), "LISTEN_ADDRESS": f"127.0.0.1:{port}"}
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BY_FUNC_PYTHON, env=told, stdout=out, stderr=out
        )
    try:
        async with httpx.AsyncClient() as client:
            await ready(client, url)
            assert (await client.get(f"{url}/health/liveness")).text == "alive"
            headers, body = write_binary(event)
            answer = await client.post(url, content=body, headers=headers)
        process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert (answer.status_code, answer.content) == (202, b""), log.read_text()
    assert "plan.validated" in [event_of(request).event_type for request in sink.requests]


async def test_under_func_python_too_each_outcome_has_its_status(
    sink: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    from func_python.cloudevent import ASGIApplication

    store = SharedStore()
    for name, value in environment(sink.url).items():
        monkeypatch.setenv(name, value)
    first, second = await put_into(store.stores), await put_into(store.stores)
    headers, body = write_binary(first)
    function = KnativeFunction("validate", store.opens)
    app = ASGIApplication(function)
    server = HttpServer(app, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.start()}"
    await app.on_start()
    try:
        async with httpx.AsyncClient() as client:

            async def status(content: bytes, **changed: str | None) -> tuple[int, str]:
                sent = headers | {name.replace("_", "-"): value for name, value in changed.items()}
                kept = {name: value for name, value in sent.items() if value is not None}
                answer = await client.post(url, content=content, headers=kept)
                return answer.status_code, answer.text

            without_id = await status(body, ce_id=None)
            no_json = await status(b"{")
            invalid = await status(b"{}")
            another = await status(body, ce_type="io.neuralhive.tickets.ready.v1")
            taken = await status(body)

            async def broken(_step: object) -> None:
                raise ValueError("password=hunter2")

            monkeypatch.setattr(store.stores.store, "commit", broken)
            failed = await status(write_binary(second)[1], ce_id=second.id, ce_partitionkey=second.subject)
    finally:
        await app.on_stop()
        await function.close()
        await server.stop()
    assert [answer[0] for answer in (without_id, no_json, invalid, another, taken)] == [400, 400, 400, 421, 202]
    assert failed[0] == 500
    assert "hunter2" not in failed[1]
