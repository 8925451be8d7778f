"""The nightly pipeline of the guide, while its worker and its platform are killed at ten moments."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.documents import blocks
from tests.support.job_service import JobService
from tests.support.kube_api import KubeApi
from tests.support.kube_controllers import Workloads
from tests.support.loopback import Answer, Request
from tests.support.processes import Platform, Process, running_platform, worker_process
from tests.support.world import until

PAGE = ROOT / "docs" / "guides" / "pipeline.md"
FILES = {block.file: block.text for block in blocks(PAGE.read_text(encoding="utf-8")) if block.file}

MOMENTS = (
    ("worker", "download"),
    ("platform", "test"),
    ("worker", "test"),
    ("worker", "transform"),
    ("platform", "check"),
    ("worker", "load"),
    ("platform", "reconcile"),
    ("worker", "show"),
    ("platform", "show"),
    ("worker", "report"),
    ("platform", "report"),
)
"""Who is killed, and which task has begun then."""

BEGUN = {"RUNNING", "COMPLETED"}


def planned(folder: Path, shop: str) -> dict[str, Any]:
    """Return the decision of the guide as a person would submit it, its report being a job that takes a while."""
    text = FILES["nightly.json"].replace("SHOP", shop).replace("HERE", str(folder))
    decision: dict[str, Any] = json.loads(text.replace('{"$schedule": "moment"}', '"2026-11-30"'))
    decision["decision_id"] = "nightly-1"
    report = next(task for task in decision["cognitive_plan"]["tasks"] if task["task_id"] == "report")
    report["parameters"] |= {
        "url": f"{shop}/jobs",
        "poll": {
            "id": "/id",
            "url": f"{shop}/jobs/{{id}}",
            "every_seconds": 0.1,
            "succeeded": {"at": "/status", "equals": ["done"]},
        },
    }
    return decision


@pytest.fixture
async def shop() -> AsyncIterator[JobService]:
    async with JobService() as service:
        jobs = service.answer

        async def answer(request: Request) -> Answer:
            if request.path == "/sales.csv":
                return Answer(200, b"sku,amount\ntea,4.20\ncup,11.00\n,\ntea,4.20\n")
            return await jobs(request)

        service.answer = answer
        service.looks = None
        yield service


@pytest.fixture
async def cluster() -> AsyncIterator[KubeApi]:
    async with KubeApi() as api:
        workloads = Workloads(api)
        yield api
        await workloads.aclose()


def worker_of(folder: Path, platform: Platform, cluster: KubeApi) -> Process:
    """Return the worker of the guide, not started yet."""
    worker = worker_process(folder, platform.url, "night-1", "--executor", "http,python,pytest,scan,kubernetes")
    worker.environment = {
        "WORKER_SANDBOX": "off",
        "WORKER_COMMANDS": "sales:transform,sales:load,sales:unload,sales:reconcile,pytest",
        "WORKER_READABLE": str(folder / "steps"),
        "WORKER_NETWORKS": "loopback",
        "WORKER_NAMESPACES": "web",
        "WORKER_IMAGES": "ghcr.io/acme/*",
        "WORKER_FOLDER": str(folder / "work"),
        "WORKER_KUBERNETES_URL": cluster.url,
        "WORKER_KUBERNETES_TOKEN": cluster.token,
    }
    return worker


async def test_it_is_done_once_whoever_is_killed_when(tmp_path: Path, shop: JobService, cluster: KubeApi) -> None:
    steps = tmp_path / "steps"
    steps.mkdir()
    for name in ("sales.py", "test_sales.py"):
        (steps / name).write_text(FILES[name], encoding="utf-8")
    async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        worker = worker_of(tmp_path, platform, cluster)
        platform.hired.append(worker)
        worker.start()
        flow_id = await platform.submit(planned(tmp_path, shop.url))
        for victim, task_id in MOMENTS:
            if task_id == "show":
                await approved(platform, flow_id)
            await begun(platform, flow_id, task_id)
            process = worker if victim == "worker" else platform
            process.kill()
            process.start()
            if process is platform:
                await platform.ready()
        shop.looks = 1
        flow = await platform.ended(flow_id)
        tickets = await platform.tickets(flow_id)
        worker.stop()
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert {ticket["status"] for ticket in tickets.values()} == {"COMPLETED"}
    assert [job.status for job in shop.jobs.values()] == ["done"]
    applied = {path.rpartition("/")[2]: one["metadata"] for path, one in cluster.objects.items() if "/sales" in path}
    assert [about.get("generation") for about in applied.values() if "generation" in about] == [1]
    with connect(tmp_path / "warehouse.db") as db:
        assert db.execute("SELECT day, sum(cents), count(*) FROM sales").fetchall() == [("2026-11-30", 1940, 3)]
    assert programs_of(flow_id) == []


async def begun(platform: Platform, flow_id: str, task_id: str) -> None:
    """Wait until a task has begun, or is done."""

    async def probe() -> bool | None:
        tickets = await platform.tickets(flow_id)
        return (task_id in tickets and tickets[task_id]["status"] in BEGUN) or None

    await until(probe, f"{task_id} to begin (see {platform.where})")


async def approved(platform: Platform, flow_id: str) -> None:
    """Approve what waits for a person, once."""
    ticket = await platform.ticket(
        flow_id, lambda one: one["task_id"] == "agree" and one["status"] in {"WAITING", "COMPLETED"}, "is to be decided"
    )
    if ticket["status"] == "WAITING":
        said = {"requested_by": "ada", "reason": "as expected"}
        status, _ = await platform.call("POST", f"/api/v1/tickets/{ticket['ticket_id']}/approve", said)
        assert status < 300


def programs_of(flow_id: str) -> list[str]:
    """Return the programs that a job of a flow has left behind."""
    mark = f"FLOWC_FLOW_ID={flow_id}".encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                left.append((process / "cmdline").read_text(encoding="utf-8"))
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
    return left
