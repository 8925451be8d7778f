"""The words of the HTTP API that the command line acts on, and the ids that any client can compute.

The core has them, too, but its records take longer to import than a command takes to run; a test compares the two.
"""

import re
from typing import Any
from uuid import UUID, uuid5

JsonObject = dict[str, Any]

COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"
PENDING, ASSIGNED, RUNNING = "PENDING", "ASSIGNED", "RUNNING"
COMPENSATING, COMPENSATED = "COMPENSATING", "COMPENSATED"
WAITING, SKIPPED = "WAITING", "SKIPPED"
REJECTED, AWAITING_APPROVAL, PAUSED = "REJECTED", "AWAITING_APPROVAL", "PAUSED"

ENDED_FLOWS = frozenset({COMPLETED, FAILED, CANCELLED, REJECTED, "TIMED_OUT"})
STANDING_FLOWS = frozenset({AWAITING_APPROVAL, PAUSED})
"""Flows that wait for people: the time of their SLA does not run."""

ENDED_TICKETS = frozenset({COMPLETED, FAILED, CANCELLED, COMPENSATED, SKIPPED})

AT_RISK, BREACHED = "at_risk", "breached"
TAKEN_AS_DONE = "skipped"
"""Cause of the transition of a ticket that a person has skipped."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def ticket_id_of(flow_id: str, task_id: str) -> str:
    """Return the ticket id of a task; raise `ValueError` when `flow_id` is no id of a flow."""
    return str(uuid5(UUID(flow_id), task_id))
