"""The history as events for whoever subscribes: one CloudEvent for each transition."""

from collections.abc import Iterator

from functions._core.assignment import assignment_event
from functions._core.draft import derived_id
from functions._core.envelope import CloudEvent, type_of
from functions._core.events import ROUTES
from functions._core.json_text import content_hash
from functions._core.models import Flow, HistoryEntry
from functions._core.step import Step
from functions._core.values import format_time


def subscriber_events(step: Step, flow: Flow) -> Iterator[CloudEvent]:
    """Yield one event for each history line of a step; the same transition always has the same id.

    Lines named like a chain event are left out: that event is on its way already.
    """
    tickets = {ticket.ticket_id: ticket for ticket in step.tickets}
    for entry in step.history:
        if entry.type in ROUTES:
            continue
        ticket = tickets.get(entry.ticket_id or "")
        if entry.type == "ticket.assigned" and ticket is not None:
            # The worker's own copy carries a token and resolved parameters; this one carries neither.
            yield assignment_event(ticket, ticket.attempt, ticket.parameters, None, None, entry.at)
        else:
            yield transition_event(entry, flow)


def transition_event(entry: HistoryEntry, flow: Flow) -> CloudEvent:
    """Return a history line as an event; its subject is the ticket, or the flow when it is about no ticket."""
    data = entry.model_dump(mode="json", exclude={"seq", "at", "type", "event_id"}, exclude_none=True)
    # The id follows from the line alone, so that whoever reads the history later gets the id that was told.
    key = content_hash({**data, "at": format_time(entry.at)})
    return CloudEvent(
        id=derived_id(entry.flow_id, f"{entry.type}/transition", key),
        source="/flowc",
        type=type_of(entry.type),
        time=entry.at,
        subject=entry.ticket_id or entry.flow_id,
        data={"plan_id": flow.plan_id, "decision_id": flow.decision_id, **data},
        extensions={
            "partitionkey": entry.flow_id,
            "correlationid": flow.correlation_id,
            **({"causationid": entry.event_id} if entry.event_id else {}),
            "traceparent": flow.traceparent,
        },
    )
