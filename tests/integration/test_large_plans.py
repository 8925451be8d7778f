"""Large plans: the event loop is free for others while they are read, planned, committed and cancelled."""

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
from tests.support.turns import Turns, measured_turns
from tests.support.world import decision, task

TASKS = 3_000


@pytest.fixture
def turns() -> Iterator[Turns]:
    with measured_turns() as measured:
        yield measured


async def test_a_large_plan_never_keeps_the_loop_for_long(tmp_path: Path, turns: Turns) -> None:
    text = json.dumps(decision(*(task(f"t{number}") for number in range(TASKS)))).encode()
    begun, now = time.thread_time(), datetime.now(UTC)
    read = read_decision(text)
    schedule(read.cognitive_plan.tasks, now, read.deadline(now))
    planning = time.thread_time() - begun  # a part of what each of C1 and C2 does
    async with one_machine(tmp_path) as world:
        small = await world.submit(decision(task("t"), decision_id="small"))
        await world.reached(small, FlowStatus.EXECUTING)
        await world.send(f"/api/v1/flows/{small}/cancel", {})  # the first request makes the models of its routes
        await world.ended(small)
        turns.longest = 0.0
        flow_id = await world.submit(json.loads(text))
        await world.reached(flow_id, FlowStatus.EXECUTING)
        planned, turns.longest = turns.longest, 0.0
        await world.send(f"/api/v1/flows/{flow_id}/cancel", {})
        await world.ended(flow_id)
    assert planned < 3 * planning
    assert turns.longest < 3 * planning
