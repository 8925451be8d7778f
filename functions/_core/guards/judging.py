"""What guards find of a plan (C1) and of tickets (C3, claims): the stored policies first, then the policy server.

Compensations are not judged: what undoes work is never held back. So their parameters are looked at with the task that
they undo, by C1 and with its ticket.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from functions._core.decision.model import Decision, Task
from functions._core.decision.reading import InvalidDecision, decision_in, document_in
from functions._core.guards.detector import values_of, without_secrets
from functions._core.guards.gate import (
    ALLOWED,
    POLICY_DENIED,
    POLICY_UNAVAILABLE,
    QUARANTINED,
    Finding,
    GuardState,
    GuardVerdict,
    PolicyAway,
    PolicyServer,
    Stage,
)
from functions._core.guards.policy import GuardAction, GuardedWork, GuardPolicy, broken
from functions._core.masking import Mask
from functions._core.ports import Beside
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.values import SecurityLevel
from functions._core.rules import LARGE_DECISION
from functions._core.slo.admission import FlowFacts

REASONS = 20
"""Reasons of one verdict that are kept; a bound on the row and on the event."""

SAID = 500
"""Characters of one reason."""

CODES: Mapping[Finding, str] = {
    Finding.DENY: POLICY_DENIED,
    Finding.QUARANTINE: QUARANTINED,
    Finding.UNAVAILABLE: POLICY_UNAVAILABLE,
}


async def plan_verdict(text: bytes, state: GuardState, beside: Beside) -> GuardVerdict:
    """Return what guards find of a decision; one that cannot be read is allowed, as C1 refuses it."""
    server = state.server_at(Stage.PLAN)
    look = partial(_looked_at_plan, text, state, asked=server is not None)
    verdict, flow, works, asked = await beside(look) if len(text) > LARGE_DECISION else look()
    if verdict.finding is not Finding.ALLOW or server is None or flow is None:
        return verdict
    [found] = await _of_server(server, Stage.PLAN, [asked], works, passes=state.passes)
    # No flow waits as a whole: its tickets are quarantined.
    return ALLOWED if found.finding is Finding.QUARANTINE else found


async def ticket_verdicts(
    tickets: Sequence[Ticket], flow: Flow, state: GuardState, beside: Beside
) -> Mapping[str, GuardVerdict]:
    """Return what guards find of tickets of one flow, by id; those that are allowed are not in it."""
    found: dict[str, GuardVerdict] = await beside(partial(_looked_at, tickets, flow, state))
    server, free = state.server_at(Stage.TICKET), [one for one in tickets if one.ticket_id not in found]
    if server is not None and free:
        works = [work_of(ticket) for ticket in free]
        asked = [_ticket_asked(ticket, work, flow) for ticket, work in zip(free, works, strict=True)]
        verdicts = await _of_server(server, Stage.TICKET, asked, works, passes=state.passes)
        found |= {one.ticket_id: _unless_released(it, one) for one, it in zip(free, verdicts, strict=True)}
    return {ticket_id: one for ticket_id, one in found.items() if one.finding is not Finding.ALLOW}


async def _of_server(
    server: PolicyServer,
    stage: Stage,
    asked: Sequence[Mapping[str, Any]],
    works: Sequence[GuardedWork],
    *,
    passes: bool,
) -> Sequence[GuardVerdict]:
    """Return the verdicts of the server; no message holds a secret of `works`, nor what cannot be printed."""
    try:
        verdicts = await server.decide(stage, asked)
    except PolicyAway as away:
        goes_on = "it goes on without" if passes else "it waits"
        reason = Reason(code=POLICY_UNAVAILABLE, message=told(f"the policy server gives no verdict: {away}; {goes_on}"))
        return [GuardVerdict(Finding.UNAVAILABLE, (reason,), passes)] * len(asked)
    if not any(verdict.reasons for verdict in verdicts):
        return verdicts
    mask = Mask(value for work in works for value in values_of(work.contents))
    return [
        verdict._replace(
            reasons=tuple(one.but(message=told(mask.text(one.message))) for one in verdict.reasons[:REASONS])
        )
        for verdict in verdicts
    ]


def _looked_at_plan(
    text: bytes, state: GuardState, *, asked: bool
) -> tuple[GuardVerdict, FlowFacts | None, Sequence[GuardedWork], Mapping[str, Any]]:
    """Return what the stored policies find, the tasks, and what the server is asked about them."""
    try:
        decision = decision_in(document_in(text))
    except InvalidDecision:
        return ALLOWED, None, (), {}
    flow = FlowFacts(decision.flow_labels, decision.flow_risk_band, decision.flow_priority)
    works = [*works_of(decision)]
    found = [
        (work, *one)
        for work in works
        for one in broken(_at_plan(state.policies), flow, work)
    ]  # fmt: skip
    if found:
        return _verdict(GuardAction.DENY, found), flow, works, {}
    return ALLOWED, flow, works, _plan_asked(decision, works) if asked else {}


def _at_plan(policies: Iterable[GuardPolicy]) -> Sequence[GuardPolicy]:
    """Return those that may end a flow; the others wait for its tickets."""
    return [policy for policy in policies if policy.action is GuardAction.DENY]


def _looked_at(tickets: Sequence[Ticket], flow: Flow, state: GuardState) -> dict[str, GuardVerdict]:
    facts = FlowFacts(flow.labels, flow.risk_band, flow.priority)
    found: dict[str, GuardVerdict] = {}
    for ticket in tickets:
        work = work_of(ticket)
        broke = [(work, *one) for one in broken(state.policies, facts, work)]
        denying = [one for one in broke if one[1].action is GuardAction.DENY]
        if broke:
            action = GuardAction.DENY if denying else GuardAction.QUARANTINE
            found[ticket.ticket_id] = _unless_released(_verdict(action, denying or broke), ticket)
    return {ticket_id: verdict for ticket_id, verdict in found.items() if verdict.finding is not Finding.ALLOW}


def _unless_released(verdict: GuardVerdict, ticket: Ticket) -> GuardVerdict:
    return ALLOWED if verdict.finding is Finding.QUARANTINE and ticket.guard_release else verdict


def _verdict(action: GuardAction, found: Iterable[tuple[GuardedWork, GuardPolicy, str]]) -> GuardVerdict:
    finding = Finding.DENY if action is GuardAction.DENY else Finding.QUARANTINE
    reasons = tuple(
        Reason(code=CODES[finding], message=told(f"{why} (guard policy {policy.name})"), where=work.task_id)
        for work, policy, why in found
    )
    return GuardVerdict(finding, reasons[:REASONS])


def told(text: str) -> str:
    """Return a text of a policy as it is kept and shown: one line that can be printed, without known secrets."""
    line = "".join(one if one.isprintable() else " " for one in without_secrets(text[: 4 * SAID]))
    return line if len(line) <= SAID else f"{line[: SAID - 1]}…"


def works_of(decision: Decision) -> Iterator[GuardedWork]:
    """Yield all tasks of a decision, those within sub-flows, too, with the words that hold for them."""
    open_: list[tuple[str, Task]] = [("", task) for task in reversed(decision.cognitive_plan.tasks)]
    while open_:
        scope, task = open_.pop()
        more = [one for one in (task.undo_parameters, task.foreach.items if task.foreach else None) if one]
        yield GuardedWork(
            f"{scope}{task.task_id}",
            task.task_type,
            task.risk_band or decision.flow_risk_band,
            task.security_level or decision.flow_security_level,
            tuple(task.required_capabilities),
            task.parameters,
            {**decision.flow_labels, **task.labels},
            more or None,
        )
        if task.plan is not None:
            open_ += [(f"{scope}{task.task_id}/", one) for one in reversed(task.plan.tasks)]


def work_of(ticket: Ticket) -> GuardedWork:
    """Return what guards look at of a ticket."""
    more = [one for one in (ticket.undo.parameters if ticket.undo else None, ticket.item) if one]
    return GuardedWork(
        ticket.task_id,
        ticket.task_type,
        ticket.risk_band,
        ticket.security_level,
        ticket.required_capabilities,
        ticket.parameters,
        ticket.labels,
        more or None,
    )


def _plan_asked(decision: Decision, works: Iterable[GuardedWork]) -> Mapping[str, Any]:
    return {
        "stage": Stage.PLAN.value,
        "flow": {
            "decision_id": decision.decision_id,
            "plan_id": decision.plan_id,
            "priority": decision.flow_priority.value,
            "risk_band": decision.flow_risk_band.value,
            "tenant_id": decision.tenant_id,
            "labels": decision.flow_labels,
        },
        "tasks": [_asked(work) for work in works],
    }


def _asked(work: GuardedWork) -> Mapping[str, Any]:
    return {
        "task_id": work.task_id,
        "task_type": work.task_type.value,
        "provider": work.provider,
        "risk_band": work.risk_band.value,
        "security_level": work.security_level.value,
        "clearance": [*SecurityLevel].index(work.security_level),
        "required_capabilities": [*work.capabilities],
        "parameters": work.parameters,
        "labels": dict(work.labels),
    }


def _ticket_asked(ticket: Ticket, work: GuardedWork, flow: Flow) -> Mapping[str, Any]:
    return {
        "stage": Stage.TICKET.value,
        "flow": {
            "flow_id": flow.flow_id,
            "decision_id": flow.decision_id,
            "plan_id": flow.plan_id,
            "priority": flow.priority.value,
            "risk_band": flow.risk_band.value,
            "tenant_id": flow.tenant_id,
            "labels": flow.labels,
        },
        "ticket_id": ticket.ticket_id,
        "task": _asked(work),
    }
