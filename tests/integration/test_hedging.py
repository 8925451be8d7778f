"""Hedging on one machine: a second attempt begins beside one that hangs, and of both one result counts."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.commands import HedgeRequest
from functions._core.placement.workers import Heartbeat, Running
from functions._core.records.attempts import other_of
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, TicketStatus
from functions._core.records.worker import Answer
from functions._core.slo import stored_policies as stored
from tests.support import hedge_course
from tests.support.hedge_course import a_hanging_attempt_is_hedged
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine
from tests.support.policy_course import POLICIES
from tests.support.pulling import done, leased, register_pulling
from tests.support.world import LocalWorld, decision, report_event, task, until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, limits={"at_risk_share": 0.001}) as running:
        running.world.workers.behave = lambda _assignment: None  # work that takes long
        yield running


@pytest.fixture
def world(api: Api) -> LocalWorld:
    return api.world


async def held(world: LocalWorld, flow_id: str, task_id: str = "a") -> Ticket:
    """Wait until a worker has accepted a ticket."""
    return await world.ticket(flow_id, lambda one: one.task_id == task_id and one.acknowledged_at is not None, "held")


async def hedged(world: LocalWorld, flow_id: str, **more: Any) -> Ticket:
    """Ask for a second attempt at the ticket that is held."""
    ticket = await held(world, flow_id)
    await world.platform.order(HedgeRequest(flow_id=flow_id, ticket_id=ticket.ticket_id, **more))
    return (await world.tickets(flow_id))["a"]


async def of_attempt(world: LocalWorld, attempt: int) -> Mapping[str, Any]:
    """Wait for the assignment of an attempt."""

    async def sent() -> Mapping[str, Any] | None:
        return next((one for one in world.workers.assignments if one["attempt"] == attempt), None)

    return await until(sent, f"attempt {attempt} to be sent")


async def test_a_hanging_attempt_is_hedged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedge_course, "FRESH_SECONDS", 0)  # there is no other process
    async with one_machine(tmp_path) as at:
        await a_hanging_attempt_is_hedged(at)


async def test_a_flow_at_risk_hedges_what_is_at_work_as_much_as_its_policy_says(api: Api, world: LocalWorld) -> None:
    for worker_id in ("w1", "w2"):
        await world.register(worker_id)
    form = {"on": "at_risk", "actions": [{"action": "hedge", "at_most": 2}]}
    assert (await api.client.put(f"{POLICIES}/p", json=form)).status_code == 201
    once = task("once", idempotent=False)
    flow_id = await world.submit(decision(task("a"), task("b"), task("c"), once, sla_deadline_seconds=600))

    async def applied() -> Any:
        found = await stored.applications_of(world.ports.key_values, flow_id)
        return found[0] if found and found[0].done_at else None

    [result] = (await until(applied, "the policy to act")).results
    tickets = await world.tickets(flow_id)
    second = sorted(one.task_id for one in tickets.values() if one.hedge is not None)
    assert (len(second), "once" in second) == (2, False)
    told = [f"a second attempt at {', '.join(names)} was begun" for names in (second, second[::-1])]
    assert (result.done, result.text in told) == (True, True), result.text
    assert sum((await world.ports.ticket_counts.active()).values()) == 6


@pytest.mark.parametrize("full", [False, True])
async def test_without_another_worker_nothing_happens_and_it_is_said(world: LocalWorld, full: bool) -> None:
    await world.register("w1", slots=1)
    flow_id = await world.submit(decision(task("a")))
    await held(world, flow_id)
    if full:
        await world.register("w2", slots=1)
        await held(world, await world.submit(decision(task("a"))))
    ticket = await hedged(world, flow_id, requested_by="ann", reason="late")
    assert (ticket.hedge, ticket.attempt) == (None, 1)
    [line] = [one for one in await world.history(flow_id) if one["type"] == "ticket.not_hedged"]
    assert (line["cause"], line["detail"]["requested_by"]) == ("no_worker", "ann")
    metrics = world.platform.metrics.text().decode()
    assert 'flowc_hedges_total{result="not_begun"} 1' in metrics


async def test_an_event_of_a_person_asks_for_a_second_attempt_and_is_refused_with_the_reason(
    api: Api, world: LocalWorld
) -> None:
    for worker_id in ("w1", "w2"):
        await world.register(worker_id)
    flow_id = await world.submit(decision(task("a", idempotent=False)))
    ticket = await held(world, flow_id)
    event = {"flow_id": flow_id, "ticket_id": ticket.ticket_id, "requested_by": "ann", "reason": "late"}
    headers = {"ce-id": "1", "ce-source": "/ann", "ce-specversion": "1.0"}
    headers["ce-type"] = "io.neuralhive.ticket.hedge_requested.v1"
    answer = await api.client.post("/", json=event, headers=headers)
    assert "not idempotent" in problem_of(answer, 409, "not_possible_now")["detail"]


async def test_a_worker_that_asks_does_the_second_attempt(api: Api, world: LocalWorld) -> None:
    await world.register("w1")
    flow_id = await world.submit(decision(task("a")))
    await held(world, flow_id)
    await register_pulling(api, "p1")
    await hedged(world, flow_id)
    [second] = await leased(api, "p1", wait_seconds=30)
    assert (second["attempt"], second["worker_id"]) == (2, "p1")
    running = (Running(ticket_id=second["ticket_id"], attempt=2),)
    assert await leased(api, "p1", running=[one.model_dump() for one in running]) == []
    assert (await world.platform.heartbeat("p1", Heartbeat(running=running))).cancel == ()
    assert (await done(api, second, output=2))["result"] == "recorded"
    assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
    assert [(one["attempt"], one["ticket_id"]) for one in world.workers.cancellations] == [(1, second["ticket_id"])]
    metrics = world.platform.metrics.text().decode()
    assert 'flowc_hedges_total{result="begun"} 1' in metrics
    assert 'flowc_hedges_total{result="won_by_second"} 1' in metrics


async def test_each_of_both_has_a_token_of_its_own(api: Api, world: LocalWorld) -> None:
    for worker_id in ("w1", "w2"):
        await world.register(worker_id)
    flow_id = await world.submit(decision(task("a")))
    await hedged(world, flow_id)
    first, second = [await of_attempt(world, number) for number in (1, 2)]
    assert first["worker_id"] != second["worker_id"]
    path = f"/api/v1/tickets/{first['ticket_id']}/status"
    body = {"status": "COMPLETED", "attempt": 2}
    stolen = await api.client.patch(path, json=body, headers={"authorization": f"Bearer {first['token']}"})
    problem_of(stolen, 403, "foreign_token")
    for one in (second, first):
        headers = {"authorization": f"Bearer {one['token']}"}
        answer = await api.client.patch(path, json={"status": "RUNNING", "attempt": one["attempt"]}, headers=headers)
        assert answer.status_code == 200, answer.text
    ticket = (await world.tickets(flow_id))["a"]
    other = other_of(ticket)
    assert other is not None
    assert None not in {ticket.started_at, other.started_at}
    report = report_event(first, status="COMPLETED", output=1)
    assert (await api.report(first, report)).json()["result"] == "recorded"
    late = await api.report(second, report_event(second, status="COMPLETED", output=2))
    assert late.json() == {"result": "superseded", "cancel": True}
    assert (await world.tickets(flow_id))["a"].output == 1


async def test_a_refusal_of_the_second_worker_leaves_the_first(api: Api, world: LocalWorld) -> None:
    for worker_id in ("w1", "w2"):
        await world.register(worker_id)
    flow_id = await world.submit(decision(task("a")))
    await held(world, flow_id)
    world.workers.answer = lambda _worker, _event: Answer(429, "full")
    await hedged(world, flow_id)
    ticket = await world.ticket(flow_id, lambda one: one.hedge is not None and one.hedge.ended_at is not None, "over")
    assert (ticket.attempt, ticket.status, other_of(ticket)) == (1, TicketStatus.ASSIGNED, None)
    await api.report(await of_attempt(world, 1), report_event(await of_attempt(world, 1), status="COMPLETED"))
    assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED
