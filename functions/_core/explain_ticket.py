"""Why a ticket is where it is: what it waits for, since when, and what the rules do if that does not come.

Pure: every sentence follows from the records, the rules and the given time. The sentences about the next
wake-up say what `enforce_sla` will do then, so they change with it.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from functions._core.ending_steps import may_retry
from functions._core.models import Flow, Ticket, Worker
from functions._core.ranking import health_of
from functions._core.rules import Rules
from functions._core.values import Record, TicketStatus, Timestamp, Waiting, milliseconds
from functions._core.wording import ago, ahead, asked_of_worker, clock_time, counted, listed, name_of, plain, span


class Explanation(Record):
    """Why a flow or a ticket is where it is.

    `waits_for` is None when it has ended. `then` says what happens at `next_wakeup_at` if nothing else does.
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


class SlackState(StrEnum):
    """How a ticket stands against its share of the SLA."""

    ON_TRACK = "on_track"
    AT_RISK = "at_risk"
    BREACHED = "breached"


def slack_ms(ticket: Ticket, now: datetime) -> int | None:
    """Return how long the ticket can still wait (PENDING) or be worked on; negative when late, None when ended."""
    if not ticket.live:
        return None
    latest = ticket.latest_start if ticket.status is TicketStatus.PENDING else ticket.sla.deadline
    return milliseconds(latest - now)


def slack_state(ticket: Ticket, now: datetime) -> SlackState | None:
    """Return how the ticket stands, or stood when it was completed; None when it came to nothing."""
    if ticket.status in {TicketStatus.FAILED, TicketStatus.CANCELLED}:
        return None
    moment = now if ticket.live else ticket.completed_at or now
    if moment > ticket.sla.deadline:
        return SlackState.BREACHED
    return SlackState.AT_RISK if (slack_ms(ticket, now) or 0) < 0 else SlackState.ON_TRACK


def explain_ticket(
    ticket: Ticket,
    flow: Flow,
    now: datetime,
    rules: Rules,
    *,
    upstream: Sequence[Ticket] = (),
    worker: Worker | None = None,
) -> Explanation:
    """Return why `ticket` of `flow` is where it is at `now`.

    `upstream` are tickets it depends on, to name those that are open; `worker` is the one that holds it. Both
    only add to what is said.
    """
    headline, since = _headline(ticket, upstream)
    details = [f"Since {ago(since, now)}."] if since and ticket.live else []
    details += _refusals(ticket)
    details += _past_attempts(ticket)
    if ticket.live:
        details += _of_worker(worker, now, rules)
        details.append(_slack(ticket, now))
    return Explanation(
        kind="ticket",
        subject=ticket.ticket_id,
        status=ticket.status.value,
        headline=f"Ticket {name_of(ticket)} {headline}.",
        waits_for=_waits_for(ticket, upstream) if ticket.live else None,
        since=since,
        next_wakeup_at=ticket.next_wakeup_at,
        then=_then(ticket, flow, now, rules),
        details=tuple(details),
    )


def waiting_since(ticket: Ticket) -> datetime:
    """Return when a live ticket began to wait for what it waits for now."""
    moments = (ticket.started_at, ticket.acknowledged_at, ticket.assigned_at)
    if ticket.status is TicketStatus.PENDING:
        moments = (ticket.waiting_since, None, None)
    return next((moment for moment in moments if moment), ticket.created_at)


def _headline(ticket: Ticket, upstream: Sequence[Ticket]) -> tuple[str, datetime | None]:
    """Return what is said of the ticket, without its name, and since when that holds."""
    if ticket.live:
        waits_for = _waits_for(ticket, upstream)
        return f"waits for {waits_for}{_why_not_yet(ticket)}", waiting_since(ticket)
    because = f": {plain(ticket.reason.message)} ({plain(ticket.reason.code)})" if ticket.reason else ""
    if ticket.status is not TicketStatus.COMPLETED:
        verb = "has failed" if ticket.status is TicketStatus.FAILED else "was cancelled"
        return f"{verb}{because}", ticket.completed_at
    took = ""
    if ticket.started_at and ticket.completed_at:
        took = f" in {span(ticket.completed_at - ticket.started_at)}"
    return f"was completed by worker {ticket.worker_id}{took}", ticket.completed_at


def _waits_for(ticket: Ticket, upstream: Sequence[Ticket]) -> str:
    if ticket.status is not TicketStatus.PENDING:
        if ticket.acknowledged_at is None:
            return f"worker {ticket.worker_id} to accept it"
        done = f", {ticket.progress:g} % done" if ticket.progress is not None else ""
        return f"worker {ticket.worker_id} to report its end{done}"
    if ticket.waiting is Waiting.DEPENDENCIES:
        open_ones = [f"{plain(t.task_id)} ({t.status})" for t in upstream if t.status is not TicketStatus.COMPLETED]
        total = counted(len(ticket.dependencies), "dependency", "dependencies")
        named = f": {listed(open_ones)}" if open_ones else ""
        return f"{ticket.open_dependencies} of its {total}{named}"
    if ticket.waiting is Waiting.WORKER:
        return asked_of_worker(ticket)
    if ticket.waiting is Waiting.SLOT:
        return f"a free slot of {asked_of_worker(ticket)}"
    return "its next attempt" if ticket.waiting is Waiting.RETRY else "the search for a worker (C3)"


