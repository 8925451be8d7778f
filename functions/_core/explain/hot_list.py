"""The hot list: the tickets of flows under way in the order in which they have to begin, so that flows are in time.

A ticket that has not begun has a critical start time: its latest start by the estimates of all that comes after it. Of
one that is at work the deadline of its share counts. While a flow is paused both move with the time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nsmallest

from functions._core.explain.ticket import ticket_waits_for
from functions._core.planning.slack import deadline_at
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import (
    Priority,
    SlackState,
    TaskType,
    TicketStatus,
    Timestamp,
    add_time,
    milliseconds,
)


class HotTicket(Record):
    """A ticket of the hot list, and what it waits for."""

    ticket_id: str
    """Id of the ticket."""
    flow_id: str
    """Id of its flow."""
    task_id: str
    """Id of its task."""
    plan_id: str
    """Id of the plan."""
    task_type: TaskType
    """The kind of work."""
    status: TicketStatus
    """Where it is."""
    priority: Priority
    """How much it matters to the user."""
    critical_start: Timestamp
    """When it has to begin, or, of one that is at work, has to be done."""
    slack_ms: int
    """The time to that, in milliseconds; negative when it has passed."""
    slack_state: SlackState
    """How it stands against its share of the deadline."""
    critical: bool
    """Whether it lies on the critical path of its flow."""
    late: bool
    """Whether, by the estimates, it and what depends on it cannot be done in time any more."""
    waits_for: str
    """What it waits for, as the end of a sentence."""
    worker_id: str | None
    """The worker that has it."""
    sla_paused: bool
    """Whether its flow is paused, so that the time of its SLA does not run."""


def hot_list(
    tickets: Iterable[Ticket],
    paused: Mapping[str, Flow],
    now: datetime,
    limit: int,
    *,
    within: timedelta | None = None,
    labels: Collection[str] = (),
) -> Sequence[HotTicket]:
    """Return the first `limit` of the live ones of `tickets`, by critical start time.

    `paused` are the flows of them that are paused, by id. With `within` those alone whose critical start time comes
    until then, with `labels`, `name:value`, those that have all of them. What undoes work is none of them: no SLA
    depends on it.
    """
    wanted = dict(label.split(":", 1) for label in labels).items()
    found = [
        (critical_start(ticket, paused.get(ticket.flow_id), now), ticket.ticket_id, ticket)
        for ticket in tickets
        if ticket.live and ticket.compensates is None and wanted <= ticket.labels.items()
    ]
    if within is not None:
        until = add_time(now, within)
        found = [one for one in found if one[0] <= until]
    first = nsmallest(limit, found, key=lambda one: one[:2])
    return [_told(ticket, start, paused.get(ticket.flow_id), now) for start, _, ticket in first]


def critical_start(ticket: Ticket, paused: Flow | None, now: datetime) -> datetime:
    """Return when a live ticket has to begin, or has to be done if it is at work; `paused` is its flow if it is."""
    stored = ticket.latest_start if ticket.status is TicketStatus.PENDING else ticket.sla.deadline
    return add_time(stored, _shift(paused, now))


def _shift(paused: Flow | None, now: datetime) -> timedelta:
    """Return by how much a pause has moved the deadline of its flow so far."""
    return timedelta() if paused is None else deadline_at(paused, now) - paused.sla_deadline


def _told(ticket: Ticket, start: datetime, paused: Flow | None, now: datetime) -> HotTicket:
    slack = milliseconds(start - now)
    state = SlackState.AT_RISK if slack < 0 else SlackState.ON_TRACK
    if now > add_time(ticket.sla.deadline, _shift(paused, now)):
        state = SlackState.BREACHED
    return HotTicket(
        ticket_id=ticket.ticket_id,
        flow_id=ticket.flow_id,
        task_id=ticket.task_id,
        plan_id=ticket.plan_id,
        task_type=ticket.task_type,
        status=ticket.status,
        priority=ticket.priority,
        critical_start=start,
        slack_ms=slack,
        slack_state=state,
        critical=ticket.critical,
        late=ticket.late,
        waits_for=ticket_waits_for(ticket),
        worker_id=ticket.worker_id,
        sla_paused=paused is not None,
    )
