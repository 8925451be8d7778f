"""The turns of the tickets of one event: as `fair_queue` says, or in proportion to the weights of tenants.

With weights each tenant has a place in virtual time, as in start-time fair queueing. A turn has room for so many
tickets of a tenant as its weight is part of the largest one: `TICKETS_PER_TURN` of the heaviest tenant. A ticket waits
in the turn that its tenant has come to, and no tenant is behind the turn that is served now: who has been away has
saved nothing. Tickets of one tenant wait in the order in which they became ready, within a turn by slack.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby

from msgspec import json

from functions._core.errors import Conflict
from functions._core.machine.context import Context
from functions._core.placement.fair_queue import FairQueue
from functions._core.placement.limits import TRIES, tenant_of
from functions._core.placement.weights import weight_of
from functions._core.ports import KeyValues, Ports
from functions._core.records.models import Ticket
from functions._core.rules import TICKETS_PER_TURN

SPACE = "tenant-turns"
"""The space of the places of tenants: a record for each requirement."""

UNIT = 1_000_000
"""A turn in virtual time."""

TENANTS = 500
"""Tenants that a record remembers: of more, those that are least ahead begin again in the turn that is served."""

KEPT = timedelta(days=1)
"""A record that nobody has changed for so long says nothing about who waits now."""

Places = dict[str, int]
"""How far each tenant has come in virtual time."""


async def turns_of(tickets: Sequence[Ticket], context: Context, ports: Ports) -> Mapping[str, int]:
    """Return the turn of each ticket of a flow that is to wait, by ticket id; one that has a turn keeps it."""
    weights = context.rules.tenant_weights
    if not weights:
        queue = FairQueue(ports.wakeups.line)
        return {ticket.ticket_id: await queue.of(ticket) for ticket in tickets}
    turns = {ticket.ticket_id: ticket.turn for ticket in tickets if ticket.turn is not None}
    new = sorted((t for t in tickets if t.turn is None), key=lambda t: (sorted(t.requirement), t.order))
    step = UNIT * max(*weights.values(), 1) // (TICKETS_PER_TURN * weight_of(context.flow.tenant_id, weights))
    for required, some in groupby(new, key=lambda ticket: sorted(ticket.requirement)):
        line, waiting = await ports.wakeups.line(context.flow.flow_id, required), [ticket.ticket_id for ticket in some]
        name = sha256(json.encode(required)).hexdigest()
        own, tenant = step * len(waiting), tenant_of(context.flow)
        first = await _advanced(name, tenant, own, line.current, ports.key_values, context.now)
        turns |= {ticket_id: (first + step * n) // UNIT for n, ticket_id in enumerate(waiting)}
    return turns


async def _advanced(name: str, tenant: str, by: int, current: int, entries: KeyValues, now: datetime) -> int:
    """Move a tenant on in virtual time, and return where it was; the turn `current` is served now, 0 for none."""
    served = max(current, 1) * UNIT
    for _ in range(TRIES):
        entry = await entries.get(SPACE, name)
        known = (
            json.decode(entry.value, type=Places) if entry and current else {}
        )  # where nobody waits all is as at first
        ahead = {one: at for one, at in known.items() if at > served}
        first = ahead.get(tenant, served)
        ahead[tenant] = first + by
        kept = dict(sorted(ahead.items(), key=lambda one: -one[1])[:TENANTS])
        version = entry.version if entry else 0
        try:
            await entries.put(SPACE, name, json.encode(kept), version=version, expires_at=now + KEPT)
        except Conflict:
            continue
        return first
    raise Conflict("the turns of tenants change all the time")
