"""The history as events for subscribers: one CloudEvent for each transition."""

from collections.abc import Iterator
from typing import Any, cast

from functions._core.decision.reading import read_decision
from functions._core.errors import Rejected
from functions._core.events.assignment import assignment_data
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import ROUTES, TRANSITIONS
from functions._core.machine.step_builder import derived_id
from functions._core.placement.signals import DEPOSITED, signals_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.json_text import content_hash, parse_json
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import as_json
from functions._core.records.values import format_time, stored_decision

DECISION_BYTES = 64 * 1024
"""Bytes of a decision that its event carries whole; with a larger one not every receiver would take the event."""

OF_THE_EVENT = frozenset({"seq", "at", "type", "event_id"})
"""Fields of a history line that its event has as attributes, or not at all."""


def subscriber_events(step: ChangeSet, flow: Flow, *, chain: bool = False) -> Iterator[CloudEvent]:
    """Yield one event for each history line of a step; the same transition always has the same id.

    Lines named like a chain event are left out without `chain`: with a broker, subscribers get that event itself.
    """
    tickets = {ticket.ticket_id: ticket for ticket in step.tickets}
    for entry in step.history:
        if chain or entry.type not in ROUTES:
            yield transition_event(entry, flow, ticket=tickets.get(entry.ticket_id or ""), decision=step.decision)


def signal_events(step: ChangeSet, flow: Flow) -> Iterator[CloudEvent]:
    """Yield one event for each signal that a step deposits on the trail of a worker."""
    for signal in signals_of(step):
        entry = signal.entry
        yield CloudEvent(
            id=derived_id(entry.flow_id, DEPOSITED, f"{entry.ticket_id}:{entry.attempt}:{entry.type}"),
            source=TRANSITIONS,
            type=type_of(DEPOSITED),
            time=entry.at,
            subject=entry.ticket_id,
            data=signal.told.model_dump(mode="json"),
            extensions={
                "partitionkey": entry.flow_id,
                "correlationid": flow.correlation_id,
                **({"causationid": entry.event_id} if entry.event_id else {}),
                "traceparent": flow.traceparent,
            },
        )


def transition_event(
    entry: HistoryEntry, flow: Flow, *, ticket: Ticket | None = None, decision: bytes | None = None
) -> CloudEvent:
    """Return a history line as an event; its subject is the ticket, or the flow when it is about no ticket.

    Its data are the line's, and those that its type has besides: for these `ticket.assigned` needs the `ticket`, and
    `decision.consolidated` the `decision`, without which the event says where that is stored.
    """
    line = {name: value for name, value in as_json(entry).items() if value is not None and name not in OF_THE_EVENT}
    # The id follows from the line alone, so that a later reader of the history gets the same id.
    key = content_hash({**line, "at": format_time(entry.at)})
    data: Any = {"plan_id": flow.plan_id, "decision_id": flow.decision_id, **line}
    more = {"causationid": entry.event_id} if entry.event_id else {}
    if entry.type == "decision.consolidated":
        told = _told_as_it_is(decision)
        if told is not None:
            data = {**told, **line}
        else:
            data = {"flow_id": flow.flow_id, "decision_id": flow.decision_id, "plan_id": flow.plan_id}
            more |= stored_decision(flow.flow_id)
    elif entry.type == "flow.consolidated":
        data["outcome"] = entry.detail["outcome"]
    elif entry.type == "flow.completed":
        data["detail"] = {**entry.detail, "result": f"/api/v1/flows/{flow.flow_id}/result"}
    elif entry.type == "ticket.assigned" and ticket is not None:
        # The worker's own copy carries a token and resolved parameters; this one carries neither.
        data = {**assignment_data(ticket, entry.attempt or ticket.attempt, ticket.parameters), **data}
        more["expirytime"] = format_time(ticket.sla.deadline)
    return CloudEvent(
        id=derived_id(entry.flow_id, f"{entry.type}/transition", key),
        source=TRANSITIONS,
        type=type_of(entry.type),
        time=entry.at,
        subject=entry.ticket_id or entry.flow_id,
        data=data,
        extensions={
            "partitionkey": entry.flow_id,
            "correlationid": flow.correlation_id,
            **more,
            "traceparent": flow.traceparent,
        },
    )


def _told_as_it_is(decision: bytes | None) -> dict[str, Any] | None:
    """Return a decision, or None when it is too large for an event, or none that its type's schema describes."""
    if decision is None or len(decision) > DECISION_BYTES:
        return None
    try:
        read_decision(decision)
    except Rejected:  # C1 says why
        return None
    return cast("dict[str, Any]", parse_json(decision))
