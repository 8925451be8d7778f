"""Limits of flows and tickets in flight: each takes a place before it begins, and gives it back when it has ended.

The places of a kind are one small record that changes under its version, so that no number of processes gives out more
than there are. A flow without a place waits in the order of arrival; a ticket waits in its turn like any other (see
`fair_queue`). A place is taken before the commit that needs it: one whose commit never came is stale, and found so.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256

from msgspec import json

from functions._core.errors import Conflict
from functions._core.ports import Entry, KeyValues, Ports
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.values import FlowStatus
from functions._core.rules import InFlightLimits

SPACE, FLOWS, TICKETS = "in-flight", "flows", "tickets"
WAITING = "flows-waiting"
"""The space of the flows that wait for a place: their keys sort by arrival, their values are their tenants."""

OVER_LIMIT = "over_limit"
"""Code of the reason of a flow that waits for a place."""

STALE = timedelta(seconds=30)
"""A place is given to somebody else when its holder has not begun after so long, or has ended."""

TRIES = 32
"""Reads of the record while others change it."""

LONGEST = 36
"""Bytes of a tenant's name that are kept as they are: the record has to stay small."""

Places = dict[str, tuple[int, str]]
"""Who holds a place: since when, in milliseconds since 1970, and for which tenant."""


async def places(kind: str, entries: KeyValues) -> tuple[Places, int]:
    """Return who holds a place, and the version of the record, 0 where there is none."""
    entry = await entries.get(SPACE, kind)
    return (json.decode(entry.value, type=Places), entry.version) if entry else ({}, 0)


async def take(
    kind: str,
    wanted: Mapping[str, str],
    limits: InFlightLimits,
    entries: KeyValues,
    now: datetime,
    instead_of: str = "",
) -> Collection[str]:
    """Return those of `wanted`, holders with their tenants, that have a place now; who has one keeps it.

    The place of `instead_of`, a holder that has ended, is free.
    """
    for _ in range(TRIES):
        held, version = await places(kind, entries)
        held.pop(instead_of, None)
        granted = [one for one in wanted if one in held]
        new = room_for({one: tenant for one, tenant in wanted.items() if one not in held}, held, limits.of(kind))
        if not new or await put(kind, {**held, **stamped(new, now)}, version, entries):
            return {*granted, *new}
    raise Conflict(f"the places of {kind} change all the time")


async def give_back(kind: str, holders: Collection[str], entries: KeyValues) -> None:
    """Give places back; who has none changes nothing."""
    for _ in range(TRIES):
        held, version = await places(kind, entries)
        left = {one: place for one, place in held.items() if one not in holders}
        if len(left) == len(held) or await put(kind, left, version, entries):
            return
    raise Conflict(f"the places of {kind} change all the time")


async def put(kind: str, held: Places, version: int, entries: KeyValues) -> bool:
    """Store who holds a place; tell whether the record was still at `version`."""
    try:
        await entries.put(SPACE, kind, json.encode(held), version=version)
    except Conflict:
        return False
    return True


def room_for(wanted: Mapping[str, str], held: Places, limit: tuple[int | None, int | None]) -> dict[str, str]:
    """Return those of `wanted` for which there is room, in their order, under the limit of all and of one tenant."""
    of_all, of_tenant = limit
    counts, number, found = Counter(tenant for _, tenant in held.values()), len(held), dict[str, str]()
    for one, tenant in wanted.items():
        full = of_tenant is not None and tenant and counts[tenant] >= of_tenant
        if not full and (of_all is None or number < of_all):
            found[one], number = tenant, number + 1
            counts[tenant] += 1
    return found


def full(held: Places, limit: tuple[int | None, int | None]) -> bool:
    """Whether all of the places are held, or all that one tenant may have."""
    of_all, of_tenant = limit
    most = max(Counter(tenant for _, tenant in held.values() if tenant).values(), default=0)
    return (of_all is not None and len(held) >= of_all) or (of_tenant is not None and most >= of_tenant)


