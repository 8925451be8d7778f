"""Every time limit of the scheduling guide is counted by its own name: each is provoked in a real platform."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.commands import PauseRequest
from functions._core.ports import Due
from functions._core.records.worker import Answer
from functions._observability.catalogue import LIMITS
from tests.conftest import ROOT
from tests.support.builders import T0, make_worker
from tests.support.world import LocalWorld, decision, running_world, task, until

SHORT = timedelta(seconds=0.1)


def run_out(world: LocalWorld) -> dict[str, float]:
    """Return how often which time limit has run out."""
    shown = world.platform.metrics.text().decode()
    found = re.findall(r'^flowc_timeouts_total\{limit="(\w+)"\} (\S+)$', shown, re.MULTILINE)
    assert [limit for limit, _ in found] == list(LIMITS), "every series is there from the start"
    return {limit: float(number) for limit, number in found if float(number)}


def silent(*task_ids: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any] | None]:
    """Return a worker that never reports the end of these tasks, of all if none is named."""
    return lambda a: None if not task_ids or a["task_id"] in task_ids else {"status": "COMPLETED"}


def lose(world: LocalWorld, event_type: str) -> None:
    """Lose the first event of a kind."""
    take, lost = world.platform.outbox.take, list[str]()

    def losing(events: Any) -> None:
        kept = []
        for event in events:
            if event.event_type == event_type and not lost:
                lost.append(event.id)
            else:
                kept.append(event)
        take(kept)

    world.platform.outbox.take = losing  # type: ignore[method-assign]


async def first_event_lost(world: LocalWorld) -> None:
    lose(world, "decision.consolidated")
    await world.register()
    await world.run(task("a"))


async def nobody_approves(world: LocalWorld) -> None:
    await world.run(task("a"), final_decision="review_required")


async def deadline_passes(world: LocalWorld) -> None:
    await world.register()
    world.workers.behave = silent()
    await world.run(task("a", estimated_duration_ms=10), sla_deadline_seconds=0.2)


async def nobody_resumes(world: LocalWorld) -> None:
    await world.register()
    world.workers.behave = silent()
    flow_id = await world.submit(decision(task("a")))
    await world.reached(flow_id, "EXECUTING")
    await world.platform.order(PauseRequest(flow_id=flow_id, requested_by="ada", reason=""))
    await world.reached(flow_id, "EXECUTING")


async def undoing_takes_too_long(world: LocalWorld) -> None:
    await world.register()
    error = {"type": "no", "message": "no", "retryable": False}
    world.workers.behave = lambda a: (
        {"status": "FAILED", "error": error} if a["task_id"] == "b" else silent("compensate:a")(a)
    )
    await world.run(task("a", compensation=True), task("b", "a"))


async def telemetry_is_not_sent(world: LocalWorld) -> None:
    lose(world, "flow.consolidated")
    await world.register()
    await world.run(task("a"))


async def nobody_registers(world: LocalWorld) -> None:
    await world.run(task("a"))


async def all_are_busy(world: LocalWorld) -> None:
    await world.register(slots=1)
    world.workers.behave = silent()
    await world.run(task("a", estimated_duration_ms=10), task("b", estimated_duration_ms=10), sla_deadline_seconds=0.3)


async def worker_does_not_answer(world: LocalWorld) -> None:
    await world.register()
    world.workers.answer = lambda _worker, _event: Answer(0, "connection refused", reached=False)
    flow_id = await world.submit(decision(task("a")))

    async def passed_on() -> bool | None:
        return ("ticket.reassigned", "a") in await world.transitions(flow_id) or None

    await until(passed_on, "the ticket to be taken from its worker")


async def worker_hangs(world: LocalWorld) -> None:
    await world.register()
    world.workers.behave = silent()
    await world.run(task("a", timeout_ms=100, retry={"max_retries": 0}))


async def worker_says_nothing(world: LocalWorld) -> None:
    await world.register()
    world.workers.behave = silent()
    await world.run(task("a", heartbeat_timeout_ms=100, retry={"max_retries": 0}))


async def nobody_begins(world: LocalWorld) -> None:
    await world.run(task("a", schedule_to_start_ms=100))


async def worker_falls_silent(world: LocalWorld) -> None:
    await world.register()

    async def forgotten() -> bool | None:
        return await world.ports.registry.worker("w1") is None or None

    await until(forgotten, "the worker to be forgotten")


@dataclass(frozen=True)
class Case:
    """What is waited for in vain, and what is counted beside it."""

    limit: str
    provoke: Callable[[LocalWorld], Awaitable[None]]
    limits: Mapping[str, timedelta] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)


CASES = (
    Case("function", first_event_lost, {"reemit": SHORT}),
    Case("approval", nobody_approves, {"approval": SHORT}),
    Case("deadline", deadline_passes),
    Case("pause", nobody_resumes, {"pause": SHORT}),
    Case("compensation", undoing_takes_too_long, {"compensation": 3 * SHORT}),
    Case("sink", telemetry_is_not_sent, {"sink": SHORT}),
    Case("no_worker", nobody_registers, {"no_worker": SHORT}),
    Case("no_capacity", all_are_busy, beside={"deadline": 1}),
    Case("acknowledgement", worker_does_not_answer, {"unreachable": SHORT, "redeliver": SHORT / 3}),
    Case("start_to_close", worker_hangs, {"grace": timedelta()}),
    Case("heartbeat", worker_says_nothing, {"grace": timedelta()}),
    Case("schedule_to_start", nobody_begins),
    Case("sign_of_life", worker_falls_silent, {"heartbeat": SHORT / 3}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.limit)
async def test_a_time_limit_that_runs_out_is_counted_once_by_its_name(case: Case, tmp_path: Path) -> None:
    async with running_world(tmp_path, joins=False, limits=case.limits) as world:
        assert run_out(world) == {}
        await case.provoke(world)

        async def counted() -> bool | None:
            return case.limit in run_out(world) or None

        await until(counted, f"{case.limit} to be counted")
        assert run_out(world) == {case.limit: 1, **case.beside}


def test_every_time_limit_is_provoked_and_is_a_row_of_the_guide() -> None:
    assert [case.limit for case in CASES] == list(LIMITS)
    guide = (ROOT / "docs" / "guides" / "scheduling.md").read_text(encoding="utf-8")
    table = guide.partition("| waits for | limit |")[2].partition("\n\n")[0]
    assert re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE) == list(LIMITS)


async def test_a_sink_that_refuses_at_once_has_not_been_waited_for(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.sink.down = True
        await world.register()
        await world.run(task("a"))
        assert run_out(world) == {}


async def test_a_worker_that_calls_its_error_a_timeout_has_not_been_waited_for(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _: {"status": "FAILED", "error": {"type": "timed_out", "retryable": False}}
        await world.run(task("a"))
        assert run_out(world) == {}


@pytest.mark.parametrize(("announced", "counted"), [("HEALTHY", {"sign_of_life": 1}), ("UNHEALTHY", {})])
async def test_a_worker_that_is_forgotten_was_silent_whether_or_not_somebody_found_it_so_before(
    announced: str, counted: Mapping[str, float], tmp_path: Path
) -> None:
    async with running_world(tmp_path) as world:
        known = make_worker(announced=announced)
        world.platform.instruments.tracked(Due("worker", known.worker_id, None, T0), known, None)
        assert run_out(world) == counted
