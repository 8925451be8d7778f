"""Tests of projects in containers, against a contract server of the engine's API: what they get, and what is left."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._executors.forge.run_tests import RunTestsExecutor
from tests.support.container_engine import ContainerEngine, serving
from tests.support.forge_desk import SHOP, ForgeDesk
from tests.support.forge_projects import stored_context
from tests.support.loopback import until

IMAGE = "python:3.12"


@pytest.fixture
def engine() -> ContainerEngine:
    return ContainerEngine()


@pytest.fixture
async def desk(engine: ContainerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ForgeDesk]:
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
    async with serving(engine, tmp_path / "engine.sock") as address:
        yield ForgeDesk(tmp_path, DOCKER_HOST=address, WORKER_FORGE_TEST_IMAGE=IMAGE)


async def test_tests_run_in_a_container_that_has_their_folder_and_nothing_else(
    engine: ContainerEngine, desk: ForgeDesk
) -> None:
    output = await desk.test(desk.project({**SHOP, "tests/test_no.py": "def test_no():\n    assert 1 == 2\n"}))
    assert (output["passed"], output["failed"], output["coverage"], output["score"]) == (2, 1, 1, 0.666667)
    [body] = engine.asked
    folder = str(desk.folder / "work" / "t-1-1")
    host = body["HostConfig"]
    assert host["Mounts"] == [{"Type": "bind", "Source": folder, "Target": folder}]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert body["WorkingDir"] == f"{folder}/project"
    assert (body["Image"], body["Entrypoint"]) == (IMAGE, ["python"])
    assert str(body["User"]).split(":")[0] != "0"
    assert engine.containers == {}
    assert desk.left == []


async def test_tests_that_hang_or_cannot_run_leave_nothing(engine: ContainerEngine, desk: ForgeDesk) -> None:
    failed = await desk.failure("forge_run_tests", {"code": desk.project({"a.py": "x = 1\n"})})
    assert (failed.kind, failed.retryable) == ("no_tests", False)
    environment = {**desk.settings.environment, "WORKER_FORGE_TEST_SECONDS": "2"}
    desk.settings = desk.settings.model_copy(update={"environment": environment})
    hangs = desk.project({"test_a.py": "import time\ndef test_a():\n    time.sleep(600)\n"})
    failed = await desk.failure("forge_run_tests", {"code": hangs})
    assert (failed.kind, failed.retryable) == ("tests_hang", False)
    desk.settings = desk.settings.model_copy(
        update={"environment": {**environment, "WORKER_FORGE_TEST_IMAGE": "none:1"}}
    )
    failed = await desk.failure("forge_run_tests", {"code": hangs})
    assert (failed.kind, failed.retryable) == ("no_image", False)
    assert engine.containers == {}
    assert desk.left == []


async def test_a_container_of_a_worker_that_was_killed_is_replaced(engine: ContainerEngine, desk: ForgeDesk) -> None:
    go = desk.folder / "go"
    waits = f"import os, time\ndef test_a():\n    while not os.path.exists({str(go)!r}):\n        time.sleep(0.05)\n"
    code = desk.project({"test_a.py": waits}, "hcl")
    killed = RunTestsExecutor(desk.settings)
    parameters = killed.Parameters.model_validate({"code": code})
    await killed.start(stored_context(desk.folder / "store", parameters=parameters, idempotency_key="t-1-0"))
    await until(lambda: any(one.process for one in engine.containers.values()), "the first container")
    [left] = engine.containers
    again = asyncio.create_task(desk.test(code))
    await until(lambda: engine.containers and left not in engine.containers, "another container")
    go.touch()
    assert (await again)["passed"] == 1
    assert engine.containers == {}
    await killed.aclose()


async def test_doctor_names_the_image(desk: ForgeDesk) -> None:
    executor = RunTestsExecutor(desk.settings)
    checks = {check.name: check for check in await executor.check()}
    await executor.aclose()
    assert checks["tests"].detail == f"in {IMAGE}"
    assert checks["engine"].ok
    assert "pytest" not in checks
