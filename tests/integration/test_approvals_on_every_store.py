"""A ticket that waits for a person is decided about once, on each store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._adapters.stores import Stores
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus
from tests.support.approvals import asking
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import task

SAID = {"requested_by": "ada", "reason": "as discussed"}


async def decided(api: Api, ticket: Ticket, verb: str, **more: Any) -> httpx.Response:
    return await api.client.post(f"/api/v1/tickets/{ticket.ticket_id}/{verb}", json={**SAID, **more})


async def now(api: Api, ticket: Ticket) -> Ticket:
    return (await api.world.tickets(ticket.flow_id))[ticket.task_id]


class ApprovalsSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_an_approval_is_the_output_and_the_flow_continues(self, api: Api) -> None:
        await api.world.register()
        ticket = await asking(api.world)
        answer = await decided(api, ticket, "approve")
        assert answer.status_code == 202, answer.text
        assert answer.json()["changes"][0]["to_status"] == "COMPLETED"
        flow_ended = asyncio.create_task(api.world.ended(ticket.flow_id))
        ended = await now(api, ticket)
        assert isinstance(ended.output, dict)
        told = {name: value for name, value in ended.output.items() if name != "at"}
        assert told == {"approved": True, "by": "ada", "reason": "as discussed", "data": None}
        assert ended.completed_at is not None
        assert (ended.status, ended.waiting, ended.worker_id) == (TicketStatus.COMPLETED, None, None)
        assert (await flow_ended).outcome == "COMPLETED"

    async def test_a_denial_fails_the_ticket_unless_it_says_otherwise(self, api: Api) -> None:
        await api.world.register()
        ticket = await asking(api.world)
        assert (await decided(api, ticket, "deny")).status_code == 202
        failed = await now(api, ticket)
        assert failed.reason is not None
        assert (failed.status, failed.reason.code) == (TicketStatus.FAILED, "denied")
        assert failed.reason.message == "denied by ada: as discussed"
        assert (await api.world.ended(ticket.flow_id)).outcome == "FAILED"
        other = await asking(api.world, on_denied="continue")
        assert (await decided(api, other, "deny")).status_code == 202
        assert (await api.world.ended(other.flow_id)).outcome == "COMPLETED"
        output = (await now(api, other)).output
        assert isinstance(output, dict)
        assert (output["approved"], output["by"]) == (False, "ada")

    async def test_the_same_again_changes_nothing_and_the_opposite_is_refused(self, api: Api) -> None:
        for verb, opposite in (("approve", "deny"), ("deny", "approve")):
            ticket = await asking(api.world)
            dry = await decided(api, ticket, verb, dry_run=True)
            assert (dry.status_code, (await now(api, ticket)).version) == (200, ticket.version)
            first = await decided(api, ticket, verb, order_id="o-1")
            assert moves(dry) == moves(first)
            after = await now(api, ticket)
            for again in ({}, {"order_id": "o-1"}, {"order_id": "o-2", "requested_by": "mallory"}):
                answer = await decided(api, ticket, verb, **again)
                assert (answer.status_code, answer.json()["changes"]) == (202, [])
            problem_of(await decided(api, ticket, opposite, order_id="o-1"), 409, "not_possible_now")
            assert await now(api, ticket) == after

    async def test_of_an_approval_and_a_denial_at_once_exactly_one_holds(self, api: Api) -> None:
        for _ in range(5):
            ticket = await asking(api.world, task("c", required_capabilities=["nobody"]))
            verbs = ("approve", "deny") * 4
            answers = await asyncio.gather(*(decided(api, ticket, verb) for verb in verbs))
            won = {verb for verb, answer in zip(verbs, answers, strict=True) if answer.status_code == 202}
            assert len(won) == 1, [answer.text for answer in answers]
            lost = [answer for verb, answer in zip(verbs, answers, strict=True) if verb not in won]
            assert {answer.status_code for answer in lost} == {409}
            status = TicketStatus.COMPLETED if won == {"approve"} else TicketStatus.FAILED
            assert (await now(api, ticket)).status is status
            audits = (await api.get("/api/v1/audits", flow_id=ticket.flow_id, kind="action"))["items"]
            assert [audit["action"] for audit in audits] == [f"{won.pop()}_ticket"]

    async def test_the_inbox_has_what_waits_and_loses_what_is_decided(self, api: Api) -> None:
        late, early = await asking(api.world, after_s=900), await asking(api.world, after_s=300)
        items = (await api.get("/api/v1/inbox"))["items"]
        assert [item["ticket_id"] for item in items] == [early.ticket_id, late.ticket_id]
        assert (await decided(api, early, "deny")).status_code == 202
        page = await api.get("/api/v1/inbox")
        assert ([item["ticket_id"] for item in page["items"]], page["complete"]) == ([late.ticket_id], True)


def moves(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(change["type"], change["to_status"]) for change in answer.json()["changes"]]


class TestMemory(OnMemory, ApprovalsSuite):
    """On memory."""


class TestSqlite(OnSqlite, ApprovalsSuite):
    """On SQLite."""


class TestPostgres(OnPostgres, ApprovalsSuite):
    """On PostgreSQL."""


class TestDynamo(OnDynamo, ApprovalsSuite):
    """On DynamoDB."""
