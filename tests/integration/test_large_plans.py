"""Large plans: the event loop is free for others while they are read, planned, committed and cancelled."""

import asyncio
import asyncio.events
import gc
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions._core.decision.reading import read_decision
from functions._core.planning.graph import schedule
from functions._core.records.values import FlowStatus
from tests.support.one_machine import one_machine
from tests.support.world import decision, task

TASKS = 3_000


class Turns:
    """The CPU of the longest turn of the event loop, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    """Give what measures every turn of the event loop; CPU of its thread, so that a busy machine changes nothing."""
    seen, run = Turns(), asyncio.events.Handle._run  # noqa: SLF001 a turn has no other name

    def measured(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        seen.longest = max(seen.longest, time.thread_time() - begun)

    monkeypatch.setattr(asyncio.events.Handle, "_run", measured)
    gc.disable()  # a platform of its own process seldom looks for garbage; this process is full of other tests' objects
    yield seen
    gc.enable()


async def test_a_large_plan_never_keeps_the_loop_for_long(tmp_path: Path, turns: Turns) -> None:
    text = json.dumps(decision(*(task(f"t{number}") for number in range(TASKS)))).encode()
    begun, now = time.thread_time(), datetime.now(UTC)
    read = read_decision(text)
    schedule(read.cognitive_plan.tasks, now, read.deadline(now))
    planning = time.thread_time() - begun  # a part of what each of C1 and C2 does
    async with one_machine(tmp_path) as world:
        turns.longest = 0.0
        flow_id = await world.submit(json.loads(text))
        await world.reached(flow_id, FlowStatus.EXECUTING)
        planned, turns.longest = turns.longest, 0.0
        await world.send(f"/api/v1/flows/{flow_id}/cancel", {})
        await world.ended(flow_id)
    assert planned < 3 * planning
    assert turns.longest < 3 * planning
