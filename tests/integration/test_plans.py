"""Recorded and seeded plans through the whole platform over HTTP and SQLite; the history is the proof."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._engine.settings import Settings
from functions._hosts.one_machine.process import running
from functions._worker import SimulatedExecutor, WorkerConfig, WorkerProcess
from tests.conftest import ROOT
from tests.support.plans import SHAPES, proves_itself, seeded_decision
from tests.support.world import PATIENCE_S, until

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
    settings = Settings(port=0, data=tmp_path / "data", log_level="error")
    workers = []
    async with running(settings) as platform, httpx.AsyncClient(base_url=platform.url) as client:
        try:
            for number in range(4):
                config = WorkerConfig(
                    worker_id=f"w{number}",
                    platform_url=platform.url,
                    capabilities=("execute",),
                    slots=5,
                    executor=SimulatedExecutor(SPEED),
                    grace_seconds=0,
                )
                workers.append(WorkerProcess(config))
                await workers[-1].start()
            flow = await _ended(client, data)
            history = await _all(client, f"/api/v1/flows/{flow['flow_id']}/history")
            tickets = await platform.ports.store.tickets_of(flow["flow_id"])
        finally:
            for worker in workers:
                await worker.stop()
    plan = data["cognitive_plan"]
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert proves_itself(plan, history) == []
    assert Counter(ticket.status.value for ticket in tickets) == {"COMPLETED": len(plan["tasks"])}
    assert {ticket.attempt for ticket in tickets} == {1}


async def _ended(client: httpx.AsyncClient, data: dict[str, Any]) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "id": data["decision_id"],
        "source": "/tests",
        "type": "io.neuralhive.decision.consolidated.v1",
        "data": data,
    }
    answer = await client.post("/", json=event, headers={"content-type": "application/cloudevents+json"})
    assert answer.status_code == 202, answer.text
    flow_id = answer.json()["flow_id"]

    async def probe() -> dict[str, Any] | None:
        flow: dict[str, Any] = (await client.get(f"/api/v1/flows/{flow_id}")).json()
        return flow if flow["ended_at"] else None

    return await until(probe, "the end of the flow")


async def _all(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while True:
        after = entries[-1]["seq"] if entries else 0
        page = (await client.get(path, params={"after": after})).json()["items"]
        if not page:
            return entries
        entries += page
