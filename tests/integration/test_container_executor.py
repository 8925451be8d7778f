"""Containers as jobs, against a contract server of the engine's API: rights, logs, ends, and being found again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._executors.container import ContainerExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.container_engine import ContainerEngine, serving
from tests.support.jobs import assigned
from tests.support.loopback import until
from tests.support.stand_in_platform import StandIn, working

IMAGE = "python:3.12"


@pytest.fixture
def engine() -> ContainerEngine:
    return ContainerEngine()


@pytest.fixture
async def host(engine: ContainerEngine, tmp_path: Path) -> AsyncIterator[str]:
    async with serving(engine, tmp_path / "engine.sock") as address:
        yield address


def jobs_for(host: str, **changes: Any) -> JobsExecutor:
    settings = {"images": ["python:*", "ghcr.io/acme/*"], "environment": {"DOCKER_HOST": host}, **changes}
    return JobsExecutor([ContainerExecutor(ExecutorSettings.model_validate(settings))], pauses=(0.0, 0.0, 0.0))


@pytest.fixture
async def jobs(host: str) -> AsyncIterator[JobsExecutor]:
    made = jobs_for(host)
    yield made
    await made.aclose()


async def run(jobs: JobsExecutor, *argv: str, ticket: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    output = await jobs.run(assigned({"provider": "container", "image": IMAGE, "argv": argv, **more}, **ticket or {}))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, *argv: str, **more: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, *argv, **more)
    return failed.value


async def test_a_worker_that_stops_removes_its_container(engine: ContainerEngine, jobs: JobsExecutor) -> None:
    given = {"provider": "container", "image": IMAGE, "argv": ["sleep", "600"]}
    async with StandIn() as platform, working(platform, jobs) as desk:
        await desk.assign(parameters=given, idempotent=True)
        await until(lambda: engine.containers, "the container")
    assert not engine.containers
    assert platform.reports[-1].data["error"]["type"] == "worker_stopped"


async def test_a_container_runs_without_rights_and_its_streams_are_outputs(
    engine: ContainerEngine, jobs: JobsExecutor
) -> None:
    text = "echo '{\"n\": 7}'; echo warning >&2; seq 100000 >&2"
    output = await run(jobs, "sh", "-c", text, env={"A": "1"}, read="json", limits={"cpus": 0.5, "memory_mb": 64})
    assert (output["exit_code"], output["value"], output["image"]) == (0, {"n": 7}, "sha256:abc")
    assert output["stderr"].endswith("99999\n100000\n")
    [container] = engine.containers.values()
    assert (container.body["User"], container.name) == ("65534:65534", "flowc-t-1-0")
    assert {"A=1", "FLOWC_TICKET_ID=t-1"} <= set(container.body["Env"])
    assert container.body["HostConfig"] == {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=268435456"},  # noqa: S108 - that of the container
        "Memory": 64 * 1024 * 1024,
        "MemorySwap": 64 * 1024 * 1024,
        "NanoCpus": 500_000_000,
        "PidsLimit": 128,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,
    }


async def test_the_network_is_there_only_if_owner_and_plan_want_it(engine: ContainerEngine, host: str) -> None:
    open_ = jobs_for(host, program_network=True)
    await run(open_, "true", network=True)
    await run(open_, "true", ticket={"ticket_id": "t-2"})
    modes = [container.body["HostConfig"]["NetworkMode"] for container in engine.containers.values()]
    assert modes == ["bridge", "none"]
    await open_.aclose()


async def test_an_exit_code_fails_the_task_and_the_container_is_removed(
    engine: ContainerEngine, jobs: JobsExecutor
) -> None:
    failed = await failure(jobs, "sh", "-c", "echo the last word >&2; exit 3")
    assert (failed.kind, failed.message) == ("exit_status", "exit status 3: the last word")
    assert engine.containers == {}


@pytest.mark.parametrize("image", ["alpine", "python:5000/evil", "ghcr.io/acme/deep/tool:1", "ghcr.io/other/tool"])
async def test_an_image_that_the_owner_does_not_name_is_not_run(
    engine: ContainerEngine, jobs: JobsExecutor, image: str
) -> None:
    assert (await failure(jobs, "true", image=image)).kind == "not_allowed"
    assert engine.calls == []


@pytest.mark.parametrize("user", ["root", "0", "0:0", "1000:0x"])
async def test_no_container_is_root(engine: ContainerEngine, jobs: JobsExecutor, user: str) -> None:
    assert (await failure(jobs, "true", user=user)).kind == "bad_parameters"
    assert engine.calls == []


async def test_an_image_that_is_not_there_is_fetched_once(engine: ContainerEngine, jobs: JobsExecutor) -> None:
    for number in (2, 3):
        about = {"ticket_id": f"t-{number}"}
        assert (await run(jobs, "true", image="ghcr.io/acme/tool:1", ticket=about))["exit_code"] == 0
    assert engine.calls.count(("POST", "/images/create")) == 1
    failed = await failure(jobs, "true", image="ghcr.io/acme/tool:2")
    assert (failed.kind, failed.retryable) == ("no_image", False)
    assert "manifest for ghcr.io/acme/tool:2 not found" in failed.message
    assert (await failure(jobs, "true", image="ghcr.io/acme/tool:3", pull="never")).kind == "no_container"


async def test_an_engine_in_trouble_is_asked_again(engine: ContainerEngine, jobs: JobsExecutor) -> None:
    engine.faults = [500, 500]
    assert (await run(jobs, "true"))["exit_code"] == 0
    assert len(engine.containers) == 1


async def test_a_cancelled_container_is_killed_and_removed(engine: ContainerEngine, jobs: JobsExecutor) -> None:
    running = asyncio.create_task(run(jobs, "sleep", "60"))
    await until(lambda: any(c.process for c in engine.containers.values()), "the container")
    [container] = engine.containers.values()
    running.cancel()
    await asyncio.wait({running})
    assert engine.containers == {}
    assert container.process is not None
    assert await container.process.wait() < 0


async def test_a_container_of_a_worker_that_was_lost_is_found_again(
    engine: ContainerEngine, host: str, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = jobs_for(host)
    lost = asyncio.create_task(run(first, "sh", "-c", "echo begun; sleep 1; echo ended"))
    await until(lambda: any(c.pieces for c in engine.containers.values()), "the container")
    for executor in first._executors.values():  # noqa: SLF001 - a worker that is killed cancels nothing
        monkeypatch.setattr(executor, "cancel", _nothing)
    output = await run(jobs, "sh", "-c", "echo begun; sleep 1; echo ended", ticket={"attempt": 2})
    assert (output["stdout"], output["job"]["adopted"]) == ("begun\nended\n", True)
    again = await run(jobs, "sh", "-c", "echo begun; sleep 1; echo ended", ticket={"attempt": 3})
    assert (again["stdout"], again["job"]["adopted"]) == ("begun\nended\n", True)
    assert len(engine.containers) == 1
    lost.cancel()
    await asyncio.wait({lost})
    await first.aclose()


async def _nothing(*_: object) -> None:
    """Do nothing."""


async def test_one_that_failed_is_followed_by_a_new_one(engine: ContainerEngine, jobs: JobsExecutor) -> None:
    await failure(jobs, "false")
    await run(jobs, "true", ticket={"attempt": 2, "retry_count": 1})
    assert [container.name for container in engine.containers.values()] == ["flowc-t-1-1"]


async def test_the_doctor_asks_the_engine(jobs: JobsExecutor, host: str, tmp_path: Path) -> None:
    settings = {"images": ["python:*"], "environment": {"DOCKER_HOST": host}}
    executor = ContainerExecutor(ExecutorSettings.model_validate(settings))
    assert [(check.name, check.ok) for check in await executor.check()] == [("engine", True), ("images", True)]
    await executor.aclose()
    settings = {"environment": {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}}
    executor = ContainerExecutor(ExecutorSettings.model_validate(settings))
    assert [(check.name, check.ok) for check in await executor.check()] == [("engine", False), ("images", False)]
    await executor.aclose()
    assert jobs.capabilities == ("execute", "execute:container")
    with pytest.raises(ValueError, match="DOCKER_HOST"):
        ContainerExecutor(ExecutorSettings.model_validate({"environment": {"DOCKER_HOST": "tcp://1.2.3.4:2375"}}))
