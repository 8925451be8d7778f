"""The ticket API over each store: create, claim, report, retry, lists with their total."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._adapters.stores import Stores
from functions._core.records.models import Ticket
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, report_event, task, until

TICKETS = "/api/v1/tickets"


async def created(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.client.post(TICKETS, json={"plan_id": "plan-1", "task_type": "BUILD", **more})
    assert answer.status_code == 201, answer.text
    ticket: dict[str, Any] = answer.json()
    return ticket


async def change(api: Api, ticket: Mapping[str, Any], status: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    path = f"{TICKETS}/{ticket['ticket_id']}/status"
    return await api.client.patch(path, json={"status": status, **more}, headers=headers)


async def ticket_of(api: Api, ticket: Ticket) -> Ticket:
    """Return a ticket as it is stored."""
    return (await api.world.ports.store.tickets([ticket.ticket_id]))[ticket.ticket_id]


class TicketsSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_a_ticket_is_claimed_fails_is_retried_and_completes(self, api: Api) -> None:
        ticket = await created(api)
        first = (await change(api, ticket, "RUNNING", worker_id="w1")).json()
        assert (first["status"], first["attempt"]) == ("RUNNING", 1)
        error = {"metadata": {"failure_class": "permanent"}, "error_message": "no"}
        assert (await change(api, ticket, "FAILED", attempt=1, **error)).json()["status"] == "FAILED"
        again = await api.client.post(
            f"{TICKETS}/{ticket['ticket_id']}/retry", json={"requested_by": "a", "reason": "b"}
        )
        assert again.status_code == 202, again.text

        async def pending() -> dict[str, Any] | None:
            found: dict[str, Any] = (await api.client.get(f"{TICKETS}/{ticket['ticket_id']}")).json()
            return found if found["status"] == "PENDING" else None

        now = await until(pending, "the ticket is pending again")
        assert now["retry_count"] == 1
        second = await change(api, now, "RUNNING", worker_id="w2")
        assert second.json()["attempt"] == 2, second.text
        problem_of(await change(api, now, "COMPLETED", attempt=1), 409, "invalid_transition")
        etag = second.headers["etag"]
        ended = await change(api, now, "COMPLETED", headers={"if-match": etag}, result={"n": 1})
        assert (ended.status_code, ended.json()["status"]) == (200, "COMPLETED")
        history = (await api.client.get(f"{TICKETS}/{ticket['ticket_id']}/history")).json()["items"]
        kinds = [entry["type"] for entry in history]
        assert kinds == ["ticket.started", "ticket.failed", "ticket.redriven", "ticket.started", "ticket.completed"]

    async def test_a_flow_is_adjusted_and_goes_on_by_another_plan(self, api: Api) -> None:
        api.world.workers.behave = lambda _assignment: None
        await api.world.register(slots=50)
        flow_id = await api.submit(decision(task("a"), task("b", "a"), task("c", "b")))
        held = await api.world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "a worker has it")
        adjusted = await api.client.post(f"/api/v1/flows/{flow_id}/adjust", json={"priority": "HIGH"})
        assert adjusted.status_code == 202, adjusted.text
        new = {"plan_id": "p", "tasks": [task("a"), task("c", "a", parameters={"n": 2}), task("d", "a", "c")]}
        replanned = await api.client.post(f"/api/v1/flows/{flow_id}/replan", json={"cognitive_plan": new})
        assert replanned.status_code == 202, replanned.text
        tickets = await api.world.tickets(flow_id)
        found = {name: (one.status.value, one.open_dependencies, one.priority.value) for name, one in tickets.items()}
        assert found == {
            "a": ("ASSIGNED", 0, "HIGH"),
            "b": ("CANCELLED", 1, "HIGH"),
            "c": ("PENDING", 1, "NORMAL"),
            "d": ("PENDING", 1, "NORMAL"),
        }
        assert (tickets["c"].parameters, tickets["a"].hash) == ({"n": 2}, (await ticket_of(api, held)).hash)
        api.world.workers.behave = lambda _assignment: {"status": "COMPLETED"}
        for assignment in api.world.workers.assignments:
            await api.world.platform.report(report_event(assignment, status="COMPLETED"))
        flow = await api.world.ended(flow_id)
        assert (flow.status.value, flow.dropped) == ("COMPLETED", 1)
        assert (await api.get(f"/api/v1/flows/{flow_id}/replay"))["agrees"]

    async def test_of_many_claims_at_once_one_is_carried_out(self, api: Api) -> None:
        ticket = await created(api)
        answers = await asyncio.gather(*(change(api, ticket, "RUNNING", worker_id=f"w{number}") for number in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
        now = (await api.client.get(f"{TICKETS}/{ticket['ticket_id']}")).json()
        (won,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert (now["attempt"], now["worker_id"]) == (1, won["worker_id"])

    async def test_a_list_has_its_total_under_each_filter(self, api: Api) -> None:
        tickets = [await created(api, ticket_id=f"t{number}", plan_id=f"p{number % 2}") for number in range(5)]
        await change(api, tickets[0], "RUNNING", worker_id="w1")

        async def total(**filters: str) -> tuple[int, int]:
            page = (await api.client.get(TICKETS, params={"limit": 2, **filters})).json()
            return len(page["items"]), page["total"]

        async def shown() -> bool | None:
            return (await total(status="RUNNING")) == (1, 1) or None

        await until(shown, "the index shows the claim")
        assert await total() == (2, 5)
        assert await total(plan_id="p0") == (2, 3)
        assert await total(plan_id="p0", status="PENDING") == (2, 2)
        assert await total(plan_id="p1", status="RUNNING") == (0, 0)

    async def test_a_claimed_ticket_has_its_assignment_with_the_outputs_that_it_refers_to(self, api: Api) -> None:
        refers = {"image": {"$output": "a", "path": "/image"}}
        flow_id = await api.submit(decision(task("a"), task("b", "a", parameters=refers)))

        async def tickets() -> dict[str, Any] | None:
            items = (await api.client.get(f"/api/v1/flows/{flow_id}/tickets")).json()["items"]
            return {ticket["task_id"]: ticket for ticket in items} or None

        of = await until(tickets, "the tickets are there")
        path = f"{TICKETS}/{of['b']['ticket_id']}/assignment"
        problem_of(await api.client.get(path), 409, "no_attempt")
        assert (await change(api, of["a"], "RUNNING", worker_id="w1")).status_code == 200
        assert (await change(api, of["a"], "COMPLETED", attempt=1, output={"image": "x:1"})).status_code == 200

        async def claimed() -> bool | None:
            return (await change(api, of["b"], "RUNNING", worker_id="w2")).status_code == 200 or None

        await until(claimed, "what depends on it can be claimed")
        assignment = (await api.client.get(path)).json()
        assert assignment["parameters"] == {"image": "x:1"}
        assert (assignment["attempt"], assignment["worker_id"], assignment["token"]) == (1, "w2", None)
        assert assignment["callback_url"].endswith(f"/api/v1/flows/{flow_id}/reports")


class TestMemory(OnMemory, TicketsSuite):
    """On memory."""


class TestSqlite(OnSqlite, TicketsSuite):
    """On SQLite."""


class TestPostgres(OnPostgres, TicketsSuite):
    """On PostgreSQL."""


class TestDynamo(OnDynamo, TicketsSuite):
    """On DynamoDB."""
