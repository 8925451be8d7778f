"""Tickets as jobs of an executor: started once, followed, repeated calls, cancelled, and found again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest

from functions._executors.port import JobFailed, JobRunning
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import HandExecutor, assigned, away
from tests.support.loopback import until
from tests.support.stand_in_platform import StandIn, working

WORD = {"provider": "hand", "word": "hello"}
KEY = "t-1-0"


class DetachedHand(HandExecutor):
    """Has jobs that go on without their worker."""

    detached: ClassVar[bool] = True


@pytest.fixture
def hand() -> HandExecutor:
    return HandExecutor()


@pytest.fixture
def jobs(hand: HandExecutor) -> JobsExecutor:
    return JobsExecutor([hand], pauses=(0.0, 0.0, 0.0))


@pytest.fixture
async def platform() -> AsyncIterator[StandIn]:
    async with StandIn() as stand_in:
        yield stand_in


async def failure_of(jobs: JobsExecutor, parameters: Mapping[str, object] = WORD, **changes: object) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await jobs.run(assigned(dict(parameters), **changes))
    return failed.value


async def test_a_job_is_followed_to_its_end_and_named_in_the_output(platform: StandIn, hand: HandExecutor) -> None:
    async with working(platform, JobsExecutor([hand])) as desk:
        assert await desk.assign(parameters=WORD) == 202
        await until(lambda: "poll" in hand.calls, "the first look")
        hand.jobs[KEY] = JobRunning(40, "half way", 0)
        await until(lambda: any(r.data.get("progress") == 40 for r in platform.reports), "progress")
        hand.succeed(KEY)
        await until(lambda: "COMPLETED" in platform.statuses, "the end")
    report = platform.reports[-1].data
    assert report["output"] == {
        "word": "done",
        "job": {"executor": "hand", "id": KEY, "adopted": False, "url": f"https://jobs.test/{KEY}"},
    }
    assert report["log"] == "half way\n"
    assert hand.calls.count("start") == 1
    assert "cancel" not in hand.calls


async def test_a_job_that_fails_fails_its_ticket_as_the_executor_says(hand: HandExecutor, jobs: JobsExecutor) -> None:
    running = asyncio.create_task(failure_of(jobs))
    await until(lambda: "poll" in hand.calls, "the first look")
    hand.jobs[KEY] = JobFailed("red", "two tests failed", retryable=False)
    failure = await running
    assert (failure.kind, failure.message, failure.retryable) == ("red", "two tests failed", False)
    assert "cancel" not in hand.calls


async def test_a_call_fails_twice_and_then_works(hand: HandExecutor, jobs: JobsExecutor) -> None:
    hand.faults = [away(), away()]
    running = asyncio.create_task(jobs.run(assigned(WORD)))
    await until(lambda: "poll" in hand.calls, "the first look")
    hand.succeed(KEY)
    await running
    assert hand.calls[:4] == ["start", "start", "start", "poll"]
    assert len(hand.jobs) == 1


async def test_a_call_is_repeated_three_times_and_one_that_was_refused_not_at_all(
    hand: HandExecutor, jobs: JobsExecutor
) -> None:
    hand.faults = [away() for _ in range(4)]
    failure = await failure_of(jobs)
    assert (failure.kind, failure.retryable, hand.calls) == ("unavailable", True, ["start"] * 4)
    hand.calls.clear()
    hand.faults = [away(transient=False)]
    failure = await failure_of(jobs)
    assert (failure.kind, failure.retryable, hand.calls) == ("refused", False, ["start"])


async def test_a_service_that_is_away_for_long_loses_no_job(hand: HandExecutor, jobs: JobsExecutor) -> None:
    running = asyncio.create_task(jobs.run(assigned(WORD)))
    await until(lambda: "poll" in hand.calls, "the first look")
    hand.faults = [away() for _ in range(40)]
    await until(lambda: not hand.faults, "forty faults")
    hand.succeed(KEY)
    assert isinstance(await running, dict)
    assert hand.calls.count("start") == 1


async def test_a_job_that_never_ends_is_cancelled_when_its_time_is_over(platform: StandIn, hand: HandExecutor) -> None:
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD, timeout_ms=300)
        [report] = await platform.reported("FAILED")
    assert report["error"]["type"] == "timeout"
    assert hand.calls.count("cancel") == 1


async def test_a_cancelled_ticket_ends_its_job_even_while_it_is_being_started(
    platform: StandIn, hand: HandExecutor
) -> None:
    hand.held.clear()
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD)
        await until(lambda: hand.calls == ["start"], "the start")
        await desk.cancel()
        hand.held.set()
        await until(lambda: hand.calls == ["start", "cancel"], "the end of the job")
    assert platform.statuses == []


async def test_a_worker_that_stops_leaves_no_job_behind(platform: StandIn, hand: HandExecutor) -> None:
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD)
        await until(lambda: "poll" in hand.calls, "the first look")
    assert "cancel" in hand.calls
    [report] = await platform.reported("FAILED")
    assert (report["error"]["type"], report["error"]["retryable"]) == ("worker_stopped", True)


async def test_a_worker_that_stops_leaves_a_job_that_the_next_one_finds(platform: StandIn) -> None:
    hand = DetachedHand()
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD, idempotent=True)
        await until(lambda: "poll" in hand.calls, "the first look")
    assert "cancel" not in hand.calls
    assert isinstance(hand.jobs[KEY], JobRunning)
    assert set(platform.statuses) <= {"RUNNING"}
    assert platform.told("DELETE", "/api/v1/workers/w-1")
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD, idempotent=True, attempt=2)
        await until(lambda: hand.calls.count("start") == 2, "the next attempt")
        hand.succeed(KEY)
        await until(lambda: "COMPLETED" in platform.statuses, "the end")
    assert platform.reports[-1].data["output"]["job"]["adopted"]


async def test_a_worker_that_stops_leaves_a_job_that_is_just_being_started(platform: StandIn) -> None:
    hand = DetachedHand()
    hand.held.clear()
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD, idempotent=True)
        await until(lambda: hand.calls == ["start"], "the start")
        asyncio.get_running_loop().call_later(0.2, hand.held.set)
    assert hand.calls == ["start"]
    assert platform.statuses == []


@pytest.mark.parametrize("idempotent", [False, None])
async def test_a_worker_that_stops_ends_a_job_that_nobody_may_go_on_with(
    platform: StandIn, idempotent: bool | None
) -> None:
    hand = DetachedHand()
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD, idempotent=idempotent)
        await until(lambda: "poll" in hand.calls, "the first look")
    assert hand.calls.count("cancel") == 1
    assert platform.reports[-1].data["error"]["type"] == "worker_stopped"


async def test_a_cancelled_ticket_ends_a_detached_job_also_of_a_worker_that_stops(platform: StandIn) -> None:
    hand = DetachedHand()
    async with working(platform, JobsExecutor([hand])) as desk:
        await desk.assign(parameters=WORD, idempotent=True)
        await until(lambda: "poll" in hand.calls, "the first look")
        await desk.cancel()
    assert hand.calls.count("cancel") == 1
    assert "FAILED" not in platform.statuses


async def test_an_attempt_after_a_lost_worker_goes_on_with_the_job_and_one_after_a_failure_begins_a_new_one(
    hand: HandExecutor, jobs: JobsExecutor
) -> None:
    hand.succeed(KEY)  # a worker started it and was lost; meanwhile it ended well
    output = await jobs.run(assigned(WORD, attempt=2))
    assert isinstance(output, dict)
    assert output["job"]["adopted"]
    hand.jobs[KEY] = JobFailed("red", "it failed")
    running = asyncio.create_task(jobs.run(assigned(WORD, attempt=3, retry_count=1)))
    await until(lambda: "t-1-1" in hand.jobs, "another job")
    hand.succeed("t-1-1")
    output = await running
    assert isinstance(output, dict)
    assert not output["job"]["adopted"]


@pytest.mark.parametrize(
    ("parameters", "kind", "retryable", "said"),
    [
        ({"provider": "hand", "word": 7}, "bad_parameters", False, "parameters.word: should be a valid string"),
        ({"provider": "hand", "wrod": "x"}, "bad_parameters", False, "parameters.wrod: is no parameter"),
        ({"provider": "other"}, "unknown_provider", True, "no executor for EXECUTE with provider 'other'"),
    ],
)
async def test_parameters_that_no_executor_here_can_read_start_nothing(
    hand: HandExecutor, jobs: JobsExecutor, parameters: dict[str, object], kind: str, retryable: bool, said: str
) -> None:
    failure = await failure_of(jobs, parameters)
    assert (failure.kind, failure.retryable) == (kind, retryable)
    assert said in failure.message
    assert hand.calls == []


async def test_an_executor_sees_the_ticket_its_time_and_its_secrets(hand: HandExecutor, jobs: JobsExecutor) -> None:
    hand.succeed("t-1-2")
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    await jobs.run(
        assigned({"word": "hello"}, task_type="TEST", retry_count=2, secrets=["/word"], extensions=trace, task_id="a")
    )
    [context] = hand.contexts
    assert (context.idempotency_key, context.task_id, context.task_type) == ("t-1-2", "a", "TEST")
    assert (context.secrets, context.traceparent) == (("hello",), trace["traceparent"])
    assert 0 < context.seconds_left <= 180


def test_a_worker_offers_what_its_executors_do(jobs: JobsExecutor) -> None:
    assert jobs.capabilities == ("execute", "execute:hand")
