"""The registry over gRPC answers as its routes do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.support.grpc_client import channel, modules, port_of, refusal
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import PATIENCE_S

messages, stubs = modules("service_registry")
Code = grpc.StatusCode


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path, grpc_port=0) as running_one:
        yield running_one


@pytest.fixture
async def stub(world: OneMachine) -> AsyncIterator[Any]:
    async with channel(port_of(world)) as opened:
        yield stubs.ServiceRegistryStub(opened)


def registration(agent_id: str, *capabilities: str, **more: Any) -> Any:
    asked = messages.RegisterRequest(agent_id=agent_id, capabilities=capabilities or ("python",), **more)
    asked.endpoint = asked.endpoint or f"http://127.0.0.1:1/{agent_id}"
    return asked


async def test_an_agent_that_registers_is_what_the_route_shows(world: OneMachine, stub: Any) -> None:
    asked = registration("a-1", "Python ", "go", version="1.2", metadata={"region": "eu"}, slots=3)
    asked.telemetry.success_rate = 0.75
    asked.telemetry.total_executions = 8
    asked.telemetry.avg_duration_ms = 12
    answer = await stub.Register(asked)
    assert answer.agent_id == "a-1"
    assert answer.registration_token.startswith("whsec_")
    assert answer.heartbeat_interval_seconds == 30
    twin = (await world.client.get("/api/v1/agents/a-1")).json()
    agent = (await stub.GetAgent(messages.GetAgentRequest(agent_id="a-1"))).agent
    assert list(agent.capabilities) == twin["capabilities"] == ["go", "python"]
    assert dict(agent.metadata) == twin["metadata"] == {"region": "eu", "version": "1.2"}
    assert (agent.agent_type, agent.status, agent.version) == (messages.WORKER, messages.HEALTHY, "1.2")
    assert (agent.telemetry.success_rate, agent.telemetry.failed_executions) == (0.75, 2)
    assert (agent.endpoint, agent.slots) == (twin["endpoint"], 3)
    assert agent.registered_at == answer.registered_at


async def test_a_heartbeat_is_heard_and_an_unknown_agent_is_told(world: OneMachine, stub: Any) -> None:
    await stub.Register(registration("a-1"))
    before = (await stub.GetAgent(messages.GetAgentRequest(agent_id="a-1"))).agent
    beat = messages.HeartbeatRequest(agent_id="a-1", status=messages.DEGRADED)
    beat.telemetry.success_rate = 0.5
    answer = await stub.Heartbeat(beat)
    assert answer.status == messages.DEGRADED
    twin = (await world.client.get("/api/v1/agents/a-1")).json()
    assert (twin["status"], twin["telemetry"]["success_rate"]) == ("DEGRADED", 0.5)
    assert answer.last_seen >= before.last_seen
    assert (await refusal(stub.Heartbeat(messages.HeartbeatRequest(agent_id="nobody")))).code() is Code.NOT_FOUND


async def test_discovery_ranks_as_the_route_does(world: OneMachine, stub: Any) -> None:
    for number, rate in ((1, 0.9), (2, 0.2), (3, 0.99)):
        asked = registration(f"a-{number}", metadata={"region": "eu" if number < 3 else "us"})
        asked.telemetry.success_rate = rate
        await stub.Register(asked)
    wanted = {"capabilities": ["python"], "filters": {"region": "eu", "min_success_rate": 0.1, "exclude": ["a-9"]}}
    twin = (await world.client.post("/api/v1/agents/discover", json=wanted)).json()
    filters = {"region": "eu", "min_success_rate": "0.1", "exclude": "a-9"}
    found = await stub.DiscoverAgents(messages.DiscoverRequest(capabilities=["python"], filters=filters))
    assert [agent.agent_id for agent in found.agents] == [agent["agent_id"] for agent in twin["agents"]]
    assert [agent.agent_id for agent in found.agents] == ["a-1", "a-2"]
    assert found.agents[0].composite_score == pytest.approx(twin["agents"][0]["composite_score"])
    one = await stub.DiscoverAgents(messages.DiscoverRequest(capabilities=["python"], max_results=1))
    assert [agent.agent_id for agent in one.agents] == ["a-3"]
    for wrong in ({"min_success_rate": "much"}, {"colour": "red"}, {"status": "SPLENDID"}):
        error = await refusal(stub.DiscoverAgents(messages.DiscoverRequest(filters=wrong)))
        assert error.code() is Code.INVALID_ARGUMENT


async def test_agents_are_listed_by_type_and_filters_and_leave(stub: Any) -> None:
    await stub.Register(registration("w"))
    await stub.Register(registration("s", agent_type=messages.SCOUT))
    listed = await stub.ListAgents(messages.ListAgentsRequest())
    assert [agent.agent_id for agent in listed.agents] == ["s", "w"]
    scouts = await stub.ListAgents(messages.ListAgentsRequest(agent_type=messages.SCOUT))
    assert [agent.agent_id for agent in scouts.agents] == ["s"]
    nobody = await stub.ListAgents(messages.ListAgentsRequest(filters={"capability": "cobol"}))
    assert len(nobody.agents) == 0
    wrong = messages.ListAgentsRequest(filters={"colour": "red"})
    assert (await refusal(stub.ListAgents(wrong))).code() is Code.INVALID_ARGUMENT
    assert (await stub.Deregister(messages.DeregisterRequest(agent_id="s"))).success
    assert not (await stub.Deregister(messages.DeregisterRequest(agent_id="s"))).success
    assert (await refusal(stub.GetAgent(messages.GetAgentRequest(agent_id="s")))).code() is Code.NOT_FOUND


async def test_a_watch_tells_what_follows_the_list_and_is_continued(stub: Any) -> None:
    await stub.Register(registration("before"))
    revision = (await stub.ListAgents(messages.ListAgentsRequest())).revision
    seen: list[Any] = []

    async def watch(from_revision: int, until: int) -> None:
        asked = messages.WatchAgentsRequest(from_revision=from_revision)
        async for event in stub.WatchAgents(asked):
            seen.append(event)
            if len(seen) == until:
                return

    watching = asyncio.create_task(watch(revision, 2))
    await stub.Register(registration("after"))
    await stub.Deregister(messages.DeregisterRequest(agent_id="before"))
    await asyncio.wait_for(watching, PATIENCE_S)
    told = [(event.event_type, event.agent.agent_id) for event in seen]
    assert told == [(messages.REGISTERED, "after"), (messages.DEREGISTERED, "before")]
    assert seen[0].revision < seen[1].revision
    await stub.Register(registration("later"))
    await asyncio.wait_for(watch(seen[-1].revision, 3), PATIENCE_S)
    assert seen[2].agent.agent_id == "later"
    gone = stub.WatchAgents(messages.WatchAgentsRequest(from_revision=0, agent_type=99))
    assert (await refusal(gone.read())).code() is Code.INVALID_ARGUMENT


async def test_an_agent_without_an_endpoint_asks_for_its_tickets(world: OneMachine, stub: Any) -> None:
    answer = await stub.Register(messages.RegisterRequest(agent_id="pulls", capabilities=["python"]))
    assert answer.agent_id == "pulls"
    assert (await world.client.get("/api/v1/workers/pulls")).json()["delivery"] == "pull"
