"""`kill -9` in the middle: of the platform, again and again, and of workers."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.constructs import Obeying, checked, constructs_on_one_machine, every_construct, people
from tests.support.plans import proves_itself, seeded_decision
from tests.support.processes import Platform, running_platform
from tests.support.scenarios import course, differences
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
    async with running_platform(tmp_path, heartbeat_seconds=2) as platform:
        for number in range(4):
            platform.hire(f"w{number}", *WORKERS, "--simulate", speed, slots=1)
        flow_id = await platform.submit(data)
        for _ in range(kills):
            await asyncio.sleep(random_.uniform(1.0, 6.0))  # the random moment is the test
            platform.kill()
            platform.start()
            await platform.ready()
        flow = await platform.ended(flow_id)
        history = await platform.history(flow_id)
        letters = await platform.letters()
        tickets = list((await platform.tickets(flow_id)).values())
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert proves_itself(plan, history) == []
    assert Counter(t["status"] for t in tickets) == {"COMPLETED": len(plan["tasks"])}
    assert letters == []
    # An assignment that was under way when the platform died is made again as the same attempt, not as a new one.
    assert all(t["retry_count"] == 0 for t in tickets)


@pytest.mark.timeout(300)
async def test_a_plan_with_every_construct_survives_ten_kills_of_the_platform(tmp_path: Path) -> None:
    async with (
        (workers := Obeying(pause_s=0.3)).serving(),
        running_platform(tmp_path, heartbeat_seconds=600, worker_networks="loopback") as platform,
    ):
        await platform.staff(workers.url)
        flow_id = await platform.submit(every_construct("17", pause_s=6))
        helping = asyncio.create_task(people(platform, flow_id, "17"))
        # Its history has 58 entries or so: the kills are spread over the whole of it.
        for entries in range(3, 53, 5):
            await until(partial(_has_entries, platform, flow_id, entries), f"{entries} entries of history")
            platform.kill()
            platform.start()
            await platform.ready()
        await platform.ended(flow_id)
        await helping
        history = await checked(platform, flow_id)
        letters = await platform.letters()
        tickets = (await platform.tickets(flow_id)).values()
    assert differences(course(history), course(await constructs_on_one_machine(tmp_path / "whole"))) == []
    assert letters == []
    assert all(ticket["attempt"] <= 1 for ticket in tickets)


async def _has_entries(platform: Platform, flow_id: str, count: int) -> bool | None:
    return len(await platform.history(flow_id)) >= count or None


async def test_a_worker_killed_in_the_middle_of_a_task_loses_it_to_another(tmp_path: Path) -> None:
    async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        doomed = platform.hire("doomed", "--capability", "python", "--shell", "sleep 60")
        flow_id = await platform.submit(decision(task("a"), task("b", "a")))
        await platform.ticket(flow_id, accepted, "a worker has accepted")
        doomed.kill()
        platform.hire("other", "--capability", "python", "--shell", "echo 1")
        flow = await platform.ended(flow_id)
        tickets = await platform.tickets(flow_id)
        history = await platform.history(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert (tickets["a"]["worker_id"], tickets["a"]["attempt"]) == ("other", 2)
    assert ("ticket.reassigned", "doomed") in [(e["type"], e.get("worker_id")) for e in history]


async def test_a_worker_that_restarts_under_its_name_gets_back_what_it_had_forgotten(tmp_path: Path) -> None:
    async with running_platform(tmp_path, heartbeat_seconds=1) as platform:
        worker = platform.hire("w1", "--capability", "python", "--shell", "sleep 1.5")
        flow_id = await platform.submit(decision(task("a")))
        await platform.ticket(flow_id, accepted, "a worker has accepted")
        worker.kill()
        worker.start()
        flow = await platform.ended(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]


async def test_without_any_worker_why_says_so_and_the_flow_ends_by_the_rules(tmp_path: Path) -> None:
    async with running_platform(tmp_path, no_worker_seconds=4) as platform:
        flow_id = await platform.submit(decision(task("a", required_capabilities=["terraform"])))
        await platform.ticket(flow_id, lambda ticket: ticket.get("waiting") == "WORKER", "waits for a worker")
        why = await platform.get(f"/api/v1/why/{flow_id}")
        flow = await platform.ended(flow_id)
    assert "terraform" in json.dumps(why)
    assert flow["status"] == "FAILED"


def accepted(ticket: Mapping[str, Any]) -> bool:
    """Tell whether a worker has accepted a ticket."""
    return ticket.get("acknowledged_at") is not None
