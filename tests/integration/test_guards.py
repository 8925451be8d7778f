"""Guards over real HTTP: C1 refuses, tickets wait in quarantine or fail, people decide, and an outage is survived."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Rejected
from functions._core.events.commands import ClaimRequest
from functions._core.guards import asking
from functions._core.guards.policy import GUARD_POLICIES
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from tests.conftest import ROOT
from tests.support.documents import blocks
from tests.support.http_api import Api, problem_of, running_api
from tests.support.loopback import Answer, Request
from tests.support.opa import OpaContractServer
from tests.support.world import decision, task, until

POLICIES = "/api/v1/guard-policies"
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
SECRET = {"parameters": {"env": {"GITHUB": TOKEN}}}

LIMITS = {"reemit": timedelta(seconds=0.2), "freeze_look": timedelta(seconds=0.2)}

REGO = """package flowc.plan

import rego.v1

deny contains message if {
    some task in input.tasks
    task.task_type == "DEPLOY"
    input.flow.risk_band == "critical"
    message := sprintf("task %s deploys in a flow of critical risk", [task.task_id])
}
"""

TICKETS = """package flowc.ticket

import rego.v1

quarantine contains message if {
    input.task.provider == "command"
    message := sprintf("%s is a command with %v", [input.task.task_id, input.task.parameters])
}

deny contains message if {
    input.task.parameters.forbidden
    message := "it is forbidden"
}
"""


@asynccontextmanager
async def guarded(folder: Path, **settings: Any) -> AsyncIterator[Api]:
    async with running_api(folder, **{"limits": LIMITS, **settings}) as running:
        await running.world.register("w1", "python", "execute:command", slots=50)
        yield running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Give a platform that looks again soon."""
    async with guarded(tmp_path) as running:
        yield running


@pytest.fixture
async def opa() -> AsyncIterator[OpaContractServer]:
    """Give a policy server with two policies."""
    async with OpaContractServer() as server:
        server.policies.update({"plan.rego": REGO, "ticket.rego": TICKETS})
        yield server


async def put(api: Api, name: str, **form: Any) -> dict[str, Any]:
    answer = await api.client.put(f"{POLICIES}/{name}", json=form)
    assert answer.status_code in {200, 201}, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def in_quarantine(api: Api, *tasks: dict[str, Any], **more: Any) -> tuple[str, str]:
    """Return the ids of a flow and its ticket in quarantine."""
    flow_id = await api.world.submit(decision(*tasks, **more))
    held = await api.world.ticket(flow_id, lambda one: one.waiting is Waiting.QUARANTINE, "is in quarantine")
    return flow_id, held.ticket_id


async def text_of(api: Api, record_id: str) -> str:
    return " ".join((await api.get(f"/api/v1/why/{record_id}"))["text"])


async def verdicts(api: Api, flow_id: str) -> list[str]:
    history = await api.world.history(flow_id)
    return [entry["detail"]["finding"] for entry in history if entry["type"] == "guard.verdict"]


async def test_policies_are_made_read_and_forgotten(api: Api) -> None:
    made = await put(api, "secrets", action="QUARANTINE", secrets=True, description="no secrets")
    assert await put(api, "secrets", action="deny", secrets=True) == {
        **made,
        "action": "DENY",
        "description": "",
        "updated_at": (await api.get(f"{POLICIES}/secrets"))["updated_at"],
    }
    assert [one["name"] for one in (await api.get(POLICIES))["items"]] == ["secrets"]
    problem_of(await api.client.put(f"{POLICIES}/none", json={"action": "DENY"}), 422, "invalid_data")
    problem_of(await api.client.get(f"{POLICIES}/none"), 404, "unknown_guard_policy")
    assert (await api.client.delete(f"{POLICIES}/secrets")).status_code == 204
    problem_of(await api.client.delete(f"{POLICIES}/secrets"), 404, "unknown_guard_policy")
    audits = (await api.get("/api/v1/audits?kind=action"))["items"]
    assert {one["action"] for one in audits} == {"put_guard_policy", "delete_guard_policy"}


