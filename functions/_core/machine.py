"""The two state machines, as tables: everything that may happen to a flow or a ticket, and nothing else.

A table maps a status and a trigger to the next status. A pair that is absent is illegal: `next_flow` and
`next_ticket` raise `IllegalTransition` and nothing changes. `END` stands for the end status named like the flow's
outcome. Every status that waits has a trigger in `FLOW_TIMEOUTS` or `TICKET_TIMEOUTS` that fires when it has
waited too long. The diagrams of the README are drawn from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum

from functions._core.errors import IllegalTransition
from functions._core.values import FlowStatus, Outcome, TicketStatus

END = "END"


class FlowTrigger(StrEnum):
    """What moves a flow."""

    VALIDATED = "validated"
    REFUSED = "refused"
    GENERATED = "generated"
    SETTLED = "all tickets ended"
    BROKEN = "step failed"
    CANCELLED = "cancelled"
    EXPIRED = "deadline passed"
    PUBLISHED = "telemetry published"
    BUFFERED = "telemetry buffered"


class TicketTrigger(StrEnum):
    """What moves a ticket."""

    WAIT = "no worker or slot free"
    ASSIGN = "worker chosen"
    ACKNOWLEDGE = "worker accepted"
    START = "worker reports RUNNING"
    COMPLETE = "worker reports COMPLETED"
    FAIL = "no retry left or possible"
    RETRY = "failed or timed out, retry fits"
    REASSIGN = "worker refused or lost"
    CANCEL = "dependency failed or flow ended"


FLOW_TRANSITIONS: Mapping[FlowStatus, Mapping[FlowTrigger, FlowStatus | str]] = {
    FlowStatus.VALIDATING: {
        FlowTrigger.VALIDATED: FlowStatus.GENERATING,
        FlowTrigger.REFUSED: FlowStatus.PUBLISHING,
        FlowTrigger.BROKEN: FlowStatus.PUBLISHING,
        FlowTrigger.CANCELLED: FlowStatus.PUBLISHING,
        FlowTrigger.EXPIRED: FlowStatus.PUBLISHING,
    },
    FlowStatus.GENERATING: {
        FlowTrigger.GENERATED: FlowStatus.EXECUTING,
        FlowTrigger.BROKEN: FlowStatus.PUBLISHING,
        FlowTrigger.CANCELLED: FlowStatus.PUBLISHING,
        FlowTrigger.EXPIRED: FlowStatus.PUBLISHING,
    },
    FlowStatus.EXECUTING: {
        FlowTrigger.SETTLED: FlowStatus.PUBLISHING,
        FlowTrigger.CANCELLED: FlowStatus.PUBLISHING,
        FlowTrigger.EXPIRED: FlowStatus.PUBLISHING,
    },
    FlowStatus.PUBLISHING: {
        FlowTrigger.PUBLISHED: END,
        FlowTrigger.BUFFERED: END,
    },
    FlowStatus.COMPLETED: {},
    FlowStatus.FAILED: {},
    FlowStatus.TIMED_OUT: {},
    FlowStatus.CANCELLED: {},
    FlowStatus.REJECTED: {},
}

FLOW_TIMEOUTS: Mapping[FlowStatus, FlowTrigger] = {
    FlowStatus.VALIDATING: FlowTrigger.EXPIRED,
    FlowStatus.GENERATING: FlowTrigger.EXPIRED,
    FlowStatus.EXECUTING: FlowTrigger.EXPIRED,
    FlowStatus.PUBLISHING: FlowTrigger.BUFFERED,
}

TICKET_TRANSITIONS: Mapping[TicketStatus, Mapping[TicketTrigger, TicketStatus]] = {
    TicketStatus.PENDING: {
        TicketTrigger.WAIT: TicketStatus.PENDING,
        TicketTrigger.ASSIGN: TicketStatus.ASSIGNED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.ASSIGNED: {
        TicketTrigger.ACKNOWLEDGE: TicketStatus.ASSIGNED,
        TicketTrigger.START: TicketStatus.RUNNING,
        TicketTrigger.COMPLETE: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.RETRY: TicketStatus.PENDING,
        TicketTrigger.REASSIGN: TicketStatus.PENDING,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.RUNNING: {
        TicketTrigger.START: TicketStatus.RUNNING,
        TicketTrigger.COMPLETE: TicketStatus.COMPLETED,
        TicketTrigger.FAIL: TicketStatus.FAILED,
        TicketTrigger.RETRY: TicketStatus.PENDING,
        TicketTrigger.REASSIGN: TicketStatus.PENDING,
        TicketTrigger.CANCEL: TicketStatus.CANCELLED,
    },
    TicketStatus.COMPLETED: {},
    TicketStatus.FAILED: {},
    TicketStatus.CANCELLED: {},
}

TICKET_TIMEOUTS: Mapping[TicketStatus, TicketTrigger] = {
    TicketStatus.PENDING: TicketTrigger.FAIL,
    TicketStatus.ASSIGNED: TicketTrigger.REASSIGN,
    TicketStatus.RUNNING: TicketTrigger.RETRY,
}

ENDED_FLOWS = frozenset(status for status, edges in FLOW_TRANSITIONS.items() if not edges)
FLOWS_UNDER_WAY = frozenset(FlowStatus) - ENDED_FLOWS
ENDED_TICKETS = frozenset(status for status, edges in TICKET_TRANSITIONS.items() if not edges)


def next_flow(status: FlowStatus, trigger: FlowTrigger, outcome: Outcome | None) -> FlowStatus:
    """Return the status that `trigger` leads to; `outcome` names the end status."""
    target = FLOW_TRANSITIONS[status].get(trigger)
    if target is None or (target == END and outcome is None):
        msg = f"a flow that is {status} cannot take '{trigger}'"
        raise IllegalTransition(msg)
    return FlowStatus(outcome) if target == END and outcome else FlowStatus(target)


def next_ticket(status: TicketStatus, trigger: TicketTrigger) -> TicketStatus:
    """Return the status that `trigger` leads to."""
    target = TICKET_TRANSITIONS[status].get(trigger)
    if target is None:
        msg = f"a ticket that is {status} cannot take '{trigger}'"
        raise IllegalTransition(msg)
    return target
