"""Why a ticket is where it is: the thing that it waits for, since when, and the rule that acts if that does not come.

Pure: every sentence follows from the records, the rules and the given time. `next_wakeup`
explains the effect of the next wake-up.
"""

from collections.abc import Sequence
from datetime import datetime

from functions._core.explain.control import awaited, turn
from functions._core.explain.freezes import about_freezes, freeze_awaited
from functions._core.explain.guards import about_guards, guard_awaited, held_back
from functions._core.explain.hedges import about_hedges
from functions._core.explain.next_wakeup import then_of_ticket, why_not_again
from functions._core.explain.predictions import about_prediction
from functions._core.explain.wording import (
    ago,
    ahead,
    asked_of_worker,
    counted,
    listed,
    name_of,
    plain,
    said,
    span,
    undone_task,
)
from functions._core.machine.assignment import pulls, schedule_to_start
from functions._core.machine.tables import ENDED_TICKETS
from functions._core.placement.pheromones import NO_TRAILS, Trails, domain_of
from functions._core.placement.ranking import health_of, nothing_until, rank
from functions._core.planning.slack import fits, limit_of, needed
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import FlowStatus, TicketStatus, Timestamp, Waiting, add_time, time_span
from functions._core.records.worker import Refusal, Worker
from functions._core.rules import Rules

NAMED_TOGETHER = 20
"""Workers named with one reason why they were left out."""


