"""What a memory layer answers, made of records and rows of history. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter
from itertools import pairwise
from statistics import median

from functions._core.insights.error_texts import error_patterns
from functions._core.insights.insight import Insight
from functions._core.insights.memory_layer import Lineage, LineageNode, Memory, MemoryContext, QualityStats
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.rows import parameters_bytes
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import as_json
from functions._core.records.values import TicketStatus

MOST_WORDS = 20
"""Words of a question that count."""

MOST_GAPS = 5
"""Gaps that are told."""

GAP_TIMES = 10
"""How many times the median distance between two ends a gap is at least."""

Run = tuple[Flow, Sequence[Ticket]]
"""A flow with its tickets."""


def remembered(
    text: str, flows: Sequence[FlowRow], tickets: Sequence[TicketRow], insights: Iterable[Insight], limit: int
) -> Sequence[Memory]:
    """Return what holds a word of a text: flows by their ids and ends, errors of tickets, insights."""
    words = [*dict.fromkeys(text.casefold().split())][:MOST_WORDS]
    known = [
        *(
            Memory(
                kind="flow",
                memory_id=row.flow_id,
                text=" ".join(filter(None, (row.correlation_id, row.plan_id, row.outcome.value, row.reason_code))),
                at=row.ended_at,
            )
            for row in flows
        ),
        *(
            Memory(
                kind="error",
                memory_id=one.flows[0],
                text=f"{one.code}: {one.text}" if one.code else one.text,
                at=None,
                count=one.count,
            )
            for one in error_patterns(tickets)
        ),
        *map(memory_of, insights),
    ]
    scored = [(sum(word in one.text.casefold() for word in words), one) for one in known]
    found = [one.but(score=round(held / len(words), 6)) for held, one in scored if held]
    return sorted(found, key=lambda one: (-one.score, one.kind, -one.count, one.memory_id))[:limit]


def memory_of(insight: Insight) -> Memory:
    """Return an insight as something that is remembered."""
    return Memory(
        kind="insight",
        memory_id=insight.insight_id,
        text=f"{insight.title}. {insight.summary}",
        at=insight.created_at,
    )


def context_of(subject: str, runs: Sequence[Run], insights: Iterable[Insight], *, complete: bool) -> MemoryContext:
    """Return what there is to know around flows."""
    workers = sorted({one.worker_id for _, tickets in runs for one in tickets if one.worker_id})
    about = {("flow", flow.flow_id) for flow, _ in runs} | {("worker", one) for one in workers}
    near = [
        memory_of(one)
        for one in insights
        if any((entity.entity_type, entity.entity_id) in about for entity in one.related_entities)
    ]
    return MemoryContext(
        subject=subject,
        flows=tuple(_told(flow) for flow, _ in runs),
        insights=tuple(near),
        workers=tuple(workers),
        complete=complete,
    )


def lineage_of(subject: str, runs: Sequence[Run], *, complete: bool) -> Lineage:
    """Return where the results of flows come from: intent, decision, plan, tickets, end."""
    nodes: dict[tuple[str, str], LineageNode] = {}
    for flow, tickets in runs:
        made = [*_origin(flow), *_work(flow, tickets)]
        for node in made:
            nodes.setdefault((node.node_type, node.node_id), node)
    return Lineage(subject=subject, nodes=tuple(nodes.values()), complete=complete)


def quality_of(
    flows: Sequence[FlowRow], tickets: Sequence[TicketRow], until: datetime, *, complete: bool
) -> QualityStats:
    """Return how good rows of history are, as told at `until`."""
    ends = sorted(row.ended_at for row in flows)
    newest = ends[-1] if ends else None
    return QualityStats(
        flows=len(flows),
        tickets=len(tickets),
        complete=complete,
        completeness=_completeness(tickets),
        newest_at=newest,
        age_seconds=None if newest is None else max(0.0, (until - newest).total_seconds()),
        gaps=_gaps(ends),
    )


def _told(flow: Flow) -> Mapping[str, object]:
    fields = ("flow_id", "decision_id", "plan_id", "correlation_id", "status", "outcome", "received_at", "ended_at")
    whole = as_json(flow)
    reasons = [f"{one.code}: {one.message}"[:300] for one in flow.reasons[:10]]
    return {**{name: whole.get(name) for name in fields}, "reasons": reasons}


def _origin(flow: Flow) -> Iterable[LineageNode]:
    intent = () if flow.intent_id is None else (flow.intent_id,)
    for intent_id in intent:
        yield LineageNode(node_type="intent", node_id=intent_id, made_of=(), what="")
    decision = flow.decision_id
    yield LineageNode(node_type="decision", node_id=decision, made_of=intent, what="", at=flow.received_at)
    if flow.plan_id is not None:
        yield LineageNode(node_type="plan", node_id=flow.plan_id, made_of=(decision,), what="")


def _work(flow: Flow, tickets: Sequence[Ticket]) -> Iterable[LineageNode]:
    origin, followed = flow.plan_id or flow.decision_id, {one for ticket in tickets for one in ticket.dependencies}
    by_id = {one.ticket_id: one for one in sorted(tickets, key=lambda one: (one.level, one.created_at, one.ticket_id))}
    before = {name: (*one.dependencies, *((one.parent,) if one.parent else ())) for name, one in by_id.items()}
    for ticket in (by_id[name] for name in TopologicalSorter(before).static_order() if name in by_id):
        yield LineageNode(
            node_type="ticket",
            node_id=ticket.ticket_id,
            made_of=before[ticket.ticket_id] or (origin,),
            what=ticket.task_id,
            status=ticket.status.value,
            worker_id=ticket.worker_id,
            input_bytes=parameters_bytes(ticket),
            output_bytes=0 if ticket.output is None else json_size(ticket.output),
            at=ticket.completed_at,
        )
    if flow.ended_at is not None:
        last = tuple(one.ticket_id for one in tickets if one.ticket_id not in followed) or (origin,)
        what = flow.outcome.value if flow.outcome is not None else flow.status.value
        yield LineageNode(node_type="end", node_id=flow.flow_id, made_of=last, what=what, at=flow.ended_at)


def _completeness(tickets: Sequence[TicketRow]) -> Mapping[str, float]:
    """Return the share of rows that have what they should have; what no row should have is left out."""
    given = [row for row in tickets if row.attempts]
    done = [row for row in given if row.status is TicketStatus.COMPLETED]
    bad = [row for row in tickets if row.status is TicketStatus.FAILED]
    asked: Mapping[str, tuple[Sequence[TicketRow], Callable[[TicketRow], bool]]] = {
        "actual_ms": (done, lambda row: row.actual_ms is not None),
        "assigned_at": (done, lambda row: row.assigned_at is not None),
        "worker_id": (done, lambda row: row.worker_id is not None),
        "worker_ms": (given, lambda row: row.worker_ms is not None),
        "domain": (tickets, lambda row: row.domain is not None),
        "reason_code": (bad, lambda row: row.reason_code is not None),
        "prediction": (tickets, lambda row: row.prediction is not None),
    }
    return {name: round(sum(map(has, rows)) / len(rows), 6) for name, (rows, has) in asked.items() if rows}


def _gaps(ends: Sequence[datetime]) -> tuple[tuple[datetime, datetime], ...]:
    spans = [(later - earlier, earlier, later) for earlier, later in pairwise(ends)]
    if not spans:
        return ()
    usual = max(median([span.total_seconds() for span, _, _ in spans]), 1.0)
    long = sorted((one for one in spans if one[0].total_seconds() > GAP_TIMES * usual), reverse=True)[:MOST_GAPS]
    return tuple((earlier, later) for _, earlier, later in long)
