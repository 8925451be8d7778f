"""Rules about flows that failed or missed their deadline: grouped by what made them, which is named.

A flow's cause is one of its tickets: the first that failed, else the one that lost most time, by working longer than
its plan expected or by waiting for a worker.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from functions._core.explain.spans import span_of_ms
from functions._core.insights.findings import Advice, ProblemFound, entity, evidence, named
from functions._core.insights.insight import InsightType, RelatedEntity
from functions._core.insights.window import WENT_WRONG, HistoryWindow
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.history_reader import Ended
from functions._core.learning.series import median
from functions._core.records.values import Priority, TicketStatus, milliseconds

GROUPS = 10
"""Causes of one rule that become findings of their own, those of most flows first."""

SHOWN = 10
"""Flows that a finding names."""

CAREFUL = 2
"""Flows that are added to those of the window before shares are taken: one flow of one says little."""

LEAST, MOST = 0.3, 0.7
"""The severity of one flow that went wrong, and what the share of such flows adds at most."""

NOTICEABLE_MS = 100
"""Milliseconds of delay that a sentence names."""

PRECIOUS = 0.2
"""What a flow of the highest priority adds to the severity."""


class Cause(NamedTuple):
    """What made a flow fail or miss its deadline."""

    kind: str
    """`failed`, `slow`, `waiting`, or `unknown` where no ticket says it."""
    task_type: str = ""
    """The type of the task."""
    worker_id: str = ""
    """The worker that had it; empty without one."""
    reason: str = ""
    """The code of the reason, or the capabilities that were waited for."""

    @property
    def subject(self) -> str:
        """The cause as one text."""
        return "/".join(self)


def flow_problems(window: HistoryWindow) -> Iterator[ProblemFound]:
    """Yield what went wrong with the flows of a window: violations of SLAs, failures, and plans that cannot fit."""
    missed = [one for one in window.ended if one[0].missed]
    failed = [one for one in window.ended if one[0].outcome in WENT_WRONG and not one[0].missed]
    yield from _grouped("sla-violation", missed, window)
    yield from _grouped("flow-failure", failed, window)
    yield from _impossible(window)


def cause_of(flow: FlowRow, tickets: Sequence[TicketRow]) -> Cause:
    """Return what made a flow fail or miss its deadline."""
    broken = [one for one in tickets if one.status is TicketStatus.FAILED]
    if broken:
        first = min(broken, key=lambda one: (one.completed_at, one.ticket_id))
        kind = "failed" if first.worker_id else "waiting"
        reason = first.reason_code or flow.reason_code or ""
        return Cause(kind, first.task_type, first.worker_id or "", reason if kind == "failed" else _offers(first))
    lost = max(tickets, key=lambda one: (_slow_ms(one) + _waited_ms(one), one.ticket_id), default=None)
    if lost is None or _slow_ms(lost) + _waited_ms(lost) == 0:
        return Cause("unknown", reason=flow.reason_code or "")
    if _slow_ms(lost) >= _waited_ms(lost):
        return Cause("slow", lost.task_type, lost.worker_id or "", lost.task_id)
    return Cause("waiting", lost.task_type, "", _offers(lost))


def _slow_ms(ticket: TicketRow) -> int:
    """Return how much longer than expected a ticket worked; one without a result until it was taken away."""
    took = ticket.actual_ms
    if took is None:
        took = milliseconds(ticket.completed_at - ticket.assigned_at) if ticket.assigned_at is not None else 0
    return max(0, took - ticket.estimate_ms)


def _waited_ms(ticket: TicketRow) -> int:
    """Return how long a ticket waited for a worker; one that never got one until its end."""
    if ticket.ready_at is not None and ticket.assigned_at is None:
        return max(0, milliseconds(ticket.completed_at - ticket.ready_at))
    return ticket.waited_ms or 0


def _offers(ticket: TicketRow) -> str:
    return ",".join(ticket.capabilities[:5])


def _grouped(rule: str, wrong: Sequence[Ended], window: HistoryWindow) -> Iterator[ProblemFound]:
    groups: dict[Cause, list[FlowRow]] = {}
    for flow, tickets in wrong:
        groups.setdefault(cause_of(flow, tickets), []).append(flow)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    for cause, flows in ordered[:GROUPS]:
        yield _wrong(rule, cause, flows, window)


def _wrong(rule: str, cause: Cause, flows: Sequence[FlowRow], window: HistoryWindow) -> ProblemFound:
    number, ended = len(flows), len(window.ended)
    what = "missed their deadlines" if rule == "sla-violation" else "failed"
    if number == 1:
        what = "missed its deadline" if rule == "sla-violation" else "failed"
    late = [max(0, milliseconds(flow.ended_at - flow.deadline)) for flow in flows]
    severity = LEAST + MOST * number / (ended + CAREFUL)
    severity += PRECIOUS if any(flow.priority is Priority.CRITICAL for flow in flows) else 0
    by = f" The delay was {span_of_ms(median(late))} in the middle." if median(late) >= NOTICEABLE_MS else ""
    agree = sum(flow.reason_code in {None, cause.reason} or cause.kind != "failed" for flow in flows)
    return ProblemFound(
        rule=rule,
        subject=cause.subject,
        insight_type=InsightType.OPERATIONAL,
        title=f"{number} {'flow' if number == 1 else 'flows'} {what}: {_because(cause)}",
        summary=f"{number} of {ended} flows that ended in the window {what}, as {_because(cause)}.{by}",
        analysis="The cause of a flow is its first failed ticket, else the ticket that lost most time.",
        figures={"flows": number, "ended": ended, "share": number / max(1, ended), "late_ms": median(late)},
        entities=(*_who(cause), *(entity("flow", flow.flow_id, "affected") for flow in flows[:SHOWN])),
        advice=_advice(cause),
        tags=("sla" if rule == "sla-violation" else "failure", cause.kind, cause.task_type),
        strength=evidence(number) if cause.kind != "unknown" else 0.3,
        agreement=agree / number,
        affected=number,
        severity=severity,
        flow=flows[0] if number == 1 else None,
    )


def _because(cause: Cause) -> str:
    """Return a cause as a clause."""
    at = f" at worker {named(cause.worker_id)}" if cause.worker_id else ""
    if cause.kind == "failed":
        return f"{cause.task_type} work failed{at} ({named(cause.reason or 'no reason')})"
    if cause.kind == "slow":
        return f"the {cause.task_type} task {named(cause.reason)} took longer than planned{at}"
    if cause.kind == "waiting":
        offers = f" that offers {named(cause.reason)}" if cause.reason else ""
        return f"{cause.task_type} work waited for a worker{offers}"
    return f"no ticket says why ({named(cause.reason)})" if cause.reason else "no ticket says why"


def _who(cause: Cause) -> Iterator[RelatedEntity]:
    if cause.worker_id:
        yield entity("worker", cause.worker_id, "cause")
    if cause.task_type:
        yield entity("task_type", cause.task_type, "cause")
    if cause.kind == "waiting":
        yield from (entity("capability", one, "cause") for one in cause.reason.split(",") if one)


def _advice(cause: Cause) -> tuple[Advice, ...]:
    if cause.kind == "failed":
        return (
            Advice(action="Read the logs of the tickets: `flowc why FLOW` names them.", share=0.5),
            Advice(action="Drain the worker if others do the same work well.", share=0.4),
        )
    if cause.kind == "slow":
        return (
            Advice(action="Give the task an estimate that fits what it takes, or more time to the flow.", share=0.6),
            Advice(action="Look at why this worker takes so long for it.", share=0.4),
        )
    if cause.kind == "waiting":
        return (
            Advice(action="Register more workers that offer what is asked for, or give them more slots.", share=0.8),
            Advice(action="Let flows that can wait begin at quieter hours.", share=0.3),
        )
    return (Advice(action="Ask `flowc why FLOW`: it knows what the history does not say.", share=0.3),)


def _impossible(window: HistoryWindow) -> Iterator[ProblemFound]:
    """Find flows whose critical path, by their own estimates, is longer than the time that they had."""
    never = [
        flow
        for flow in window.flows
        if flow.missed
        and flow.critical_path_ms is not None
        and flow.critical_path_ms > milliseconds(flow.deadline - flow.received_at)
    ]
    if not never:
        return
    number, missed = len(never), sum(flow.missed for flow in window.flows)
    yield ProblemFound(
        rule="impossible-deadline",
        subject="plans",
        insight_type=InsightType.STRATEGIC,
        title=f"{number} {'flow' if number == 1 else 'flows'} had less time than the plan needs",
        summary=f"The critical path of {number} of {missed} flows that missed their deadlines is longer, by its own "
        "estimates, than the time they had: no worker could have met it.",
        analysis="The critical path of a plan is compared with the time from the arrival of its flow to its deadline.",
        figures={"flows": number, "missed": missed},
        entities=tuple(entity("flow", flow.flow_id, "affected") for flow in never[:SHOWN]),
        advice=(
            Advice(action="Agree on deadlines that fit these plans, or split the plans.", share=0.9),
            Advice(action="Let C1 refuse such plans: FLOWC_REFUSE_IMPOSSIBLE=true.", share=0.5),
        ),
        tags=("sla", "planning"),
        strength=1.0,
        affected=number,
        severity=LEAST + MOST * number / (len(window.ended) + CAREFUL),
        flow=never[0] if number == 1 else None,
    )
