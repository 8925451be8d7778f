"""What `flowc cancel` to `flowc skip` ask of the API, and what they say; `flowc replay` and `flowc incidents`."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions._cli.changes import change
from functions._core.records.values import ticket_id_of
from tests.support.builders import T0
from tests.support.command_line import FLOW_ID, TICKET, Api, a_row, problem
from tests.support.loopback import Loopback

TICKET_ID = TICKET["ticket_id"]
OF_FLOWS = {
    "approve": "approved",
    "deny": "denied",
    "pause": "paused",
    "resume": "resumed",
    "redrive": "redriven",
    "cancel": "cancelled",
}
OF_TICKETS = {
    "retry": "tried now",
    "reassign": "reassigned",
    "freeze-exception": "excepted from freezes",
    "skip": "skipped",
}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Loopback() as server:
        standin = Api(server, {})
        server.answer = standin.answer
        yield standin


def a_change(kind: str, *moves: str, **more: Any) -> dict[str, Any]:
    """Return a transition as the API shows it; `moves` are the statuses before and after."""
    before, after = moves or (None, None)
    line = {"type": kind, "ticket_id": None, "task_id": None, "from_status": before, "to_status": after}
    return {**line, "attempt": None, "worker_id": None, "cause": "", "detail": {}, **more}


def an_answer(*changes: Any, status: str = "EXECUTING", dry_run: bool = False, **more: Any) -> dict[str, Any]:
    """Return a flow after an order."""
    return a_row(status, **more) | {"dry_run": dry_run, "changes": list(changes)}


PAUSED = a_change(
    "flow.paused",
    "EXECUTING",
    "PAUSED",
    detail={"requested_by": "ann", "reason": "lunch", "until": "2025-03-02T12:00:00.000Z"},
)


@pytest.mark.parametrize(("verb", "done"), [*OF_FLOWS.items(), *OF_TICKETS.items()])
async def test_an_order_says_who_and_why_and_what_became_of_it(api: Api, verb: str, done: str) -> None:
    of_flow = verb in OF_FLOWS
    path = f"/api/v1/flows/{FLOW_ID}/{verb}" if of_flow else f"/api/v1/tickets/{TICKET_ID}/{verb}"
    outcome: dict[str, Any] = {"outcome": "CANCELLED"} if verb == "cancel" else {}
    api.answers[f"POST {path}"] = an_answer(PAUSED, **outcome)
    result = await api.flowc(verb, FLOW_ID if of_flow else TICKET_ID, "--by", "ann", "--reason", "lunch")
    assert (result.exit_code, result.output) == (0, f"{done}; the flow is EXECUTING\n")
    assert api.server.requests[0].json == {"requested_by": "ann", "reason": "lunch"}


async def test_without_a_name_it_is_the_one_of_the_login(api: Api) -> None:
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/pause"] = an_answer(PAUSED)
    assert (await api.flowc("pause", FLOW_ID, LOGNAME="grace")).exit_code == 0
    assert api.server.requests[0].json == {"requested_by": "grace"}


async def test_an_order_that_changes_nothing_says_so(api: Api) -> None:
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/pause"] = an_answer(status="PAUSED")
    assert (await api.flowc("pause", FLOW_ID)).stdout == "nothing to change; the flow is PAUSED\n"


async def test_a_dry_run_prints_each_transition_in_words_and_that_nothing_was_changed(api: Api) -> None:
    reason = {"code": "cancelled", "message": "cancelled by ann: lunch"}
    end = a_change("flow.consolidated", "EXECUTING", "PUBLISHING", detail={"outcome": "CANCELLED", "reasons": [reason]})
    held = a_change(
        "ticket.cancelled",
        "RUNNING",
        "CANCELLED",
        ticket_id=TICKET_ID,
        task_id="build",
        worker_id="w1",
        detail={"reason": reason},
    )
    forced = a_change("ticket.retry_forced", task_id="a\nb", detail={"requested_by": "ann", "reason": "now"})
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/cancel"] = an_answer(
        held, end, PAUSED, forced, dry_run=True, outcome="CANCELLED"
    )
    result = await api.flowc("cancel", FLOW_ID, "--by", "ann", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ticket build: RUNNING → CANCELLED (ticket.cancelled; worker w1; cancelled by ann: lunch)",
        "flow: EXECUTING → PUBLISHING (flow.consolidated; outcome CANCELLED; cancelled by ann: lunch)",
        "flow: EXECUTING → PAUSED (flow.paused; by ann; until 2025-03-02 12:00:00 UTC at most; lunch)",
        "ticket a b (ticket.retry_forced; by ann; now)",
        "nothing was changed",
    ]
    assert api.server.requests[0].json == {"requested_by": "ann", "dry_run": True}


def test_a_replan_says_how_many_tickets_it_adds_changes_removes_and_keeps() -> None:
    detail = {"tickets": 2, "changed": 0, "removed": 1, "kept": 40, "requested_by": "ada"}
    line = change({"type": "flow.replanned", "detail": detail})
    assert line == "flow (flow.replanned; by ada; 2 added, 0 changed, 1 removed, 40 kept)"
    assert change({"type": "flow.adjusted", "detail": {"tickets": 1}}) == "flow (flow.adjusted; 1 ticket)"


async def test_a_dry_run_of_what_is_so_already_says_so(api: Api) -> None:
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/pause"] = an_answer(dry_run=True)
    result = await api.flowc("pause", FLOW_ID, "--dry-run")
    assert result.stdout == "nothing would change, and nothing was changed\n"


async def test_the_answer_is_printed_whole_as_json(api: Api) -> None:
    answer = an_answer(PAUSED)
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/pause"] = answer
    assert json.loads((await api.flowc("pause", FLOW_ID, "--json")).stdout) == answer


async def test_a_refusal_is_said_in_words(api: Api) -> None:
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/pause"] = problem(409, "it has ended", "not_possible_now")
    result = await api.flowc("pause", FLOW_ID, "--dry-run")
    assert (result.exit_code, result.stderr) == (1, "flowc: it has ended (not_possible_now)\n")


async def test_a_ticket_may_be_named_by_flow_and_task(api: Api) -> None:
    ticket_id = ticket_id_of(FLOW_ID, "build/1")
    api.answers[f"POST /api/v1/tickets/{ticket_id}/retry"] = an_answer(PAUSED)
    assert (await api.flowc("retry", f"{FLOW_ID}/build/1")).exit_code == 0
    api.answers["GET /api/v1/flows/resolve"] = {"flow_id": FLOW_ID}
    assert (await api.flowc("retry", "decision-1/build/1")).exit_code == 0
    api.answers["GET /api/v1/flows/resolve"] = problem(404, "there is no flow 'nonsense'", "unknown_flow")
    result = await api.flowc("retry", "nonsense/build")
    assert (result.exit_code, result.stderr) == (1, "flowc: there is no flow 'nonsense' (unknown_flow)\n")


async def test_a_redrive_may_be_given_time_and_a_skip_an_output(api: Api) -> None:
    api.answers[f"POST /api/v1/flows/{FLOW_ID}/redrive"] = an_answer(PAUSED)
    api.answers[f"POST /api/v1/tickets/{TICKET_ID}/skip"] = an_answer(PAUSED)
    assert (await api.flowc("redrive", FLOW_ID, "--by", "ann", "--sla-seconds", "90")).exit_code == 0
    assert (await api.flowc("skip", TICKET_ID, "--by", "ann", "--output", '{"n": 1}')).exit_code == 0
    assert [request.json for request in api.server.requests] == [
        {"requested_by": "ann", "sla_seconds": 90.0},
        {"requested_by": "ann", "output": {"n": 1}},
    ]
    result = await api.flowc("skip", TICKET_ID, "--output", "{")
    assert result.exit_code == 2
    assert "'{' is not JSON" in result.stderr


def rebuilt(**changes: Any) -> dict[str, Any]:
    """Return a replay as the API shows it."""
    ticket = {"ticket_id": TICKET_ID, "task_id": "build", "status": "COMPLETED", "attempt": 2, "worker_id": "w1"}
    return {
        "flow_id": FLOW_ID,
        "lines": 7,
        "status": "COMPLETED",
        "outcome": "COMPLETED",
        "tickets": [ticket],
        "agrees": True,
        "differences": [],
        **changes,
    }


async def test_a_replay_prints_the_rebuilt_state_and_that_it_agrees(api: Api) -> None:
    api.answers[f"GET /api/v1/flows/{FLOW_ID}/replay"] = rebuilt()
    result = await api.flowc("replay", FLOW_ID)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "7 lines",
        "flow COMPLETED, outcome COMPLETED",
        "ticket build COMPLETED, attempt 2, worker w1",
        "the history and the records agree",
    ]


async def test_a_replay_that_differs_prints_every_difference_and_is_exit_status_1(api: Api) -> None:
    api.answers[f"GET /api/v1/flows/{FLOW_ID}/replay"] = rebuilt(agrees=False, differences=["one", "two"])
    result = await api.flowc("replay", FLOW_ID)
    assert (result.exit_code, result.stdout.splitlines()[-2:]) == (1, ["one", "two"])
    result = await api.flowc("replay", FLOW_ID, "--json")
    assert (result.exit_code, json.loads(result.stdout)["agrees"]) == (1, False)


async def test_incidents_are_listed_alone_and_among_the_audits(api: Api) -> None:
    incident = {
        "kind": "incident",
        "incident_id": "i-1",
        "flow_id": FLOW_ID,
        "incident_type": "WORKER_FAILURE",
        "severity": "CRITICAL",
        "details": ["ticket build failed", "badly"],
        "created_at": T0.isoformat(),
    }
    api.answers |= {"GET /api/v1/incidents": {"items": [incident]}, "GET /api/v1/audits": {"items": [incident]}}
    listed = (await api.flowc("incidents", "--flow", FLOW_ID)).stdout.splitlines()
    assert listed[0].split() == ["TIME", "SEVERITY", "TYPE", "FLOW", "DETAILS"]
    assert listed[1].split()[2:5] == ["CRITICAL", "WORKER_FAILURE", FLOW_ID]
    assert "ticket build failed; badly" in listed[1]
    assert "WORKER_FAILURE" in (await api.flowc("audits")).stdout
    assert json.loads((await api.flowc("incidents", "--json")).stdout) == {"items": [incident], "cursor": None}
    assert api.server.requests[1].path == "/api/v1/incidents"
    api.answers["GET /api/v1/incidents"] = {"items": []}
    assert (await api.flowc("incidents")).stdout == "no incidents\n"


async def test_the_events_of_orders_say_who_gave_them_and_why(api: Api) -> None:
    data = {"flow_id": FLOW_ID, "to_status": "PAUSED", "detail": PAUSED["detail"]}
    event = {"type": "io.neuralhive.flow.paused.v1", "time": "2026-03-01T12:00:00.001Z", "data": data}
    api.answers["GET /api/v1/events"] = [{"items": [event], "after": 7}, {"items": [], "after": 7}]
    assert "PAUSED      flow.paused, by ann, lunch" in (await api.flowc("events")).stdout


async def test_a_ticket_is_decided_about_by_its_id_or_as_flow_and_task(api: Api) -> None:
    path = f"/api/v1/tickets/{ticket_id_of(FLOW_ID, 'pay/ask')}/approve"
    api.answers[f"POST {path}"] = an_answer(PAUSED)
    result = await api.flowc("approve", f"{FLOW_ID}/pay/ask", "--data", '{"amount": 3}', "--by", "ann")
    assert (result.exit_code, result.output) == (0, "approved; the flow is EXECUTING\n")
    assert api.server.requests[-1].json == {"requested_by": "ann", "data": {"amount": 3}}
    for what in ("flows/resolve", f"flows/{TICKET_ID}/deny"):
        method = "GET" if "resolve" in what else "POST"
        api.answers[f"{method} /api/v1/{what}"] = problem(404, "no", "unknown_flow")
    api.answers[f"POST /api/v1/tickets/{TICKET_ID}/deny"] = an_answer(PAUSED)
    result = await api.flowc("deny", TICKET_ID)
    assert (result.exit_code, result.output) == (0, "denied; the flow is EXECUTING\n")
    result = await api.flowc("approve", TICKET_ID, "--data", "{")
    assert (result.exit_code, "is not JSON" in result.output) == (2, True)


async def test_what_names_neither_a_flow_nor_a_ticket_is_refused_in_the_words_of_the_platform(api: Api) -> None:
    for name in (f"POST /api/v1/flows/{TICKET_ID}/approve", "GET /api/v1/flows/resolve"):
        api.answers[name] = problem(404, "there is no such flow", "unknown_flow")
    api.answers[f"POST /api/v1/tickets/{TICKET_ID}/approve"] = problem(404, "there is no such ticket", "unknown_ticket")
    result = await api.flowc("approve", TICKET_ID)
    assert (result.exit_code, "there is no such ticket" in result.output) == (1, True)
    result = await api.flowc("approve", "some-plan")
    assert (result.exit_code, "there is no such flow" in result.output) == (1, True)


AN_ITEM: dict[str, Any] = {
    "kind": "ticket",
    "flow_id": FLOW_ID,
    "task_id": "pay",
    "message": "Pay [bold]this[/bold]\x1b[2J?",
    "form": {"type": "object"},
    "approvers": ["ada", "admin"],
    "until": "2025-03-01T13:00:00.000Z",
}
"""Something that waits, with a question that would like to take over the terminal."""


async def test_the_inbox_says_what_waits_for_whom_until_when(api: Api) -> None:
    flow = AN_ITEM | {
        "kind": "flow",
        "task_id": None,
        "approvers": [],
        "form": None,
        "message": "Begin?",
        "until": None,
    }
    api.answers["GET /api/v1/inbox"] = {"items": [AN_ITEM, flow], "cursor": "5:a", "complete": True}
    result = await api.flowc("inbox", "--limit", "2")
    _, first, second = result.stdout.splitlines()
    assert first.split()[2:] == [f"{FLOW_ID}/pay", "ada,", "admin", "yes", "Pay", "[bold]this[/bold]?[2J?"]
    assert second.split() == [FLOW_ID, "role", "operator", "Begin?"]
    assert result.stderr.startswith("there are more: --limit, or --cursor 5:a\n")
    assert json.loads((await api.flowc("inbox", "--limit", "2", "--json")).stdout)["items"][0] == AN_ITEM
    api.answers["GET /api/v1/inbox"] = {"items": [], "cursor": None, "complete": True}
    assert (await api.flowc("inbox")).stdout == "nothing waits for you\n"


A_WAIT = {
    "kind": "ticket",
    "flow_id": FLOW_ID,
    "ticket_id": "t",
    "task_id": "pay",
    "plan_id": "p",
    "status": "PENDING",
    "headline": "Ticket pay waits.",
    "waits_for": "a worker that offers '[bold]x\x1b[2J'",
    "since": "2025-03-01T12:00:00.000Z",
    "next_wakeup_at": None,
    "then": None,
    "slack_ms": -90_000,
    "slack_state": "at_risk",
}


async def test_stuck_lists_groups_and_what_waits_with_the_worst_slack_first(api: Api) -> None:
    found = {"waiting": 3, "tickets": 3, "flows": 0, "complete": False}
    groups = [{"text": "2 tickets wait for a worker that offers '\x1b[2J'."}]
    items = [A_WAIT, A_WAIT | {"kind": "flow", "task_id": None, "slack_ms": 60_000, "next_wakeup_at": A_WAIT["since"]}]
    api.answers["GET /api/v1/stuck"] = {"items": items, "groups": groups, **found}
    result = await api.flowc("stuck", "--limit", "2")
    group, _, _, late, in_time = result.stdout.splitlines()
    assert group == "2 tickets wait for a worker that offers '?[2J'."
    assert late.startswith(f"-1 min 30 s  {FLOW_ID}/pay  2025-03-01 12:00:00")
    assert late.endswith("a worker that offers '[bold]x?[2J'")
    assert in_time.split()[:3] == ["1", "min", FLOW_ID]
    assert result.stderr.splitlines() == [
        "1 more wait: --limit",
        "more is open than was looked at: 3 tickets and 0 flows",
    ]
    assert json.loads((await api.flowc("stuck", "--json")).stdout)["items"][0]["flow_id"] == FLOW_ID
    api.answers["GET /api/v1/stuck"] = {"items": [], "groups": [], **found, "waiting": 0, "complete": True}
    assert (await api.flowc("stuck")).stdout == "nothing waits\n"
