"""A worker that does the stages of the code forge: it registers itself as a FORGE, beats, and gets their tickets."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from functions._cli.app import app
from functions._core.records.values import TaskType
from functions._core.records.worker import AgentType
from functions._executors import registry
from functions._executors.port import JobContext, JobHandle
from functions._executors.registry import executors_named
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from tests.support.jobs import HandExecutor
from tests.support.one_machine import one_machine
from tests.support.world import decision, task, until


class StageExecutor(HandExecutor):
    """A stage that is done as soon as it is begun."""

    name: ClassVar[str] = "forge_stage"
    family: ClassVar[str] = "forge"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.BUILD})

    def __init__(self, _settings: ExecutorSettings | None = None) -> None:
        """Need no settings."""
        super().__init__()

    async def start(self, context: JobContext[Any]) -> JobHandle:
        """Do it."""
        handle = await super().start(context)
        self.succeed(handle.job_id)
        return handle


class AnotherStage(StageExecutor):
    """Another one."""

    name: ClassVar[str] = "forge_other"


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("functions._executors.forge.stand_in")
    module.StageExecutor, module.AnotherStage = StageExecutor, AnotherStage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    own = {name: where for name, where in registry.OWN.items() if not name.startswith("forge_")}
    mine = {one.name: f"{module.__name__}:{one.__name__}" for one in (StageExecutor, AnotherStage)}
    monkeypatch.setattr(registry, "OWN", own | mine)


async def test_it_is_listed_as_a_forge_beats_and_does_the_tickets_of_its_stages(tmp_path: Path) -> None:
    does = JobsExecutor([StageExecutor()])
    async with one_machine(tmp_path) as platform:
        worker = platform.worker(
            "forge-1", does, *does.capabilities, agent_type=does.agent_type, pull=True, heartbeat_seconds=0.1
        )
        await worker.start()

        async def listed() -> dict[str, Any] | None:
            found = (await platform.get("/api/v1/agents", type="forge"))["items"]
            return next(iter(found), None)

        agent = await until(listed, "it is listed")
        assert (agent["agent_id"], agent["agent_type"]) == ("forge-1", "FORGE")
        assert agent["capabilities"] == ["forge", "forge:forge_stage"]
        assert (await platform.get("/api/v1/agents", type="worker"))["items"] == []

        async def beaten() -> bool | None:
            seen = await listed()
            return (seen is not None and seen["last_seen"] > agent["last_seen"]) or None

        await until(beaten, "it beats")
        parameters = {"provider": "forge_stage", "word": "x"}
        stage = task("a", task_type="BUILD", required_capabilities=["forge:forge_stage"], parameters=parameters)
        flow_id = await platform.submit(decision(stage))
        assert (await platform.ended(flow_id))["status"] == "COMPLETED"
        assert (await platform.tickets(flow_id))["a"]["worker_id"] == "forge-1"
        await worker.stop()
        await does.aclose()


def test_all_stages_have_one_name(stages: None) -> None:  # noqa: ARG001 it changes the registry
    settings = ExecutorSettings()
    assert [one.name for one in executors_named("forge", settings)] == ["forge_stage", "forge_other"]
    named = [one.name for one in executors_named("http, forge,forge_other", settings)]
    assert named == ["http", "forge_stage", "forge_other"]


def test_a_worker_with_another_executor_is_a_worker() -> None:
    assert JobsExecutor([StageExecutor(), HandExecutor()]).agent_type is AgentType.WORKER
    assert JobsExecutor([]).agent_type is AgentType.WORKER
    assert JobsExecutor([StageExecutor(), AnotherStage()]).agent_type is AgentType.FORGE


def test_the_command_offers_all_stages(stages: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    configs = list[Any]()

    async def work(config: Any) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr("functions._cli.worker_command._work", work)
    # What the log is written to ends with the command; the log stays.
    monkeypatch.setattr("functions._observability.logs.configure", lambda _level: None)
    result = CliRunner().invoke(app, ["worker", "--executor", "forge", "--pull"])
    assert result.exit_code == 0, result.output
    (config,) = configs
    assert config.agent_type is AgentType.FORGE
    assert config.capabilities == ("forge", "forge:forge_other", "forge:forge_stage")