def stamped(holders: Mapping[str, str], now: datetime) -> Places:
    """Return places that are taken at `now`."""
    return {one: (int(now.timestamp() * 1000), tenant) for one, tenant in holders.items()}


def since(place: tuple[int, str], now: datetime) -> timedelta:
    """Return for how long a place has been held."""
    return timedelta(milliseconds=int(now.timestamp() * 1000) - place[0])


def tenant_of(flow: Flow) -> str:
    """Return the tenant of a flow as it is counted; empty for none, which only the limit of all holds for."""
    name = flow.tenant_id or ""
    return name if len(name.encode()) <= LONGEST else sha256(name.encode()).hexdigest()[:LONGEST]


def place_of(flow: Flow, redrives: int | None = None) -> str:
    """Return the holder of the place of a flow; each redrive takes a place of its own."""
    number = flow.redrives if redrives is None else redrives
    return f"{flow.flow_id}/{number}" if number else flow.flow_id


def flow_of(holder: str) -> str:
    """Return the id of the flow that holds a place, or waits for one."""
    return holder.partition("/")[0]


def holder_of(ticket: Ticket, attempt: int) -> str:
    """Return the holder of the place of one attempt at a ticket."""
    return f"{ticket.ticket_id}/{attempt}"


def waiting_key(flow: Flow) -> str:
    """Return the key of a flow that waits; those that came first sort first."""
    return f"{int(flow.received_at.timestamp() * 1000):015d}/{place_of(flow)}"


async def may_begin(flow: Flow, limits: InFlightLimits | None, ports: Ports, now: datetime) -> Reason | None:
    """Return why a flow has to wait for a place before it gets its tickets; None when it may begin."""
    if limits is None or limits.flows is None:
        return None
    tenant, entries, holder = tenant_of(flow), ports.key_values, place_of(flow)
    first = await entries.page(WAITING, None, 1)
    held, _ = await places(FLOWS, entries)
    others_first = holder not in held and bool(first) and first[0].key != waiting_key(flow)
    if not others_first and await take(FLOWS, {holder: tenant}, limits, entries, now):
        if over_limit(flow):
            await stop_waiting(flow, entries)
        return None
    with suppress(Conflict):  # it waits already
        await entries.put(WAITING, waiting_key(flow), json.encode(tenant), version=0, expires_at=flow.deadline)
    return Reason(code=OVER_LIMIT, message=f"{limits.told(FLOWS)}; it waits for its turn")


async def stop_waiting(flow: Flow, entries: KeyValues) -> None:
    """Let a flow wait for a place no longer."""
    entry = await entries.get(WAITING, waiting_key(flow))
    if entry is not None:
        await entries.remove(WAITING, entry.key, entry.version)


def waiting_flow(entry: Entry) -> tuple[str, str]:
    """Return the holder and the tenant of a flow that waits."""
    return entry.key.partition("/")[2], json.decode(entry.value, type=str)


def over_limit(flow: Flow) -> bool:
    """Whether a flow waits for a place."""
    return any(reason.code == OVER_LIMIT for reason in flow.reasons)


def begins(flow: Flow) -> bool:
    """Whether a flow that waits for a place can still use one."""
    return flow.status is FlowStatus.GENERATING


async def with_place(
    tickets: Sequence[Ticket], flow: Flow, limits: InFlightLimits | None, ports: Ports, now: datetime
) -> Collection[str]:
    """Return the ids of those tickets, the first of them first, whose next attempt may begin."""
    if limits is None or limits.tickets is None:
        return [ticket.ticket_id for ticket in tickets]
    wanted = {holder_of(ticket, ticket.attempt + 1): ticket.ticket_id for ticket in tickets}
    tenant = tenant_of(flow)
    granted = await take(TICKETS, dict.fromkeys(wanted, tenant), limits, ports.key_values, now)
    return [wanted[holder] for holder in granted]
