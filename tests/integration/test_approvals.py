"""Who may decide about a ticket, by which door; the data of its form; the inbox; and attacks on all of that."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.models import Ticket
from functions._core.records.principal import Principal, Role
from functions._core.records.values import TicketStatus
from functions.api.app import create_app
from functions.api.ingress import take
from tests.support.approvals import FORM, asking
from tests.support.builders import T0
from tests.support.http_api import Api, problem_of, running_api
from tests.support.ordering import REVIEWED, silent, taken
from tests.support.world import decision, report_event, task

JSON = {"content-type": "application/json"}
CALLERS = {
    "vera": Principal("vera", frozenset({Role.VIEWER})),
    "otto": Principal("otto", frozenset({Role.OPERATOR})),
    "wanda": Principal("wanda", frozenset({Role.WORKER})),
    "ada": Principal("ada", frozenset({Role.ADMIN})),
    "operator": Principal("operator", frozenset({Role.VIEWER})),
    "metrics": Principal("vera", frozenset({Role.VIEWER}), scopes=frozenset({"metrics"})),
}
"""Callers by their keys; one viewer is called as a role is, and one key of vera's is for the metrics alone."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


@pytest.fixture
async def guarded(api: Api) -> Api:
    """Serve the api to callers who have a key."""

    async def identify(credential: str) -> Principal | None:
        return CALLERS.get(credential)

    document = api.app.openapi()
    api.app = create_app(replace(api.app.state.services, identify=identify))
    api.app.openapi_schema = document
    api.client._transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)  # noqa: SLF001
    return api


async def post(api: Api, ticket: Ticket, verb: str, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"x-api-key": key} if key else {}
    return await api.client.post(f"/api/v1/tickets/{ticket.ticket_id}/{verb}", json=body, headers=headers)


async def send(api: Api, ticket: Ticket, what: str, key: str | None = None, **data: Any) -> httpx.Response:
    """Send a command as an event."""
    event = CloudEvent(
        id=f"{what}-{key}",
        source="/tests",
        type=type_of(f"ticket.{what}"),
        time=T0,
        data={"flow_id": ticket.flow_id, "ticket_id": ticket.ticket_id, **data},
    )
    if key:
        api.client.headers["x-api-key"] = key
    return await api.post(event)


async def now(api: Api, ticket: Ticket) -> Ticket:
    return (await api.world.tickets(ticket.flow_id))[ticket.task_id]


