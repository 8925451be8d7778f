"""The compensations of a flow that did not succeed, and their order. Pure: the same records give the same tickets.

Every COMPLETED ticket that says how it is undone gets a compensation: a ticket of type COMPENSATE, which runs like any
other. Work is undone before the work it was built on: a compensation depends on those of the nearest tickets that
followed. If one fails, the work that it depends on stays as it is, and its tickets say so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from functions._core.planning.graph import Timing, Work, dependants, schedule
from functions._core.planning.tickets import UNDO_MS, intact, ticket_hash
from functions._core.records.models import Flow, Ticket
from functions._core.records.policies import Sla, Undo
from functions._core.records.record import defaults_of
from functions._core.records.values import Priority, TaskType, TicketStatus, Waiting, add_time, name_uuid

IN_PARALLEL = 20
"""If more compensations than these come before another one, they run in as many chains: edges stay few."""

ACTIONS: Mapping[TaskType, str] = {
    TaskType.BUILD: "delete_artifacts",
    TaskType.DEPLOY: "rollback_deployment",
    TaskType.TEST: "cleanup_test_env",
    TaskType.VALIDATE: "revert_approval",
    TaskType.EXECUTE: "rollback_execution",
}
"""The action that a worker is asked for, by the type of the task to undo; a task's own `action` comes first."""

OTHERWISE = "generic_cleanup"
"""The action for a type of task that `ACTIONS` does not name."""


def compensations(
    flow: Flow, tickets: Sequence[Ticket], now: datetime, limit: timedelta
) -> tuple[Sequence[Ticket], Sequence[Ticket]]:
    """Return the compensations of a flow, and the tickets whose work they undo.

    `tickets` are all of the flow's, in the order of the plan; all has to be undone `limit` from `now`.
    """
    originals = {t.ticket_id: t for t in tickets if to_undo(t)}
    if not originals:
        return (), ()
    ids = {ticket_id: compensation_id(ticket_id, flow.redrives) for ticket_id in originals}
    before = _order([t for t in tickets if t.compensates is None], ids)
    tasks = [Work(ids[i], tuple(before[ids[i]]), originals[i].estimated_duration_ms) for i in reversed(list(originals))]
    timings = schedule(tasks, now, add_time(now, limit)).timings
    followers = dependants(tasks)
    by_id = {ids[ticket_id]: ticket for ticket_id, ticket in originals.items()}
    made = [
        _compensation(by_id[task.task_id], task, followers[task.task_id], timings[task.task_id], now) for task in tasks
    ]
    return made, tuple(originals.values())


def parents_of(originals: Sequence[Ticket], tickets: Sequence[Ticket]) -> Sequence[Ticket]:
    """Return the tickets, COMPLETED themselves, that `originals` are children of, directly or not."""
    by_id, found = {ticket.ticket_id: ticket for ticket in tickets}, dict[str, Ticket]()
    for original in originals:
        at = by_id.get(original.parent or "")
        while at is not None and at.ticket_id not in found:
            found[at.ticket_id] = at
            at = by_id.get(at.parent or "")
    return [ticket for ticket in found.values() if ticket.status is TicketStatus.COMPLETED]


def to_undo(ticket: Ticket) -> bool:
    """Whether the ticket has done something that it says how to undo."""
    done = ticket.status is TicketStatus.COMPLETED and not ticket.skipped
    own = ticket.control is not None and ticket.control.has_children
    return done and ticket.undo is not None and ticket.compensates is None and not own


def compensation_id(ticket_id: str, redrives: int) -> str:
    """Return the id of the ticket that undoes another one's work in this run of the flow."""
    return name_uuid(ticket_id, f"compensation/{redrives}")


def _order(tickets: Sequence[Ticket], ids: Mapping[str, str]) -> Mapping[str, dict[str, None]]:
    """Return, by the id of each compensation, those that come before it, in the order of the walk.

    The plan is walked backwards, so every edge leads from a later compensation to an earlier one: no cycle.
    """
    within: dict[str | None, list[Ticket]] = {}
    for ticket in tickets:
        within.setdefault(ticket.parent, []).append(ticket)
    tickets = list(_nested(within, None))
    walk = [ids[ticket.ticket_id] for ticket in reversed(tickets) if ticket.ticket_id in ids]
    place = {one: number for number, one in enumerate(walk)}
    by_id = {ticket.ticket_id: ticket for ticket in tickets}
    before: dict[str, dict[str, None]] = {}
    nearest: dict[str, dict[str, None]] = {}
    for ticket in reversed(tickets):
        found: dict[str, None] = {}
        for follower in _followers(ticket, within, by_id):
            found |= {ids[follower]: None} if follower in ids else nearest.get(follower, {})
        if len(found) > IN_PARALLEL:
            found = _in_chains(sorted(found, key=place.__getitem__), before)
        nearest[ticket.ticket_id] = found
        if ticket.ticket_id in ids:
            before[ids[ticket.ticket_id]] = dict(found)
    return before


