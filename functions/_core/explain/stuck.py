"""What is stuck across flows: each wait as `explain` tells it, and the same waits put together."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions._core.explain.flow import FOR_OTHER_TICKETS, explain_flow, flow_waits_for
from functions._core.explain.ticket import Explanation, explain_ticket, ticket_waits_for, waiting_since
from functions._core.explain.wording import counted, listed, shown
from functions._core.planning.slack import deadline_at, sla_state, slack_ms, slack_state
from functions._core.records.models import HELD_TICKETS, Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Timestamp, Waiting, milliseconds
from functions._core.records.worker import Worker
from functions._core.rules import Rules

EXAMPLES = 5
"""Flows and tickets that are named of a group."""

GROUPS = 100
"""Groups that are told."""

BY_THEMSELVES = frozenset(
    {
        FlowStatus.VALIDATING,
        FlowStatus.AWAITING_APPROVAL,
        FlowStatus.GENERATING,
        FlowStatus.PAUSED,
        FlowStatus.COMPENSATING,
        FlowStatus.PUBLISHING,
    }
)
"""Statuses of flows that wait for something else than their tickets."""


class StuckItem(Record):
    """A flow or a ticket that waits; `slack_ms` is negative when it is late. The rest is that of its explanation."""

    kind: str
    flow_id: str
    ticket_id: str | None
    task_id: str | None
    plan_id: str | None
    status: str
    headline: str
    waits_for: str
    since: Timestamp
    next_wakeup_at: Timestamp | None
    then: str | None
    slack_ms: int
    slack_state: SlackState


class StuckGroup(Record):
    """All that wait for the same thing: `text` is a sentence, `count` how many, of how many `flows`.

    `slack_ms` is the worst, `since` the earliest; `examples` are the ids of those with the worst slack, 5 at most.
    """

    kind: str
    waits_for: str
    text: str
    count: int
    flows: int
    since: Timestamp
    slack_ms: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class _Group:
    kind: str
    waits_for: str
    waits: list["OpenWait"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OpenWait:
    """A record that waits, with its slack in milliseconds; `group` names the thing it waits for, without details."""

    record: Flow | Ticket
    slack: int
    group: str

    @property
    def kind(self) -> str:
        """`flow` or `ticket`."""
        return "ticket" if isinstance(self.record, Ticket) else "flow"

    @property
    def record_id(self) -> str:
        """The id of the record."""
        return self.record.ticket_id if isinstance(self.record, Ticket) else self.record.flow_id

    @property
    def since(self) -> datetime:
        """When the wait began."""
        return waiting_since(self.record) if isinstance(self.record, Ticket) else self.record.phase.entered_at


def waits_of(flows: Iterable[Flow], tickets: Iterable[Ticket], now: datetime) -> list[OpenWait]:
    """Return those that wait for something else than other tickets of their flow, the worst slack first."""
    found = [
        OpenWait(flow, milliseconds(deadline_at(flow, now) - now), flow_waits_for(flow) or "")
        for flow in flows
        if flow.status in BY_THEMSELVES
    ]
    found += [
        OpenWait(ticket, slack_ms(ticket, now) or 0, _group_of(ticket))
        for ticket in tickets
        if ticket.live and ticket.waiting not in FOR_OTHER_TICKETS
    ]
    return sorted(found, key=lambda wait: (wait.slack, wait.record_id))


def _group_of(ticket: Ticket) -> str:
    if ticket.status in HELD_TICKETS and ticket.acknowledged_at is not None:
        return f"worker {ticket.worker_id} to report its end"  # however much of it is done
    return ticket_waits_for(ticket)


def groups_of(waits: Iterable[OpenWait], workers: Sequence[Worker]) -> tuple[StuckGroup, ...]:
    """Return the groups of `waits`, which are in order of their slack: those that wait for the same thing."""
    groups: dict[tuple[str, str], _Group] = {}
    for wait in waits:
        groups.setdefault((wait.kind, wait.group), _Group(wait.kind, wait.group)).waits.append(wait)
    offered = {name for worker in workers for name in worker.capabilities}
    return tuple(_told(group, offered) for group in list(groups.values())[:GROUPS])


def _told(group: _Group, offered: Collection[str]) -> StuckGroup:
    waits = group.waits
    first = waits[0].record
    verb = "waits" if len(waits) == 1 else "wait"
    why = _nobody(first, offered) if isinstance(first, Ticket) else ""
    return StuckGroup(
        kind=group.kind,
        waits_for=group.waits_for,
        text=f"{counted(len(waits), group.kind)} {verb} for {group.waits_for}{why}.",
        count=len(waits),
        flows=len({wait.record.flow_id for wait in waits}),
        since=min(wait.since for wait in waits),
        slack_ms=waits[0].slack,
        examples=tuple(wait.record_id for wait in waits[:EXAMPLES]),
    )


def _nobody(ticket: Ticket, offered: Collection[str]) -> str:
    """Return which of the capabilities that a ticket waits for no worker offers."""
    if ticket.waiting is not Waiting.WORKER:
        return ""
    missing = [name for name in ticket.required_capabilities if name not in offered]
    if not missing:
        return ": none that offers it is registered and alive"
    return f": nobody offers {'it' if len(ticket.required_capabilities) == 1 else listed([shown(m) for m in missing])}"


def item_of(
    wait: OpenWait, flow: Flow, now: datetime, rules: Rules, workers: Sequence[Worker], up_since: datetime | None
) -> StuckItem:
    """Return a wait as it is told; a ticket's with the `flow` that it is of."""
    record, explained = wait.record, _explained(wait.record, flow, now, rules, workers, up_since)
    ticket = record if isinstance(record, Ticket) else None
    state = slack_state(ticket, now) if ticket else sla_state(flow, now)
    return StuckItem(
        kind=wait.kind,
        flow_id=flow.flow_id,
        ticket_id=ticket.ticket_id if ticket else None,
        task_id=ticket.task_id if ticket else None,
        plan_id=flow.plan_id,
        status=explained.status,
        headline=explained.headline,
        waits_for=explained.waits_for or wait.group,
        since=explained.since or wait.since,
        next_wakeup_at=explained.next_wakeup_at,
        then=explained.then,
        slack_ms=wait.slack,
        slack_state=state or SlackState.ON_TRACK,
    )


def _explained(
    record: Flow | Ticket,
    flow: Flow,
    now: datetime,
    rules: Rules,
    workers: Sequence[Worker],
    up_since: datetime | None,
) -> Explanation:
    if not isinstance(record, Ticket):
        return explain_flow(record, (), now, rules, tally={})
    near = workers if record.status is TicketStatus.PENDING else ()
    return explain_ticket(record, flow, now, rules, workers=near, up_since=up_since)
