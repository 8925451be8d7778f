"""A deployment by an executor in a flow: a freeze holds it back, and what fails after it takes it back."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._executors.argocd import ArgocdExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker import Assignment
from functions._worker.jobs import JobsExecutor
from tests.support.argocd_server import TOKEN, ArgocdServer
from tests.support.freezes import freeze_checkout, unfreeze
from tests.support.http_api import running_api
from tests.support.loopback import until
from tests.support.world import LocalWorld, decision, report_event, task

LIMITS = {"freeze_look": timedelta(seconds=0.2), "reemit": timedelta(seconds=0.2)}
DEPLOY = {"provider": "argocd", "application": "shop", "revision": "v2", "service": "checkout"}


async def work(world: LocalWorld, jobs: JobsExecutor, number: int) -> dict[str, Any]:
    """Do the assignment of a number by the executor, as its worker would, and return what it was asked for."""
    given = world.workers.assignments
    await until(lambda: len(given) > number, f"assignment {number}")
    output = await jobs.run(Assignment.model_validate(given[number]))
    assert world.workers.report is not None
    await world.workers.report(report_event(given[number], status="COMPLETED", output=output))
    return dict(given[number])


async def test_a_deployment_waits_for_the_end_of_a_freeze_and_is_taken_back_by_the_flow(tmp_path: Path) -> None:
    error = {"type": "red", "message": "the smoke test fails", "retryable": False}
    async with running_api(tmp_path, limits=LIMITS) as api, ArgocdServer() as argo:
        about = {"WORKER_ARGOCD_URL": argo.url, "WORKER_ARGOCD_TOKEN": TOKEN, "WORKER_APPLICATIONS": "shop"}
        executor = ArgocdExecutor(ExecutorSettings.from_environment(about))
        executor.pause_seconds = 0.0
        jobs, world = JobsExecutor([executor]), api.world
        fails = {"status": "FAILED", "error": error}
        world.workers.behave = lambda given: fails if given["task_id"] == "smoke" else None
        await world.register("argo", *jobs.capabilities, "python")
        entries, clock = world.ports.key_values, world.ports.clock
        freeze = await freeze_checkout(entries, clock.now())
        tasks = [
            task("deploy", task_type="DEPLOY", parameters=DEPLOY, required_capabilities=[]),
            task("smoke", "deploy"),
        ]
        flow_id = await world.submit(decision(*tasks))
        await world.ticket(flow_id, lambda one: one.waiting is Waiting.FREEZE, "is held back")
        assert argo.requests == []
        await unfreeze(entries, freeze, clock.now())
        deploying = asyncio.create_task(work(world, jobs, 0))
        await until(lambda: argo.running, "the sync")
        argo.finish()
        argo.reconcile()
        await deploying
        undoing = asyncio.create_task(work(world, jobs, 2))
        await until(lambda: argo.running, "the sync back")
        argo.finish()
        argo.reconcile()
        asked = (await undoing)["parameters"]
        flow = await world.ended(flow_id)
        deploy = await world.ticket(flow_id, lambda one: one.task_id == "deploy" and not one.live, "has ended")
        await jobs.aclose()
    assert (flow.status, deploy.status) == (FlowStatus.FAILED, TicketStatus.COMPENSATED)
    assert {**asked, "compensates": None} == {
        "provider": "argocd",
        "application": "shop",
        "action": "rollback",
        "revision": "4",
        "compensates": None,
    }
    assert argo.app["spec"]["source"]["targetRevision"] == "c0ffee0"
