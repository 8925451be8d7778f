"""Changes of a flow under way by a person: another plan, or another priority, more retries, another deadline."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from functions._core.events.commands import AdjustRequest, ReplanRequest, given_by, refusal, said
from functions._core.machine.closing import Settled, ending, executing_wakeup, recount
from functions._core.machine.ending import taken_back
from functions._core.machine.releasing import readied
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.replan import LEFT_OUT, Replan, left_out
from functions._core.planning.slack import wakeup_of
from functions._core.planning.tickets import intact, ticket_hash
from functions._core.records.json_text import content_hash
from functions._core.records.models import HELD_TICKETS, LIVE_TICKETS, Flow, Reason, Ticket
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting, add_time, format_time

UNDER_WAY = frozenset({FlowStatus.EXECUTING, FlowStatus.PAUSED})
"""Statuses of a flow whose tickets may be changed."""


def check_under_way(flow: Flow) -> None:
    """Raise `Rejected`, status 409, unless the flow has tickets and no outcome."""
    if flow.status not in UNDER_WAY or flow.outcome is not None or not flow.tickets_generated:
        raise refusal(f"flow {flow.flow_id} is {flow.status}: only a flow whose tickets are at work can be changed")


def replan(builder: StepBuilder, command: ReplanRequest, plan: Replan, tally: Mapping[str, int]) -> bool:
    """Let the flow go on by another plan; `tally` are the counts by status before it. False when nothing differs."""
    flow = builder.flow
    if not (plan.kept or plan.changed or plan.added or plan.removed):
        return False
    revived = sum(left_out(before) for before, _ in plan.changed)
    undone = sum(t.undo is not None for t in plan.added)
    undone += sum((new.undo is not None) - (old.undo is not None) for old, new in plan.changed)
    builder.change_flow(
        tickets_generated=flow.tickets_generated + len(plan.added),
        dropped=flow.dropped + len(plan.removed) - revived,
        compensable=max(0, flow.compensable + undone),
    )
    detail = {
        **given_by(command),
        "tickets": len(plan.added),
        "changed": len(plan.changed),
        "removed": len(plan.removed),
        "kept": plan.unmoved + len(plan.kept),
        "plan_hash": content_hash(dict(command.cognitive_plan)),
    }
    builder.note("flow.replanned", cause=command.verb, detail=detail)
    _leave_out(builder, plan.removed, Reason(code=LEFT_OUT, message=f"left out by another plan: {said(command)}"))
    ready = [_changed(builder, before, ticket) for before, ticket in plan.changed]
    ready += [_kept(builder, ticket) for ticket in plan.kept]
    added = [ticket.but(**_waits(builder, ticket)) for ticket in plan.added]
    added = [ticket.but(next_wakeup_at=wakeup_of(ticket, builder.flow)) for ticket in added]
    builder.add_tickets(added)
    # Those that stay as they were and are ready wait on; those that were just touched are looked for anew.
    builder.ready(t for t in (*ready, *added) if t.waiting is Waiting.DISCOVERY and not t.open_dependencies)
    after = recount(builder, tally)
    live = any(after.get(status) for status in LIVE_TICKETS)
    if not added and not live:
        Settled(after).apply(builder)
    return True


def _leave_out(builder: StepBuilder, removed: Sequence[Ticket], reason: Reason) -> None:
    for ticket in removed:
        was_held = ticket.status in HELD_TICKETS
        trigger = TicketTrigger.CANCEL if ticket.live else TicketTrigger.LEAVE_OUT
        ended = builder.move_ticket(
            ticket, trigger, "ticket.cancelled", cause=reason.code, **ending(builder.now, reason)
        )
        if was_held and ticket.worker_id is not None:
            builder.deliver(ended, ticket.worker_id, ticket.attempt, cancelled=True)


def _changed(builder: StepBuilder, before: Ticket, ticket: Ticket) -> Ticket:
    """Let the ticket of another task be PENDING under the id that it has."""
    if before.status in HELD_TICKETS and before.worker_id is not None:
        builder.deliver(before, before.worker_id, before.attempt, cancelled=True)
    builder.rewrite([ticket.ticket_id])
    excluded = taken_back(before)["excluded_workers"] if before.worker_id else before.excluded_workers
    changes = {**_waits(builder, ticket), "excluded_workers": tuple(filter(None, excluded)), "runs": before.runs + 1}
    return builder.move_ticket(ticket, TicketTrigger.REPLAN, "ticket.replanned", worker_id=None, **changes)


def _kept(builder: StepBuilder, ticket: Ticket) -> Ticket:
    """Write a ticket that stays, with its place in the new plan."""
    builder.rewrite([ticket.ticket_id])
    waits_on = ticket.waiting is not Waiting.DEPENDENCIES and not ticket.open_dependencies
    if ticket.status is not TicketStatus.PENDING or waits_on:
        return builder.change_ticket(ticket, until=ticket.until)
    return builder.change_ticket(ticket, **_waits(builder, ticket), turn=None, emissions=ticket.emissions + 1)


def _waits(builder: StepBuilder, ticket: Ticket) -> dict[str, Any]:
    """Return the wait of a PENDING ticket: for its dependencies, or for a worker."""
    if ticket.open_dependencies:
        waits = {"waiting": Waiting.DEPENDENCIES, "waiting_since": builder.now, "until": builder.flow.sla_deadline}
        return {**waits, "ready_at": None}
    return {**readied(builder), "ready_at": builder.now}


def adjust(builder: StepBuilder, command: AdjustRequest, live: Sequence[Ticket]) -> bool:
    """Give the open tickets another priority or other retries, or the flow another deadline; False when all is so."""
    flow = builder.flow
    check_under_way(flow)
    deadline = flow.sla_deadline
    if command.sla_seconds is not None:
        deadline = add_time(builder.now, timedelta(seconds=command.sla_seconds))
        if flow.sla_paused:  # the time that it has stood is added when it goes on
            deadline = add_time(deadline, flow.phase.entered_at - builder.now)
    priority = command.priority or flow.priority
    changed = [ticket for ticket in live if _differs(ticket, command)]
    if deadline == flow.sla_deadline and priority is flow.priority and not changed:
        return False
    detail = {**given_by(command), "tickets": len(changed), "sla_deadline": format_time(deadline)}
    detail |= command.model_dump(mode="json", include={"priority", "max_retries"}, exclude_none=True)
    builder.note("flow.adjusted", cause=command.verb, detail=detail)
    moved: dict[str, Any] = {}
    if deadline != flow.sla_deadline:
        moved = {"sla_deadline": deadline, "sla_limit": None, "announced": SlackState.ON_TRACK}
    builder.change_flow(priority=priority, **moved)
    if moved and builder.flow.status is FlowStatus.EXECUTING:
        builder.change_flow(next_wakeup_at=executing_wakeup(builder))
    for ticket in live if moved else changed:
        _adjusted(builder, ticket, command, deadline, deadline - flow.sla_deadline)
    return True


def _differs(ticket: Ticket, command: AdjustRequest) -> bool:
    return command.priority not in {None, ticket.priority} or command.max_retries not in {None, ticket.sla.max_retries}


def _adjusted(
    builder: StepBuilder, ticket: Ticket, command: AdjustRequest, deadline: datetime, shift: timedelta
) -> None:
    retries = ticket.sla.max_retries if command.max_retries is None else command.max_retries
    sla = ticket.sla.but(max_retries=retries, deadline=add_time(ticket.sla.deadline, shift))
    changes: dict[str, Any] = {"priority": command.priority or ticket.priority, "sla": sla, "until": ticket.until}
    if shift:
        changes |= {
            "latest_start": add_time(ticket.latest_start, shift),
            "late": False,
            "announced": SlackState.ON_TRACK,
        }
        if ticket.status is TicketStatus.PENDING and ticket.open_dependencies:
            changes["until"] = deadline
    if _differs(ticket, command) and intact(ticket):
        changes["hash"] = ticket_hash(ticket.but(priority=changes["priority"], sla=sla))
        builder.rewrite([ticket.ticket_id])
    builder.change_ticket(ticket, **changes)
