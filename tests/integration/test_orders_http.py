"""Every verb over HTTP and as a CloudEvent: what it answers, that a dry run only tells, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.state import State
from functions._adapters.memory.store import MemoryStore
from functions._core.events.commands import ORDERS
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.values import FlowStatus, Waiting
from tests.support.approvals import asking
from tests.support.builders import T0
from tests.support.http_api import Api, problem_of, running_api
from tests.support.ordering import REVIEWED, SAID, breaks_at, done, finish, silent, taken, ticket_at
from tests.support.world import decision, task

Changes = list[dict[str, Any]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


@dataclass(frozen=True)
class Target:
    """A flow that stands still, and a ticket of it if the order is about one."""

    flow_id: str
    ticket_id: str | None = None


async def held(api: Api) -> Target:
    """Let a worker hold the first of two tickets."""
    api.world.workers.behave = silent
    await api.world.register()
    flow_id = await api.world.submit(decision(task("a"), task("b", "a")))
    return Target(flow_id, (await taken(api.world, "a"))["ticket_id"])


async def awaiting_approval(api: Api) -> Target:
    """Let a flow wait for approval."""
    flow_id = await api.world.submit(decision(task("a"), **REVIEWED))
    await api.world.reached(flow_id, "AWAITING_APPROVAL")
    return Target(flow_id)


async def paused(api: Api) -> Target:
    """Let a flow be paused."""
    target = await held(api)
    assert (await api.client.post(f"/api/v1/flows/{target.flow_id}/pause")).status_code == 202
    return target


async def failed(api: Api) -> Target:
    """Let a flow have failed at its second ticket."""
    api.world.workers.behave = breaks_at("b")
    await api.world.register()
    flow = await api.world.run(task("a"), task("b", "a"), task("c", "b"))
    api.world.workers.behave = silent
    return Target(flow.flow_id)


async def backing_off(api: Api) -> Target:
    """Let a ticket wait for its second attempt."""
    api.world.workers.behave = lambda _assignment: {"status": "FAILED"}
    await api.world.register()
    flow_id = await api.world.submit(decision(task("a", retry={"initial_ms": 60_000, "max_retries": 1})))
    ticket = await ticket_at(api.world, flow_id, "a", waiting=Waiting.RETRY)
    return Target(flow_id, ticket.ticket_id)


async def asked(api: Api) -> Target:
    """Let a ticket wait for a person; the flow continues after a denial, too."""
    ticket = await asking(api.world, on_denied="continue")
    return Target(ticket.flow_id, ticket.ticket_id)


@dataclass(frozen=True)
class Verb:
    """A verb, where it can be carried out, its event, and the transitions that it leads to."""

    name: str
    begin: Callable[[Api], Awaitable[Target]]
    event_type: str
    moves: tuple[tuple[str, str | None, str | None, str | None], ...]
    more: tuple[tuple[str, Any], ...] = ()

    def path(self, target: Target) -> str:
        """Return where the verb is POSTed for a target."""
        if self.event_type.startswith("flow."):
            return f"/api/v1/flows/{target.flow_id}/{self.name}"
        return f"/api/v1/tickets/{target.ticket_id}/{self.name}"

    def data(self, target: Target) -> dict[str, Any]:
        """Return the data of its event for a target."""
        about = {"ticket_id": target.ticket_id} if self.event_type.startswith("ticket.") else {}
        return {"flow_id": target.flow_id, **about, **SAID, **dict(self.more)}


VERBS = (
    Verb(
        "adjust",
        held,
        "flow.adjust_requested",
        (("flow.adjusted", None, None, None),),
        (("priority", "CRITICAL"),),
    ),
    Verb(
        "replan",
        held,
        "flow.replan_requested",
        (("flow.replanned", None, None, None), ("ticket.cancelled", "b", "PENDING", "CANCELLED")),
        (("cognitive_plan", {"plan_id": "p", "tasks": [task("a")]}),),
    ),
    Verb(
        "cancel",
        held,
        "flow.cancel_requested",
        (
            ("ticket.cancelled", "a", "ASSIGNED", "CANCELLED"),
            ("ticket.cancelled", "b", "PENDING", "CANCELLED"),
            ("flow.consolidated", None, "EXECUTING", "PUBLISHING"),
        ),
    ),
    Verb(
        "approve",
        awaiting_approval,
        "flow.approval_granted",
        (("plan.validated", None, "AWAITING_APPROVAL", "GENERATING"),),
    ),
    Verb(
        "deny",
        awaiting_approval,
        "flow.approval_denied",
        (("flow.consolidated", None, "AWAITING_APPROVAL", "PUBLISHING"),),
    ),
    Verb("pause", held, "flow.pause_requested", (("flow.paused", None, "EXECUTING", "PAUSED"),)),
    Verb("resume", paused, "flow.resume_requested", (("flow.resumed", None, "PAUSED", "EXECUTING"),)),
    Verb(
        "redrive",
        failed,
        "flow.redrive_requested",
        (
            ("flow.redriven", None, "FAILED", "EXECUTING"),
            ("ticket.redriven", "b", "FAILED", "PENDING"),
            ("ticket.redriven", "c", "CANCELLED", "PENDING"),
        ),
        (("sla_seconds", 60),),
    ),
    Verb("retry", backing_off, "ticket.retry_requested", (("ticket.retry_forced", "a", None, None),)),
    Verb("reassign", held, "ticket.reassign_requested", (("ticket.reassigned", "a", "ASSIGNED", "PENDING"),)),
    Verb(
        "skip",
        held,
        "ticket.skip_requested",
        (("ticket.completed", "a", "ASSIGNED", "COMPLETED"),),
        (("output", {"n": 1}),),
    ),
    Verb(
        "approve",
        asked,
        "ticket.approval_granted",
        (("ticket.completed", "ask", "WAITING", "COMPLETED"),),
    ),
    Verb(
        "deny",
        asked,
        "ticket.approval_denied",
        (("ticket.completed", "ask", "WAITING", "COMPLETED"),),
    ),
)
every_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.event_type)


async def stored(api: Api, target: Target) -> tuple[object, ...]:
    """Return everything that is stored about a flow."""
    ports = api.world.ports
    return (
        await ports.store.flow(target.flow_id),
        await ports.store.tickets_of(target.flow_id),
        await ports.views.history(target.flow_id, 0, 1000),
        await ports.views.audits(target.flow_id, 100),
    )


def moves_of(changes: Changes) -> tuple[tuple[Any, ...], ...]:
    """Return type, task and statuses of each transition."""
    return tuple((c["type"], c["task_id"], c["from_status"], c["to_status"]) for c in changes)


def but_times(changes: Changes) -> Changes:
    """Return transitions without the times that follow from when the order was given."""
    return [
        change | {"detail": {k: v for k, v in change["detail"].items() if k not in {"sla_deadline", "until"}}}
        for change in changes
    ]


@every_verb
async def test_a_dry_run_changes_nothing_and_tells_exactly_what_then_happens(api: Api, verb: Verb) -> None:
    target = await verb.begin(api)
    path, body = verb.path(target), {**SAID, **dict(verb.more)}
    before = await stored(api, target)
    preview = await api.client.post(path, json={**body, "dry_run": True})
    assert (preview.status_code, preview.json()["dry_run"]) == (200, True)
    assert await stored(api, target) == before
    answer = await api.client.post(path, json={**body, "order_id": "o-1"})
    assert (answer.status_code, answer.json()["dry_run"]) == (202, False)
    assert but_times(preview.json()["changes"]) == but_times(answer.json()["changes"])
    assert moves_of(answer.json()["changes"]) == verb.moves
    assert preview.json()["status"] == answer.json()["status"]
    history = (await api.get(f"/api/v1/flows/{target.flow_id}/history"))["items"][len(before[2]) :]  # type: ignore[arg-type]
    assert moves_of(history)[: len(verb.moves)] == verb.moves
    assert all(word in str(answer.json()["changes"]) for word in SAID.values())
    again = await api.client.post(path, json={**body, "order_id": "o-1"})
    assert (again.status_code, again.json()["changes"]) == (202, [])
    kept = (await api.get("/api/v1/audits", flow_id=target.flow_id, kind="action"))["items"]
    assert [(a["who"], a["why"]) for a in kept if a["action"].startswith(f"{verb.name}_")] == [("ada", "because")]


@every_verb
async def test_an_event_does_the_same_and_counts_once(api: Api, verb: Verb) -> None:
    target = await verb.begin(api)

    def event(event_id: str, **more: Any) -> CloudEvent:
        return CloudEvent(
            id=event_id, source="/tests", type=type_of(verb.event_type), time=T0, data={**verb.data(target), **more}
        )

    before = await stored(api, target)
    preview = await api.post(event("e-0", dry_run=True))
    assert preview.status_code == 202
    assert moves_of(preview.json()["changes"]) == verb.moves
    assert await stored(api, target) == before
    for _ in range(2):
        answer = await api.post(event("e-1"))
        assert (answer.status_code, answer.json()["flow_id"]) == (202, target.flow_id)
        assert "changes" not in answer.json()
    assert answer.json()["status"] == preview.json()["status"] or verb.name in {"cancel", "approve", "deny"}
    kept = (await api.get("/api/v1/audits", flow_id=target.flow_id, kind="action"))["items"]
    assert len([a for a in kept if a["action"].startswith(f"{verb.name}_")]) == 1


@every_verb
async def test_what_is_unknown_or_malformed_is_refused(api: Api, verb: Verb) -> None:
    what = verb.event_type.partition(".")[0]
    for nobody in ("nobody", "a%00b"):
        path = f"/api/v1/{what}s/{nobody}/{verb.name}"
        problem_of(await api.client.post(path, json=dict(verb.more)), 404, f"unknown_{what}")
    target = await verb.begin(api)
    before = await stored(api, target)
    for wrong in ({"requested_by": 7}, {"reason": "x" * 1001}, {"order_id": ""}, {"dry_run": "perhaps"}):
        document = problem_of(
            await api.client.post(verb.path(target), json=dict(verb.more) | wrong), 422, "invalid_data"
        )
        assert document["errors"][0]["where"] == f"body.{next(iter(wrong))}"
    assert await stored(api, target) == before


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_is_not_possible_is_refused_with_the_reason(api: Api, dry_run: bool) -> None:
    api.world.workers.behave = done
    await api.world.register()
    flow = await api.world.run(task("a"))
    ticket = (await api.world.tickets(flow.flow_id))["a"]
    target = Target(flow.flow_id, ticket.ticket_id)
    sentences = {
        "flow.approval_granted": f"flow {flow.flow_id} is COMPLETED and does not wait for approval",
        "ticket.approval_granted": "ticket a is COMPLETED and asks nobody for a decision",
        "pause": f"flow {flow.flow_id} is COMPLETED: only a flow that makes or runs its tickets can be paused",
        "resume": f"flow {flow.flow_id} is COMPLETED: there is nothing to resume",
        "retry": "ticket a is COMPLETED: it is done",
        "reassign": "ticket a is COMPLETED: no worker holds it",
        "skip": "ticket a is COMPLETED: it is done",
    }
    before = await stored(api, target)
    for verb in VERBS:
        answer = await api.client.post(verb.path(target), json=dict(verb.more) | {"dry_run": dry_run})
        if verb.name == "cancel":
            assert (answer.status_code, answer.json()["changes"]) == (200 if dry_run else 202, [])
            continue
        document = problem_of(answer, 409, "not_possible_now")
        said = sentences.get(verb.event_type) or sentences.get(verb.name)
        assert said in {None, document["detail"]}
    assert await stored(api, target) == before


async def test_a_redrive_takes_a_positive_number_of_seconds_only(api: Api) -> None:
    target = await failed(api)
    for seconds in (0, -1, 1e12, "soon"):
        path = f"/api/v1/flows/{target.flow_id}/redrive"
        problem_of(await api.client.post(path, json={"sla_seconds": seconds}), 422, "invalid_data")


async def test_a_workflow_is_paused_and_resumed_as_a_flow_is(api: Api) -> None:
    target = await held(api)
    for verb, status in (("pause", "PAUSED"), ("resume", "EXECUTING")):
        answer = await api.client.post(f"/api/v1/workflows/{target.flow_id}/{verb}", json={"reason": "lunch"})
        assert (answer.status_code, answer.json()["status"]) == (202, status)


async def test_the_verbs_are_those_of_the_contract(api: Api) -> None:
    by_patch = {"ticket.claim_requested", "ticket.cancel_requested"}
    of_gates = {"ticket.freeze_exception_granted", "ticket.quarantine_decided"}  # see test_freeze_gate, test_guards
    of_policies = {"ticket.hedge_requested"}  # see test_hedging; people send the event
    assert {*by_patch, *of_gates, *of_policies, *(verb.event_type for verb in VERBS)} == ORDERS.keys()
    paths: Mapping[str, Any] = api.app.openapi()["paths"]
    for verb in VERBS:
        path = verb.path(Target("{flow_id}", "{ticket_id}"))
        assert paths[path]["post"]["operationId"] == f"{verb.name}_{verb.event_type.partition('.')[0]}"


async def test_incidents_are_listed_by_themselves_and_among_the_audits(api: Api) -> None:
    one, other = await failed(api), await failed(api)
    incidents = (await api.get("/api/v1/incidents"))["items"]
    assert [incident["flow_id"] for incident in incidents] == [other.flow_id, one.flow_id]
    (incident,) = (await api.get("/api/v1/incidents", flow_id=one.flow_id))["items"]
    assert (incident["incident_type"], incident["severity"]) == ("INCONSISTENCY", "WARNING")
    assert "ticket b failed after 1 attempt: it broke" in incident["details"][0]
    assert (await api.get("/api/v1/incidents", flow_id=one.flow_id, limit=1))["items"] == [incident]
    kinds = [audit["kind"] for audit in (await api.get("/api/v1/audits", flow_id=one.flow_id))["items"]]
    assert kinds == ["incident", "validation"]
    assert (await api.get("/api/v1/audits", kind="incident", flow_id=one.flow_id))["items"] == [incident]


class TestReplay:
    async def test_the_history_of_a_flow_agrees_with_its_records(self, api: Api) -> None:
        target = await failed(api)
        rebuilt = await api.get(f"/api/v1/flows/{target.flow_id}/replay")
        assert (rebuilt["agrees"], rebuilt["differences"]) == (True, [])
        assert (rebuilt["status"], rebuilt["outcome"]) == ("FAILED", "FAILED")
        states = [(t["task_id"], t["status"], t["attempt"], t["worker_id"]) for t in rebuilt["tickets"]]
        assert states == [("a", "COMPLETED", 1, "w1"), ("b", "FAILED", 1, "w1"), ("c", "CANCELLED", 0, None)]
        history = await api.get(f"/api/v1/flows/{target.flow_id}/history", limit=500)
        assert rebuilt["lines"] == len(history["items"])

    async def test_a_flow_of_many_pages_agrees_while_it_runs(self, api: Api) -> None:
        api.world.workers.behave = done
        await api.world.register(slots=50)
        flow_id = await api.world.submit(decision(*(task(f"t{number}") for number in range(400))))
        seen = set()
        while True:
            await asyncio.sleep(0.02)  # nothing else here lets the platform go on
            answer = await api.client.get(f"/api/v1/flows/{flow_id}/replay")
            if answer.status_code == 503:
                continue
            assert answer.json()["differences"] == []
            seen.add(answer.json()["status"])
            if answer.json()["outcome"] and "COMPLETED" in seen:
                break
        assert answer.json()["lines"] > 800

    async def test_a_record_that_differs_is_named(self, tmp_path: Path) -> None:
        memory = MemoryStore()
        async with running_api(tmp_path, stores=memory.stores) as api:
            await self._differs(api, memory.state)

    async def _differs(self, api: Api, state: State) -> None:
        target = await held(api)
        tickets = await api.world.tickets(target.flow_id)
        flow = await api.world.ports.store.flow(target.flow_id)
        assert flow is not None
        await finish(api.world, {"ticket_id": target.ticket_id, "attempt": 1, "flow_id": target.flow_id}, "RUNNING")
        state.flows.put(flow.flow_id, flow.but(status=FlowStatus.PAUSED))
        state.tickets.put(tickets["a"].ticket_id, tickets["a"].but(attempt=7))
        state.tickets.pop(tickets["b"].ticket_id)
        rebuilt = await api.get(f"/api/v1/flows/{target.flow_id}/replay")
        assert rebuilt["agrees"] is False
        assert rebuilt["differences"] == [
            "the flow is PAUSED, by its history EXECUTING",
            "ticket a is ASSIGNED (attempt 7, worker w1), by its history RUNNING (attempt 1, worker w1)",
            "there are 1 tickets, by the history 2",
        ]

    async def test_a_flow_that_nobody_knows_is_not_found(self, api: Api) -> None:
        problem_of(await api.client.get("/api/v1/flows/nobody/replay"), 404, "unknown_flow")


async def test_why_tells_who_paused_a_flow_and_why(api: Api) -> None:
    target = await held(api)
    await api.client.post(f"/api/v1/flows/{target.flow_id}/pause", json=SAID)
    assert "Paused by ada: because." in (await api.get(f"/api/v1/why/{target.flow_id}"))["text"]


async def test_a_misspelt_field_of_an_order_is_refused_and_nothing_is_done(api: Api) -> None:
    target = await held(api)
    answer = await api.client.post(f"/api/v1/flows/{target.flow_id}/cancel", json={"dryrun": True})
    assert answer.status_code == 422
    assert "dryrun" in answer.text
    flow = await api.world.ports.store.flow(target.flow_id)
    assert flow is not None
    assert flow.status is FlowStatus.EXECUTING
