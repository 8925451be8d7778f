"""Another plan for a flow that is under way: what it keeps, leaves out, changes and adds. Pure, like C2."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions._core.decision.checks import check_plan
from functions._core.decision.model import Decision, unwrap_plan
from functions._core.decision.reading import InvalidDecision, decision_in
from functions._core.errors import Rejected
from functions._core.planning.graph import Timing, Work, schedule
from functions._core.planning.tickets import generate_tickets, ticket_hash
from functions._core.records.control import OnSkipped
from functions._core.records.models import HELD_TICKETS, LIVE_TICKETS, Flow, Reason, Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._core.rules import Rules

GIVEN_UP = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED})
"""Statuses of tickets that came to nothing: a task that is another one now is done anew."""

DONE = frozenset({TicketStatus.COMPLETED, TicketStatus.SKIPPED})
"""Statuses of tickets that no other one has to wait for."""

LEFT_OUT = "replanned"
"""Code of the reason of a ticket that another plan has left out."""

SHARED = ("latest_start", "tail_ms", "level", "critical", "dependants")
"""Fields that follow from the whole plan; a ticket that stays gets them as the new plan has them."""


def left_out(ticket: Ticket) -> bool:
    """Whether another plan has left the ticket out: it is never done again, and does not count for the outcome."""
    return ticket.reason is not None and ticket.reason.code == LEFT_OUT


def lacking_followers(tickets: Iterable[Ticket]) -> Mapping[str, Sequence[str]]:
    """Return, by id, the ones among `tickets` that depend on one of them and are not among its dependants.

    Such an edge was redundant. It is not any more where the ticket between is done, and stays so.
    """
    by_id, lacking = {ticket.ticket_id: ticket for ticket in tickets}, dict[str, list[str]]()
    for ticket_id, ticket in by_id.items():
        for one in ticket.dependencies:
            if one in by_id and ticket_id not in by_id[one].dependants:
                lacking.setdefault(one, []).append(ticket_id)
    return lacking


@dataclass(frozen=True, slots=True)
class Replan:
    """The difference between the tickets of a flow and a new plan.

    `kept` are tickets that stay, as far as something about them is another one; `changed` are those whose task is
    another one, or that are wanted again, `added` the new ones: PENDING, with the dependencies that are open. `removed`
    are live or came to nothing. `unmoved` is how many stay as they are.
    """

    kept: Sequence[Ticket]
    changed: Sequence[tuple[Ticket, Ticket]]
    """Each as it is, and as it is to be."""
    added: Sequence[Ticket]
    removed: Sequence[Ticket]
    unmoved: int


def new_decision(document: Mapping[str, Any], plan: Mapping[str, Any], now: datetime) -> Decision:
    """Return a decision with another plan; raise `Rejected`, status 422, with everything that is wrong with it."""
    try:
        tasks, _ = unwrap_plan(dict(plan))
        named = {**tasks, "plan_id": document.get("plan_id")} if isinstance(tasks, dict) else tasks
        decision = decision_in({**document, "cognitive_plan": named})
        errors: Sequence[Reason] = check_plan(decision.but(valid_until=None, sla_deadline=None), now)[0]
    except InvalidDecision as invalid:
        errors = invalid.reasons
    if errors:
        text = "; ".join(reason.message for reason in errors[:20])
        raise Rejected(f"the new plan cannot be carried out: {text}", code="invalid_plan", status=422)
    return decision


def replan(
    flow: Flow, tickets: Sequence[Ticket], decision: Decision, now: datetime, rules: Rules, *, force: bool
) -> Replan:
    """Return the difference; `tickets` are all of the flow's plan. Raises `Rejected`, status 409, as a command does.

    A ticket whose task is the same, but for what follows from the plan as a whole, has the same hash, and stays.
    """
    present = {ticket.ticket_id: ticket for ticket in tickets}
    wanted = {ticket.ticket_id: ticket for ticket in generate_tickets(flow, decision, now, rules)}
    same = {i for i, new in wanted.items() if i in present and _same(present[i], new)}
    revived = _revived(present, wanted, same)
    gone = (ticket for i, ticket in present.items() if i not in wanted and not left_out(ticket))
    removed = [ticket for ticket in gone if ticket.status not in DONE]
    changed = [i for i in wanted if i in present and (i not in same or i in revived)]
    _check(present, changed, removed, force=force)
    done = {i for i in same if present[i].status in DONE or (i not in revived and failed_as_may_be(present[i]))}
    if any(one not in done for i in done for one in wanted[i].dependencies):  # after a redrive: see `lacking_followers`
        for i, more in lacking_followers([ticket for i, ticket in wanted.items() if i not in done]).items():
            wanted[i] = wanted[i].but(dependants=(*wanted[i].dependants, *more))
    hopeless = {i for i in same if present[i].status in GIVEN_UP and i not in revived and i not in done}
    hopeless |= {i for i in same if present[i].status is TicketStatus.SKIPPED}
    wanted = _timed(wanted, done, now, flow)
    kept: list[Ticket] = []
    made: dict[str, Ticket] = {}
    for ticket_id, new in wanted.items():
        ordered = [i for i in new.dependencies if ticket_id in wanted[i].dependants]
        open_ones = sum(i not in done for i in ordered)
        if ticket_id not in same or ticket_id in revived:
            if any(i in hopeless for i in new.dependencies) and _needs_all(new):
                raise _not_now(
                    f"task {new.task_id} depends on a task that came to nothing: change or leave that out, too"
                )
            made[ticket_id] = _ready(new.but(open_dependencies=open_ones), now)
        elif present[ticket_id].status in LIVE_TICKETS:
            kept.append(_shared(present[ticket_id], new, open_ones))
        elif present[ticket_id].dependants != new.dependants:
            kept.append(present[ticket_id].but(dependants=new.dependants))
    moved = [ticket for ticket in kept if ticket != present[ticket.ticket_id]]
    if not (made or removed or any(_elsewhere(present[ticket.ticket_id], ticket) for ticket in moved)):
        moved = []  # the same plan: only time has passed, and shares of it are not dealt out anew for that
    return Replan(
        kept=moved,
        changed=[(present[i], _in_place(present[i], made[i])) for i in changed],
        added=[ticket for i, ticket in made.items() if i not in present],
        removed=removed,
        unmoved=len(same - revived) - len(moved),
    )


def failed_as_may_be(ticket: Ticket) -> bool:
    """Whether the ticket came to nothing, and that counts as done."""
    return ticket.status is TicketStatus.FAILED and ticket.control is not None and ticket.control.allow_failure


def _needs_all(ticket: Ticket) -> bool:
    """Whether a ticket is not done where a dependency was skipped, or came to nothing."""
    return ticket.control is None or ticket.control.on_skipped is OnSkipped.SKIP


def _same(present: Ticket, new: Ticket) -> bool:
    """Whether a task is the same. Its priority and retries are not compared: those are changed by an adjustment."""
    sla = new.sla.but(max_retries=present.sla.max_retries)
    return present.hash == ticket_hash(new.but(created_at=present.created_at, priority=present.priority, sla=sla))


def _timed(wanted: Mapping[str, Ticket], done: set[str], now: datetime, flow: Flow) -> dict[str, Ticket]:
    """Return the tickets with their shares of the time that is left; what is done takes none of it."""
    works = [
        Work(i, tuple(one for one in t.dependencies if one not in done), t.estimated_duration_ms)
        for i, t in wanted.items()
        if i not in done
    ]
    timings: Mapping[str, Timing] = schedule(works, now, flow.sla_deadline).timings if works else {}

    def timed(ticket: Ticket, timing: Timing) -> Ticket:
        return ticket.but(
            latest_start=timing.latest_start,
            tail_ms=timing.tail_ms,
            critical=timing.critical,
            sla=ticket.sla.but(deadline=timing.latest_finish),
        )

    return {i: timed(t, timings[i]) if i in timings else t for i, t in wanted.items()}


def _revived(present: Mapping[str, Ticket], wanted: Mapping[str, Ticket], same: set[str]) -> set[str]:
    """Return tickets of the same task that are to be done after all: what they waited for has another chance."""
    revived: set[str] = set()
    for ticket_id, new in wanted.items():  # in topological order
        known = present.get(ticket_id)
        if ticket_id not in same or known is None or known.status is not TicketStatus.CANCELLED:
            continue
        chances = (i not in same or i in revived or present[i].status not in GIVEN_UP for i in new.dependencies)
        if all(chances):
            revived.add(ticket_id)
    return revived


def _check(present: Mapping[str, Ticket], changed: Sequence[str], removed: Sequence[Ticket], *, force: bool) -> None:
    for ticket in (*(present[i] for i in changed), *removed):
        if ticket.status in HELD_TICKETS and not force:
            raise _not_now(f"task {ticket.task_id} is with worker {ticket.worker_id}: say force to take it away")
        if ticket.waiting is Waiting.CHILDREN:
            raise _not_now(f"task {ticket.task_id} has children at work: let it end, or cancel it first")
        if ticket.status not in LIVE_TICKETS | GIVEN_UP | {TicketStatus.SKIPPED}:
            raise _not_now(f"task {ticket.task_id} is {ticket.status}: give a task that is to be done anew another id")


def _ready(ticket: Ticket, now: datetime) -> Ticket:
    if ticket.open_dependencies:
        return ticket.but(waiting=Waiting.DEPENDENCIES, waiting_since=now, ready_at=None)
    return ticket.but(waiting=Waiting.DISCOVERY, waiting_since=now, ready_at=now)


def _shared(present: Ticket, new: Ticket, open_ones: int) -> Ticket:
    """Return a live ticket that stays, with what follows from the plan as a whole; one at work keeps its time."""
    shared = {name: getattr(new, name) for name in SHARED}
    if present.status in HELD_TICKETS or present.status is TicketStatus.WAITING:
        return present.but(dependants=new.dependants, level=new.level, tail_ms=new.tail_ms)
    return present.but(**shared, sla=present.sla.but(deadline=new.sla.deadline), open_dependencies=open_ones)


def _elsewhere(present: Ticket, new: Ticket) -> bool:
    """Whether a ticket has another place in the graph."""
    return any(getattr(present, name) != getattr(new, name) for name in ("dependants", "open_dependencies", "level"))


def _in_place(present: Ticket, new: Ticket) -> Ticket:
    """Return the ticket of a task that is another one: attempts count on, so that old reports stay old."""
    return new.but(
        version=present.version, attempt=present.attempt, status=present.status, emissions=present.emissions + 1
    )


def _not_now(text: str) -> Rejected:
    return Rejected(text, code="not_possible_now", status=409)
