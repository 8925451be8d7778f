"""`kill -9` in the middle: of the platform, again and again, and of workers."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.plans import proves_itself, seeded_decision
from tests.support.processes import Platform, platform_process, processes, worker_process
from tests.support.world import decision, task, until

RECORDED = ROOT.parent / "shared" / "real-plans" / "montage-chameleon-2mass-01d-001.json"
WORKERS = ("--capability", "execute")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_plan_of_103_tasks_survives_kills_of_the_platform(tmp_path: Path, kills: int) -> None:
    data = json.loads(RECORDED.read_text()) if RECORDED.exists() else seeded_decision("mosaic", 1)
    plan = data["cognitive_plan"]
    seconds = sum(t["estimated_duration_ms"] for t in plan["tasks"]) / 1000
    # Four workers with one slot each: the work takes at least a quarter of this, here 4.5 s for each kill.
    speed = str(seconds / 4 / (4.5 * kills))
    random_ = random.Random(20_261_121)
    with processes() as started:
        platform = platform_process(tmp_path, heartbeat_seconds=2)
        started.append(platform)
        platform.start()
        await platform.ready()
        for number in range(4):
            worker = worker_process(tmp_path, platform.url, f"w{number}", *WORKERS, "--simulate", speed, slots=1)
            started.append(worker)
            worker.start()
        flow_id = platform.submit(data)
        for _ in range(kills):
            await asyncio.sleep(random_.uniform(1.0, 6.0))  # the random moment is the test
            platform.kill()
            platform.start()
            await platform.ready()
        flow = await ended(platform, flow_id)
        history = platform.history(flow_id)
        letters = platform.get("/api/v1/dead-letters")["items"]
        tickets = platform.tickets(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert proves_itself(plan, history) == []
    assert Counter(t["status"] for t in tickets) == {"COMPLETED": len(plan["tasks"])}
    assert letters == []
    # An assignment that was under way when the platform died is made again as the same attempt, not as a new one.
    assert all(t["retry_count"] == 0 for t in tickets)


async def test_a_worker_killed_in_the_middle_of_a_task_loses_it_to_another(tmp_path: Path) -> None:
    with processes() as started:
        platform = platform_process(tmp_path, heartbeat_seconds=0.5)
        started.append(platform)
        platform.start()
        await platform.ready()
        doomed = worker_process(tmp_path, platform.url, "doomed", "--capability", "python", "--shell", "sleep 60")
        started.append(doomed)
        doomed.start()
        flow_id = platform.submit(decision(task("a"), task("b", "a")))
        await until(lambda: accepted(platform, flow_id), "the worker to accept")
        doomed.kill()
        other = worker_process(tmp_path, platform.url, "other", "--capability", "python", "--shell", "echo 1")
        started.append(other)
        other.start()
        flow = await ended(platform, flow_id)
        tickets = {t["task_id"]: t for t in platform.tickets(flow_id)}
        history = platform.history(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert (tickets["a"]["worker_id"], tickets["a"]["attempt"]) == ("other", 2)
    assert ("ticket.reassigned", "doomed") in [(e["type"], e.get("worker_id")) for e in history]


async def test_a_worker_that_restarts_under_its_name_gets_back_what_it_had_forgotten(tmp_path: Path) -> None:
    with processes() as started:
        platform = platform_process(tmp_path, heartbeat_seconds=1)
        started.append(platform)
        platform.start()
        await platform.ready()
        worker = worker_process(tmp_path, platform.url, "w1", "--capability", "python", "--shell", "sleep 1.5")
        started.append(worker)
        worker.start()
        flow_id = platform.submit(decision(task("a")))
        await until(lambda: accepted(platform, flow_id), "the worker to accept")
        worker.kill()
        worker.start()
        flow = await ended(platform, flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]


async def test_without_any_worker_why_says_so_and_the_flow_ends_by_the_rules(tmp_path: Path) -> None:
    with processes() as started:
        platform = platform_process(tmp_path, no_worker_seconds=4)
        started.append(platform)
        platform.start()
        await platform.ready()
        flow_id = platform.submit(decision(task("a", required_capabilities=["terraform"])))
        why = await until(lambda: waiting(platform, flow_id), "the reason to be known")
        flow = await ended(platform, flow_id)
    assert "terraform" in json.dumps(why)
    assert flow["status"] == "FAILED"


async def ended(platform: Platform, flow_id: str) -> Any:
    """Wait for the end of a flow and return it."""

    async def probe() -> Any:
        flow = platform.get(f"/api/v1/flows/{flow_id}")
        await asyncio.sleep(0.1)  # another process does the work: look ten times a second
        return flow if flow["ended_at"] else None

    return await until(probe, f"the end of flow {flow_id} (see {platform.log})")


async def accepted(platform: Platform, flow_id: str) -> Any:
    """Return the first ticket that a worker has accepted."""
    await asyncio.sleep(0.05)  # another process does the work
    return next((t for t in platform.tickets(flow_id) if t.get("acknowledged_at")), None)


async def waiting(platform: Platform, flow_id: str) -> Any:
    """Return what `why` says once the ticket waits."""
    await asyncio.sleep(0.05)  # another process does the work
    if any(t.get("waiting") == "WORKER" for t in platform.tickets(flow_id)):
        return platform.get(f"/api/v1/why/{flow_id}")
    return None