class TestWhoMayDecide:
    @pytest.mark.parametrize(
        ("approvers", "may"),
        [
            ([], {"otto", "ada"}),
            (["vera"], {"vera"}),
            (["admin"], {"ada"}),
            (["viewer"], {"vera", "otto", "ada", "operator"}),
            (["operator"], {"otto", "ada"}),
            (["worker"], {"otto", "ada"}),
            (["nobody", "VERA", "ver", ""], set()),
        ],
    )
    async def test_those_whom_the_ticket_names_by_name_or_role(
        self, guarded: Api, approvers: list[str], may: set[str]
    ) -> None:
        ticket = await asking(guarded.world, approvers=[name for name in approvers if name])
        answers = {key: await post(guarded, ticket, "approve", key, dry_run=True) for key in CALLERS}
        assert {key for key, answer in answers.items() if answer.status_code == 200} == may
        for key in CALLERS.keys() - may:
            assert answers[key].status_code == 403, answers[key].text
            answer = await send(guarded, ticket, "approval_granted", key)
            assert answer.status_code == 403, answer.text
            assert (await post(guarded, ticket, "skip", key)).status_code == 403
        assert (await now(guarded, ticket)).status is TicketStatus.WAITING

    async def test_an_event_of_a_bus_proves_nobody(self, guarded: Api) -> None:
        named, anybody = await asking(guarded.world, approvers=["ada"]), await asking(guarded.world, approvers=[])
        for what in ("approval_granted", "approval_denied", "skip_requested"):
            for ticket in (named, anybody):
                data = {
                    "flow_id": ticket.flow_id,
                    "ticket_id": ticket.ticket_id,
                    "requested_by": "ada",
                    "dry_run": True,
                }
                event = CloudEvent(id=what, source="/bus", type=type_of(f"ticket.{what}"), time=T0, data=data)
                refused = pytest.raises(Rejected, match="may be decided by ada") if ticket is named else nullcontext()
                with refused:
                    await take(guarded.app.state.services, event, None)
        assert (await now(guarded, named)).status is TicketStatus.WAITING

    async def test_a_refusal_names_those_who_may(self, guarded: Api) -> None:
        ticket = await asking(guarded.world, approvers=["grace", "admin"])
        document = problem_of(await post(guarded, ticket, "deny", "otto"), 403, "not_an_approver")
        assert document["detail"] == "this may be decided by grace, role admin, not by 'otto'"

    async def test_the_decision_is_the_callers_whoever_the_request_names(self, guarded: Api) -> None:
        forged = {"x-forwarded-user": "ada", "x-approver": "ada", "remote-user": "ada", "x-user": "ada"}
        for by_event in (False, True):
            ticket = await asking(guarded.world, approvers=["vera"])
            path = f"/api/v1/tickets/{ticket.ticket_id}/approve"
            anonymous = await guarded.client.post(path, json={"requested_by": "vera"}, headers=forged)
            assert anonymous.status_code == 401
            headers = {**forged, "x-api-key": "otto"}
            answer = await guarded.client.post(path, json={"requested_by": "vera"}, headers=headers)
            problem_of(answer, 403, "not_an_approver")
            if by_event:
                assert (await send(guarded, ticket, "approval_granted", "vera", requested_by="ada")).status_code == 202
                del guarded.client.headers["x-api-key"]
            else:
                assert (await post(guarded, ticket, "approve", "vera", requested_by="ada")).status_code == 202
            output = (await now(guarded, ticket)).output
            assert isinstance(output, dict)
            assert output["by"] == "vera"

    async def test_the_token_of_a_ticket_decides_about_none(self, api: Api) -> None:
        api.world.workers.behave = silent
        await api.world.register()
        ticket = await asking(api.world, task("c"))
        token = (await taken(api.world, "c"))["token"]
        headers = {"authorization": f"Bearer {token}"}
        answer = await api.client.post(f"/api/v1/tickets/{ticket.ticket_id}/approve", json={}, headers=headers)
        assert answer.status_code == 403, answer.text

    async def test_no_worker_can_claim_or_report_it(self, api: Api) -> None:
        await api.world.register()
        ticket = await asking(api.world)
        path = f"/api/v1/tickets/{ticket.ticket_id}/status"
        claim = {"status": "RUNNING", "worker_id": "w1"}
        end = {"status": "COMPLETED", "attempt": 1, "output": {"approved": True}}
        for body in (claim, end, {**end, "attempt": 0}):
            assert (await api.client.patch(path, json=body)).status_code in {401, 409, 422}
        assignment = {"ticket_id": ticket.ticket_id, "attempt": 1, "flow_id": ticket.flow_id}
        heard = await api.world.platform.report(report_event(assignment, status="COMPLETED", output={"approved": True}))
        assert heard.result == "superseded"
        assert await now(api, ticket) == ticket