async def test_c1_refuses_a_plan_that_breaks_a_policy_with_its_message(api: Api) -> None:
    await put(api, "secrets", action="DENY", secrets=True, message="see the handbook, page 7")
    flow_id = await api.world.submit(decision(task("a"), task("b", **SECRET)))
    flow = await api.world.ended(flow_id)
    assert flow.status is FlowStatus.REJECTED
    [reason] = flow.reasons
    assert (reason.code, reason.where) == ("policy_denied", "b")
    assert "see the handbook, page 7 (guard policy secrets)" in reason.message
    assert await verdicts(api, flow_id) == ["deny"]
    [audit] = (await api.get(f"/api/v1/audits?flow_id={flow_id}"))["items"]
    assert (audit["valid"], audit["errors"][0]["code"]) == (False, "policy_denied")
    metrics = api.world.platform.metrics.text().decode()
    assert 'flowc_guard_verdicts_total{finding="deny",stage="plan"} 1' in metrics
    assert 'neural_hive_flow_c_failures_total{reason="policy_denied"} 1' in metrics


async def test_a_secret_waits_in_quarantine_until_a_person_releases_it(api: Api) -> None:
    await put(api, "secrets", action="QUARANTINE", secrets=True)
    flow_id, ticket_id = await in_quarantine(api, task("a", **SECRET), task("b", "a"))
    told = await text_of(api, ticket_id)
    assert "a person to release it from quarantine" in told
    assert "parameters.env.GITHUB holds a token of GitHub" in told
    assert f"flowc guard release {ticket_id}" in told
    assert TOKEN not in told
    stuck = await api.get("/api/v1/stuck")
    assert any("release it from quarantine" in group["text"] for group in stuck["groups"])
    with pytest.raises(Rejected, match="cannot begin"):
        await api.world.platform.order(ClaimRequest(flow_id=flow_id, ticket_id=ticket_id, worker_id="w9"))
    path = f"/api/v1/tickets/{ticket_id}/quarantine"
    problem_of(await api.client.post(path, json={"ruling": "release"}), 422, "invalid_data")
    problem_of(await api.client.post(path, json={"ruling": "perhaps", "reason": "x"}), 422, "invalid_data")
    tried = await api.client.post(path, json={"ruling": "release", "reason": "x", "dry_run": True})
    assert [one["type"] for one in tried.json()["changes"]] == ["guard.verdict"]
    assert (await api.world.tickets(flow_id))["a"].waiting is Waiting.QUARANTINE
    said = {"ruling": "release", "reason": "a token of the tests", "requested_by": "ada"}
    assert (await api.client.post(path, json=said)).status_code == 202
    assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED
    audits = (await api.get(f"/api/v1/audits?flow_id={flow_id}&kind=action"))["items"]
    assert [(one["action"], one["who"]) for one in audits] == [
        ("decide_quarantine", "ada"),
        ("quarantine_ticket", "a guard"),
    ]
    assert await verdicts(api, flow_id) == ["quarantine", "allow"]
    problem_of(await api.client.post(path, json={"ruling": "reject", "reason": "no"}), 409, "not_possible_now")


async def test_a_person_rejects_a_ticket_in_quarantine(api: Api) -> None:
    await put(api, "secrets", action="QUARANTINE", secrets=True)
    flow_id, ticket_id = await in_quarantine(api, task("a", **SECRET), task("b", "a"))
    path = f"/api/v1/tickets/{ticket_id}/quarantine"
    assert (await api.client.post(path, json={"ruling": "reject", "reason": "leaked"})).status_code == 202
    assert (await api.world.ended(flow_id)).status is FlowStatus.FAILED
    tickets = await api.world.tickets(flow_id)
    assert tickets["a"].reason is not None
    assert (tickets["a"].reason.code, tickets["b"].status) == ("quarantine_rejected", TicketStatus.CANCELLED)
    assert (await api.get(f"/api/v1/incidents?flow_id={flow_id}"))["items"] == []


