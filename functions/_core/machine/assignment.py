"""How a ticket gets to a worker, and back when the worker cannot do it: C3, C4 and lost workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from functions._core.events.data import WorkersDiscovered
from functions._core.guards.gate import Finding, GuardVerdict
from functions._core.machine.context import Context
from functions._core.machine.ending import fail, taken_back
from functions._core.machine.freezing import block, passed
from functions._core.machine.guarding import hold
from functions._core.machine.hedging import EXCLUDED_KEPT, give_up, other_answered
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.releasing import readied
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.slack import earliest, fits, limit_of, needed
from functions._core.records.attempts import attempt_limit, of_attempt, other_of, turned
from functions._core.records.models import HELD_TICKETS, Reason, Ticket
from functions._core.records.values import TicketStatus, Waiting, add_time, time_span
from functions._core.records.worker import NOT_ASKED_FOR, OWN_WORKER, Answer, AssignmentMode, Candidate, Refusal
from functions._core.rules import retry_after

HELD_BACK = frozenset({Waiting.RETRY, Waiting.RESUME, Waiting.TURN, Waiting.FREEZE, Waiting.QUARANTINE})
"""The waits of a PENDING ticket without open dependencies that cannot be assigned."""

REFUSALS_KEPT = 10
"""Workers left out that a ticket names for `why`: enough to see the pattern in a large fleet."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """C3: ranked workers for some tickets; for the others their wait, the workers left out, and their turn.

    `frozen` says why freezes hold tickets back, `guarded` what guards find of them, by their ids.
    """

    found: Mapping[str, tuple[Candidate, ...]]
    waiting: Mapping[str, Waiting]
    refusals: Mapping[str, tuple[Refusal, ...]]
    turns: Mapping[str, int] = field(default_factory=dict)
    frozen: Mapping[str, Reason] = field(default_factory=dict)
    guarded: Mapping[str, GuardVerdict] = field(default_factory=dict)

    def apply(self, builder: StepBuilder) -> None:
        """C3: tickets with candidates continue to C4, the others wait for a worker, a slot, or the end of a freeze."""
        takers = {i: t for i, t in builder.context.tickets.items() if may_look_for_worker(t)}
        for ticket_id, reason in self.frozen.items():
            if ticket_id in takers:
                block(builder, takers.pop(ticket_id), reason)
        for ticket_id, verdict in self.guarded.items():
            if ticket_id in takers and verdict.finding is not Finding.DENY:
                hold(builder, takers[ticket_id], verdict, verdict.one_reason)
            if verdict.stops:
                takers.pop(ticket_id, None)
        takers |= {one: passed(builder, takers[one]) for one in (*self.found, *self.waiting) if one in takers}
        found = {ticket_id: candidates for ticket_id, candidates in self.found.items() if ticket_id in takers}
        if found:
            key = ",".join(f"{i}:{takers[i].attempt}:{takers[i].retry_count}:{takers[i].emissions}" for i in found)
            builder.emit(WorkersDiscovered(flow_id=builder.flow.flow_id, candidates=found), key=key)
        for ticket_id, waiting in self.waiting.items():
            if ticket_id in takers:
                refusals = self.refusals.get(ticket_id, ())[:REFUSALS_KEPT]
                _wait(builder, takers[ticket_id].but(refusals=refusals), waiting, self.turns.get(ticket_id))


@dataclass(frozen=True, slots=True)
class Assigned:
    """C4: the worker chosen for each ticket, and the turns of the tickets whose candidates are all taken by now.

    `frozen` as in `Discovered`; `stopped` are tickets that a guard stops of which C3 has not known.
    """

    chosen: Mapping[str, str]
    candidates: Mapping[str, tuple[Candidate, ...]]
    crowded: Mapping[str, int]
    frozen: Mapping[str, Reason] = field(default_factory=dict)
    stopped: frozenset[str] = frozenset()

    def apply(self, builder: StepBuilder) -> None:
        """C4: the attempt number grows, and the worker is owed the assignment, or asks for it."""
        for ticket_id, worker_id in self.chosen.items():
            ticket = builder.context.tickets[ticket_id]
            if waits_for_worker(ticket):
                named = ticket.but(
                    attempt=ticket.attempt + 1,
                    worker_id=worker_id,
                    candidates=self.candidates[ticket_id],
                    hedge=None,
                )
                pulled, rules = pulls(named), builder.context.rules
                moved = builder.move_ticket(
                    named,
                    TicketTrigger.ASSIGN,
                    "ticket.assigned",
                    refusals=(),
                    reason=None,
                    assigned_at=builder.now,
                    perhaps_begun=False,
                    asked=not ticket.idempotent and not pulled and worker_id != OWN_WORKER,
                    waiting=None,
                    waiting_since=None,
                    turn=None,
                    emissions=0,
                    until=builder.now + (rules.unreachable if pulled else rules.redeliver),
                )
                if not pulled:
                    builder.deliver(moved, worker_id, moved.attempt)
        for ticket_id, turn in self.crowded.items():
            if waits_for_worker(builder.context.tickets[ticket_id]):
                _wait(builder, builder.context.tickets[ticket_id], Waiting.SLOT, turn)
        for ticket_id, reason in self.frozen.items():
            if waits_for_worker(builder.context.tickets[ticket_id]):
                block(builder, builder.context.tickets[ticket_id], reason)
        for ticket_id in self.stopped:
            ticket = builder.context.tickets[ticket_id]
            if waits_for_worker(ticket):  # C3 judges it at its wake-up, when every process knows of the policy
                builder.change_ticket(ticket, emissions=ticket.emissions + 1, candidates=(), **readied(builder))


@dataclass(frozen=True, slots=True)
class Delivered:
    """C4: the answers of workers, by ticket id: the attempt that was delivered and the answer to it.

    `around` is loaded for tickets that may fail by it.
    """

    answers: Mapping[str, tuple[int, Answer]]
    around: Mapping[str, RelatedTickets] = field(default_factory=dict)

    def apply(self, builder: StepBuilder) -> None:
        """C4: an accepted ticket has its timeout from now; a refused one goes to the next candidate.

        A worker that was not reached is asked again until `Rules.unreachable` has passed: the wake-up set at the
        assignment sees to that, so nothing is written now, unless the task must not be repeated.
        """
        for ticket_id, (attempt, answer) in self.answers.items():
            ticket = builder.context.tickets.get(ticket_id)
            if ticket is None:
                continue
            if ticket.attempt == attempt and awaits_acknowledgement(ticket):
                _answered(builder, ticket, answer, self.around.get(ticket_id))
            elif (other := other_of(ticket)) is not None and other.attempt == attempt:
                other_answered(builder, ticket, answer)


def _answered(builder: StepBuilder, ticket: Ticket, answer: Answer, around: RelatedTickets | None) -> None:
    said = f"worker {ticket.worker_id} answered {answer.status}: {answer.detail}"
    if answer.accepted:
        builder.move_ticket(
            ticket,
            TicketTrigger.ACKNOWLEDGE,
            acknowledged_at=builder.now,
            until=attempt_limit(ticket, builder.now, builder.now),
        )
    elif answer.busy:
        pass_on(builder, ticket, Reason(code="worker_busy", message=said), around)
    elif answer.refused:
        refusing = {**ticket.refused_by, ticket.worker_id or "": answer.registration}
        kept = dict(list(refusing.items())[-EXCLUDED_KEPT:])
        pass_on(builder, ticket.but(refused_by=kept), Reason(code="worker_refused", message=said), around, at_once=True)
    elif answer.suspended and (ticket.idempotent or not ticket.perhaps_begun):
        # It was not sent: another worker may have it at once.
        reason = Reason(code="worker_suspended", message=f"worker {ticket.worker_id} gets nothing now: {answer.detail}")
        pass_on(builder, ticket, reason, around)
    else:
        _unanswered(builder, ticket, answer, around)


def _unanswered(builder: StepBuilder, ticket: Ticket, answer: Answer, around: RelatedTickets | None) -> None:
    """Ask again at the wake-up, or give the ticket to another worker when this one had its time.

    A worker that got the assignment may have begun, even if its answer is lost: a task that must not be done twice
    stays with it, and fails when the worker does not confirm it.
    """
    begun = ticket.perhaps_begun or answer.reached
    if builder.now - (ticket.assigned_at or builder.now) >= builder.context.rules.unreachable:
        detail = answer.detail or f"it answered {answer.status}"
        reason = Reason(code="worker_unreachable", message=f"worker {ticket.worker_id} could not be reached: {detail}")
        if begun:
            builder.deliver(ticket, ticket.worker_id or "", ticket.attempt, cancelled=True)
        pass_on(builder, ticket.but(perhaps_begun=begun), reason, around)
    elif ticket.asked or (begun and not ticket.perhaps_begun and not ticket.idempotent):
        builder.change_ticket(ticket, perhaps_begun=begun, asked=False)


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """C5: a worker is gone, and with it its attempts, by ticket id.

    `around` is loaded for tickets that fail by it.
    """

    worker_id: str
    why: str
    attempts: Mapping[str, int] = field(default_factory=dict)
    around: Mapping[str, RelatedTickets] = field(default_factory=dict)

    def apply(self, builder: StepBuilder) -> None:
        """C5: tickets of a lost worker go to another one, unless they must not be done twice."""
        for ticket in builder.context.tickets.values():
            attempt = self.attempts.get(ticket.ticket_id, ticket.attempt)
            lost = of_attempt(ticket, attempt)
            if lost.status in HELD_TICKETS and (lost.worker_id, lost.attempt) == (self.worker_id, attempt):
                reason = Reason(code="worker_lost", message=f"worker {self.worker_id} {self.why}")
                never_given = pulls(lost) and awaits_acknowledgement(lost)
                its = turned(ticket) if lost is not ticket else ticket
                begun = its if never_given else its.but(perhaps_begun=True)
                pass_on(builder, begun, reason, self.around.get(ticket.ticket_id))


def pass_on(
    builder: StepBuilder, ticket: Ticket, reason: Reason, around: RelatedTickets | None = None, *, at_once: bool = False
) -> None:
    """Take the ticket from its worker: to the next candidate at once, or to discovery after a pause.

    `at_once` spares it the pause even without another candidate: the worker that had it is not asked again. A ticket
    that may have been begun fails instead, for the same reason, when it must not be done twice or another worker
    could not do it in time any more. While another attempt at it runs, that one goes on, and nothing else happens.
    """
    if give_up(builder, ticket, reason):
        return
    begun = ticket.perhaps_begun or ticket.acknowledged_at is not None
    why = _no_other(ticket, builder) if begun else None
    if why is not None:
        fail(builder, ticket, reason.but(message=f"{reason.message}; {why}"), around or RelatedTickets())
        return
    tried = taken_back(ticket)["excluded_workers"]
    # In a fleet that refuses, there is always another one: after so many it is time to pause.
    others = len(tried) < EXCLUDED_KEPT and (at_once or any(c.worker_id not in tried for c in ticket.candidates))
    pause = retry_after(ticket.retry, ticket.ticket_id, len(ticket.excluded_workers))
    again_at = builder.now if others else add_time(builder.now, pause)
    later = {"waiting": Waiting.RETRY, "waiting_since": builder.now, "until": again_at}
    # A worker that refused it never had it: it has waited for a worker all the time.
    ready_at = again_at if ticket.acknowledged_at else ticket.ready_at
    reassign(builder, ticket, reason, {**(readied(builder) if others else later), "ready_at": ready_at})


def _no_other(ticket: Ticket, builder: StepBuilder) -> str | None:
    """Return why a ticket that one worker may have begun is not given to another one."""
    if not ticket.idempotent:
        return "the task is not idempotent, so it is not repeated"
    if not fits(ticket, builder.flow, builder.now, builder.context.rules):
        return f"another worker would need {needed(ticket).total_seconds():g} s, which do not fit"
    return None


def reassign(builder: StepBuilder, ticket: Ticket, reason: Reason, waits: Mapping[str, Any]) -> None:
    """Take the ticket from its worker; `waits` has its new wait, and since when."""
    moved = builder.move_ticket(
        ticket.but(reason=reason),
        TicketTrigger.REASSIGN,
        "ticket.reassigned",
        cause=reason.code,
        error_message=reason.message,
        **waits,
        **taken_back(ticket),
    )
    if moved.waiting is Waiting.DISCOVERY:
        builder.ready([moved])


def may_fail_when_lost(ticket: Ticket, context: Context) -> bool:
    """Whether a ticket that is taken from its worker may fail by that, so that its dependants have to be loaded."""
    return not ticket.idempotent or not fits(ticket, context.flow, context.now, context.rules)


def waits_for_worker(ticket: Ticket) -> bool:
    """Whether the ticket could be assigned right now."""
    held_back = ticket.waiting in HELD_BACK
    return ticket.status is TicketStatus.PENDING and ticket.open_dependencies == 0 and not held_back


def may_look_for_worker(ticket: Ticket) -> bool:
    """Whether C3 may look for a worker for the ticket, if no freeze holds it back."""
    return ticket.status is TicketStatus.PENDING and (ticket.waiting is Waiting.FREEZE or waits_for_worker(ticket))


def awaits_acknowledgement(ticket: Ticket) -> bool:
    """Whether the worker still owes the acknowledgement of the present attempt."""
    return ticket.status is TicketStatus.ASSIGNED and ticket.acknowledged_at is None


def pulls(ticket: Ticket) -> bool:
    """Whether the worker of the ticket asks for it, as it was ranked: then nothing is sent to it."""
    return any(one.delivery is AssignmentMode.PULL for one in ticket.candidates if one.worker_id == ticket.worker_id)


def own_has_not_come(ticket: Ticket, builder: StepBuilder) -> bool:
    """Whether the platform's own worker has not taken its ticket in its time; it accepts before it begins anything."""
    waited = builder.now - (ticket.assigned_at or builder.now)
    return ticket.worker_id == OWN_WORKER and waited >= builder.context.rules.unreachable