class TestData:
    async def test_data_is_checked_by_the_form_and_kept_in_the_output(self, api: Api) -> None:
        ticket = await asking(api.world, form=FORM)
        document = problem_of(await post(api, ticket, "approve", data={"amount": 101}), 422, "invalid_data")
        assert [(error["code"], error["where"]) for error in document["errors"]] == [("maximum", "/data/amount")]
        problem_of(await post(api, ticket, "approve"), 422, "invalid_data")
        problem_of(await send(api, ticket, "approval_granted", data={"amount": "x"}), 422, "invalid_data")
        problem_of(await post(api, ticket, "approve", data={}, dry_run=True), 422, "invalid_data")
        assert await now(api, ticket) == ticket
        assert (await post(api, ticket, "approve", data={"amount": 7})).status_code == 202
        output = (await now(api, ticket)).output
        assert isinstance(output, dict)
        assert output["data"] == {"amount": 7}

    async def test_a_denial_needs_no_data_and_its_data_fits_the_form(self, api: Api) -> None:
        ticket = await asking(api.world, form=FORM, on_denied="continue")
        problem_of(await post(api, ticket, "deny", data={"amount": 101}), 422, "invalid_data")
        assert (await post(api, ticket, "deny")).status_code == 202

    async def test_giant_data_is_refused_by_each_door(self, api: Api) -> None:
        ticket = await asking(api.world, form={})
        for size in (40_000, 100_000, 2_000_000):
            assert (await post(api, ticket, "approve", data="x" * size)).status_code == 413
            assert (await send(api, ticket, "approval_granted", data="x" * size)).status_code == 413
        assert (await post(api, ticket, "approve", data=[[]] * 2_000)).status_code == 413
        assert await now(api, ticket) == ticket

    async def test_a_form_that_is_none_lets_nobody_decide_but_can_be_skipped(self, api: Api) -> None:
        ticket = await asking(api.world, form={"$ref": "http://127.0.0.1:9/form"})
        problem_of(await post(api, ticket, "approve", data={}), 409, "invalid_form")
        assert (await post(api, ticket, "skip", output={"approved": True})).status_code == 202
        problem_of(await post(api, ticket, "approve", data={}), 409, "not_possible_now")

    @pytest.mark.parametrize("body", [{"form": {}}, {"approved": True}, {"by": "ada"}, {"dry_run": "perhaps"}])
    async def test_a_field_that_is_not_known_is_refused(self, api: Api, body: Mapping[str, Any]) -> None:
        ticket = await asking(api.world)
        problem_of(await post(api, ticket, "approve", **body), 422, "invalid_data")
        assert await now(api, ticket) == ticket


class TestMoments:
    async def test_a_ticket_of_another_kind_asks_nobody(self, api: Api) -> None:
        ticket = await asking(api.world)
        other = (await api.world.tickets(ticket.flow_id))["b"]
        for verb in ("approve", "deny"):
            document = problem_of(await post(api, other, verb), 409, "not_possible_now")
            assert document["detail"] == "ticket b is PENDING and asks nobody for a decision"
        problem_of(await api.client.get(f"/api/v1/tickets/{other.ticket_id}/approval"), 404, "unknown_approval")
        answer = await send(api, other, "approval_granted", ticket_id=ticket.ticket_id, flow_id="x")
        assert answer.status_code == 404

    async def test_nobody_decides_after_the_end(self, api: Api) -> None:
        ticket = await asking(api.world)
        assert (await api.client.post(f"/api/v1/flows/{ticket.flow_id}/cancel")).status_code == 202
        await api.world.ended(ticket.flow_id)
        for verb in ("approve", "deny"):
            problem_of(await post(api, ticket, verb, order_id="late"), 409, "not_possible_now")
        assert (await now(api, ticket)).status is TicketStatus.CANCELLED

    async def test_a_decision_in_a_paused_flow_waits_with_it(self, api: Api) -> None:
        await api.world.register()
        ticket = await asking(api.world)
        assert (await api.client.post(f"/api/v1/flows/{ticket.flow_id}/pause")).status_code == 202
        assert (await post(api, ticket, "approve")).status_code == 202
        after = (await api.world.tickets(ticket.flow_id))["b"]
        assert (after.status, after.waiting) == (TicketStatus.PENDING, "RESUME")
        assert (await api.client.post(f"/api/v1/flows/{ticket.flow_id}/resume")).status_code == 202
        assert (await api.world.ended(ticket.flow_id)).outcome == "COMPLETED"

    async def test_a_decision_that_is_replayed_counts_once(self, api: Api) -> None:
        first, other = await asking(api.world), await asking(api.world)
        answers = await asyncio.gather(*(post(api, first, "approve", order_id="o-1") for _ in range(10)))
        assert {answer.status_code for answer in answers} == {202}
        assert len([answer for answer in answers if answer.json()["changes"]]) == 1
        assert (await post(api, other, "approve", order_id="o-1")).json()["changes"]


