"""Who will do a ticket in time: its prediction, as it is for one worker or another.

A model knows workers by how much slower or faster they are than whoever else does such work. That is asked once for a
worker and a kind of work, and remembered as long as the model serves, so that a ranking costs a multiplication for each
worker. It orders workers (`ranking`), and leaves none out.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from functions._core.learning.guard import Guarded, guarded
from functions._core.learning.predictions import PlannedWork
from functions._core.ports import Ports
from functions._core.records.models import Ticket

LateWith = Callable[[str], bool]
"""Whether a ticket will miss its share of the deadline with the worker of this id, one time of ten or more."""


SLOWEST = 10
"""Times as long as others that a worker may need: a ticket that has more time than that is not looked at."""


def nobody_late(_worker_id: str) -> bool:
    """Return that nothing is known of anybody."""
    return False


async def model_for(tickets: Iterable[Ticket], ports: Ports) -> Guarded | None:
    """Return the model that says who does the tickets in time; None where none of them follows one."""
    return await guarded(ports) if any(map(follows, tickets)) else None


def follows(ticket: Ticket) -> bool:
    """Whether the ticket's place in the order of work follows its prediction."""
    return ticket.prediction is not None and ticket.prediction.acts


def late_with(ticket: Ticket, model: Guarded | None, now: datetime) -> LateWith:
    """Return who will be late with the ticket from `now` on; nobody where no model acts."""
    prediction = ticket.prediction
    if model is None or prediction is None or not prediction.acts or not model.acts:
        return nobody_late
    left_ms = (ticket.sla.deadline - now) / timedelta(milliseconds=1)
    p90 = prediction.p90_ms
    if SLOWEST * p90 <= left_ms:
        return nobody_late
    kind = ticket.task_type, ticket.required_capabilities, ticket.domain
    return lambda worker_id: p90 * model.pace(kind, partial(_work, ticket), worker_id) > left_ms


def _work(ticket: Ticket) -> PlannedWork:
    """Return a ticket as a kind of work: what it is, not where in its plan."""
    return PlannedWork(
        task_type=ticket.task_type.value,
        task_id="",
        domain=ticket.domain,
        capabilities=ticket.required_capabilities,
        estimate_ms=max(1, ticket.estimated_duration_ms),
        parameters_bytes=2,
        risk_band=ticket.risk_band,
        priority=ticket.priority,
        security_level=ticket.security_level,
        level=0,
        fan_in=0,
        fan_out=0,
        plan_tasks=1,
        sla_ms=0,
        at=ticket.created_at,
    )
