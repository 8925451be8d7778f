"""The analysis beside a real platform: its analyst among the agents, and insights about flows that really ran."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from functions._core.insights.stored import all_insights
from functions._core.insights.window import LENGTH
from functions._core.records.values import Waiting
from functions._core.records.worker import OWN_ANALYST
from functions.analyze.function import DELAY, analyze
from tests.support.analysis import ToldInsights
from tests.support.clocks import HandClock
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, task

AGENTS = "/api/v1/agents"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def test_the_analyst_is_listed_and_gets_no_tickets(api: Api) -> None:
    assert (await api.get(f"{AGENTS}?type=ANALYST"))["items"] == []
    await analyze(api.world.ports, None)
    [analyst] = (await api.get(f"{AGENTS}?type=analyst"))["items"]
    assert (analyst["agent_id"], analyst["agent_type"], analyst["status"]) == (OWN_ANALYST, "ANALYST", "HEALTHY")
    flow_id = await api.world.submit(decision(task("a", required_capabilities=[]), sla_deadline_seconds=1))
    assert (await api.world.ended(flow_id)).outcome == "TIMED_OUT"
    assert (await api.world.tickets(flow_id))["a"].attempt == 0


async def test_a_platform_without_workers_says_so_though_its_analyst_is_healthy(api: Api) -> None:
    ports = api.world.ports
    await analyze(ports, None)
    await api.world.platform.instruments.gauges.refresh()
    lines = api.world.platform.metrics.text().decode().splitlines()
    [healthy] = [line for line in lines if line.startswith("agents_active{") and '"HEALTHY"' in line]
    assert healthy.split()[-1] == "0.0", "an alert goes by this"
    flow_id = await api.world.submit(decision(task("a", required_capabilities=[])))
    waiting = await api.world.ticket(flow_id, lambda one: one.waiting is Waiting.WORKER, "waits for a worker")
    assert waiting.refusals == (), "the analyst is no worker that was left out"
    found = await api.get("/api/v1/diagnose/empty-discovery")
    assert "No worker is registered." in str(found)


async def test_nobody_registers_or_removes_the_analyst(api: Api) -> None:
    await analyze(api.world.ports, None)
    form = {"agent_id": OWN_ANALYST, "agent_type": "ANALYST", "endpoint": "http://127.0.0.1:1/"}
    problem_of(await api.client.post(AGENTS, json=form), 403, "reserved_worker")
    problem_of(await api.client.delete(f"{AGENTS}/{OWN_ANALYST}"), 403, "reserved_worker")
    assert len((await api.get(f"{AGENTS}?type=ANALYST"))["items"]) == 1


async def test_flows_that_really_failed_are_explained_and_one_is_in_its_trace(api: Api) -> None:
    world, clock, told = api.world, HandClock(), ToldInsights()
    ports = replace(world.ports, clock=clock)
    clock.time = world.ports.clock.now()
    await analyze(ports, told)
    error = {"type": "no_such_tag", "message": "<img src=x onerror=alert(1)>", "retryable": False}
    world.workers.behave = lambda _assignment: {"status": "FAILED", "error": error}
    await world.register("forge-1")
    said = {"consensus_metrics": {"divergence_score": 0.4, "convergence_time_ms": 9000}, "correlation_id": "release-7"}
    flow = await world.run(task("a", max_retries=0), **said)
    assert flow.outcome == "FAILED"
    clock.time += LENGTH * 2 + DELAY + timedelta(seconds=1)
    assert (await analyze(ports, told)).failed == {}
    found = {one.metadata["rule"]: one for one in await all_insights(ports.key_values)}
    assert found.keys() == {"flow-failure", "divergence", "slow-consensus"}
    failure = found["flow-failure"]
    assert failure.title == "1 flow failed: EXECUTE work failed at worker 'forge-1' ('no_such_tag')"
    assert (failure.correlation_id, failure.trace_id) == ("release-7", flow.trace_id)
    assert {one.insight_id for one in told.of("insights.operational")} == {one.insight_id for one in found.values()}
    assert "onerror" not in "".join(one.model_dump_json() for one in found.values())


async def test_a_subscription_may_name_the_events_of_insights(api: Api) -> None:
    types = [f"io.neuralhive.insights.{kind}.v1" for kind in ("analyzed", "strategic", "operational")]
    answer = await api.client.post("/api/v1/subscriptions", json={"sink": "https://queen.example.com/", "types": types})
    assert answer.status_code == 201, answer.text
    assert answer.json()["types"] == sorted(types)
