"""The two state machines, as tables: everything that may happen to a flow or a ticket, and nothing else.

A table maps a status and a trigger to the next status. A pair that is absent is illegal: `next_flow` and
`next_ticket` raise `IllegalTransition` and nothing changes. Three targets stand for what the flow's row decides:
`CONSOLIDATED` for COMPENSATING if there is work to undo, else PUBLISHING; `BACK` for where the flow came from; `END`
for the end status named like the outcome. Every status that waits has a trigger in `FLOW_TIMEOUTS` or
`TICKET_TIMEOUTS` that fires when it has waited too long. A status without one is an end: only a person's order leads
out of it. The diagrams of docs/internals/architecture.md are drawn from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum

from functions._core.errors import IllegalTransition
from functions._core.records.values import FlowStatus, Outcome, TicketStatus

CONSOLIDATED = "CONSOLIDATED"
BACK = "BACK"
END = "END"


class FlowTrigger(StrEnum):
    """What moves a flow."""

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
    """What moves a ticket."""

    WAIT = "no worker or slot free"
    ASSIGN = "worker chosen"
    ACKNOWLEDGE = "worker accepted"
    START = "worker reports RUNNING"
    COMPLETE = "worker reports COMPLETED"
    SKIP = "skipped"
    FAIL = "no retry left or possible"
    RETRY = "failed or timed out, retry fits"
    REASSIGN = "worker refused or lost"
    CANCEL = "dependency failed or flow ended"
    COMPENSATE = "flow did not succeed"
    UNDONE = "compensation completed"
    NOT_UNDONE = "compensation failed"
    REDRIVE = "flow redriven"
    STANDS = "flow redriven, work stands"


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

FLOW_TIMEOUTS: Mapping[FlowStatus, FlowTrigger] = {
    FlowStatus.VALIDATING: FlowTrigger.EXPIRED,
    FlowStatus.AWAITING_APPROVAL: FlowTrigger.UNDECIDED,
    FlowStatus.GENERATING: FlowTrigger.EXPIRED,
    FlowStatus.EXECUTING: FlowTrigger.EXPIRED,
    FlowStatus.PAUSED: FlowTrigger.LAPSED,
    FlowStatus.COMPENSATING: FlowTrigger.GIVEN_UP,
    FlowStatus.PUBLISHING: FlowTrigger.BUFFERED,
}

TICKET_TRANSITIONS: Mapping[TicketStatus, Mapping[TicketTrigger, TicketStatus]] = {
    TicketStatus.PENDING: {
        TicketTrigger.WAIT: TicketStatus.PENDING,
        TicketTrigger.ASSIGN: TicketStatus.ASSIGNED,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.ASSIGNED: {
        TicketTrigger.ACKNOWLEDGE: TicketStatus.ASSIGNED,
        TicketTrigger.START: TicketStatus.RUNNING,
        TicketTrigger.COMPLETE: TicketStatus.COMPLETED,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.RETRY: TicketStatus.PENDING,
        TicketTrigger.REASSIGN: TicketStatus.PENDING,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.RUNNING: {
        TicketTrigger.START: TicketStatus.RUNNING,
        TicketTrigger.COMPLETE: TicketStatus.COMPLETED,
        TicketTrigger.SKIP: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.RETRY: TicketStatus.PENDING,
        TicketTrigger.REASSIGN: TicketStatus.PENDING,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.COMPLETED: {TicketTrigger.COMPENSATE: TicketStatus.COMPENSATING},
    TicketStatus.COMPENSATING: {
        TicketTrigger.UNDONE: TicketStatus.COMPENSATED,
        TicketTrigger.NOT_UNDONE: TicketStatus.FAILED,
    },
    TicketStatus.COMPENSATED: {TicketTrigger.REDRIVE: TicketStatus.PENDING},
    TicketStatus.FAILED: {
        TicketTrigger.REDRIVE: TicketStatus.PENDING,
        TicketTrigger.STANDS: TicketStatus.COMPLETED,
    },
    TicketStatus.CANCELLED: {TicketTrigger.REDRIVE: TicketStatus.PENDING},
}

TICKET_TIMEOUTS: Mapping[TicketStatus, TicketTrigger] = {
    TicketStatus.PENDING: TicketTrigger.FAIL,
    TicketStatus.ASSIGNED: TicketTrigger.REASSIGN,
    TicketStatus.RUNNING: TicketTrigger.RETRY,
    TicketStatus.COMPENSATING: TicketTrigger.NOT_UNDONE,
}
"""A COMPENSATING ticket has no wake-up of its own: its compensation, a ticket itself, has one."""

ENDED_FLOWS = frozenset(FlowStatus) - FLOW_TIMEOUTS.keys()
FLOWS_UNDER_WAY = frozenset(FLOW_TIMEOUTS)
ENDED_TICKETS = frozenset(TicketStatus) - TICKET_TIMEOUTS.keys()


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
