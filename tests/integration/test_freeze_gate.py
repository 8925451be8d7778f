"""A freeze holds a deployment back, and a spent budget flows, over real HTTP; both say why, and both are bounded."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Rejected
from functions._core.events.commands import ClaimRequest
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._core.slo import stored
from tests.support.freeze_course import a_deployment_waits_for_its_budget
from tests.support.freezes import SLO_ID, freeze_checkout, spend, unfreeze
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, task, until

DEPLOY = {"task_type": "DEPLOY", "parameters": {"service": "checkout"}}
POLICIES = "/api/v1/admission-policies"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Give a platform that looks again soon."""
    limits = {"freeze_look": timedelta(seconds=0.2), "reemit": timedelta(seconds=0.2)}
    async with running_api(tmp_path, limits=limits) as running:
        await running.world.register(slots=50)
        yield running


async def test_a_deployment_waits_for_its_budget_on_one_machine(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        await api.world.register()
        await a_deployment_waits_for_its_budget(api)


async def frozen_flow(api: Api, *more: dict[str, Any]) -> tuple[str, str]:
    """Return the ids of a flow and its ticket that a freeze holds back."""
    world = api.world
    flow_id = await world.submit(decision(task("deploy", **DEPLOY), *more))
    held = await world.ticket(flow_id, lambda ticket: ticket.waiting is Waiting.FREEZE, "is held back")
    return flow_id, held.ticket_id


async def text_of(api: Api, record_id: str) -> str:
    return " ".join((await api.get(f"/api/v1/why/{record_id}"))["text"])


async def test_a_deployment_waits_for_the_end_of_a_freeze_and_then_goes_on(api: Api) -> None:
    entries, clock = api.world.ports.key_values, api.world.ports.clock
    freeze = await freeze_checkout(entries, clock.now())
    flow_id, ticket_id = await frozen_flow(api, task("build"))
    await api.world.ticket(flow_id, lambda one: one.task_id == "build" and not one.live, "is done")
    other = await api.world.submit(decision(task("other", task_type="DEPLOY", parameters={"service": "search"})))
    assert (await api.world.ended(other)).status is FlowStatus.COMPLETED
    told = await text_of(api, ticket_id)
    assert "service checkout is frozen since" in told
    assert f"by policy spent budgets (freeze {freeze.event_id})" in told
    assert "blocked_by_freeze" in told
    assert f"freeze {freeze.event_id}" in await text_of(api, flow_id)
    stuck = await api.get("/api/v1/stuck")
    assert any("the end of a freeze: service checkout is frozen" in group["text"] for group in stuck["groups"])
    claim = ClaimRequest(flow_id=flow_id, ticket_id=ticket_id, worker_id="w9")
    with pytest.raises(Rejected, match="frozen since") as refused:
        await api.world.platform.order(claim)
    assert refused.value.code == "blocked_by_freeze"
    await unfreeze(entries, freeze, clock.now())
    assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED
    kinds = [entry["type"] for entry in await api.world.history(flow_id)]
    assert kinds.count("ticket.held_back") == 1
    assert 'flowc_held_back_total{limit="freeze"} 1' in api.world.platform.metrics.text().decode()


async def test_a_deployment_whose_service_another_task_names_waits_for_the_end_of_its_freeze(api: Api) -> None:
    entries, clock = api.world.ports.key_values, api.world.ports.clock
    named = {"where": {"service": "checkout"}, "other": "search"}
    api.world.workers.behave = lambda _assignment: {"status": "COMPLETED", "output": named}
    freeze = await freeze_checkout(entries, clock.now())
    tasks = [
        task(name, "plan", task_type="DEPLOY", parameters={"service": {"$output": "plan", "path": path}})
        for name, path in (("deploy", "/where/service"), ("elsewhere", "/other"))
    ]
    flow_id = await api.world.submit(decision(task("plan"), *tasks))
    held = await api.world.ticket(flow_id, lambda ticket: ticket.waiting is Waiting.FREEZE, "is held back")
    other = await api.world.ticket(flow_id, lambda one: one.task_id == "elsewhere" and not one.live, "is done")
    assert (held.task_id, other.status) == ("deploy", TicketStatus.COMPLETED)
    assert "service checkout is frozen since" in await text_of(api, held.ticket_id)
    claim = ClaimRequest(flow_id=flow_id, ticket_id=held.ticket_id, worker_id="w9")
    with pytest.raises(Rejected, match="frozen since"):
        await api.world.platform.order(claim)
    await unfreeze(entries, freeze, clock.now())
    assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_the_end_of_a_freeze_by_a_person_lets_its_tickets_go_on_at_once(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:  # a minute until the next look by itself
        await api.world.register()
        freeze = await freeze_checkout(api.world.ports.key_values, api.world.ports.clock.now())
        flow_id, _ = await frozen_flow(api)
        answer = await api.client.post(
            f"/api/v1/policies/freezes/{freeze.event_id}/resolve", json={"reason": "it was a false alarm"}
        )
        assert answer.status_code == 200, answer.text
        assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_a_person_lets_a_ticket_pass_a_freeze_that_goes_on(api: Api) -> None:
    await freeze_checkout(api.world.ports.key_values, api.world.ports.clock.now())
    flow_id, ticket_id = await frozen_flow(api)
    path = f"/api/v1/tickets/{ticket_id}/freeze-exception"
    tried = await api.client.post(path, json={"reason": "it repairs it", "dry_run": True})
    assert [one["type"] for one in tried.json()["changes"]] == ["ticket.freeze_excepted"]
    assert (await api.world.tickets(flow_id))["deploy"].waiting is Waiting.FREEZE
    answer = await api.client.post(path, json={"reason": "it repairs it", "requested_by": "ada"})
    assert answer.status_code == 202, answer.text
    assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED
    audits = await api.get(f"/api/v1/audits?flow_id={flow_id}&kind=action")
    [audit] = audits["items"]
    assert (audit["action"], audit["who"], audit["why"]) == ("except_ticket_from_freezes", "ada", "it repairs it")
    problem_of(await api.client.post(path, json={}), 409, "not_possible_now")


async def test_a_ticket_that_is_held_back_ends_with_its_flow(api: Api) -> None:
    await freeze_checkout(api.world.ports.key_values, api.world.ports.clock.now())
    flow_id = await api.world.submit(decision(task("deploy", **DEPLOY), sla_deadline_seconds=1))
    assert (await api.world.ended(flow_id)).status is FlowStatus.TIMED_OUT
    ticket = (await api.world.tickets(flow_id))["deploy"]
    assert (ticket.status, ticket.attempt) == (TicketStatus.CANCELLED, 0)


async def put(api: Api, name: str, **form: Any) -> dict[str, Any]:
    answer = await api.client.put(f"{POLICIES}/{name}", json=form)
    assert answer.status_code in {200, 201}, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def submitted(api: Api, **more: Any) -> str:
    return await api.world.submit(decision(task("a"), **{"labels": {"service": "checkout"}, **more}))


async def test_while_a_budget_is_spent_flows_are_refused_approved_first_or_lowered(api: Api) -> None:
    await spend(api.world.ports.key_values, api.world.ports.clock.now())
    await put(api, "p", action="REFUSE")
    refused = await api.world.ended(await submitted(api))
    assert (refused.status, [one.code for one in refused.reasons]) == (FlowStatus.REJECTED, ["budget_spent"])
    assert "by admission policy p it is refused" in refused.reasons[0].message
    assert (await api.world.ended(await submitted(api, labels={}))).status is FlowStatus.COMPLETED
    await put(api, "p", action="APPROVE")
    asked = await submitted(api)
    assert [one.code for one in (await api.world.reached(asked, "AWAITING_APPROVAL")).reasons] == ["budget_spent"]
    assert (await api.client.post(f"/api/v1/flows/{asked}/approve", json={})).status_code == 202
    assert (await api.world.ended(asked)).status is FlowStatus.COMPLETED
    await put(api, "p", action="LOWER", priority="LOW")
    low = await submitted(api, priority="CRITICAL")
    flow = await api.world.ended(low)
    assert (flow.priority, flow.warnings[0].code) == ("LOW", "budget_spent")
    assert {ticket.priority for ticket in (await api.world.tickets(low)).values()} == {"LOW"}
    await put(api, "first", action="ADMIT", order=1)
    assert (await api.world.ended(await submitted(api, priority="CRITICAL"))).priority == "CRITICAL"


async def test_a_flow_is_held_until_the_budget_recovers_or_its_time_is_over(api: Api) -> None:
    entries, now = api.world.ports.key_values, api.world.ports.clock.now
    await spend(entries, now())
    await put(api, "p", action="HOLD", hold_at_most_seconds=600)
    held = await submitted(api)
    await until(lambda: _reasoned(api, held), "the flow to be held")
    why = await api.get(f"/api/v1/why/{held}")
    assert why["waits_for"] == "an error budget to recover, by admission policy p"
    assert f"SLO {SLO_ID}" in " ".join(why["text"])
    stuck = await api.get("/api/v1/stuck")
    assert any("an error budget to recover, by admission policy p" in group["text"] for group in stuck["groups"])
    await spend(entries, now(), remaining=80)
    api.world.platform.ports.budget_gate.forget()
    assert (await api.world.ended(held)).status is FlowStatus.COMPLETED
    assert [entry["type"] for entry in await api.world.history(held)].count("flow.held_back") == 1
    await spend(entries, now())
    await put(api, "p", action="HOLD", hold_at_most_seconds=1)
    assert (await api.world.ended(await submitted(api))).status is FlowStatus.COMPLETED
    await put(api, "p", action="HOLD")
    gone = await submitted(api)
    await until(lambda: _reasoned(api, gone), "the flow to be held")
    assert (await api.client.delete(f"{POLICIES}/p")).status_code == 204
    assert (await api.world.ended(gone)).status is FlowStatus.COMPLETED


async def _reasoned(api: Api, flow_id: str) -> bool | None:
    flow = await api.world.flow(flow_id)
    return (flow is not None and [one.code for one in flow.reasons] == ["budget_spent"]) or None


async def test_admission_policies_are_made_shown_replaced_and_forgotten(api: Api) -> None:
    made = await put(api, "p", action="hold", flows={"risk_bands": ["HIGH"]})
    assert (made["action"], made["flows"]["risk_bands"], made["statuses"]) == ("HOLD", ["high"], ["EXHAUSTED"])
    again = await put(api, "p", action="REFUSE", order=5)
    assert (again["created_at"], again["order"]) == (made["created_at"], 5)
    await put(api, "a", action="ADMIT", order=5)
    assert [one["name"] for one in (await api.get(POLICIES))["items"]] == ["a", "p"]
    assert (await api.get(f"{POLICIES}/p"))["action"] == "REFUSE"
    assert (await api.client.delete(f"{POLICIES}/p")).status_code == 204
    for answer in (await api.client.delete(f"{POLICIES}/p"), await api.client.get(f"{POLICIES}/p")):
        problem_of(answer, 404, "unknown_admission_policy")
    audits = await api.get("/api/v1/audits?kind=action")
    assert [one["action"] for one in audits["items"]].count("put_admission_policy") == 3


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("a%00b", {"action": "HOLD"}, 422),
        ("-", {"action": "HOLD"}, 422),
        ("a" * 64, {"action": "HOLD"}, 422),
        ("p", {"action": "HOLD", "labels": {}}, 422),
        ("p", {"action": "HOLD", "flows": {"labels": {f"n{number}": "" for number in range(17)}}}, 422),
        ("p", {"action": "HOLD", "description": "x" * 20_000}, 413),
        ("p", {"action": "HOLD", "freeze_policies": ["x"] * 51}, 422),
        ("p", {"action": "HOLD", "hold_at_most_seconds": 10**12}, 422),
        ("p", {"action": "<script>"}, 422),
    ],
)
async def test_what_could_do_harm_is_refused(api: Api, name: str, body: dict[str, Any], status: int) -> None:
    assert (await api.client.put(f"{POLICIES}/{name}", json=body)).status_code == status
    assert await stored.ADMISSION_POLICIES.all(api.world.ports.key_values) == []


async def test_there_are_not_more_policies_than_there_may_be(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored.ADMISSION_POLICIES, "at_most", 1)
    await put(api, "p", action="HOLD")
    await put(api, "p", action="ADMIT")
    problem_of(await api.client.put(f"{POLICIES}/q", json={"action": "HOLD"}), 409, "too_many")
