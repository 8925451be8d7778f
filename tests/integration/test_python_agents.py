"""The registry by its Python clients, against a real platform on loopback."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flowc.client import AgentInfo, HealthStatus, Invalid, NotFound, ServiceRegistryClient, SyncServiceRegistryClient
from flowc.worker import AgentClient, AgentConfig, AgentTelemetry
from tests.support.one_machine import OneMachine, one_machine


@pytest_asyncio.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as machine:
        yield machine


async def test_an_agent_registers_is_discovered_beats_and_leaves(platform: OneMachine) -> None:
    host, port = platform.url.removeprefix("http://").split(":")
    async with ServiceRegistryClient(host=host, port=int(port)) as registry:
        agent = AgentInfo(
            agent_id="worker-1",
            agent_type="WORKER",
            capabilities=("python", "terraform"),
            endpoint="http://worker-1:8000",
            metadata={"version": "1.0.0"},
        )
        known = await registry.register_agent(agent)
        assert (known.agent_id, known.heartbeat_interval_seconds) == ("worker-1", 30)
        assert known.signing_secret not in repr(known)
        [found] = await registry.discover_agents(capabilities=["python"], filters={"status": "healthy"})
        assert (found.agent_id, found.status, found.health_score) == ("worker-1", "HEALTHY", 1.0)
        assert 0.4 <= (found.composite_score or 0) <= 1
        health = HealthStatus(status="degraded", last_heartbeat=datetime.now(UTC), metrics={"success_rate": 0.95})  # type: ignore[arg-type]
        assert (await registry.update_health("worker-1", health)).cancel == ()
        assert await registry.discover_agents(["python"]) == []
        assert [each.agent_id for each in await registry.discover_agents(["python"], {})] == ["worker-1"]
        assert (await registry.get_agent("worker-1")).metadata == {"version": "1.0.0"}
        assert await registry.deregister_agent("worker-1")
        assert not await registry.deregister_agent("worker-1")
        with pytest.raises(NotFound):
            await registry.update_health("worker-1")


async def test_agents_are_listed_drained_and_watched(platform: OneMachine) -> None:
    def program() -> None:
        with SyncServiceRegistryClient(platform.url) as registry:
            start = registry.watch_agents(0, 0).revision
            for number in range(3):
                scout = AgentInfo(agent_type="SCOUT", capabilities=("look",), endpoint=f"http://s-{number}:1/")
                registry.register_agent(scout.model_copy(update={"agent_id": f"s-{number}"}))
            assert [each.agent_id for each in registry.list_agents(agent_type="SCOUT")] == ["s-0", "s-1", "s-2"]
            assert registry.list_agents(capability="fly") == []
            registry.drain_agent("s-1", "its disk is full")
            assert (registry.get_agent("s-1").model_extra or {})["draining"] is True
            registry.drain_agent("s-1", undo=True)
            seen = registry.watch_agents(start)
            assert seen.changes
            assert seen.revision > start
            with pytest.raises(Invalid):
                registry.discover_agents(["look"], {"colour": "red"})

    await asyncio.to_thread(program)


async def test_the_context_of_an_agent_is_its_time_in_the_registry(platform: OneMachine) -> None:
    about: dict[str, Any] = {"agent_id": "scout-1", "agent_type": "SCOUT", "endpoint": "http://scout-1:1/"}
    config = AgentConfig(url=platform.url, capabilities=("look",), **about)
    async with ServiceRegistryClient(platform.url) as registry:
        async with AgentClient(config) as agent:
            agent.telemetry = AgentTelemetry(success_rate=0.5, active_tasks=1)
            await agent.beat()
            known = (await registry.get_agent("scout-1")).model_extra or {}
            assert known["telemetry"]["success_rate"] == 0.5
            await registry.deregister_agent("scout-1")
            await agent.beat()  # the registry has forgotten it
            assert (await registry.get_agent("scout-1")).agent_type == "SCOUT"
        with pytest.raises(NotFound):
            await registry.get_agent("scout-1")