def not_asked_for(builder: StepBuilder, ticket: Ticket) -> None:
    """Give a ticket to another worker: its own has not asked for it in its time, so it has certainly not begun it."""
    waited = builder.context.rules.unreachable.total_seconds()
    message = f"worker {ticket.worker_id} has not asked for it within {waited:g} s"
    pass_on(builder, ticket, Reason(code=NOT_ASKED_FOR, message=message))


def _wait(builder: StepBuilder, ticket: Ticket, waiting: Waiting, turn: int | None) -> None:
    since = ticket.waiting_since if ticket.waiting is waiting and ticket.waiting_since else builder.now
    rules = builder.context.rules
    patience = add_time(since, rules.no_worker) if waiting is Waiting.WORKER else None
    until = earliest(limit_of(builder.flow, rules), patience, schedule_to_start(ticket))
    builder.move_ticket(
        ticket,
        TicketTrigger.WAIT,
        waiting=waiting,
        waiting_since=since,
        turn=turn,
        emissions=ticket.emissions + 1,
        until=until,
    )


def schedule_to_start(ticket: Ticket) -> datetime | None:
    """Return when a ticket that may begin must have got a worker, if its task says so; freeze and quarantine aside."""
    if ticket.schedule_to_start_ms is None or ticket.waiting in {Waiting.FREEZE, Waiting.QUARANTINE}:
        return None
    return add_time(ticket.ready_at or ticket.created_at, time_span(ticket.schedule_to_start_ms))