class TestInbox:
    async def test_it_has_flows_and_tickets_the_earliest_deadline_first(self, api: Api) -> None:
        flow_id = await api.world.submit(decision(task("a"), **REVIEWED))
        await api.world.reached(flow_id, "AWAITING_APPROVAL")
        form = {"type": "object"}
        late = await asking(api.world, after_s=9 * 86_400, message="Pay?", form=form, on_timeout="continue")
        early = await asking(api.world, after_s=60)
        page = await api.get("/api/v1/inbox")
        assert [(item["kind"], item["flow_id"], item["ticket_id"]) for item in page["items"]] == [
            ("ticket", early.flow_id, early.ticket_id),
            ("flow", flow_id, None),
            ("ticket", late.flow_id, late.ticket_id),
        ]
        assert (page["cursor"], page["complete"]) == (None, True)
        item = page["items"][2]
        assert (item["message"], item["form"], item["task_id"], item["approvers"]) == ("Pay?", form, "ask", [])
        assert item["then"] == (
            "Without a decision the flow continues, with approved: null. After a denial the ticket fails."
        )
        assert "review" in page["items"][1]["message"]

    async def test_its_pages_lead_through_all_of_it_while_it_changes(self, api: Api) -> None:
        tickets = [await asking(api.world, after_s=60 * (n + 1)) for n in range(5)]
        seen: list[str] = []
        cursor = ""
        for _ in range(10):
            page = await api.get(f"/api/v1/inbox?limit=2{cursor}")
            seen += [item["ticket_id"] for item in page["items"]]
            if page["cursor"] is None:
                break
            cursor = f"&cursor={page['cursor']}"
            first = next(ticket for ticket in tickets if ticket.ticket_id == page["items"][0]["ticket_id"])
            assert (await post(api, first, "approve")).status_code == 202
        assert seen == [ticket.ticket_id for ticket in tickets]

    @pytest.mark.parametrize("cursor", ["x", "1", "1:" + "a" * 50, "9" * 16 + ":a", "-1:a", "1:a b", "1:../"])
    async def test_what_is_no_cursor_is_refused(self, api: Api, cursor: str) -> None:
        assert (await api.client.get("/api/v1/inbox", params={"cursor": cursor})).status_code == 422

    async def test_each_caller_sees_what_waits_for_that_caller(self, guarded: Api) -> None:
        flow_id = await guarded.world.submit(decision(task("a"), **REVIEWED))
        await guarded.world.reached(flow_id, "AWAITING_APPROVAL")
        for_vera = await asking(guarded.world, approvers=["vera"])
        for_operators = await asking(guarded.world)
        seen: dict[str, set[str]] = {}
        for key in CALLERS.keys() - {"metrics", "wanda"}:
            items = (await guarded.client.get("/api/v1/inbox", headers={"x-api-key": key})).json()["items"]
            seen[key] = {item["ticket_id"] or item["flow_id"] for item in items}
        everything_else = {flow_id, for_operators.ticket_id}
        assert seen == {
            "vera": {for_vera.ticket_id},
            "operator": set(),
            "otto": everything_else,
            "ada": everything_else,
        }
        for key in ("metrics", "wanda"):
            answer = await guarded.client.get("/api/v1/inbox", headers={"x-api-key": key})
            assert answer.status_code == 403

    async def test_the_question_of_a_ticket_and_then_its_answer(self, guarded: Api) -> None:
        ticket = await asking(guarded.world, approvers=["vera"], form=FORM, message="How much?")
        path = f"/api/v1/tickets/{ticket.ticket_id}/approval"

        async def view(key: str) -> dict[str, Any]:
            answer = await guarded.client.get(path, headers={"x-api-key": key})
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        before = await view("vera")
        assert (before["status"], before["may_decide"], before["decision"]) == ("WAITING", True, None)
        assert (before["message"], before["form"], before["approvers"]) == ("How much?", FORM, ["vera"])
        assert (await view("otto"))["may_decide"] is False
        assert (await post(guarded, ticket, "approve", "vera", data={"amount": 3})).status_code == 202
        after = await view("otto")
        assert (after["status"], after["decision"]) == ("COMPLETED", "approved")
        assert after["output"]["data"] == {"amount": 3}