async def test_nothing_is_in_quarantine_past_its_deadline(api: Api) -> None:
    await put(api, "secrets", action="QUARANTINE", secrets=True)
    flow_id, _ = await in_quarantine(api, task("a", **SECRET), sla_deadline_seconds=1)
    assert (await api.world.ended(flow_id)).status is FlowStatus.TIMED_OUT
    ticket = (await api.world.tickets(flow_id))["a"]
    assert (ticket.live, ticket.attempt) == (False, 0)


async def test_nobody_decides_in_time(tmp_path: Path) -> None:
    async with guarded(tmp_path, approval_seconds=0.5) as api:
        await put(api, "secrets", action="QUARANTINE", secrets=True)
        flow_id, _ = await in_quarantine(api, task("a", **SECRET))
        assert (await api.world.ended(flow_id)).status is FlowStatus.FAILED
        reason = (await api.world.tickets(flow_id))["a"].reason
        assert reason is not None
        assert reason.code == "quarantine_expired"


async def test_a_policy_that_is_made_later_denies_the_tickets_of_a_flow_under_way(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: None
    flow_id = await api.world.submit(decision(task("a"), task("b", "a", task_type="DEPLOY")))
    await api.world.ticket(flow_id, lambda one: one.task_id == "a" and one.acknowledged_at is not None, "is begun")
    await put(api, "no-deploys", action="DENY", allowed_task_types=["EXECUTE"])
    ticket_id = (await api.world.tickets(flow_id))["a"].ticket_id
    skipped = await api.client.post(f"/api/v1/tickets/{ticket_id}/skip", json={"reason": "it is done"})
    assert skipped.status_code == 202
    assert (await api.world.ended(flow_id)).status is FlowStatus.FAILED
    denied = (await api.world.tickets(flow_id))["b"]
    assert (denied.status, denied.attempt, denied.reason and denied.reason.code) == (
        TicketStatus.FAILED,
        0,
        "policy_denied",
    )
    assert await verdicts(api, flow_id) == ["deny"]


async def test_without_a_policy_nothing_is_read_for_a_flow(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    entries = api.world.platform.ports.key_values
    page = type(entries).page

    async def counted(self: Any, space: str, after: str | None, limit: int) -> Any:
        reads.append(space)
        return await page(self, space, after, limit)

    monkeypatch.setattr(type(entries), "page", counted)
    for _ in range(3):
        assert (await api.world.ended(await api.world.submit(decision(task("a"))))).status is FlowStatus.COMPLETED
    assert reads.count("guard-policies") <= 1, "once in ten seconds, by all flows together"


# With a policy server.


def of(opa: OpaContractServer, **more: Any) -> dict[str, Any]:
    return {"opa_url": opa.url, "opa_timeout_seconds": 1, **more}


async def test_there_is_a_bound_on_policies(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GUARD_POLICIES, "at_most", 1)
    await put(api, "a", action="DENY", secrets=True)
    problem_of(await api.client.put(f"{POLICIES}/b", json={"action": "DENY", "secrets": True}), 409, "too_many")
    await put(api, "a", action="QUARANTINE", secrets=True)


async def test_opa_denies_a_plan_at_c1(tmp_path: Path, opa: OpaContractServer) -> None:
    async with guarded(tmp_path, **of(opa)) as api:
        tasks = task("a"), task("ship", task_type="deploy")
        flow = await api.world.ended(await api.world.submit(decision(*tasks, risk_band="CRITICAL")))
        assert flow.status is FlowStatus.REJECTED
        assert [(one.code, one.message) for one in flow.reasons] == [
            ("policy_denied", "task ship deploys in a flow of critical risk")
        ]
        asked = opa.asked[0]
        assert (asked["stage"], [one["task_type"] for one in asked["tasks"]]) == ("plan", ["EXECUTE", "DEPLOY"])
        assert (await api.world.ended(await api.world.submit(decision(*tasks)))).status is FlowStatus.COMPLETED


async def test_opa_quarantines_and_denies_tickets_and_its_messages_hold_no_secret(
    tmp_path: Path, opa: OpaContractServer
) -> None:
    async with guarded(tmp_path, **of(opa)) as api:
        said = {"TOKEN": TOKEN, "X": "<script>alert(1)</script>"}
        command = {"parameters": {"provider": "command", "argv": ["true"], "env": said}}
        flow_id, ticket_id = await in_quarantine(api, task("a", **command))
        held = (await api.world.tickets(flow_id))["a"]
        assert held.reason is not None
        assert "a is a command with" in held.reason.message
        assert "***" in held.reason.message
        for path in (f"tickets/{ticket_id}", f"flows/{flow_id}/history", f"why/{ticket_id}", "audits?kind=action"):
            answer = await api.client.get(f"/api/v1/{path}")
            assert answer.headers["content-type"] == "application/json"
            assert TOKEN not in answer.text.replace(json.dumps(held.parameters), "") or path.startswith("tickets/")
        said = {"ruling": "release", "reason": "it is mine"}
        assert (await api.client.post(f"/api/v1/tickets/{ticket_id}/quarantine", json=said)).status_code == 202
        assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED
        denied = await api.world.submit(decision(task("a", parameters={"forbidden": True})))
        assert (await api.world.ended(denied)).status is FlowStatus.FAILED
        assert (await api.world.tickets(denied))["a"].attempt == 0


Answering = Callable[[Request], Awaitable[Answer]]


def answers(body: bytes, status: int = 200, **headers: str) -> Answering:
    async def answer(_: Request) -> Answer:
        return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def slowly(_: Request) -> Answer:
    await asyncio.sleep(30)
    return Answer(200, b'{"result": true}')


HOSTILE: dict[str, Answering] = {
    "huge": answers(b'{"result": {"deny": ["' + b"x" * 3_000_000 + b'"]}}'),
    "deep": answers(b'{"result": ' + b"[" * 100_000),
    "garbage": answers(b"\xff\xfe<html>"),
    "nothing": answers(b"{}"),
    "undefined": answers(b'{"result": {"other": 1}}'),
    "no list": answers(b'{"result": {"deny": "no"}}'),
    "no truth": answers(b'{"result": {"allow": "true"}}'),
    "a number": answers(b'{"result": 7}'),
    "an error": answers(b'{"code": "internal_error", "message": "rego_type_error"}', 500),
    "unauthorised": answers(b"{}", 401),
    "a redirect": answers(b"", 302, location="http://169.254.169.254/latest/meta-data/"),
    "slow": slowly,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_answer_that_is_no_verdict_lets_nothing_begin_and_costs_little(
    tmp_path: Path, opa: OpaContractServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.validate.function.PATIENCE", timedelta(seconds=0.5))
    opa.answer = HOSTILE[name]
    async with guarded(tmp_path, **of(opa, opa_timeout_seconds=0.3)) as api:
        flow_id = await api.world.submit(decision(task("a")))
        flow = await api.world.ended(flow_id)
        assert (flow.status, [one.code for one in flow.reasons]) == (FlowStatus.REJECTED, ["policy_unavailable"])
        assert len(flow.reasons[0].message) <= 500
        assert await verdicts(api, flow_id) == ["unavailable", "unavailable"]
        assert api.world.workers.assignments == []


async def test_a_policy_server_that_comes_back_lets_flows_and_tickets_go_on(
    tmp_path: Path, opa: OpaContractServer
) -> None:
    assert timedelta(minutes=1) < asking.PATIENCE
    async with guarded(tmp_path, **of(opa, opa_timeout_seconds=0.2)) as api:
        opa.down = True
        flow_id = await api.world.submit(decision(task("a")))

        async def waits() -> bool | None:
            flow = await api.world.flow(flow_id)
            return (flow is not None and bool(flow.reasons)) or None

        await until(waits, "the flow waits for a verdict")
        assert "a verdict of the policy server" in await text_of(api, flow_id)
        opa.down = False
        flow = await api.world.ended(flow_id)
        assert (flow.status, flow.reasons) == (FlowStatus.COMPLETED, ())


async def test_tickets_wait_for_a_policy_server_that_is_away(tmp_path: Path, opa: OpaContractServer) -> None:
    async with guarded(tmp_path, **of(opa, opa_plan="", opa_timeout_seconds=0.2)) as api:
        opa.down = True
        flow_id = await api.world.submit(decision(task("a")))
        waits = await api.world.ticket(flow_id, lambda one: one.waiting is Waiting.RETRY, "waits for a verdict")
        assert "a verdict of the policy server" in await text_of(api, waits.ticket_id)
        with pytest.raises(Rejected, match=r"waits for its next attempt|cannot begin"):
            await api.world.platform.order(ClaimRequest(flow_id=flow_id, ticket_id=waits.ticket_id, worker_id="w9"))
        opa.down = False
        assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED
        assert (await verdicts(api, flow_id)).count("unavailable") == 1


async def test_an_outage_that_is_let_pass_is_said_in_the_history(tmp_path: Path, opa: OpaContractServer) -> None:
    opa.down = True
    async with guarded(tmp_path, **of(opa, opa_timeout_seconds=0.2, policy_outage="open")) as api:
        flow_id = await api.world.submit(decision(task("a")))
        flow = await api.world.ended(flow_id)
        assert (flow.status, flow.warnings[0].code) == (FlowStatus.COMPLETED, "policy_unavailable")
        assert await verdicts(api, flow_id) == ["unavailable", "unavailable"]


async def test_a_server_that_keeps_failing_is_left_alone_for_a_while(tmp_path: Path, opa: OpaContractServer) -> None:
    opa.answer = answers(b"{}", 500)
    async with guarded(tmp_path, **of(opa, policy_outage="open")) as api:
        flows = [await api.world.submit(decision(*(task(f"t{n}") for n in range(20)))) for _ in range(3)]
        for flow_id in flows:
            assert (await api.world.ended(flow_id)).status is FlowStatus.COMPLETED
        assert len(opa.requests) < 20, "63 plans and tickets were to be judged"


async def test_a_metadata_address_is_never_asked(tmp_path: Path) -> None:
    async with guarded(tmp_path, opa_url="http://169.254.169.254", policy_outage="open") as api:
        flow = await api.world.ended(await api.world.submit(decision(task("a"))))
        assert "169.254.169.254" in flow.warnings[0].message


# The guide.


async def test_the_policies_of_the_guide_decide_as_it_says(tmp_path: Path, opa: OpaContractServer) -> None:
    page = blocks((ROOT / "docs/guides/guards.md").read_text(encoding="utf-8"))
    opa.policies = {block.file: block.text for block in page if block.language == "rego" and block.file}
    assert sorted(opa.policies) == ["plan.rego", "ticket.rego"]
    async with guarded(tmp_path, **of(opa)) as api:
        ship = task("ship", task_type="DEPLOY")
        flow = await api.world.ended(await api.world.submit(decision(ship, risk_band="critical")))
        assert [one.message for one in flow.reasons] == [
            "task ship deploys in a critical flow without the label change"
        ]
        named = decision(ship, risk_band="critical", labels={"change": "C-7"})
        assert (await api.world.ended(await api.world.submit(named))).status is FlowStatus.COMPLETED
        command = {"parameters": {"provider": "command", "argv": ["true"]}}
        _, ticket_id = await in_quarantine(api, task("a", **command, security_level="CONFIDENTIAL"))
        assert "a runs a command on CONFIDENTIAL data" in await text_of(api, ticket_id)
        open_one = await api.world.submit(decision(task("a", **command)))
        assert (await api.world.ended(open_one)).status is FlowStatus.COMPLETED
