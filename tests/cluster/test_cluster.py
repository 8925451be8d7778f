"""The functions as a cluster runs them: the same plans come to the same ends by the same steps as on one machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest
import pytest_asyncio

from functions._adapters.sql.postgres import PostgresStore
from functions._core.ports import KeyValues
from functions._engine.clock import SystemClock
from functions._hosts.entry import NAMES
from tests.cluster.broker import Chaos
from tests.cluster.world import Cluster, cluster
from tests.conftest import ROOT
from tests.support.console_course import the_console_comes
from tests.support.console_journey import a_person_works_with_the_console
from tests.support.constructs import Obeying, run_every_construct, same_course_of_constructs
from tests.support.freeze_course import a_deployment_waits_for_its_budget
from tests.support.healing_course import an_incident_is_healed
from tests.support.hedge_course import a_hanging_attempt_is_hedged
from tests.support.job_course import does_jobs
from tests.support.plans import SHAPES, proves_itself, seeded_decision
from tests.support.policy_course import flows_at_risk_are_acted_upon
from tests.support.postgres import Server
from tests.support.resource_course import a_document_is_kept_as_it_says
from tests.support.scenarios import recorded, same_course, wide
from tests.support.schedule_course import a_schedule_runs_a_stored_plan
from tests.support.slo_course import a_spent_budget_freezes
from tests.support.webhook_course import every_delivery_arrives

LIMIT = 64 * 1024
"""Bytes of an event that every broker has to take."""

MINUTES = 60
RECORDED = ROOT.parent / "shared" / "real-plans"

pytestmark = pytest.mark.timeout(6 * MINUTES)
SHARED = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> AsyncIterator[Cluster]:
    """Give one cluster to all tests in which no function dies: to start it takes longer than most of them."""
    name = await postgres.create()
    async with cluster(tmp_path_factory.mktemp("cluster"), postgres.named(name), workers=Obeying()) as found:
        yield found
    await postgres.drop(name)


@SHARED
async def test_plans_take_the_same_course_as_on_one_machine(running: Cluster, tmp_path: Path) -> None:
    """Run the generated plans, and the recorded ones where they are at hand: the mosaic is a recorded plan's shape."""
    plans = recorded(RECORDED)
    shapes = [shape for shape in SHAPES if shape != "mosaic" or not plans]
    dead = [*running.broker.dead]
    for decision in (*(seeded_decision(shape, 1) for shape in shapes), *plans.values()):
        await same_course(running, decision, tmp_path)
    assert running.broker.dead == dead
    assert running.broker.largest <= LIMIT


@SHARED
async def test_a_plan_with_every_construct_takes_the_same_course_as_on_one_machine(
    running: Cluster, tmp_path: Path
) -> None:
    dead = [*running.broker.dead]
    await same_course_of_constructs(running, tmp_path, 3 * MINUTES)
    assert running.broker.dead == dead


async def test_a_plan_with_every_construct_completes_while_functions_are_killed_and_events_come_twice(
    tmp_path: Path, new_database_url: str
) -> None:
    chaos = Chaos(duplicates=0.2, scatter=0.3, seed=16)
    async with cluster(tmp_path, new_database_url, chaos=chaos, workers=Obeying(pause_s=0.3)) as running:
        doing = asyncio.create_task(run_every_construct(running, 5 * MINUTES, pause_s=3))
        for name in cycle(NAMES):
            if doing.done():
                break
            await running.restarted(name)
        await doing
        assert await running.letters() == []


@SHARED
@pytest.mark.parametrize("tickets", [300, pytest.param(2000, marks=pytest.mark.slow)])
async def test_a_large_plan_completes_and_no_event_is_too_large(running: Cluster, tickets: int) -> None:
    decision = wide(seeded_decision("chain", 2), tickets)
    assert len(json.dumps(decision)) > LIMIT
    flow_id = await running.submit(decision)
    flow = await running.ended(flow_id, 10 * MINUTES)
    assert flow["status"] == "COMPLETED", flow
    assert proves_itself(decision["cognitive_plan"], await running.history(flow_id)) == []
    assert running.broker.largest <= LIMIT