class Explanation(Record):
    """Why a flow or a ticket is where it is.

    `waits_for` is None when it has ended. `then` describes the effect of `next_wakeup_at` if nothing happens before.
    """

    kind: str
    subject: str
    status: str
    headline: str
    waits_for: str | None = None
    since: Timestamp | None = None
    next_wakeup_at: Timestamp | None = None
    then: str | None = None
    details: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences in reading order."""
        return tuple(filter(None, (self.headline, *self.details, self.then)))


def explain_ticket(  # noqa: PLR0913 the ticket, and all that is known around it
    ticket: Ticket,
    flow: Flow,
    now: datetime,
    rules: Rules,
    *,
    upstream: Sequence[Ticket] = (),
    workers: Sequence[Worker] = (),
    trails: Trails = NO_TRAILS,
    up_since: datetime | None = None,
) -> Explanation:
    """Return why `ticket` of `flow` is where it is at `now`.

    `upstream` are tickets that it waits for, dependencies or its compensation, to name those that are open; `workers`
    are the one that holds it, or of a pending one all; `trails` are those of its domain. All three only add sentences.
    `up_since` as in `Context`.
    """
    ended = ticket.status in ENDED_TICKETS
    headline, since = _headline(ticket, flow, upstream, _why_not_yet(ticket, workers, now, rules))
    details = [f"Since {ago(since, now)}."] if since and not ended else []
    details += _undoing(ticket, flow)
    details += _refusals(ticket)
    details += about_freezes(ticket)
    details += about_guards(ticket)
    details += _past_attempts(ticket, flow, rules)
    details += about_hedges(ticket, now)
    details += about_prediction(ticket)
    if ticket.live:
        details += _of_worker(ticket, workers, now, rules)
        details += _of_trails(ticket, trails, now)
        details += _slack(ticket, flow, now, rules)
    return Explanation(
        kind="ticket",
        subject=ticket.ticket_id,
        status=ticket.status.value,
        headline=f"Ticket {name_of(ticket)} {headline}.",
        waits_for=None if ended else ticket_waits_for(ticket, upstream),
        since=since,
        next_wakeup_at=ticket.next_wakeup_at,
        then=then_of_ticket(ticket, flow, now, rules, up_since),
        details=tuple(details),
    )


def waiting_since(ticket: Ticket) -> datetime:
    """Return when a live ticket began its present wait."""
    moments = (ticket.started_at, ticket.acknowledged_at, ticket.assigned_at)
    if ticket.status in {TicketStatus.PENDING, TicketStatus.WAITING}:
        moments = (ticket.waiting_since, None, None)
    return next((moment for moment in moments if moment), ticket.created_at)


def _headline(ticket: Ticket, flow: Flow, upstream: Sequence[Ticket], why_not_yet: str) -> tuple[str, datetime | None]:
    """Return the headline of the ticket, without its name, and since when it holds."""
    if ticket.live:
        waits_for = ticket_waits_for(ticket, upstream)
        return f"waits for {waits_for}{why_not_yet}", waiting_since(ticket)
    if ticket.status is TicketStatus.COMPENSATING:
        since = flow.phase.entered_at if flow.status is FlowStatus.COMPENSATING else None
        return (
            f"was completed, and now its work is being undone: it waits for {ticket_waits_for(ticket, upstream)}",
            since,
        )
    return _end(ticket), ticket.completed_at


def _end(ticket: Ticket) -> str:
    because = f": {said(ticket.reason)}" if ticket.reason else ""
    if ticket.status is TicketStatus.FAILED and ticket.reason and ticket.reason.code == "not_compensated":
        return f"was completed, but could not be undone{because}"
    if ticket.status is TicketStatus.FAILED:
        return f"has failed{because}"
    if ticket.status in {TicketStatus.CANCELLED, TicketStatus.SKIPPED}:
        return f"was {ticket.status.value.lower()}{because}"
    if ticket.skipped:
        return f"was not done but counts as done{because}"
    took = ""
    if ticket.started_at and ticket.completed_at:
        took = f" in {span(ticket.completed_at - ticket.started_at)}"
    undone = ", and has been undone since" if ticket.status is TicketStatus.COMPENSATED else ""
    if ticket.worker_id is None and ticket.control is not None and ticket.control.works_alone:
        return f"was completed without a worker{undone}"
    return f"was completed by worker {ticket.worker_id}{took}{undone}"


def ticket_waits_for(ticket: Ticket, upstream: Sequence[Ticket] = ()) -> str:
    """Return the thing that a ticket which has not ended waits for, as the end of a sentence; see `explain_ticket`."""
    if ticket.status is TicketStatus.COMPENSATING:
        found = next((t for t in upstream if t.ticket_id == ticket.compensation_ticket_id), None)
        return f"its compensation {f'{plain(found.task_id)} ({found.status})' if found else 'to end'}"
    if ticket.status is TicketStatus.WAITING:
        return awaited(ticket)
    if ticket.status is not TicketStatus.PENDING:
        if ticket.acknowledged_at is None:
            return f"worker {ticket.worker_id} to {'ask for' if pulls(ticket) else 'accept'} it"
        done = f", {ticket.progress:g} % done" if ticket.progress is not None else ""
        return f"worker {ticket.worker_id} to report its end{done}"
    return _pending_for(ticket, upstream)


def _pending_for(ticket: Ticket, upstream: Sequence[Ticket]) -> str:
    if ticket.waiting is Waiting.DEPENDENCIES:
        waited_for = [t for t in upstream if ticket.ticket_id in t.dependants]  # not those that others wait for anyway
        open_ones = [f"{plain(t.task_id)} ({t.status})" for t in waited_for if t.status is not TicketStatus.COMPLETED]
        total = counted(len(ticket.dependencies), "dependency", "dependencies")
        named = f": {listed(open_ones)}" if open_ones else ""
        return f"{ticket.open_dependencies} of its {total}{named}"
    if ticket.waiting is Waiting.WORKER:
        return asked_of_worker(ticket)
    if ticket.waiting is Waiting.TURN:
        return turn(ticket)
    if held_back(ticket):
        return guard_awaited(ticket) or freeze_awaited(ticket)
    if ticket.waiting is Waiting.SLOT:
        return f"a free slot of {asked_of_worker(ticket)}"
    others = {Waiting.RETRY: "its next attempt", Waiting.RESUME: "its paused flow to go on"}
    alone = ticket.control is not None and ticket.control.works_alone
    otherwise = "C3 to begin it" if alone else "the search for a worker (C3)"
    return others.get(ticket.waiting or Waiting.DISCOVERY, otherwise)


def _undoing(ticket: Ticket, flow: Flow) -> list[str]:
    """Return the part of the ticket in a compensation."""
    if ticket.compensates is not None:
        why = f", because the flow's outcome is {flow.outcome}" if flow.outcome else ""
        return [f"It undoes the work of {undone_task(ticket)} (ticket {ticket.compensates}){why}."]
    if ticket.compensation_ticket_id is not None:
        return [f"Its compensation is ticket {ticket.compensation_ticket_id}."]
    return []


def _why_not_yet(ticket: Ticket, workers: Sequence[Worker], now: datetime, rules: Rules) -> str:
    """Return why a pending ticket has no worker, circuit breakers by name."""
    if ticket.status is not TicketStatus.PENDING:
        return ""
    none = ": no other one is registered and alive" if ticket.refused_by else ": none is registered and alive"
    if ticket.waiting is Waiting.SLOT:
        breakers = [_shut(one, now) for one in rank(ticket, workers, {}, now, rules).doubted]
        return f": none can take it now{f', as {listed(breakers)}' if breakers else ''}"
    return none if ticket.waiting is Waiting.WORKER else ""


def _refusals(ticket: Ticket) -> list[str]:
    """Return which workers were left out, those with the same reason together."""
    if ticket.status is not TicketStatus.PENDING:
        return []
    by_reason: dict[str, list[Refusal]] = {}
    for refusal in ticket.refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal)
    return [
        f"{'Worker' if len(left_out) == 1 else 'Workers'} {listed([r.worker_id for r in left_out], NAMED_TOGETHER)} "
        f"{'was' if len(left_out) == 1 else 'were'} left out: {plain(reason)}."
        for reason, left_out in by_reason.items()
    ]


def _past_attempts(ticket: Ticket, flow: Flow, rules: Rules) -> list[str]:
    sentences = []
    if ticket.live and ticket.reason is not None and not held_back(ticket):
        sentences.append(f"The last attempt ended so: {said(ticket.reason)}.")
    number = max(ticket.attempt, ticket.hedge.attempt if ticket.hedge is not None else 0)
    if number > 1 or ticket.retry_count:
        retries = f"{ticket.retry_count} of {counted(ticket.sla.max_retries, 'retry', 'retries')}"
        sentences.append(f"Attempts so far: {number}; {retries} used.")
    because = why_not_again(ticket, flow, rules) if ticket.status is TicketStatus.FAILED else None
    if because:
        sentences.append(f"It was not tried again: {because}.")
    return sentences


def _of_worker(ticket: Ticket, workers: Sequence[Worker], now: datetime, rules: Rules) -> list[str]:
    """Return the state of the worker that holds the ticket, and its next duty."""
    sentences = []
    for worker in workers:
        if worker.worker_id != ticket.worker_id:
            continue
        health = health_of(worker, now, rules)
        sentences.append(f"Worker {worker.worker_id} is {health}, last heard of at {ago(worker.last_seen, now)}.")
        if worker.draining:
            sentences.append(f"Worker {worker.worker_id} is draining: it finishes this ticket and gets no new ones.")
        if worker.suspended_until is not None:
            sentences.append(_breaker(worker, worker.suspended_until, now))
    limit = schedule_to_start(ticket)
    if ticket.status is TicketStatus.PENDING and limit is not None and not ticket.open_dependencies:
        sentences.append(f"Its task wants a worker to have it by {ahead(limit, now)}.")
    if ticket.acknowledged_at is not None and ticket.live:
        over = add_time(ticket.acknowledged_at, ticket.timeout)
        sentences.append(f"Its timeout of {span(ticket.timeout)} ends at {ahead(over, now)}.")
        if ticket.heartbeat_timeout_ms:
            lease = span(time_span(ticket.heartbeat_timeout_ms))
            sentences.append(f"Its worker has to say at least every {lease} that it is still at it (heartbeat lease).")
    return sentences


def _of_trails(ticket: Ticket, trails: Trails, now: datetime) -> list[str]:
    """Return how the worker that holds the ticket, or each candidate, has done in the ticket's domain of late."""
    sentences = []
    for worker_id in [ticket.worker_id] if ticket.worker_id else [one.worker_id for one in ticket.candidates]:
        if worker_id in trails:
            trail = trails[worker_id].at(now)
            sentences.append(
                f"Worker {worker_id} has a pheromone score of {trail.score:.2f} in the domain {domain_of(ticket)}: "
                f"{trail.pos:.1f} from tickets completed, {trail.neg:.1f} from failures, timeouts and retries; "
                "after an hour each counts half."
            )
    return sentences


