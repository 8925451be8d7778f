"""Recorded and seeded plans through the whole platform over HTTP and SQLite; the history is the proof."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from functions._worker import SimulatedExecutor
from tests.conftest import ROOT
from tests.support.one_machine import one_machine
from tests.support.plans import SHAPES, proves_itself, seeded_decision
from tests.support.world import PATIENCE_S

RECORDED = sorted(path.name for path in (ROOT.parent / "shared" / "real-plans").glob("*.json")) or ["none at hand"]
SPEED = 2000.0


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_seeded_plan_is_done_once_and_in_order(tmp_path: Path, shape: str, seed: int) -> None:
    await done_once_and_in_order(tmp_path, seeded_decision(shape, seed))


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_plan_is_done_once_and_in_order(
    tmp_path: Path, name: str, shared_folder: Callable[[str], Path]
) -> None:
    await done_once_and_in_order(tmp_path, json.loads((shared_folder("real-plans") / name).read_text()))


@pytest.mark.parametrize("name", [RECORDED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in RECORDED[1:])])
def test_a_recorded_plan_completes_by_the_demo(name: str, shared_folder: Callable[[str], Path]) -> None:
    file = shared_folder("real-plans") / name
    demo = subprocess.run(
        [sys.executable, "-m", "functions", "demo", str(file), "--json"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    result = json.loads(demo.stdout)
    assert demo.returncode == 0, demo.stderr.decode()
    assert (result["status"], result["success"], result["error"]) == ("COMPLETED", True, None)
    tasks = len(json.loads(file.read_text())["cognitive_plan"]["tasks"])
    assert result["tickets_generated"] == result["tickets_completed"] == tasks
    assert result["telemetry_published"]
    assert [(step["step"], step["status"]) for step in result["steps"]] == [
        (f"C{number}", "completed") for number in range(1, 7)
    ]


async def done_once_and_in_order(tmp_path: Path, data: dict[str, Any]) -> None:
    """Run a decision with four workers and check its history."""
    async with one_machine(tmp_path / "data") as at, AsyncExitStack() as stack:
        for number in range(4):
            await stack.enter_async_context(at.worker(f"w{number}", SimulatedExecutor(SPEED), "execute", slots=5))
        flow = await at.ended(await at.submit(data))
        history = await at.history(flow["flow_id"])
        tickets = await at.tickets(flow["flow_id"])
    plan = data["cognitive_plan"]
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert proves_itself(plan, history) == []
    assert Counter(ticket["status"] for ticket in tickets.values()) == {"COMPLETED": len(plan["tasks"])}
    assert {ticket["attempt"] for ticket in tickets.values()} == {1}
