"""The invariants of the platform, checked at every committed step: the first line of a docstring is the invariant."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from functions._adapters.ticket_parts import CONSTANT
from functions._core.events.routes import BESIDE, ROUTES
from functions._core.machine.tables import (
    BACK,
    CONSOLIDATED,
    END,
    ENDED_FLOWS,
    ENDED_TICKETS,
    FLOW_TRANSITIONS,
    TICKET_TRANSITIONS,
)
from functions._core.planning.tickets import intact
from functions._core.records.attempts import other_of, runs
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus
from functions._core.records.worker import AssignmentMode, Worker
from functions._simulator.construct_invariants import AT_EACH_CONSTRUCT
from functions._simulator.ledger import CommittedChange, Invariant, Ledger

OF_TIME = {"next_wakeup_at", "until", "version"}
"""Fields of an ended ticket that may still change: the last look at its flow is timed on it."""

OF_TELEMETRY = {"telemetry_published", "telemetry_waiting", "telemetry_refused", "version"}
"""Fields of an ended flow that may still change: its telemetry may leave the buffer later."""

OF_CARE = {"priority", "hash"}
"""Fields of a ticket that change with the priority of its flow."""

FAILURE = "simulated"
"""The type of a simulated worker's errors; their message is the attempt."""

KNOWN_WITHIN = timedelta(seconds=1)
"""A list of workers may be so old."""

IN_THE_CHAIN = {*ROUTES, *BESIDE}
"""Events between functions, which are no transitions."""

COUNTED = {FlowStatus.PUBLISHING, *ENDED_FLOWS}
"""Once a flow is there, its counts are not taken again."""


