"""Which tickets freezes hold back now; the service may be named by another task, in its output.

Such a reference is looked up when a freeze could hold the ticket back: its task is done by then. One that stands for
nothing names no service, and the assignment fails by it. A secret is not read here: see `gate`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from functions._core.decision.references import UnresolvedReference
from functions._core.machine.resolved_values import resolved
from functions._core.ports import FlowStore, Ports
from functions._core.records.models import Reason, Ticket
from functions._core.slo.gate import NAMES, freeze_of, is_reference, may_be_blocked, namespaces_for, reason_of

MOST = 1 << 30
"""Bytes that a name may stand for: an output is bounded, and what is no text is no name."""


async def blocked(tickets: Iterable[Ticket], ports: Ports) -> Mapping[str, Reason]:
    """Return why freezes hold back those of `tickets` that they do, by id; asks for freezes only if one could be."""
    deploying = [ticket for ticket in tickets if may_be_blocked(ticket)]
    freezes = await ports.budget_gate.freezes() if deploying else ()
    if not freezes:
        return {}
    deploying = [await named(ticket, ports.store) for ticket in deploying]
    of_services = await namespaces_for(deploying, freezes, ports.budget_gate)
    found = {ticket.ticket_id: freeze_of(ticket, freezes, of_services) for ticket in deploying}
    return {ticket_id: reason_of(freeze) for ticket_id, freeze in found.items() if freeze is not None}


async def named(ticket: Ticket, store: FlowStore) -> Ticket:
    """Return a ticket whose service and namespace are those that the outputs say to which they refer."""
    whole = is_reference(ticket.parameters)
    given: Any = ticket.parameters
    if not whole:
        given = {name: value for name in NAMES if is_reference(value := ticket.parameters.get(name))}
    if not given:
        return ticket
    try:
        found = await resolved(given, "parameters", ticket, store, MOST)
    except UnresolvedReference:
        found = dict.fromkeys(NAMES)  # it deploys nothing: its assignment fails
    if is_reference(found):
        return ticket  # a secret
    names = {name: found.get(name) for name in NAMES if name in found} if isinstance(found, Mapping) else {}
    return ticket.but(parameters=names if whole else {**ticket.parameters, **names})
