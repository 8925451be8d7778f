"""The invariants of conditions, waits, approvals, lists and sub-flows, checked at every committed step."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from functions._core.decision.expressions import compiled
from functions._core.errors import Undeliverable
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.records.control import Foreach, OnSkipped
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, ticket_id_of
from functions._simulator.families import stopped_until
from functions._simulator.ledger import CommittedChange, Ledger

BY_PEOPLE = frozenset({"flow.adjusted", "flow.replanned"})
"""Changes after which a flow may have another deadline."""

NOTHING = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED})


def begins_by_its_rule(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A ticket begins only when all that it depends on is done, or is skipped or failed where a rule allows that."""
    for before, after in change.moves():
        if not _begins(before, after):
            continue
        upstream = [ledger.tickets[ticket_id] for ticket_id in after.dependencies]
        for other in upstream:
            if not _lets_begin(other, after):
                yield f"ticket {after.task_id} is {after.status} while {other.task_id} is {other.status}"
        rule = after.control.on_skipped if after.control else OnSkipped.SKIP
        if rule is OnSkipped.ANY and upstream and all(one.status is TicketStatus.SKIPPED for one in upstream):
            yield f"ticket {after.task_id} began although all that it depends on was skipped"
        if _holds(after, ledger) is False:
            yield f"ticket {after.task_id} began although its condition does not hold"