def moves_along_edges(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """A flow or a ticket moves along an edge of its table, and in no other way."""
    for before, after in change.moves():
        moved = before is not None and before.status is not after.status
        if before is not None and moved and not _along_edges(change, before, after):
            yield f"ticket {after.task_id} went from {before.status} to {after.status}"
    was, flow = change.flow, change.step.flow
    if was is not None and flow is not None and was.status is not flow.status:
        targets = {target for edge in FLOW_TRANSITIONS[was.status].values() for target in _targets(edge, was, flow)}
        if flow.status not in targets:
            yield f"the flow went from {was.status} to {flow.status}"


def ended_stays_ended(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """What has ended stays as it ended, unless its flow is redriven or has another plan, or its work is undone."""
    was, flow = change.flow, change.step.flow
    if was is not None and flow is not None and was.status in ENDED_FLOWS and flow.redrives == was.redrives:
        names = (name for name in Flow.__struct_fields__ if name not in OF_TELEMETRY)
        changed = [name for name in names if getattr(was, name) != getattr(flow, name)]
        if changed:
            yield f"the flow had ended as {was.status} and got another {', '.join(changed)}"
    replanned = any(entry.type == "flow.replanned" for entry in change.step.history)
    for before, after in () if replanned else change.moves():
        if before is None or before.status not in ENDED_TICKETS or before.status is not after.status:
            continue
        names = (name for name in type(after).__struct_fields__ if name not in OF_TIME)
        changed = [name for name in names if getattr(before, name) != getattr(after, name)]
        if changed:
            yield f"ticket {after.task_id} had ended as {before.status} and got another {', '.join(changed)}"


def constants_stay(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A ticket keeps what stores write once: its work, its care and its place in the plan.

    A redrive may add dependants, where the one that implied the edge stays done, another priority is another care, and
    another plan may change all of it; the step says that it writes them.
    """
    if any(entry.type == "flow.replanned" for entry in change.step.history):
        return
    adjusted = any(entry.type == "flow.adjusted" for entry in change.step.history)
    for before, after in change.moves():
        if before is None or after.ticket_id in ledger.tampered:
            continue
        changed = [name for name in CONSTANT if getattr(before, name) != getattr(after, name)]
        added = changed == ["dependants"] and set(before.dependants) < set(after.dependants)
        raised = adjusted and {*changed} <= OF_CARE
        if changed and not ((added or raised) and after.ticket_id in change.step.rewritten):
            yield f"ticket {after.task_id} got another {', '.join(changed)}"


def outcome_is_set_once(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """The outcome of a flow is set once for each time that it is driven."""
    was, flow = change.flow, change.step.flow
    if was is None or flow is None or was.outcome is None or flow.redrives != was.redrives:
        return
    if flow.outcome is not was.outcome:
        yield f"it was {was.outcome} and became {flow.outcome}"


def versions_grow_by_one(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """A record's version grows by one with every change."""
    pairs: list[tuple[Flow | Ticket | None, Flow | Ticket]] = [*change.moves()]
    if change.step.flow is not None:
        pairs.append((change.flow, change.step.flow))
    for before, after in pairs:
        expected = before.version + 1 if before is not None else 1
        if after.version != expected:
            yield f"{_name(after)} has version {after.version} where {expected} follows"


def live_has_a_wakeup(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No live record is without a wake-up."""
    state = ledger.state
    for ticket in change.step.tickets:
        stored = state.tickets.get(ticket.ticket_id) == ticket  # a later step of the same commit may have changed it
        if stored and ticket.live and ("ticket", ticket.ticket_id) not in state.wakeups:
            yield f"ticket {ticket.task_id} is {ticket.status} and nothing will wake it"
    flow = change.step.flow
    stored = flow is not None and state.flows.get(flow.flow_id) == flow
    if stored and flow is not None and flow.status not in ENDED_FLOWS and ("flow", flow.flow_id) not in state.wakeups:
        yield f"the flow is {flow.status} and nothing will wake it"


def attempts_count_assignments(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """The highest number of an attempt grows by one with each assignment, and never otherwise."""
    for before, after in change.moves():
        if before is not None:
            given = after.status is TicketStatus.ASSIGNED and before.status is TicketStatus.PENDING
            given = given or hedge_begun(before, after)
            if max(numbers_of(after)) != max(numbers_of(before)) + given:
                yield f"ticket {after.task_id} went from attempts {numbers_of(before)} to {numbers_of(after)}"


def running_attempt_counts(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """A result is accepted from an attempt that runs, and it is that which the ticket names."""
    for before, after in change.moves():
        done = after.status is TicketStatus.COMPLETED and (before is None or before.status is not after.status)
        said = after.output.get("attempt") if isinstance(after.output, Mapping) else None
        if done and isinstance(said, int) and said != after.attempt:
            yield f"ticket {after.task_id} is at attempt {after.attempt} and took the result of attempt {said}"
        reason = after.reason
        failed = reason is not None and reason.code == FAILURE and (before is None or before.reason != reason)
        ran = [number for number in numbers_of(before) if runs(before, number)] if before is not None else []
        if reason is not None and failed and reason.message not in map(str, ran):
            yield f"ticket {after.task_id} was at the attempts {ran} and took the failure of {reason.message}"
        taken = done and (before is None or before.output != after.output)  # after a redrive, work may stand
        if taken and isinstance(said, int) and said not in ran:
            yield f"ticket {after.task_id} was at the attempts {ran} and took the result of {said}"


def two_attempts_at_most(change: CommittedChange, _ledger: Ledger) -> Iterator[str]:
    """A ticket has two attempts at once at most, of two workers, and only where its task may be repeated."""
    for before, after in change.moves():
        other = other_of(after)
        if other is None:
            continue
        name = f"ticket {after.task_id} has attempt {other.attempt} of {other.worker_id} beside {after.attempt}"
        if not after.idempotent or other.worker_id == after.worker_id or other.attempt == after.attempt:
            yield f"{name} of {after.worker_id}"
        if before is not None and hedge_begun(before, after) and other_of(before) is not None:
            yield f"{name}, and had {numbers_of(before)} before"


def hedge_begun(before: Ticket, after: Ticket) -> bool:
    """Whether a second attempt has begun at a ticket."""
    other = other_of(after)
    return other is not None and max(numbers_of(after)) not in numbers_of(before)


def numbers_of(ticket: Ticket) -> Sequence[int]:
    """Return the numbers of the attempt that the row of a ticket names, and of the one beside it, if it has one."""
    return (ticket.attempt,) if ticket.hedge is None else (ticket.attempt, ticket.hedge.attempt)


def what_cannot_run_is_cancelled(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """What depends on a ticket that came to nothing does not wait any longer."""
    for before, after in change.moves():
        may_fail = after.control is not None and after.control.allow_failure and after.status is TicketStatus.FAILED
        nothing = after.status in {TicketStatus.FAILED, TicketStatus.CANCELLED} and not may_fail
        if before is not None and before.live and nothing:
            for other in followers(after, ledger):
                if other.live:
                    yield f"ticket {after.task_id} is {after.status}, {other.task_id} is still {other.status}"


def undone_in_reverse(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """Work is undone before the work that it was built on."""
    for before, after in change.moves():
        if after.compensates is None or after.status is not TicketStatus.ASSIGNED:
            continue
        if before is not None and before.status is not TicketStatus.PENDING:
            continue
        for other in followers(ledger.tickets[after.compensates], ledger):
            if other.status is TicketStatus.COMPENSATING:
                yield f"{after.task_id} was assigned while {other.task_id}, which was built on it, was not undone"


def counts_are_right(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """The counts on a flow's row are those of its tickets."""
    was, flow = change.flow, change.step.flow
    if was is None or flow is None or flow.outcome is None or was.status is flow.status or was.status in COUNTED:
        return
    told = {status: number for status, number in flow.tally.items() if number}
    counted = {status.value: number for status, number in ledger.planned[flow.flow_id].items() if number}
    if told != counted:
        yield f"the flow says {told}, its tickets are {counted}"


def ends_with_all_tickets_ended(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A flow that ends has no ticket under way."""
    flow = change.step.flow
    if flow is None or flow.status not in ENDED_FLOWS:
        return
    counts = +ledger.planned[flow.flow_id]
    under_way = sorted((counts + ledger.compensations[flow.flow_id]).keys() - ENDED_TICKETS)
    if under_way:
        yield f"the flow is {flow.status} with tickets that are {', '.join(under_way)}"


def history_is_continuous(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """Every line of the history begins where the last one about the same record ended."""
    standing: dict[str, str] = {}
    for entry in change.step.history:
        if entry.to_status is None:
            continue
        key = entry.ticket_id or entry.flow_id
        before = standing.get(key) or _status_before(change, entry)
        if before is not None and entry.from_status != before:
            yield f"{entry.type} of {entry.task_id or 'the flow'} is from {entry.from_status}, it was {before}"
        standing[key] = entry.to_status
    for record_id, status in standing.items():
        record = ledger.tickets.get(record_id) or ledger.flows.get(record_id)
        if record is not None and record.status != status:
            yield f"the history says that {_name(record)} is {status}, it is {record.status}"


def events_are_transitions(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """For every transition one event goes out with the commit, and none besides."""
    out = [event for event in change.step.events if event.event_type not in IN_THE_CHAIN]
    told = Counter(event.event_type for event in out)
    happened = Counter(entry.type for entry in change.step.history if entry.type not in ROUTES)
    if told != happened:
        yield f"{dict(happened)} happened, {dict(told)} is told"
    yield from (
        f"{event.event_type} has the id of an earlier event, {event.id}" for event in out if event.id in ledger.sent
    )
    if len({event.id for event in out}) != len(out):
        yield f"two events of one step have the same id: {sorted(event.event_type for event in out)}"
    for event in change.step.events:
        if ledger.state.queue.get(event.id) is None:
            yield f"{event.event_type} was committed and is not in the queue"


def draining_workers_get_nothing(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """A worker that drains is not chosen for new tickets."""
    for event in change.step.events:
        if event.event_type == "workers.discovered":
            named = {one["worker_id"]: None for found in event.data["candidates"].values() for one in found}
            for worker_id in named:
                since = ledger.draining.get(worker_id)
                if since is not None and since < event.time - KNOWN_WITHIN:
                    yield f"{worker_id} was chosen at {event.time:%H:%M:%S}, it drains since {since:%H:%M:%S}"


def nothing_is_sent_to_those_who_ask(worker: Worker, _ledger: Ledger) -> Iterator[str]:
    """Nothing is POSTed to a worker that asks for its tickets."""
    if worker.delivery is AssignmentMode.PULL:
        yield f"{worker.worker_id} was sent a message"


def attempt_has_one_worker(about: tuple[str, int, str], ledger: Ledger) -> Iterator[str]:
    """An attempt is given to one worker."""
    ticket_id, attempt, worker_id = about
    holder = ledger.given.get((ticket_id, attempt), worker_id)
    if holder != worker_id:
        yield f"attempt {attempt} of {ledger.tickets[ticket_id].task_id} was given to {holder} and to {worker_id}"


def once_means_once(about: tuple[str, int, str], ledger: Ledger) -> Iterator[str]:
    """A task that must not be repeated is begun once each time that its flow is driven."""
    ticket = ledger.tickets[about[0]]
    starts = ledger.starts[ticket.ticket_id, ledger.redrives_of(ticket.ticket_id)]
    if not ticket.idempotent and len(starts) > 1:
        yield f"task {ticket.task_id} was begun as {starts}"


def clearance_is_respected(about: tuple[str, int, str], ledger: Ledger) -> Iterator[str]:
    """A ticket goes only to a worker whose clearance covers its security level."""
    ticket, worker = ledger.tickets[about[0]], ledger.state.workers.get(about[2])
    if worker is not None and not worker.clearance.covers(ticket.security_level):
        yield f"{ticket.task_id} is {ticket.security_level}, {worker.worker_id} is cleared for {worker.clearance}"


def changed_is_not_done(about: tuple[str, int, str], ledger: Ledger) -> Iterator[str]:
    """A ticket that was changed where it is stored is never given to a worker."""
    ticket = ledger.tickets[about[0]]
    if ticket.attempt == about[1] and ticket.status is TicketStatus.ASSIGNED and not intact(ticket):
        yield f"ticket {ticket.task_id} was given away although its hash is another one"


AT_EACH_STEP: tuple[Invariant, ...] = (
    moves_along_edges,
    ended_stays_ended,
    constants_stay,
    outcome_is_set_once,
    versions_grow_by_one,
    live_has_a_wakeup,
    attempts_count_assignments,
    running_attempt_counts,
    two_attempts_at_most,
    what_cannot_run_is_cancelled,
    undone_in_reverse,
    counts_are_right,
    ends_with_all_tickets_ended,
    history_is_continuous,
    events_are_transitions,
    draining_workers_get_nothing,
    *AT_EACH_CONSTRUCT,
)
AT_EACH_START: tuple[Invariant, ...] = (
    attempt_has_one_worker,
    once_means_once,
    clearance_is_respected,
    changed_is_not_done,
)


def followers(ticket: Ticket, ledger: Ledger) -> Sequence[Ticket]:
    """Return all tickets that depend on `ticket`, directly or not, but for those behind one that was skipped."""
    found: dict[str, Ticket] = {}
    queue = list(ticket.dependants)
    while queue:
        ticket_id = queue.pop()
        if ticket_id not in found:
            other = found[ticket_id] = ledger.tickets[ticket_id]
            queue.extend(other.dependants if other.status is not TicketStatus.SKIPPED else ())
    return tuple(found.values())


def _targets(edge: FlowStatus | str, was: Flow, flow: Flow) -> Collection[str]:
    """Return where an edge of the flow's table leads, given the row before and after."""
    if edge == CONSOLIDATED:
        return {FlowStatus.COMPENSATING, FlowStatus.PUBLISHING}
    if edge == BACK:
        return {was.back} if was.back else {FlowStatus.EXECUTING, FlowStatus.VALIDATING}
    return {flow.outcome.value} if edge == END and flow.outcome else {edge}


def _along_edges(change: CommittedChange, before: Ticket, after: Ticket) -> bool:
    """Whether the edges that a step tells of lead from one status to the other: it may take several."""
    at: str = before.status
    for entry in change.step.history:
        if entry.ticket_id == after.ticket_id and entry.to_status is not None:
            if entry.from_status != at or entry.to_status not in TICKET_TRANSITIONS[TicketStatus(at)].values():
                return False
            at = entry.to_status
    return at == after.status


def _status_before(change: CommittedChange, entry: HistoryEntry) -> str | None:
    record: Any = change.tickets.get(entry.ticket_id) if entry.ticket_id else change.flow
    return record.status if record is not None else None


def _name(record: Flow | Ticket) -> str:
    return f"ticket {record.task_id}" if isinstance(record, Ticket) else "the flow"
