"""The stage package in a flow: what is pushed is taken back after a failure, and `kill -9` changes nothing."""

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from functions._core.records.values import FlowStatus, TicketStatus
from functions._executors.forge.package import PackageExecutor
from functions._worker import Assignment
from functions._worker.jobs import JobsExecutor
from tests.conftest import ROOT, require
from tests.support.forge_packages import LIBRARY, SERVICE, PackageDesk, by_kind
from tests.support.http_api import running_api
from tests.support.loopback import Answer, Request, until
from tests.support.processes import running_platform, worker_process
from tests.support.registry_api import RegistryServer
from tests.support.world import LocalWorld, decision, report_event, task

IMAGE = {"Dockerfile": 'FROM scratch\nCMD ["x"]\n', "app.py": "x = 1\n"}
UNDO = {
    "parameters": {
        "provider": "forge_package",
        "artifact_id": "acme/shop",
        "pushed": {"$output": "package", "path": "/pushed"},
    }
}


def package_task(code: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"provider": "forge_package", "artifact_id": "acme/shop", "code": code}
    return task("package", task_type="BUILD", parameters=given, required_capabilities=[], **more)


def worker_of(provenance: Path) -> Any:
    """Return what provenance says about the worker that made it."""
    statement = json.loads(b64decode(json.loads(provenance.read_bytes())["payload"]))
    [said] = [one for one in statement["predicate"]["runDetails"]["byproducts"] if one["name"] == "worker"]
    return json.loads(b64decode(said["content"]))


async def work(world: LocalWorld, jobs: JobsExecutor, number: int) -> dict[str, Any]:
    """Do the assignment of a number by the executor, as its worker would, and return its output."""
    given = world.workers.assignments
    await until(lambda: len(given) > number, f"assignment {number}")
    output = await jobs.run(Assignment.model_validate(given[number]))
    assert isinstance(output, dict)
    assert world.workers.report is not None
    await world.workers.report(report_event(given[number], status="COMPLETED", output=output))
    return output


async def test_a_failure_after_the_push_makes_a_ticket_that_takes_it_back(tmp_path: Path) -> None:
    error = {"type": "red", "message": "the gate says no", "retryable": False}
    async with running_api(tmp_path) as api, RegistryServer() as registry:
        desk = PackageDesk(tmp_path, WORKER_FORGE_REGISTRY_URL=registry.url)
        jobs = JobsExecutor([PackageExecutor(desk.settings, (0.0,))], settings=desk.settings)
        world = api.world
        world.workers.behave = lambda given: (
            {"status": "FAILED", "error": error} if given["task_id"] == "approve" else None
        )
        await world.register("forge", *jobs.capabilities, "python")
        tasks = [package_task(desk.code(IMAGE), compensation=UNDO), task("approve", "package")]
        flow_id = await world.submit(decision(*tasks))
        packaged = await work(world, jobs, 0)
        assert len(registry.repositories["acme/shop"].manifests) == 1
        undone = await work(world, jobs, 2)
        flow = await world.ended(flow_id)
        ticket = await world.ticket(flow_id, lambda one: one.task_id == "package" and not one.live, "has ended")
        await jobs.aclose()
    assert (flow.status, ticket.status) == (FlowStatus.FAILED, TicketStatus.COMPENSATED)
    assert undone["removed"] == packaged["pushed"]
    assert registry.repositories["acme/shop"].manifests == {}


@pytest.mark.slow
async def test_a_worker_that_is_killed_is_followed_by_one_that_ends_with_the_same_digests(tmp_path: Path) -> None:
    async with RegistryServer() as registry, running_platform(tmp_path) as platform:
        answer, left, dead = registry.answer, 9, asyncio.Event()

        async def held(request: Request) -> Answer:
            nonlocal left
            left -= 1
            if left < 0:
                await dead.wait()
            return await answer(request)

        registry.answer = held
        environment = {"WORKER_FORGE_REGISTRY_URL": registry.url, "WORKER_SANDBOX": "off", "WORKER_COMMANDS": "build"}
        desk = PackageDesk(tmp_path, **environment)
        environment |= {"WORKER_LOGS": str(tmp_path / "store")}
        how = ("--executor", "forge_package")
        hired = [worker_process(tmp_path, platform.url, name, *how) for name in ("first", "other")]
        for number, worker in enumerate(hired):
            worker.environment = {**environment, "WORKER_FOLDER": str(tmp_path / f"work-{number}")}
        platform.hired.extend(hired)
        hired[0].start()
        flow_id = await platform.submit(decision(package_task(desk.code(LIBRARY))))
        await until(lambda: left < 0, "the middle of the push")
        hired[0].kill()
        registry.answer = answer
        hired[1].start()
        flow = await platform.ended(flow_id)
        tickets = await platform.tickets(flow_id)
        dead.set()
    assert flow["status"] == "COMPLETED", flow["reasons"]
    output = tickets["package"]["output"]
    assert (tickets["package"]["worker_id"], len(output["pushed"])) == ("other", 2)
    assert worker_of(Path(output["provenance"]["uri"].removeprefix("file://"))) == {"worker_id": "other"}
    assert {kind: len(one.manifests) for kind, one in registry.repositories.items()} == {
        "acme/shop/wheel": 1,
        "acme/shop/sdist": 1,
    }
    again = by_kind(await PackageDesk(tmp_path / "again").run(LIBRARY))
    assert {kind: one["checksum"] for kind, one in by_kind(output).items()} == {
        kind: one["checksum"] for kind, one in again.items()
    }


async def test_the_doctor_says_that_nothing_is_signed_without_a_key(tmp_path: Path) -> None:
    executor = PackageExecutor(PackageDesk(tmp_path).settings)
    try:
        [signing] = [one for one in await executor.check() if one.name == "signing"]
    finally:
        await executor.aclose()
    assert (signing.ok, signing.required) == (False, False)
    assert signing.detail == "WORKER_FORGE_KEY_FILE names no key: nothing is signed"


@pytest.mark.slow
async def test_a_tool_of_others_unpacks_the_image(tmp_path: Path) -> None:
    brought = ROOT / ".venv" / "registry" / "umoci"
    found = str(brought) if brought.exists() else shutil.which("umoci")
    require(found is not None, "make registry")
    desk = PackageDesk(tmp_path)
    image = by_kind(await desk.run(SERVICE, "service"))["image"]
    (tmp_path / "image.tar").write_bytes(desk.content(image))
    with tarfile.open(tmp_path / "image.tar") as archive:
        archive.extractall(tmp_path / "image", filter="data")
    argv = [str(found), "unpack", "--rootless", f"--image={tmp_path}/image:0.1.0", str(tmp_path / "bundle")]
    await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True, timeout=60)
    root = tmp_path / "bundle" / "rootfs" / "app"
    assert (root / "shop" / "__init__.py").read_text() == LIBRARY["src/shop/__init__.py"]
    assert os.access(root / "bin" / "shop", os.X_OK)