def _nested(within: Mapping[str | None, Sequence[Ticket]], parent: str | None) -> Iterator[Ticket]:
    """Yield tickets in the order of the plan, each with its children after it."""
    for ticket in within.get(parent, ()):
        yield ticket
        yield from _nested(within, ticket.ticket_id)


def _followers(
    ticket: Ticket, within: Mapping[str | None, Sequence[Ticket]], by_id: Mapping[str, Ticket]
) -> Iterable[str]:
    """Return the tickets whose work was built on this one: its children, its dependants, or those of its parent."""
    first = [child.ticket_id for child in within.get(ticket.ticket_id, ()) if not child.dependencies]
    while not (first or ticket.dependants) and ticket.parent is not None:
        ticket = by_id[ticket.parent]
    return first or ticket.dependants


def _in_chains(found: Sequence[str], before: dict[str, dict[str, None]]) -> dict[str, None]:
    """Chain compensations, given in the order of the walk; waiting for the last of each chain is waiting for all."""
    for earlier, later in zip(found, found[IN_PARALLEL:], strict=False):
        before[later][earlier] = None
    return dict.fromkeys(found[-IN_PARALLEL:])


def _compensation(original: Ticket, task: Work, followers: tuple[str, ...], timing: Timing, now: datetime) -> Ticket:
    undo = original.undo or Undo()
    capabilities = undo.required_capabilities
    ticket = original.but(
        ticket_id=task.task_id,
        task_id=f"compensate:{original.task_id}",
        task_type=TaskType.COMPENSATE,
        description=f"Undo: {original.description}",
        parameters=_parameters(original, undo),
        required_capabilities=original.required_capabilities if capabilities is None else capabilities,
        metadata={"compensates": original.ticket_id},
        compensates=original.ticket_id,
        dependencies=task.dependencies,
        dependants=followers,
        open_dependencies=len(task.dependencies),
        status=TicketStatus.PENDING,
        priority=Priority.HIGH,
        sla=Sla(
            deadline=timing.latest_finish,
            timeout_ms=undo.timeout_ms or UNDO_MS,
            max_retries=original.sla.max_retries,
        ),
        latest_start=timing.latest_start,
        tail_ms=timing.tail_ms,
        level=timing.level,
        critical=timing.critical,
        created_at=now,
        waiting=Waiting.DEPENDENCIES if task.dependencies else Waiting.DISCOVERY,
        waiting_since=now,
        ready_at=None if task.dependencies else now,
        **BLANK,
    )
    # The compensation of a ticket that was changed where it is stored fails instead of being executed.
    return ticket.but(hash=ticket_hash(ticket) if intact(original) else original.hash)


def _parameters(original: Ticket, undo: Undo) -> Mapping[str, Any]:
    said = {"action": ACTIONS.get(original.task_type, OTHERWISE), **undo.parameters}
    return {**said, "compensates": {"ticket_id": original.ticket_id, "task_id": original.task_id}}


DEFAULTS = defaults_of(Ticket)

BLANK: Mapping[str, Any] = {
    name: DEFAULTS[name]
    for name in (
        "assigned_at",
        "acknowledged_at",
        "started_at",
        "completed_at",
        "actual_duration_ms",
        "retry_count",
        "error_message",
        "reason",
        "compensation_ticket_id",
        "attempt",
        "hedge",
        "worker_id",
        "candidates",
        "refusals",
        "excluded_workers",
        "refused_by",
        "perhaps_begun",
        "asked",
        "emissions",
        "announced",
        "late",
        "schedule_to_start_ms",
        "heartbeat_timeout_ms",
        "undo",
        "control",
        "parent",
        "prediction",
        "children",
        "skipped",
        "turn",
        "progress",
        "output",
        "version",
    )
}
"""Fields that a compensation does not take over from the ticket that it undoes."""
