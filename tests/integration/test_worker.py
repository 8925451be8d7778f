"""What a worker does with tickets: slots, duplicates, attempts, cancellation, reports."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from functions._core.events.reports import Report
from functions._core.records.values import ReportStatus
from functions._worker import reports, runs
from tests.support.loopback import Answer, Request, until
from tests.support.stand_in_platform import TOKEN, Desk, Gate, StandIn, working

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


@pytest_asyncio.fixture(loop_scope="module")
async def desk(platform: StandIn, gate: Gate) -> AsyncIterator[Desk]:
    async with working(platform, gate) as opened:
        yield opened


async def test_a_ticket_is_taken_at_once_and_its_end_is_reported(desk: Desk, platform: StandIn, gate: Gate) -> None:
    assert await desk.assign() == 202
    assert platform.reports == []
    gate.opened.set()
    await platform.reported("COMPLETED")
    [report] = platform.reports
    assert (report.event_type, report.source, report.subject) == ("ticket.reported", "/workers/w-1", "t-1")
    assert report.extensions == {"correlationid": "c-1", "partitionkey": "f-1", "causationid": "e-1"}
    assert Report.model_validate(report.data) == Report(
        ticket_id="t-1", attempt=1, status=ReportStatus.COMPLETED, output={"ok": True}, worker_id="w-1"
    )
    [request] = platform.told("POST", "/reports")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


async def test_no_more_tickets_are_taken_than_there_are_slots_and_none_waits(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    assert [await desk.assign(ticket_id) for ticket_id in ("t-1", "t-2")] == [202, 202]
    refusal = await desk.send("ticket.assigned", desk.assignment("t-3"))
    assert (refusal.status, refusal.headers["retry-after"]) == (429, "1")
    assert refusal.headers["content-type"] == "application/problem+json"
    gate.opened.set()
    await platform.reported("COMPLETED", "COMPLETED")
    assert {ticket_id for _, ticket_id, _ in gate.log} == {"t-1", "t-2"}
    assert await desk.assign("t-3") == 202
    await platform.reported("COMPLETED", "COMPLETED", "COMPLETED")


async def test_a_slot_is_free_before_the_platform_hears_of_it(platform: StandIn, gate: Gate) -> None:
    gate.opened.set()
    async with working(platform, gate, slots=1) as desk:
        for number in range(20):
            assert await desk.assign(f"t-{number}") == 202
            await platform.reported(*["COMPLETED"] * (number + 1))


async def test_an_assignment_that_comes_again_is_not_run_again(desk: Desk, platform: StandIn, gate: Gate) -> None:
    assert [await desk.assign() for _ in range(3)] == [202, 202, 202]
    gate.opened.set()
    await platform.reported("COMPLETED")
    assert gate.log == [("started", "t-1", 1), ("ended", "t-1", 1)]


async def test_after_the_end_an_assignment_that_comes_again_is_answered_with_the_same_report(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    gate.opened.set()
    await desk.assign()
    await platform.reported("COMPLETED")
    assert await desk.assign(token="another-token") == 202
    await platform.reported("COMPLETED", "COMPLETED")
    first, second = platform.reports
    assert first == second
    assert platform.told("POST", "/reports")[1].headers["authorization"] == "Bearer another-token"
    assert len(gate.log) == 2


async def test_a_newer_attempt_ends_the_old_one_before_it_begins(desk: Desk, platform: StandIn, gate: Gate) -> None:
    await desk.assign(attempt=1)
    await until(lambda: gate.log, "the first attempt to start")
    assert await desk.assign(attempt=2) == 202
    gate.opened.set()
    [report] = await platform.reported("COMPLETED")
    assert report["attempt"] == 2
    assert gate.log == [("started", "t-1", 1), ("cancelled", "t-1", 1), ("started", "t-1", 2), ("ended", "t-1", 2)]


async def test_a_newer_attempt_takes_the_slot_of_the_old_one(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, slots=1) as desk:
        assert [await desk.assign(attempt=attempt) for attempt in (1, 2, 3)] == [202, 202, 202]
        assert await desk.assign("t-2") == 429
        gate.opened.set()
        [report] = await platform.reported("COMPLETED")
        assert report["attempt"] == 3


async def test_an_older_attempt_is_superseded(desk: Desk, platform: StandIn, gate: Gate) -> None:
    await desk.assign(attempt=2)
    answer = await desk.send("ticket.assigned", desk.assignment(attempt=1))
    assert (answer.status, answer.body) == (202, b'{"result": "superseded"}')
    gate.opened.set()
    [report] = await platform.reported("COMPLETED")
    assert await desk.assign(attempt=1) == 202
    assert report["attempt"] == 2
    assert {attempt for _, _, attempt in gate.log} == {2}


async def test_a_task_with_a_lease_is_said_to_run_often_enough_until_it_ends(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    await desk.assign(heartbeat_timeout_ms=600)
    await until(lambda: platform.statuses.count("RUNNING") >= 4, "signs of life")
    gate.opened.set()
    await until(lambda: "COMPLETED" in platform.statuses, "the end")
    ids = [report.id for report in platform.reports]
    assert len(set(ids)) == len(ids)
    said = platform.statuses
    await asyncio.sleep(0.5)
    assert platform.statuses == said


async def test_a_sign_of_life_that_nobody_wants_any_more_ends_the_task(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    platform.replies.extend([Answer(200, b"{}"), Answer(200, b'{"cancel": true}')])
    await desk.assign(heartbeat_timeout_ms=150)
    await until(lambda: ("cancelled", "t-1", 1) in gate.log, "the task to be cancelled")
    assert platform.statuses == ["RUNNING", "RUNNING"]


async def test_a_cancelled_ticket_ends_without_a_report(desk: Desk, platform: StandIn, gate: Gate) -> None:
    await desk.assign()
    await until(lambda: gate.log, "the task to start")
    assert await desk.cancel(attempt=1) == 202
    await until(lambda: ("cancelled", "t-1", 1) in gate.log, "the task to be cancelled")
    gate.opened.set()
    assert [await desk.assign(), await desk.assign("t-2")] == [202, 202]
    [report] = await platform.reported("COMPLETED")
    assert report["ticket_id"] == "t-2"


async def test_a_ticket_that_is_cancelled_before_its_task_begins_frees_its_slot(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, slots=1) as desk:
        for _ in range(10):
            await asyncio.gather(desk.assign(), desk.cancel(attempt=1))
        await desk.cancel()
        while (await desk.health())["running"]:
            pass
        assert await desk.assign("t-2") == 202


async def test_an_assignment_that_comes_after_its_cancellation_is_not_run(desk: Desk, gate: Gate) -> None:
    assert await desk.cancel(attempt=2) == 202
    assert [await desk.assign(attempt=attempt) for attempt in (1, 2, 3)] == [202, 202, 202]
    await until(lambda: gate.log, "the attempt that is not cancelled to start")
    assert gate.log == [("started", "t-1", 3)]


async def test_the_cancellation_of_an_old_attempt_leaves_the_new_one_alone(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    await desk.assign(attempt=2)
    await desk.cancel(attempt=1)
    gate.opened.set()
    await platform.reported("COMPLETED")


async def test_a_long_task_is_reported_as_running_and_a_short_one_is_not(platform: StandIn, gate: Gate) -> None:
    async with working(platform, gate, announce_from_ms=5_000) as desk:
        await desk.assign("short", estimated_duration_ms=4_999)
        await desk.assign("long", estimated_duration_ms=5_000)
        [report] = await platform.reported("RUNNING")
        assert report == {"ticket_id": "long", "attempt": 1, "status": "RUNNING", "worker_id": "w-1"}
        gate.opened.set()
        await platform.reported("RUNNING", "COMPLETED", "COMPLETED")


async def test_nothing_is_reported_as_running_when_that_is_switched_off(platform: StandIn, gate: Gate) -> None:
    gate.opened.set()
    async with working(platform, gate, announce_from_ms=None) as desk:
        await desk.assign(estimated_duration_ms=10**9)
        await platform.reported("COMPLETED")


async def test_an_end_does_not_wait_for_the_report_that_the_task_runs(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    let_go = held(platform, Answer(200))
    await desk.assign(estimated_duration_ms=10_000)
    await platform.reported("RUNNING")
    gate.opened.set()
    await platform.reported("RUNNING", "COMPLETED")
    let_go.set()


async def test_a_task_that_the_platform_does_not_want_to_run_is_stopped(
    desk: Desk, platform: StandIn, gate: Gate
) -> None:
    platform.replies.append(Answer(200, b'{"cancel": true}'))
    await desk.assign(estimated_duration_ms=10_000)
    await until(lambda: ("cancelled", "t-1", 1) in gate.log, "the task to be cancelled")
    assert platform.statuses == ["RUNNING"]


@pytest.mark.parametrize("status", [301, 404, 408, 409, 425, 429, 500, 503])
async def test_a_report_that_is_not_taken_is_repeated_as_it_was(
    desk: Desk, platform: StandIn, gate: Gate, status: int
) -> None:
    gate.opened.set()
    platform.replies.extend([Answer(status), Answer(status)])
    await desk.assign()
    await platform.reported(*["COMPLETED"] * 3)
    assert platform.reports == [platform.reports[0]] * 3


def held(platform: StandIn, answer: Answer) -> asyncio.Event:
    """Hold back `answer` to the first report until the event that is returned is set."""
    let_go = asyncio.Event()

    async def hold(_: Request) -> Answer:
        if len(platform.reports) > 1:
            return Answer(200)
        await let_go.wait()
        return answer

    platform.answer = hold
    return let_go


async def test_a_report_is_sent_with_the_newest_token_there_is(desk: Desk, platform: StandIn, gate: Gate) -> None:
    gate.opened.set()
    let_go = held(platform, Answer(401))
    await desk.assign(token="old")
    await until(lambda: platform.reports, "the first report")
    await desk.assign(token="new")
    let_go.set()
    await platform.reported("COMPLETED", "COMPLETED")
    tokens = [request.headers["authorization"] for request in platform.told("POST", "/reports")]
    assert tokens == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("status", [400, 401, 403, 410, 422])
async def test_a_report_that_is_refused_is_not_repeated(desk: Desk, platform: StandIn, gate: Gate, status: int) -> None:
    gate.opened.set()
    platform.replies.append(Answer(status))
    await desk.assign("t-1")
    await platform.reported("COMPLETED")
    await desk.assign("t-2")
    first, second = await platform.reported("COMPLETED", "COMPLETED")
    assert (first["ticket_id"], second["ticket_id"]) == ("t-1", "t-2")


async def test_reports_survive_a_platform_that_is_away(desk: Desk, platform: StandIn, gate: Gate) -> None:
    await desk.assign("t-1")
    await desk.assign("t-2")
    await platform.stop()
    gate.opened.set()
    await until(lambda: len(gate.log) == 4, "the tasks to end")
    await asyncio.sleep(0.1)  # let some reports fail
    assert platform.reports == []
    await platform.start()
    await platform.reported("COMPLETED", "COMPLETED")


async def test_with_too_many_reports_owed_no_ticket_is_taken(
    platform: StandIn, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "REPORTS_OWED", 1)
    gate.opened.set()
    async with working(platform, gate) as desk:
        let_go = held(platform, Answer(503))
        await desk.assign("t-1")
        await until(lambda: platform.reports, "the report")
        assert await desk.assign("t-2") == 429
        let_go.set()
        while (await desk.health())["reports_owed"]:
            pass
        assert await desk.assign("t-2") == 202
