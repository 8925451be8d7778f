"""`flowc worker --pull` as a process: it listens nowhere, and goes on after kills on both sides."""

import json
from pathlib import Path
from typing import Any

from functions._worker import SimulatedExecutor, WorkerConfig, WorkerProcess
from tests.conftest import ROOT
from tests.support.loopback import Answer, Request
from tests.support.loopback import until as until_true
from tests.support.processes import Platform, Process, running_platform
from tests.support.stand_in_platform import TOKEN, Gate, StandIn
from tests.support.world import decision, task, until

PATIENCE = 60


def event(url: str, ticket_id: str = "t-1", attempt: int = 1) -> dict[str, Any]:
    """Return an assignment as the platform gives it."""
    data: dict[str, Any] = {
        "ticket_id": ticket_id,
        "attempt": attempt,
        "task_id": "a",
        "callback_url": f"{url}/reports",
        "token": TOKEN,
    }
    data["estimated_duration_ms"] = 0  # not worth a report that it runs
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/flowc/assign",
        "type": "io.neuralhive.ticket.assigned.v1",
        "time": "2026-03-01T12:00:00.000Z",
        "datacontenttype": "application/json",
        "data": data,
    }


def worker(platform: StandIn, gate: Gate | SimulatedExecutor, **more: Any) -> WorkerProcess:
    settings: dict[str, Any] = {"slots": 2, "heartbeat_seconds": 60, "grace_seconds": 0, "pull": True, **more}
    config = WorkerConfig(
        worker_id="w-1", platform_url=platform.url, capabilities=("python",), executor=gate, **settings
    )
    return WorkerProcess(config)


async def test_it_says_what_it_has_and_asks_for_as_much_as_it_can_take() -> None:
    gate = Gate()
    async with StandIn() as platform:
        given = json.dumps({"assignments": [event(platform.url)], "cancel": []}).encode()
        platform.answers.extend([Answer(200, b"{}"), Answer(200, given)])
        async with worker(platform, gate) as running:
            await running.registered.wait()
            assert running.endpoint == ""

            def asked() -> list[Request]:
                return platform.told("POST", "/api/v1/tasks/lease")

            await until_true(lambda: len(asked()) > 1, "a second request", PATIENCE)
            assert platform.registrations[0].json["delivery"] == "pull"
            assert "endpoint" not in platform.registrations[0].json
            assert asked()[0].json == {"worker_id": "w-1", "limit": 2, "wait_seconds": 20.0, "running": []}
            assert asked()[1].json["limit"] == 1
            assert asked()[1].json["running"] == [{"ticket_id": "t-1", "attempt": 1}]
            gate.opened.set()
            await platform.reported("COMPLETED")


async def test_what_leads_elsewhere_is_not_run_and_one_that_is_forgotten_registers_again() -> None:
    gate = Gate()
    async with StandIn() as platform:
        foreign = json.dumps({"assignments": [event("http://127.0.0.1:9")], "cancel": []}).encode()
        platform.answers.extend([Answer(200, b"{}"), Answer(200, foreign), Answer(404, b"{}")])
        async with worker(platform, gate):
            await until_true(lambda: len(platform.registrations) > 1, "another registration", PATIENCE)
        assert gate.log == []


async def test_push_and_pull_do_a_flow_together_while_half_of_the_workers_are_killed(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "import os\n"
        "def work(task):\n"
        f"    with open({str(tmp_path / 'begun')!r}, 'a') as file:\n"
        "        file.write(f\"{os.getpid()} {task['ticket_id']} {task['attempt']}\\n\")\n"
        "    return {'by': os.getpid()}\n"
    )
    async with running_platform(tmp_path, heartbeat_seconds=2) as platform:
        staff = [_worker(platform, tmp_path, f"{way}-{number}", way) for way in ("pull", "push") for number in (1, 2)]
        try:
            tasks = [task(f"t{number}", *([f"t{number - 4}"] if number >= 4 else [])) for number in range(24)]
            flow_id = await platform.submit(decision(*tasks))
            for killed in (staff[0], staff[2]):
                await _progress(platform, flow_id)
                killed.kill()
                killed.start()
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
        finally:
            for one in staff:
                one.kill()
    begun = (tmp_path / "begun").read_text().splitlines()
    assert len(begun) == len(set(begun)), "no process has begun an attempt twice"
    assert len({line.split()[1] for line in begun}) == 24


def _worker(platform: Platform, folder: Path, worker_id: str, way: str) -> Process:
    more = ["--pull"] if way == "pull" else []
    arguments = ["worker", "--id", worker_id, "--url", platform.url, "-c", "python", "--call", "tasks:work", *more]
    process = Process(arguments, folder / f"{worker_id}.log", {"PYTHONPATH": f"{folder}:{ROOT}"})
    process.start()
    return process


async def _progress(platform: Platform, flow_id: str) -> None:
    before = await _completed(platform, flow_id)

    async def more() -> bool | None:
        return (await _completed(platform, flow_id)) > before or None

    await until(more, "another ticket to be done")


async def _completed(platform: Platform, flow_id: str) -> int:
    return sum(ticket["status"] == "COMPLETED" for ticket in (await platform.tickets(flow_id)).values())
