"""How a worker appears to the platform and to whoever looks at it: registration, heartbeats, leaving, logs."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio
import structlog

from functions._adapters.http.cloudevents import write_batch
from functions._core.records.values import SecurityLevel
from functions._worker import TaskFailed, WorkerConfig, WorkerProcess, inbox, reports
from tests.support.loopback import Answer, Request, until
from tests.support.stand_in_platform import TOKEN, Gate, StandIn, working

# One platform serves all tests of this module, since starting and stopping it takes longer than most tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_platform() -> AsyncIterator[StandIn]:
    async with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def platform(one_platform: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setattr(reports, "BACKOFF_SECONDS", 0.02)
    one_platform.reset()
    return one_platform


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_a_worker_registers_where_it_listens_and_leaves_when_it_stops(platform: StandIn, gate: Gate) -> None:
    async with working(
        platform, gate, slots=3, clearance=SecurityLevel.RESTRICTED, metadata={"version": "1"}, api_key="key"
    ) as desk:
        [registration] = platform.registrations
        assert registration.json == {
            "worker_id": "w-1",
            "endpoint": desk.worker.endpoint,
            "capabilities": ["python"],
            "clearance": "RESTRICTED",
            "slots": 3,
            "agent_type": "WORKER",
            "accepts_batches": True,
            "metadata": {"version": "1"},
            "running": [],
        }
        assert await desk.health() == {
            "status": "HEALTHY",
            "worker_id": "w-1",
            "slots": 3,
            "running": 0,
            "reports_owed": 0,
        }
    [farewell] = platform.told("DELETE", "/api/v1/workers/w-1")
    assert {registration.headers["x-api-key"], farewell.headers["x-api-key"]} == {"key"}


async def test_a_worker_can_be_reached_elsewhere_than_where_it_listens(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, endpoint="http://worker.test/", api_key=None):
        [registration] = platform.registrations
        assert registration.json["endpoint"] == "http://worker.test/"
        assert "x-api-key" not in registration.headers


async def test_registration_is_repeated_until_the_platform_takes_it(platform: StandIn, gate: Gate) -> None:
    platform.answers.extend([Answer(503), Answer(401), Answer(400)])
    async with working(platform, gate):
        assert len(platform.registrations) == 4


async def test_a_worker_that_never_registered_does_not_deregister(platform: StandIn, gate: Gate) -> None:
    platform.answers.extend([Answer(503)] * 1000)
    config = WorkerConfig(worker_id="w-1", platform_url=platform.url, capabilities=(), slots=1, executor=gate)
    async with WorkerProcess(config) as worker:
        await until(lambda: platform.registrations, "a registration")
        assert not worker.registered.is_set()
    assert platform.told("DELETE", "/api/v1/workers/w-1") == []


async def test_a_worker_that_has_not_heard_whether_it_is_registered_deregisters(platform: StandIn, gate: Gate) -> None:
    unheard = asyncio.Event()

    async def late(request: Request) -> Answer:
        if request.method == "POST":
            await unheard.wait()
        return Answer(200)

    platform.answer = late
    config = WorkerConfig(worker_id="w-1", platform_url=platform.url, capabilities=(), slots=1, executor=gate)
    async with WorkerProcess(config) as worker:
        await until(lambda: platform.registrations, "a registration")
        assert not worker.registered.is_set()
    unheard.set()
    assert len(platform.told("DELETE", "/api/v1/workers/w-1")) == 1


async def test_heartbeats_say_what_runs_and_how_it_went(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, heartbeat_seconds=0.02) as desk:
        await until(lambda: platform.heartbeats, "a heartbeat")
        assert platform.heartbeats[0].json == {
            "status": "HEALTHY",
            "telemetry": {"success_rate": None, "total_executions": 0, "avg_duration_ms": None},
            "running": [],
        }
        await desk.assign(attempt=3)
        await until(lambda: platform.heartbeats[-1].json["running"], "a heartbeat with a ticket")
        assert platform.heartbeats[-1].json["running"] == [{"ticket_id": "t-1", "attempt": 3}]
        gate.opened.set()
        await platform.reported("COMPLETED")
        gate.end = TaskFailed("broken", "it broke")
        await desk.assign("t-2")
        await until(
            lambda: platform.heartbeats[-1].json["telemetry"]["total_executions"] == 2, "a heartbeat after both"
        )
        telemetry = platform.heartbeats[-1].json["telemetry"]
        assert telemetry["success_rate"] == 0.5
        assert telemetry["avg_duration_ms"] > 0


async def test_a_heartbeat_can_be_answered_with_tickets_to_stop(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, heartbeat_seconds=0.02) as desk:
        await desk.assign("t-1")
        await desk.assign("t-2")
        await until(lambda: len(gate.log) == 2, "both tasks to start")
        platform.answers.append(Answer(200, b'{"status": "HEALTHY", "cancel": ["t-2", "unknown"]}'))
        await until(lambda: ("cancelled", "t-2", 1) in gate.log, "the ticket to be cancelled")
        gate.opened.set()
        [report] = await platform.reported("COMPLETED")
        assert report["ticket_id"] == "t-1"


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"cancel": "t-1"}', b'{"cancel": {"t-1": 1}}'])
async def test_an_answer_that_makes_no_sense_orders_nothing(platform: StandIn, gate: Gate, body: bytes) -> None:
    async with working(platform, gate, heartbeat_seconds=0.02) as desk:
        await desk.assign("t-1")
        platform.answers.append(Answer(200, body))
        await until(lambda: not platform.answers, "the answer to be given")
        gate.opened.set()
        await platform.reported("COMPLETED")


async def test_a_worker_that_was_forgotten_registers_again(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, heartbeat_seconds=0.02) as desk:
        platform.answers.append(Answer(404))
        await until(lambda: len(platform.registrations) == 2, "the second registration")
        await desk.worker.registered.wait()


async def test_the_platform_is_told_of_what_runs_and_of_ends_that_it_has_not_heard_of(
    platform: StandIn, gate: Gate
) -> None:
    async with working(platform, gate, heartbeat_seconds=0.02) as desk:
        platform.replies.extend([Answer(503)] * 1000)
        gate.opened.set()
        await desk.assign("ended")
        await until(lambda: platform.reports, "a report")
        gate.opened.clear()
        await desk.assign("runs", attempt=2)
        platform.answers.append(Answer(404))
        await until(lambda: len(platform.registrations) == 2, "the second registration")
        held = [{"ticket_id": "runs", "attempt": 2}, {"ticket_id": "ended", "attempt": 1}]
        assert platform.registrations[1].json["running"] == held
        platform.replies.clear()
        await until(lambda: platform.heartbeats[-1].json["running"] == held[:1], "the report to be taken")


async def test_a_platform_can_ask_for_heartbeats_more_often(platform: StandIn, gate: Gate) -> None:
    platform.answers.append(Answer(200, b'{"heartbeat_interval_seconds": 0.02}'))
    async with working(platform, gate, heartbeat_seconds=60):
        await until(lambda: len(platform.heartbeats) > 1, "heartbeats")


async def test_a_platform_cannot_ask_for_heartbeats_less_often(platform: StandIn, gate: Gate) -> None:
    platform.answers.append(Answer(200, b'{"heartbeat_interval_seconds": 60}'))
    async with working(platform, gate, heartbeat_seconds=0.02):
        await until(lambda: len(platform.heartbeats) > 1, "heartbeats")


async def test_answers_are_not_held_back_until_the_one_before_is_acknowledged(platform: StandIn, gate: Gate) -> None:
    """A socket that waits for that takes 40 ms for all answers but the first few."""
    clock = asyncio.get_running_loop().time
    async with working(platform, gate) as desk:
        times = [clock()]
        for _ in range(12):
            await desk.health()
            times.append(clock())
    assert min(after - before for before, after in pairwise(times[3:])) < 0.03


async def test_a_lost_heartbeat_is_made_up_for_by_the_next(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, heartbeat_seconds=0.02):
        platform.answers.extend([Answer(500), Answer(500)])
        await until(lambda: len(platform.heartbeats) > 3, "further heartbeats")
        await platform.stop()
        await asyncio.sleep(0.05)  # some heartbeats find nobody
        await platform.start()
        before = len(platform.heartbeats)
        await until(lambda: len(platform.heartbeats) > before, "heartbeats after the platform is back")
        assert len(platform.registrations) == 1


async def test_a_worker_that_stops_lets_its_tasks_end_and_takes_no_more(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, grace_seconds=10) as desk:
        await desk.assign()
        await until(lambda: gate.log, "the task to start")
        stopping = asyncio.create_task(desk.worker.stop())
        while (await desk.health())["status"] != "STOPPING":
            pass
        assert await desk.assign("t-2") == 503
        assert platform.told("DELETE", "/api/v1/workers/w-1") == []
        gate.opened.set()
        await stopping
        await platform.reported("COMPLETED")
        assert [request.path for request in platform.requests][-2:] == ["/reports", "/api/v1/workers/w-1"]


async def test_after_the_grace_what_runs_is_stopped_and_reported_as_worth_another_try(
    platform: StandIn, gate: Gate
) -> None:
    async with working(platform, gate, grace_seconds=0.05) as desk:
        await desk.assign()
        await until(lambda: gate.log, "the task to start")
    [report] = platform.reports
    assert report.data["error"] == {
        "type": "worker_stopped",
        "message": "the worker was stopped",
        "retryable": True,
    }
    assert gate.log[-1] == ("cancelled", "t-1", 1)


async def test_reports_that_nobody_takes_do_not_keep_a_worker_from_stopping(
    platform: StandIn, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions._worker.worker.FLUSH_SECONDS", 0.05)
    gate.opened.set()
    platform.replies.extend([Answer(503)] * 1000)
    async with working(platform, gate) as desk:
        await desk.assign()
        await until(lambda: platform.reports, "a report")


async def test_a_worker_leaves_the_signals_of_its_process_alone(platform: StandIn, gate: Gate) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with working(platform, gate):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_what_is_no_ticket_is_refused(platform: StandIn, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "BODY_LIMIT", 2_000)
    json_type = {"content-type": "application/json"}
    async with working(platform, gate) as desk:
        assert (await desk.call("GET", "", {})).status == 405
        assert (await desk.call("OPTIONS", "", {})).headers["allow"] == "POST, OPTIONS"
        assert (await desk.call("POST", "elsewhere", {})).status == 404
        assert (await desk.post(json_type, b"{}")).status == 400
        assert (await desk.post({"content-type": "text/plain"}, b"x")).status == 415
        assert (await desk.post(*write_batch([]))).status == 400
        assert (await desk.post(json_type, b"x" * 2_001)).status == 413
        assert (await desk.send("ticket.completed", {})).status == 400
        assert (await desk.send("ticket.assigned", [])).status == 400
        assert (await desk.send("ticket.cancelled", {"attempt": 1})).status == 400
        refusal = await desk.send("ticket.assigned", desk.assignment(ticket_id="", attempt=0, timeout_ms="soon"))
        problem = json.loads(refusal.body)
        assert problem["status"] == refusal.status == 400
        assert [fault.partition(":")[0] for fault in problem["detail"].split("; ")] == [
            "ticket_id",
            "attempt",
            "timeout_ms",
        ]
    assert gate.log == []


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"heartbeat_seconds": 0}])
async def test_a_worker_that_could_not_live_is_not_made(platform: StandIn, gate: Gate, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"slot|heartbeats"):
        async with working(platform, gate, **wrong):
            raise AssertionError


async def test_neither_tokens_nor_keys_nor_payloads_are_logged(
    platform: StandIn, gate: Gate, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.answers.append(Answer(503))
    platform.replies.extend([Answer(503), Answer(500), Answer(401)])
    gate.end = TaskFailed("broken", "message-of-a-failure")
    with structlog.testing.capture_logs() as lines:
        async with working(platform, gate, api_key="secret-key-of-the-platform") as desk:
            await desk.assign(estimated_duration_ms=10_000)
            await desk.assign("t-2", callback_url="http://169.254.169.254/")
            bad = await desk.send("ticket.assigned", desk.assignment(timeout_ms="no", token=f"{TOKEN}\n"))
            gate.opened.set()
            while (await desk.health())["running"] or (await desk.health())["reports_owed"]:
                pass
    said = f"{lines} {caplog.text} {capfd.readouterr()} {desk.worker!r} {bad.body!r}"
    assert {"task.failed", "report.postponed", "report.refused", "worker.registered"} <= {
        line["event"] for line in lines
    }
    for secret in (TOKEN, "secret-key-of-the-platform", "payload-of-a-ticket", "message-of-a-failure"):
        assert secret not in said