def _shut(worker: Worker, now: datetime) -> str:
    """Return until when the circuit breaker of a worker lets nothing through."""
    until = ahead(nothing_until(worker, now) or now, now)
    how = f"half-open and tries another attempt until {until} at most" if worker.trial else f"open until {until}"
    return f"the circuit breaker of worker {worker.worker_id} is {how}"


def _breaker(worker: Worker, until: datetime, now: datetime) -> str:
    """Return, in words, the attempts that the circuit breaker of a worker lets through."""
    failures = f"{counted(worker.failures, 'failure', 'failures')} in a row ({worker.doubt or 'the last ones'})"
    if until > now:
        return f"Its circuit breaker is open until {ahead(until, now)}, after {failures}: nothing is sent to it."
    tried = f", now {worker.trial}" if worker.trial else ""
    return f"Its circuit breaker is half-open, after {failures}: it gets one attempt at a time{tried}."


def _slack(ticket: Ticket, flow: Flow, now: datetime, rules: Rules) -> list[str]:
    if flow.sla_paused:
        return ["The time of its SLA does not run while the flow is paused."] if flow.sla_limit is None else []
    share = "the time for undoing" if ticket.compensates else "the SLA"
    if now > ticket.sla.deadline:
        sentence = f"It is late: its share of {share} ended at {ago(ticket.sla.deadline, now)}."
    elif ticket.status is not TicketStatus.PENDING:
        sentence = f"To keep {share} it has to be done by {ahead(ticket.sla.deadline, now)}."
    elif now > ticket.latest_start:
        sentence = f"{share.capitalize() if ticket.compensates else 'The SLA'} is at risk: "
        sentence += f"it should have started by {ago(ticket.latest_start, now)}."
    else:
        sentence = f"To keep {share} it has to start by {ahead(ticket.latest_start, now)}."
    limit = limit_of(flow, rules)
    if ticket.status is not TicketStatus.PENDING or limit is None or fits(ticket, flow, now, rules):
        return [sentence]
    left = f"{span(limit - now)} are left" if limit > now else "no time is left"
    what = "It and what depends on it need" if ticket.dependants else "It needs"
    return [sentence, f"{what} {span(needed(ticket))} by estimate, {left}: that does not fit."]
