"""The two state machines as tables: everything that may happen to a flow or a ticket, and nothing else.

Theory of operation
-------------------
One machine moves flows, the other one moves tickets. They share a step and a commit: the end of the last ticket and
the outcome of its flow are one write.

Inputs. A function handles one event and concludes one outcome, a plain value such as `Validated` or `Reported`.
A command of a person is an event, too. The clock is an input like any other: a wake-up that has come gives an outcome
such as `TicketOverdue`. `advance` takes the outcome, the loaded records, the time and the rules.

States. A table maps a status and a trigger to the next status. A pair that is absent is illegal: `next_flow` and
`next_ticket` raise `IllegalTransition` and nothing changes. Three targets stand for a status that the flow's row
decides: `CONSOLIDATED`, `BACK` and `END`. A status without a timeout is an end: only a command leads out of it, or
the compensation of the work.

Outputs. `advance` returns one change set: the new rows, a history line for each new status, audits, events,
telemetry, and messages to workers. A store applies all of it or nothing. So no status changes without its event, and
no event is sent without its change. When another process has moved a record in between, the commit is a `Conflict`: the
event is handled again, on the newer record. Ids of events follow from the transition, so a repeated step sends
the same ids.

Only these functions move a record; workers, stores and hosts never write a status:

    C1 validate            flow      VALIDATING to GENERATING, AWAITING_APPROVAL or PUBLISHING
    C2 generate_tickets    flow      GENERATING to EXECUTING; makes the tickets, all PENDING
    C3 discover            tickets   PENDING, with candidates or with the thing that they wait for
    C4 assign              tickets   PENDING to ASSIGNED; back, or FAILED, when the worker does not take it
    C5 monitor             both      reports of workers, lost workers, commands, compensation, the outcome
    C6 publish_telemetry   flow      PUBLISHING to the end status that its outcome names
    enforce_sla            both      every timeout of the two tables, by the clock
    dead_letter            flow      to PUBLISHING, when a step has failed for good

The attempt is the fencing token. It grows with every assignment, also after a redrive, and never returns to an earlier
number. It goes to the worker with the assignment and comes back with every report. A report counts only when it names
the present attempt of a ticket that is ASSIGNED or RUNNING. Any other one changes nothing: it is answered `superseded`,
or `duplicate` when it repeats a known end. So a worker that was taken for lost may come back and work on: of all
workers that ever had a ticket, one alone can end it. The work may still be done twice. A task for which that is wrong
is not `idempotent`: once begun it gets no other attempt.

Two attempts may run at once (`hedging`). A ticket that a worker has can be given to a second one, under the next
number, as long as it is `idempotent`: the row names one attempt, `Ticket.hedge` the other one. A report counts when it
names either. The first result is that of the ticket; the other attempt is cancelled, and what its worker reports later
is `superseded`. An attempt that comes to nothing leaves the other one as the only one. HEDGE and HEDGE_OVER change no
status; TAKE_OVER leads back to ASSIGNED, when the attempt that is left has not begun. Whatever takes the ticket from
its worker, or ends it, ends both attempts: `StepBuilder.move_ticket` sees to that, so no step has to think of it. A
ticket that is PENDING after that has the higher of the two numbers, so that neither is given again.

Freezes hold tickets back (`_core.slo.gate`). A ticket that would deploy to a frozen service stays PENDING and waits for
FREEZE. C3 and C4 both look, each within its own step, so what was ranked before a freeze began is not assigned under
it; an attempt that a worker has is not taken back. The freeze and the ticket are different records: for as long as a
list of freezes may be old, and a decision takes, an assignment may still follow the beginning of a freeze.

Guards hold tickets back, too (`_core.guards`), and let some fail. C3 looks, and a claim does; C4 looks at the stored
policies once more, and sends what one of them stops back to C3. A ticket in quarantine waits for a person, and fails
where none decides in time; one that cannot be judged is looked at again. What undoes work is never held back.

Wake-ups make sure that nothing waits for ever. Every record that waits has `next_wakeup_at`, and the commit that lets
it wait also sets it; a COMPENSATING ticket has that of its compensation. An event may be lost, a worker may die, the
platform may stop: at that moment `enforce_sla` looks at the record. It sends the lost event again while there is time,
and else fires the trigger of `FLOW_TIMEOUTS` or `TICKET_TIMEOUTS`. A wake-up that fires early, twice or late does no
harm: the record says how long it has waited. Events make a flow fast; wake-ups alone bring it to an end.

The diagrams of docs/internals/architecture.md are drawn from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum

from functions._core.errors import IllegalTransition
from functions._core.records.values import FlowStatus, Outcome, TicketStatus

CONSOLIDATED = "CONSOLIDATED"
"""Target of a flow that has its outcome: COMPENSATING if there is work to undo, else PUBLISHING."""

BACK = "BACK"
"""Target of a flow that returns to the status kept in `Flow.back`."""

END = "END"
"""Target of a flow that ends: the status named like its outcome."""


class FlowTrigger(StrEnum):
    """The triggers that move a flow."""

    VALIDATED = "validated"
    REFUSED = "refused"
    APPROVAL_NEEDED = "approval needed"
    APPROVED = "approved"
    DENIED = "denied"
    UNDECIDED = "nobody decided"
    GENERATED = "generated"
    PAUSED = "paused"
    RESUMED = "resumed"
    LAPSED = "pause over"
    SETTLED = "all tickets ended"
    BROKEN = "step failed"
    CANCELLED = "cancelled"
    EXPIRED = "deadline passed"
    COMPENSATED = "undoing ended"
    GIVEN_UP = "undoing takes too long"
    PUBLISHED = "telemetry published"
    BUFFERED = "telemetry buffered"
    REDRIVEN = "redriven"


class TicketTrigger(StrEnum):
    """The triggers that move a ticket."""

    WAIT = "no worker or slot free"
    ASSIGN = "worker chosen"
    CLAIM = "claimed by a worker"
    ACKNOWLEDGE = "worker accepted"
    START = "worker reports RUNNING"
    COMPLETE = "worker reports COMPLETED"
    SKIP = "skipped"
    FAIL = "no retry left or possible"
    RETRY = "failed or timed out, retry fits"
    REASSIGN = "worker refused or lost"
    CANCEL = "cancelled, dependency failed or flow ended"
    COMPENSATE = "flow did not succeed"
    UNDONE = "compensation completed"
    NOT_UNDONE = "compensation failed"
    REDRIVE = "flow redriven"
    STANDS = "flow redriven, work stands"
    OMIT = "condition false, or a dependency skipped"
    BEGIN = "begins to wait"
    ARRIVE = "what it waits for has come"
    REPLAN = "another plan"
    LEAVE_OUT = "left out by another plan"
    BLOCK = "blocked by a freeze"
    HEDGE = "a second attempt begins"
    HEDGE_OVER = "one of two attempts is over"
    TAKE_OVER = "one of two is over, the other has not begun"
    GUARD = "held back by a guard"


FLOW_TRANSITIONS: Mapping[FlowStatus, Mapping[FlowTrigger, FlowStatus | str]] = {
    FlowStatus.VALIDATING: {
        FlowTrigger.VALIDATED: FlowStatus.GENERATING,
        FlowTrigger.APPROVAL_NEEDED: FlowStatus.AWAITING_APPROVAL,
        FlowTrigger.REFUSED: FlowStatus.PUBLISHING,
        FlowTrigger.BROKEN: FlowStatus.PUBLISHING,
        FlowTrigger.CANCELLED: FlowStatus.PUBLISHING,
        FlowTrigger.EXPIRED: FlowStatus.PUBLISHING,
    },
    FlowStatus.AWAITING_APPROVAL: {
        FlowTrigger.APPROVED: FlowStatus.GENERATING,
        FlowTrigger.DENIED: FlowStatus.PUBLISHING,
        FlowTrigger.UNDECIDED: FlowStatus.PUBLISHING,
        FlowTrigger.CANCELLED: FlowStatus.PUBLISHING,
        FlowTrigger.EXPIRED: FlowStatus.PUBLISHING,
    },
    FlowStatus.GENERATING: {
        FlowTrigger.GENERATED: FlowStatus.EXECUTING,
        FlowTrigger.REFUSED: FlowStatus.PUBLISHING,
        FlowTrigger.PAUSED: FlowStatus.PAUSED,
        FlowTrigger.BROKEN: FlowStatus.PUBLISHING,
        FlowTrigger.CANCELLED: FlowStatus.PUBLISHING,
        FlowTrigger.EXPIRED: FlowStatus.PUBLISHING,
    },
    FlowStatus.EXECUTING: {
        FlowTrigger.SETTLED: CONSOLIDATED,
        FlowTrigger.PAUSED: FlowStatus.PAUSED,
        FlowTrigger.CANCELLED: CONSOLIDATED,
        FlowTrigger.EXPIRED: CONSOLIDATED,
    },
    FlowStatus.PAUSED: {
        FlowTrigger.RESUMED: BACK,
        FlowTrigger.LAPSED: BACK,
        FlowTrigger.CANCELLED: CONSOLIDATED,
        FlowTrigger.EXPIRED: CONSOLIDATED,
    },
    FlowStatus.COMPENSATING: {
        FlowTrigger.COMPENSATED: FlowStatus.PUBLISHING,
        FlowTrigger.GIVEN_UP: FlowStatus.PUBLISHING,
    },
    FlowStatus.PUBLISHING: {
        FlowTrigger.PUBLISHED: END,
        FlowTrigger.BUFFERED: END,
    },
    FlowStatus.COMPLETED: {},
    FlowStatus.FAILED: {FlowTrigger.REDRIVEN: BACK},
    FlowStatus.TIMED_OUT: {FlowTrigger.REDRIVEN: BACK},
    FlowStatus.CANCELLED: {FlowTrigger.REDRIVEN: BACK},
    FlowStatus.REJECTED: {},
}
"""Every edge of the machine of flows; a pair that is absent is illegal."""

FLOW_TIMEOUTS: Mapping[FlowStatus, FlowTrigger] = {
    FlowStatus.VALIDATING: FlowTrigger.EXPIRED,
    FlowStatus.AWAITING_APPROVAL: FlowTrigger.UNDECIDED,
    FlowStatus.GENERATING: FlowTrigger.EXPIRED,
    FlowStatus.EXECUTING: FlowTrigger.EXPIRED,
    FlowStatus.PAUSED: FlowTrigger.LAPSED,
    FlowStatus.COMPENSATING: FlowTrigger.GIVEN_UP,
    FlowStatus.PUBLISHING: FlowTrigger.BUFFERED,
}
"""The trigger that fires when a flow has stayed in a status for too long; ends have none."""

TICKET_TRANSITIONS: Mapping[TicketStatus, Mapping[TicketTrigger, TicketStatus]] = {
    TicketStatus.PENDING: {
        TicketTrigger.WAIT: TicketStatus.PENDING,
        TicketTrigger.BLOCK: TicketStatus.PENDING,
        TicketTrigger.GUARD: TicketStatus.PENDING,
        TicketTrigger.ASSIGN: TicketStatus.ASSIGNED,
        TicketTrigger.CLAIM: TicketStatus.RUNNING,
        TicketTrigger.BEGIN: TicketStatus.WAITING,
        TicketTrigger.OMIT: TicketStatus.SKIPPED,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.ASSIGNED: {
        TicketTrigger.ACKNOWLEDGE: TicketStatus.ASSIGNED,
        TicketTrigger.HEDGE: TicketStatus.ASSIGNED,
        TicketTrigger.HEDGE_OVER: TicketStatus.ASSIGNED,
        TicketTrigger.START: TicketStatus.RUNNING,
        TicketTrigger.COMPLETE: TicketStatus.COMPLETED,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.RETRY: TicketStatus.PENDING,
        TicketTrigger.REASSIGN: TicketStatus.PENDING,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
    },
    TicketStatus.RUNNING: {
        TicketTrigger.START: TicketStatus.RUNNING,
        TicketTrigger.HEDGE: TicketStatus.RUNNING,
        TicketTrigger.HEDGE_OVER: TicketStatus.RUNNING,
        TicketTrigger.TAKE_OVER: TicketStatus.ASSIGNED,
        TicketTrigger.COMPLETE: TicketStatus.COMPLETED,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.RETRY: TicketStatus.PENDING,
        TicketTrigger.REASSIGN: TicketStatus.PENDING,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
    },
    TicketStatus.WAITING: {
        TicketTrigger.WAIT: TicketStatus.WAITING,
        TicketTrigger.ARRIVE: TicketStatus.COMPLETED,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
    },
    TicketStatus.SKIPPED: {
        TicketTrigger.REDRIVE: TicketStatus.PENDING,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
        TicketTrigger.LEAVE_OUT: TicketStatus.CANCELLED,
    },
    TicketStatus.COMPLETED: {TicketTrigger.COMPENSATE: TicketStatus.COMPENSATING},
    TicketStatus.COMPENSATING: {
        TicketTrigger.UNDONE: TicketStatus.COMPENSATED,
        TicketTrigger.NOT_UNDONE: TicketStatus.FAILED,
    },
    TicketStatus.COMPENSATED: {TicketTrigger.REDRIVE: TicketStatus.PENDING},
    TicketStatus.FAILED: {
        TicketTrigger.REDRIVE: TicketStatus.PENDING,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
        TicketTrigger.LEAVE_OUT: TicketStatus.CANCELLED,
        TicketTrigger.STANDS: TicketStatus.COMPLETED,
    },
    TicketStatus.CANCELLED: {
        TicketTrigger.REDRIVE: TicketStatus.PENDING,
        TicketTrigger.REPLAN: TicketStatus.PENDING,
        TicketTrigger.LEAVE_OUT: TicketStatus.CANCELLED,
    },
}
"""Every edge of the machine of tickets; a pair that is absent is illegal."""

TICKET_TIMEOUTS: Mapping[TicketStatus, TicketTrigger] = {
    TicketStatus.PENDING: TicketTrigger.FAIL,
    TicketStatus.ASSIGNED: TicketTrigger.REASSIGN,
    TicketStatus.RUNNING: TicketTrigger.RETRY,
    TicketStatus.WAITING: TicketTrigger.FAIL,
    TicketStatus.COMPENSATING: TicketTrigger.NOT_UNDONE,
}
"""A COMPENSATING ticket has no wake-up of its own: its compensation, a ticket itself, has one."""

ENDED_FLOWS = frozenset(FlowStatus).difference(FLOW_TIMEOUTS)
"""Statuses of a flow that nothing but a redrive leads out of."""

FLOWS_UNDER_WAY = frozenset(FLOW_TIMEOUTS)
"""Statuses of a flow that has not ended."""

ENDED_TICKETS = frozenset(TicketStatus).difference(TICKET_TIMEOUTS)
"""Statuses of a ticket that no timeout leads out of."""


def next_flow(
    status: FlowStatus,
    trigger: FlowTrigger,
    *,
    outcome: Outcome | None = None,
    back: FlowStatus | None = None,
    undo: bool = False,
) -> FlowStatus:
    """Return the status that `trigger` leads to.

    `outcome` names the end status, `back` where the flow came from; `undo` says that there is work to undo.
    """
    target = FLOW_TRANSITIONS[status].get(trigger)
    if target == CONSOLIDATED:
        return FlowStatus.COMPENSATING if undo else FlowStatus.PUBLISHING
    if target == BACK:
        target = back
    if target == END and outcome is not None:
        target = FlowStatus(outcome)
    if target is None or target == END:
        msg = f"a flow that is {status} cannot take '{trigger}'"
        raise IllegalTransition(msg)
    return FlowStatus(target)


def next_ticket(status: TicketStatus, trigger: TicketTrigger) -> TicketStatus:
    """Return the status that `trigger` leads to."""
    target = TICKET_TRANSITIONS[status].get(trigger)
    if target is None:
        msg = f"a ticket that is {status} cannot take '{trigger}'"
        raise IllegalTransition(msg)
    return target