async def test_a_plan_completes_while_one_function_after_the_other_is_killed_and_events_come_twice_and_in_any_order(
    tmp_path: Path, new_database_url: str
) -> None:
    decision = seeded_decision("mosaic", 3)
    chaos = Chaos(duplicates=0.2, scatter=0.3, seed=7)
    async with cluster(tmp_path, new_database_url, chaos=chaos) as running:
        flow_id = await running.submit(decision)
        ending = asyncio.create_task(running.ended(flow_id, 5 * MINUTES))
        for name in cycle(NAMES):
            if ending.done():
                break
            await running.restarted(name)
        flow = await ending
        assert flow["status"] == "COMPLETED", flow
        assert proves_itself(decision["cognitive_plan"], await running.history(flow_id)) == []
        assert await running.letters() == []


@SHARED
@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=pytest.mark.slow)])
async def test_a_plan_completes_although_the_broker_was_away(running: Cluster, seconds: float) -> None:
    decision = seeded_decision("layers", 4)
    flow_id = await running.submit(decision)
    await asyncio.sleep(0.5)
    running.broker.down = True
    await asyncio.sleep(seconds)
    running.broker.down = False
    flow = await running.ended(flow_id, 5 * MINUTES)
    assert flow["status"] == "COMPLETED", flow
    assert proves_itself(decision["cognitive_plan"], await running.history(flow_id)) == []


@SHARED
async def test_a_browser_gets_the_console(running: Cluster) -> None:
    await the_console_comes(running.url)


@SHARED
async def test_a_person_works_with_the_console(running: Cluster) -> None:
    await a_person_works_with_the_console(running, ["w0", "w1"])


@SHARED
async def test_a_stored_plan_is_run_by_its_name_and_by_a_schedule(running: Cluster) -> None:
    dead = [*running.broker.dead]
    await a_schedule_runs_a_stored_plan(running)
    assert running.broker.dead == dead


@SHARED
async def test_an_incident_is_healed_across_functions(running: Cluster) -> None:
    dead = [*running.broker.dead]
    await an_incident_is_healed(running)
    assert running.broker.dead == dead


@SHARED
async def test_jobs_are_done_without_a_worker(running: Cluster) -> None:
    dead = [*running.broker.dead]
    await does_jobs(running)
    assert running.broker.dead == dead


@SHARED
async def test_flows_at_risk_are_acted_upon_by_their_policies(running: Cluster) -> None:
    dead = [*running.broker.dead]
    await flows_at_risk_are_acted_upon(running)
    assert running.broker.dead == dead


@SHARED
async def test_a_hanging_attempt_is_hedged(running: Cluster) -> None:
    dead = [*running.broker.dead]
    await a_hanging_attempt_is_hedged(running, 3 * MINUTES)
    assert running.broker.dead == dead


@SHARED
async def test_a_deployment_waits_while_its_service_is_frozen(running: Cluster) -> None:
    dead = [*running.broker.dead]
    await a_deployment_waits_for_its_budget(running, 3 * MINUTES)
    assert running.broker.dead == dead


@SHARED
async def test_a_document_is_applied_kept_as_it_says_and_deleted(running: Cluster) -> None:
    dead = [*running.broker.dead]
    async with key_values_of(running) as entries:
        await a_document_is_kept_as_it_says(running, entries, 3 * MINUTES)
    assert running.broker.dead == dead


@SHARED
async def test_a_spent_error_budget_freezes_its_service_and_tells_it(running: Cluster) -> None:
    async with key_values_of(running) as entries:
        await a_spent_budget_freezes(running, entries, 5 * MINUTES)


@asynccontextmanager
async def key_values_of(running: Cluster) -> AsyncIterator[KeyValues]:
    """Give the small records of a cluster's store."""
    store = await PostgresStore.open(running.database_url, owner=None)
    try:
        yield store.stores.key_values(SystemClock())
    finally:
        await store.close()


@SHARED
async def test_every_event_of_a_flow_reaches_its_webhooks_signed_and_once(running: Cluster) -> None:
    await every_delivery_arrives(running, seeded_decision("fork_join", 11), 5 * MINUTES)
