"""A ticket goes only to workers whose registered clearance covers its security level."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions._core.planning.tickets import ticket_hash
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, SecurityLevel, TicketStatus, Waiting
from functions._engine.assignment_sender import AssignmentSender
from tests.support.builders import T0, make_flow, make_ticket
from tests.support.http_api import Api, problem_of, running_api
from tests.support.ordering import ticket_at
from tests.support.world import ClosedBreaker, decision, task, until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def register(api: Api, worker_id: str, **more: Any) -> Any:
    body = {"worker_id": worker_id, "endpoint": f"http://127.0.0.1:1/{worker_id}", "capabilities": ["python"], **more}
    return await api.client.post("/api/v1/workers", json=body)


async def waiting(api: Api, flow_id: str, task_id: str) -> Ticket:
    return await ticket_at(api.world, flow_id, task_id, waiting=Waiting.WORKER)


async def test_a_secret_ticket_waits_for_a_worker_that_is_cleared_for_it(api: Api) -> None:
    await register(api, "plain")
    plan = (task("secret", security_level="restricted"), task("ordinary"))
    flow_id = await api.world.submit(decision(*plan))
    ticket = await waiting(api, flow_id, "secret")

    why = await api.get(f"/api/v1/why/{ticket.ticket_id}")
    assert why["waits_for"] == "a worker that offers 'python' and is cleared for RESTRICTED"
    reason = "is cleared for INTERNAL, the ticket is RESTRICTED"
    assert why["refusals"] == [{"worker_id": "plain", "reason": reason}]

    await register(api, "trusted", clearance="confidential")  # not enough
    assert (await api.world.tickets(flow_id))["secret"].status is TicketStatus.PENDING
    await register(api, "trusted", clearance="restricted")
    flow = await api.world.ended(flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert [one["worker_id"] for one in api.world.workers.assignments if one["task_id"] == "secret"] == ["trusted"]


async def test_the_clearance_of_a_worker_is_shown_and_asked_for(api: Api) -> None:
    assert (await register(api, "unknown")).json()["clearance"] == "INTERNAL"
    assert (await register(api, "null", clearance=None)).json()["clearance"] == "INTERNAL"
    assert (await register(api, "trusted", clearance="restricted")).json()["clearance"] == "RESTRICTED"
    problem_of(await register(api, "wrong", clearance="cosmic"), 422, "invalid_data")
    assert (await api.get("/api/v1/workers/trusted"))["clearance"] == "RESTRICTED"
    wanted = {"capabilities": ["python"], "security_level": "confidential"}
    found = (await api.client.post("/api/v1/workers/discover", json=wanted)).json()
    assert [(one["worker_id"], one["clearance"]) for one in found["items"]] == [("trusted", "RESTRICTED")]
    assert {one["worker_id"] for one in found["refusals"]} == {"unknown", "null"}
    everybody = (await api.client.post("/api/v1/workers/discover", json={"capabilities": ["python"]})).json()
    assert len(everybody["items"]) == 3


async def test_a_flow_whose_tickets_nobody_is_cleared_for_does_not_hold_back_another(api: Api) -> None:
    await register(api, "plain", slots=1)
    secret = [task(f"s{number}", security_level="RESTRICTED") for number in range(60)]
    held = await api.world.submit(decision(*secret, sla_deadline_seconds=300))
    await waiting(api, held, "s59")
    flow = await api.world.run(*(task(f"t{number}") for number in range(30)), sla_deadline_seconds=3_000)
    assert flow.status is FlowStatus.COMPLETED


async def test_a_worker_that_lost_its_clearance_after_the_choice_is_not_given_the_ticket(api: Api) -> None:
    answers: list[int] = []
    await register(api, "w1")
    made = make_ticket(
        make_flow(),
        status=TicketStatus.ASSIGNED,
        worker_id="w1",
        attempt=1,
        assigned_at=T0,
        security_level="RESTRICTED",
    )
    ticket = made.but(hash=ticket_hash(made))
    ports = replace(api.world.ports)
    await ports.store.commit(ChangeSet(flow_id=ticket.flow_id, tickets=(ticket,)))
    assignment_sender = AssignmentSender(
        ports,
        ClosedBreaker(),
        "http://127.0.0.1:1",
        16,
        answered=lambda _delivery, answer: answers.append(answer.status),
        unresolved=lambda _delivery, _why: None,
    )
    assignment_sender.send([Delivery(ticket, "w1", 1)])

    async def answered() -> bool | None:
        return bool(answers) or None

    await until(answered, "the refusal")
    await assignment_sender.close()
    assert answers == [403]
    assert api.world.workers.assignments == []


def test_levels_cover_those_before_them() -> None:
    levels = list(SecurityLevel)
    assert [[one.covers(other) for other in levels] for one in levels] == [
        [position >= below for below in range(len(levels))] for position in range(len(levels))
    ]