def skipped_has_a_cause(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A ticket is skipped when its condition is false, or with tickets that it depends on, and in no other case."""
    for before, after in change.moves():
        if after.status is not TicketStatus.SKIPPED or (before is not None and before.status is TicketStatus.SKIPPED):
            continue
        upstream = [ledger.tickets[ticket_id] for ticket_id in after.dependencies]
        skipped = [one.status is TicketStatus.SKIPPED for one in upstream]
        rule = after.control.on_skipped if after.control else OnSkipped.SKIP
        with_them = any(skipped) if rule is OnSkipped.SKIP else rule is OnSkipped.ANY and bool(skipped) and all(skipped)
        if not with_them and _holds(after, ledger) is not False:
            yield f"ticket {after.task_id} was skipped: {after.reason.message if after.reason else 'no reason'}"


def skips_what_follows(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """What is to be skipped with a ticket does not wait any longer once that is skipped."""
    for before, after in change.moves():
        if after.status is TicketStatus.SKIPPED and before is not None and before.live:
            for other in (ledger.tickets[ticket_id] for ticket_id in after.dependants):
                if other.live and (other.control is None or other.control.on_skipped is OnSkipped.SKIP):
                    yield f"ticket {after.task_id} is SKIPPED, {other.task_id} is still {other.status}"


def limit_is_kept(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No more items of a list are at work than its limit allows."""
    for parent_id in _parents(change):
        parent = ledger.tickets[parent_id]
        foreach, at_work = _foreach(parent), ledger.families.at_work[parent_id]
        if foreach is not None and parent.live and at_work > foreach.limit:
            yield f"{at_work} items of {parent.task_id} are at work, {foreach.limit} may be"


def children_are_counted(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """The counts of a ticket with children are those of its children."""
    for parent_id in _parents(change):
        parent = ledger.tickets[parent_id]
        counts = parent.children
        if parent.status is not TicketStatus.WAITING or counts is None or ledger.redrives_of(parent_id):
            continue  # driven again, those that are done are counted when their turn comes
        told = {"completed": counts.completed, "failed": counts.failed, "skipped": counts.skipped}
        found = {way: ledger.families.ended[parent_id][way] for way in told}
        if told != found or ledger.families.children[parent_id] != counts.made:
            made = ledger.families.children[parent_id]
            yield f"{parent.task_id} counts {told} of {counts.made} children, they are {found} of {made}"


def parents_end_last(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A ticket with children is done once all of them have ended, and no more have failed than may."""
    for before, after in change.moves():
        if before is None or not before.live or after.control is None or not after.control.has_children:
            continue
        if after.status is not TicketStatus.COMPLETED or after.skipped:
            continue
        ended, number = ledger.families.ended[after.ticket_id], after.children.total if after.children else 0
        foreach = _foreach(after)
        if ended.total() != number or ledger.families.children[after.ticket_id] != number:
            yield f"{after.task_id} is done with {ended.total()} of {number} children ended"
        if ended["failed"] > (foreach.max_failures if foreach is not None else 0):
            yield f"{after.task_id} is done although {ended['failed']} of its children failed"


def all_tickets_are_counted(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A flow has as many tickets as it says."""
    made = [one for one in change.step.tickets if change.tickets[one.ticket_id] is None and one.compensates is None]
    flow, found = ledger.flows.get(change.step.flow_id), ledger.planned[change.step.flow_id].total()
    if made and flow is not None and flow.tickets_generated != found:
        yield f"the flow says {flow.tickets_generated} tickets, there are {found}"


def tolerated_is_right(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """An outcome leaves out just the ends that do not decide it: those of children, and failures that may be."""
    flow = change.step.flow
    if flow is None or flow.outcome is None or (change.flow is not None and change.flow.outcome is not None):
        return
    tickets = [t for t in ledger.tickets.values() if t.flow_id == flow.flow_id and t.compensates is None]
    apart = Counter(t.status.value for t in tickets if t.status in NOTHING and not _decides(t))
    if dict(flow.tolerated) != dict(apart):
        yield f"the flow tolerates {dict(flow.tolerated)}, that should be {dict(apart)}"
    decisive = [t.task_id for t in tickets if t.status in NOTHING and _decides(t)]
    if flow.outcome is Outcome.COMPLETED and len(decisive) != flow.dropped:
        yield f"the flow is COMPLETED although {', '.join(decisive)} came to nothing"


def events_end_one_wait(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """An event ends one wait at most."""
    for _, after in change.moves():
        if isinstance(after.output, dict) and after.status is TicketStatus.COMPLETED:
            takers = ledger.families.taken.get((str(after.output.get("source")), str(after.output.get("id"))), [])
            if len(takers) > 1:
                yield f"event {after.output['id']} has ended the waits of {', '.join(takers)}"


def deadline_moves_with_the_clock(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """A deadline moves by what waits stop the clock for, back by what they did not use, and by orders of people."""
    was, flow, history = change.flow, change.step.flow, change.step.history
    if was is None or flow is None or was.status is not FlowStatus.EXECUTING or flow.sla_paused or not history:
        return
    if flow.sla_limit is not None or any(entry.type in BY_PEOPLE for entry in history):
        return
    now = history[0].at
    before = stopped_until(now, [*was.clock_waits.values()])
    after = stopped_until(now, [*flow.clock_waits.values()])
    moved = flow.sla_deadline - was.sla_deadline
    if abs(moved - (after - before)) > timedelta(milliseconds=1):
        yield f"the deadline moved by {moved}, the clock stands still for {after - before} longer"


def no_worker_for_its_own(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """No worker gets a ticket that needs none."""
    for _, after in change.moves():
        if after.worker_id is not None and after.live and after.control is not None and after.control.works_alone:
            yield f"{after.task_id}, a ticket of the machine's own, went to {after.worker_id}"


def key_is_kept(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No more flows of a concurrency key are at work than may be."""
    flow = change.step.flow
    if flow is None or flow.concurrency is None or not _at_work(flow):
        return
    same = [one for one in ledger.flows.values() if one.concurrency and one.concurrency.key == flow.concurrency.key]
    number = sum(map(_at_work, same))
    if number > flow.concurrency.limit:
        yield f"{number} flows of {flow.concurrency.key} are at work, {flow.concurrency.limit} may be"


AT_EACH_CONSTRUCT = (
    begins_by_its_rule,
    skipped_has_a_cause,
    skips_what_follows,
    limit_is_kept,
    children_are_counted,
    parents_end_last,
    all_tickets_are_counted,
    tolerated_is_right,
    events_end_one_wait,
    deadline_moves_with_the_clock,
    no_worker_for_its_own,
    key_is_kept,
)


def _at_work(flow: Flow) -> bool:
    return flow.tickets_generated > 0 and flow.status not in ENDED_FLOWS


def _begins(before: Ticket | None, after: Ticket) -> bool:
    starts = after.status in {TicketStatus.ASSIGNED, TicketStatus.WAITING}
    return starts and (before is None or before.status is TicketStatus.PENDING)


def _lets_begin(other: Ticket, ticket: Ticket) -> bool:
    """Whether a ticket may begin as far as this one is concerned that it depends on."""
    if other.status is TicketStatus.SKIPPED:
        return ticket.control is not None and ticket.control.on_skipped is not OnSkipped.SKIP
    may_fail = other.control is not None and other.control.allow_failure
    return other.status is TicketStatus.COMPLETED or (other.status is TicketStatus.FAILED and may_fail)


def _decides(ticket: Ticket) -> bool:
    """Whether a ticket that came to nothing decides the outcome of its flow."""
    may_fail = ticket.control is not None and ticket.control.allow_failure
    return ticket.parent is None and not (ticket.status is TicketStatus.FAILED and may_fail)


def _holds(ticket: Ticket, ledger: Ledger) -> bool | None:
    """Return whether the condition of a ticket holds; None where it has none, or has no answer."""
    if ticket.control is None or ticket.control.when is None:
        return None
    condition = compiled(ticket.control.when)
    names = {one: ticket_id_of(ticket.flow_id, ticket.scope + one) for one in condition.tasks}
    upstream = {one: ledger.tickets[ticket_id] for one, ticket_id in names.items() if ticket_id in ledger.tickets}
    if "input" in condition.names:
        return None
    try:
        return condition.holds(
            {
                "outputs": {one: other.output for one, other in upstream.items()},
                "statuses": {one: other.status.value for one, other in upstream.items()},
            }
        )
    except Undeliverable:
        return None


def _parents(change: CommittedChange) -> dict[str, None]:
    """Return the ids of tickets whose children, or themselves, a step has changed."""
    found = {
        after.parent: None for _, after in change.moves() if after.parent is not None and after.compensates is None
    }
    return found | {after.ticket_id: None for _, after in change.moves() if after.children is not None}


def _foreach(ticket: Ticket) -> Foreach | None:
    return ticket.control.foreach if ticket.control is not None else None
