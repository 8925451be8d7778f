"""Who handles each event of the platform: the way of those about a flow, and of those beside the chain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from functions._core.events import commands
from functions._core.events.data import (
    CompensationRequested,
    DecisionStored,
    EventArrived,
    FlowConsolidated,
    PlanValidated,
    TicketsReady,
    WorkersDiscovered,
    WorkerUnhealthy,
)
from functions._core.events.envelope import CloudEvent
from functions._core.events.healing import HEALING_DUE
from functions._core.events.jobs import JOB_DUE
from functions._core.events.policies import DUE
from functions._core.events.reports import Report


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a chain event to a function."""

    function: str
    """Name of the function that handles it."""
    model: type[BaseModel]
    """The model that reads its data."""
    tickets: Callable[[Any], Sequence[str]]
    """Returns the ids of the tickets that its data names."""


def _none(_data: object) -> Sequence[str]:
    return ()


def _named(order: commands.Command) -> Sequence[str]:
    return (order.target,) if isinstance(order, commands.TicketCommand) else ()


ROUTES: Mapping[str, Route] = {
    "decision.consolidated": Route("validate", DecisionStored, _none),
    "plan.validated": Route("generate_tickets", PlanValidated, _none),
    "tickets.ready": Route("discover", TicketsReady, lambda data: data.ticket_ids),
    "worker.recovered": Route("discover", TicketsReady, lambda data: data.ticket_ids),
    "workers.discovered": Route("assign", WorkersDiscovered, lambda data: tuple(data.candidates)),
    "ticket.reported": Route("monitor", Report, lambda data: (data.ticket_id,)),
    "ticket.event_arrived": Route("monitor", EventArrived, lambda data: (data.ticket_id,)),
    "compensation.requested": Route("monitor", CompensationRequested, _none),
    **{event_type: Route("monitor", model, _named) for event_type, model in commands.ORDERS.items()},
    "worker.unhealthy": Route("monitor", WorkerUnhealthy, lambda data: data.ticket_ids),
    "flow.consolidated": Route("publish_telemetry", FlowConsolidated, _none),
}
"""The function that handles each event about a flow. A deployment's subscriptions are drawn from this table."""

BESIDE: Mapping[str, str] = {DUE: "enforce_sla", HEALING_DUE: "heal_incident", JOB_DUE: "run_executor"}
"""The functions that handle events beside the chain, by their types: no flow waits for these."""

HANDLERS: Mapping[str, str] = {
    **{event_type: route.function for event_type, route in ROUTES.items()},
    **BESIDE,
    "sla.budget.updated": "enforce_freezes",
}
"""The function that gets each event of the platform: those of the chain, and those about no flow."""

TRANSITIONS = "/flowc"
"""Source of the events about transitions: all of them are for subscribers."""


def handler_of(event: CloudEvent) -> str | None:
    """Return the function that handles an event; None when it is for subscribers, or for the telemetry sink."""
    if event.source == TRANSITIONS:
        return None
    route = ROUTES.get(event.event_type)
    return BESIDE.get(event.event_type) if route is None else route.function


def receiver_of(event: CloudEvent) -> str:
    """Return who gets an event, as a dead letter names it: a function, or `subscriber`."""
    return handler_of(event) or "subscriber"
