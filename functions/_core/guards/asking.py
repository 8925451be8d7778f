"""Where functions ask guards: about a decision (C1), and about tickets before a worker gets them (C3, claims).

Without a policy and without a server nothing is looked at, and nothing more is imported.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from functions._core.errors import Rejected
from functions._core.guards.gate import ALLOWED, Finding, GuardVerdict
from functions._core.ports import Ports
from functions._core.records.models import Flow, Ticket

PATIENCE = timedelta(minutes=2)
"""How long a flow waits in C1 for a policy server that is away: its event is sent again after 30 s, 60 s and so on."""


async def of_plan(text: bytes, ports: Ports) -> GuardVerdict:
    """Return what guards find of a decision; one that cannot be read is allowed, as C1 refuses it."""
    state = await ports.guards.state()
    if state is None:
        return ALLOWED
    from functions._core.guards.judging import plan_verdict  # noqa: PLC0415 few need it, and it costs time

    return await plan_verdict(text, state, ports.beside)


async def of_tickets(tickets: Iterable[Ticket], flow: Flow, ports: Ports) -> Mapping[str, GuardVerdict]:
    """Return what guards find of tickets of one flow, by id; those that are allowed are not in it."""
    judged = [ticket for ticket in tickets if ticket.compensates is None]
    state = await ports.guards.state() if judged else None
    if state is None:
        return {}
    from functions._core.guards.judging import ticket_verdicts  # noqa: PLC0415 see above

    return await ticket_verdicts(judged, flow, state, ports.beside)


async def denied_since(tickets: Iterable[Ticket], flow: Flow, ports: Ports) -> frozenset[str]:
    """Return the ids of tickets that stored policies stop: for C4, in case that C3 has not known of one.

    The server is not asked again: what a ticket is does not change between C3 and C4.
    """
    judged = [ticket for ticket in tickets if ticket.compensates is None]
    state = await ports.guards.state() if judged else None
    if state is None or not state.policies:
        return frozenset()
    from functions._core.guards.judging import ticket_verdicts  # noqa: PLC0415 see above

    return frozenset(await ticket_verdicts(judged, flow, replace(state, server=None), ports.beside))


async def check_claim(ticket: Ticket, flow: Flow, ports: Ports) -> None:
    """Raise `Rejected`, status 409, where a guard lets no worker have a ticket."""
    verdict = (await of_tickets((ticket,), flow, ports)).get(ticket.ticket_id, ALLOWED)
    if verdict.finding is not Finding.ALLOW and verdict.stops:
        why = verdict.reasons[0]
        raise Rejected(f"ticket {ticket.task_id} cannot begin: {why.message}", code=why.code, status=409)
