"""Answers of something that is not the platform, or means harm: clients refuse them, and workers go on asking."""

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from flowc.client import (
    BadAnswer,
    FlowCOrchestrator,
    OrchestratorClient,
    PlatformError,
    RetryPolicy,
    ServiceRegistryClient,
)
from flowc.client.calls import Reply
from flowc.worker import AgentClient, AgentConfig
from tests.integration.test_pull_worker import event, worker
from tests.support.loopback import Answer, Loopback, Request
from tests.support.loopback import until as until_true
from tests.support.stand_in_platform import Gate, StandIn

ONCE = RetryPolicy(attempts=1)
BODIES: Mapping[str, bytes] = {
    "deep": b"[" * 500_000,
    "deep parts": b'{"a":' * 200_000,
    "no JSON": b"<html>",
    "no object": b"[1]",
    "empty": b"",
    "another object": b'{"x": 1}',
    "no text": b'{"workflow_id": "\\ud800", "code": 7, "detail": [], "errors": [{"where": {}}, 3]}',
    "bytes": b"\xff\xfe\x00",
    "large number": b'{"workflow_id": ' + b"9" * 100_000 + b"}",
    "no number": b'{"workflow_id": NaN, "status": Infinity}',
}


@pytest.mark.parametrize("status", [200, 404, 503])
async def test_a_client_refuses_every_body_by_an_exception_of_its_own(status: int) -> None:
    async with Loopback() as server:
        for name, body in BODIES.items():

            async def take(_: Request, body: bytes = body) -> Answer:
                return Answer(status, body)

            server.answer = take
            async with OrchestratorClient(server.url, retry=ONCE) as client:
                for steps in (client.start_workflow({}), client.get_workflow("x"), client.get_result("x")):
                    [told] = await asyncio.gather(steps, return_exceptions=True)
                    assert isinstance(told, PlatformError) or told == "\ud800", name
                    assert len(str(told)) < 3_000, name


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where far more memory is taken than before."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b" " * (60 * 1024 * 1024))

    async def take(_: Request) -> Answer:
        return Answer(200, packed, {"content-encoding": "gzip"})

    async with Loopback() as server, OrchestratorClient(server.url, retry=ONCE) as client:
        server.answer = take
        with little_memory(), pytest.raises(BadAnswer, match="compressed"):
            await client.get_result("x")


async def test_pages_that_do_not_end_are_given_up() -> None:
    async def take(request: Request) -> Answer:
        cursor = "b" if request.query.get("cursor") == "a" else "a"
        return Answer(200, json.dumps({"items": [], "cursor": cursor}).encode())

    async with Loopback() as server, ServiceRegistryClient(server.url, retry=ONCE) as client:
        server.answer = take
        with pytest.raises(BadAnswer, match="do not end"):
            await client.list_agents()


async def test_an_agent_is_heard_of_no_more_often_than_it_bears() -> None:
    async def take(_: Request) -> Answer:
        return Answer(200, b'{"agent_id": "a", "status": "HEALTHY", "heartbeat_interval_seconds": 1e-300}')

    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async with Loopback() as server:
        server.answer = take
        registry = ServiceRegistryClient(server.url, retry=ONCE)
        agent = AgentClient(AgentConfig(url=server.url), registry=registry, sleep=sleep)
        await agent.register(["x"])
        agent.start_heartbeat()
        await until_true(lambda: pauses, "a heartbeat")
        await agent.stop_heartbeat()
        await registry.close()
    assert pauses[0] == 0.1


def test_a_flow_that_is_not_waited_for_is_asked_for_ever_less_often() -> None:
    steps = FlowCOrchestrator.execute_flow_c.steps(FlowCOrchestrator("http://127.0.0.1:1"), {})
    pauses = [next(steps).after]
    pauses += [steps.send(Reply(202, {}, b'{"flow_id": "f"}')).after for _ in range(7)]
    assert pauses == [0, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]


def envelopes(url: str) -> Iterator[object]:
    """Yield what is no assignment, or one that must not be run."""
    good = event(url)
    yield from (None, 1, "x", [], {}, {**good, "data": None}, {**good, "data": [1]}, {**good, "type": 7})
    wrong: Mapping[str, list[Any]] = {
        "ticket_id": [None, "", 7, "\ud800", []],
        "attempt": [0, -1, 1.5, "x", 10**400, None],
        "callback_url": [
            "",
            "http://[::1",
            "http://127.0.0.1:99999/reports",
            "http://℀/",
            f"{url}@evil/",
            f"{url}/../x",
        ],
        "token": ["x\r\nx-evil: 1", "é", 7],
        "timeout_ms": [0, -1, 10**400, "soon"],
        "sla_deadline": ["never", 10**400, -1],
        "parameters": ["x", [1]],
    }
    for field, values in wrong.items():
        yield from ({**good, "data": {**good["data"], field: value}} for value in values)
    yield {**good, "traceparent": "x" * 100_000, "type": "io.neuralhive.ticket.cancelled.v1"}


def answers(url: str) -> Iterator[bytes]:
    yield from BODIES.values()
    values: list[object] = [None, 1, "x", {}, [None], ["x" * 1_000_000]]
    for value in values:
        yield json.dumps({"assignments": value, "cancel": value}).encode()
    for envelope in envelopes(url):
        yield json.dumps({"assignments": [envelope], "cancel": [{"a": []}]}).encode()


async def test_a_worker_that_asks_runs_nothing_of_it_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions._worker.reports.BACKOFF_LIMIT_SECONDS", 0.01)
    monkeypatch.setattr("functions._worker.reports.BACKOFF_SECONDS", 0.01)
    gate = Gate()
    async with StandIn() as platform:
        hostile = list(answers(platform.url))
        platform.answers.extend([Answer(200, b"{}"), *(Answer(200, body) for body in hostile)])
        good = json.dumps({"assignments": [event(platform.url, "the-good-one")]}).encode()
        platform.answers.append(Answer(200, good))
        async with worker(platform, gate):
            await until_true(lambda: gate.log, "the task that is one")
        assert not platform.answers, "every answer was taken"
    assert {ticket_id for _, ticket_id, _ in gate.log} == {"the-good-one"}


@pytest.mark.parametrize("seconds", ["1e-300", "9" * 400, "1e999", "-1", "NaN", '"x"', "true", "[]"])
async def test_a_worker_beats_in_its_own_time_whatever_it_is_told(seconds: str) -> None:
    async with StandIn() as platform:
        said = f'{{"heartbeat_interval_seconds": {seconds}, "cancel": {seconds}}}'.encode()
        platform.answers.append(Answer(200, said))
        async with worker(platform, Gate(), heartbeat_seconds=0.3) as running:
            await running.registered.wait()
            begun = time.monotonic()
            await until_true(lambda: len(platform.heartbeats) >= 3, "heartbeats")
            assert time.monotonic() - begun > 0.2