def _why_not_yet(ticket: Ticket) -> str:
    if ticket.status is not TicketStatus.PENDING:
        return ""
    return {Waiting.WORKER: ": none is registered and alive", Waiting.SLOT: ": all are busy"}.get(
        ticket.waiting or Waiting.DISCOVERY, ""
    )


def _refusals(ticket: Ticket) -> list[str]:
    if ticket.status is not TicketStatus.PENDING:
        return []
    return [f"Worker {refusal.worker_id} was left out: {plain(refusal.reason)}." for refusal in ticket.refusals]


def _past_attempts(ticket: Ticket) -> list[str]:
    sentences = []
    if ticket.live and ticket.reason is not None:
        sentences.append(f"The last attempt ended so: {plain(ticket.reason.message)} ({plain(ticket.reason.code)}).")
    if ticket.attempt > 1 or ticket.retry_count:
        retries = f"{ticket.retry_count} of {counted(ticket.sla.max_retries, 'retry', 'retries')}"
        sentences.append(f"Attempts so far: {ticket.attempt}; {retries} used.")
    return sentences


def _of_worker(worker: Worker | None, now: datetime, rules: Rules) -> list[str]:
    if worker is None:
        return []
    health = health_of(worker, now, rules)
    return [f"Worker {worker.worker_id} is {health}, last heard of at {ago(worker.last_seen, now)}."]


def _slack(ticket: Ticket, now: datetime) -> str:
    if now > ticket.sla.deadline:
        return f"It is late: its share of the SLA ended at {ago(ticket.sla.deadline, now)}."
    if ticket.status is not TicketStatus.PENDING:
        return f"To keep the SLA it has to be done by {ahead(ticket.sla.deadline, now)}."
    if now > ticket.latest_start:
        return f"The SLA is at risk: it should have started by {ago(ticket.latest_start, now)}."
    return f"To keep the SLA it has to start by {ahead(ticket.latest_start, now)}."


def _then(ticket: Ticket, flow: Flow, now: datetime, rules: Rules) -> str | None:
    """Return what the ticket's next wake-up does."""
    due = ticket.next_wakeup_at
    if due is None:
        return None
    if not ticket.live:
        return f"At {ahead(due, now)} it is checked whether the whole flow has ended."
    if max(due, now) >= flow.sla_deadline:
        fate = "FAILED with no_capacity" if ticket.waiting is Waiting.SLOT else "CANCELLED"
        deadline = ahead(flow.sla_deadline, now)
        return f"If nothing changes by {deadline}, the flow's deadline, the flow is TIMED_OUT and this is {fate}."
    if ticket.status is TicketStatus.PENDING:
        return _then_pending(ticket, due, now)
    if ticket.acknowledged_at is None:
        return _then_not_accepted(ticket, due, now, rules)
    return _then_not_ended(ticket, flow, due, now, rules)


def _then_pending(ticket: Ticket, due: datetime, now: datetime) -> str:
    by = ahead(due, now)
    if ticket.waiting is Waiting.WORKER:
        return f"If none registers by {by} it fails with no_worker, and what depends on it is cancelled."
    if ticket.waiting is Waiting.RETRY:
        return f"At {by} a worker is looked for again."
    if ticket.open_dependencies:
        return f"At {by} it is looked at again; should a dependency fail, it is cancelled."
    return f"If nothing has happened by {by}, the search for a worker is started again."


def _then_not_accepted(ticket: Ticket, due: datetime, now: datetime, rules: Rules) -> str:
    by, worker = ahead(due, now), ticket.worker_id
    patience = (ticket.assigned_at or now) + rules.unreachable
    if max(due, now) >= patience:
        return f"If worker {worker} has not accepted it by {by}, it is asked once more, then the ticket goes elsewhere."
    until = clock_time(patience, now)
    return f"If worker {worker} has not accepted it by {by}, it is sent there again, until {until} at most."


def _then_not_ended(ticket: Ticket, flow: Flow, due: datetime, now: datetime, rules: Rules) -> str:
    by = ahead(due, now)
    if may_retry(ticket, flow, max(due, now), rules):
        number = f"retry {ticket.retry_count + 1} of {ticket.sla.max_retries}"
        return f"If no end is reported by {by}, it is taken from worker {ticket.worker_id} and tried again ({number})."
    if not ticket.idempotent:
        why = "it must not be done twice"
    elif ticket.retry_count >= ticket.sla.max_retries:
        why = "no retry is left"
    else:
        why = "a retry would not fit into the SLA"
    return f"If no end is reported by {by}, it fails with timed_out, because {why}; what depends on it is cancelled."
