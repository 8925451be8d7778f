"""Limits of flows and tickets in flight: each takes a place before it begins, and gives it back when it has ended.

The places of a kind are one small record that changes under its version, so that no number of processes gives out more
than there are. A flow without a place waits in the order of arrival; a ticket waits in its turn like any other (see
`fair_queue`). A place is taken before the commit that needs it: one whose commit never came is stale, and found so.

The flows of one concurrency key share places of their own, a kind for each key. A flow takes such a place first: one
that waits for others of its key keeps no place of all flows from anybody.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from msgspec import json

from functions._core.errors import Conflict, Unreadable
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import Entry, KeyValues, Ports
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.policies import Beyond
from functions._core.records.values import FlowStatus
from functions._core.rules import InFlightLimits

SPACE, FLOWS, TICKETS = "in-flight", "flows", "tickets"
WAITING = "flows-waiting"
"""The space of the flows that wait for a place: their keys sort by arrival, their values are their tenants."""

OF_KEY = f"{FLOWS}/"
"""How the kind of a concurrency key begins; the rest is the key."""

WAITING_OF_KEY = "flows-waiting-of-key"
"""The space of the flows that wait for a place of their key: keys sort by key and arrival, values are `mark_of`."""

BEHIND = "\n"
"""Ends a concurrency key within a longer text; no key has it."""

OVER_LIMIT = "over_limit"
"""Code of the reason of a flow that waits for a place."""

CONCURRENCY_LIMIT = "concurrency_limit"
"""Code of the reason of a flow that waits for a place of its key, or is refused for want of one."""

NAMED = 3
"""Holders that a reason names."""

OLDEST = 100
"""Places of a key that are looked at for stale ones at once: stale ones get among the oldest by and by."""

STALE = timedelta(seconds=30)
"""A place is given to somebody else when its holder has not begun after so long, or has ended."""

TRIES = 32
"""Reads of the record while others change it."""

LONGEST = 36
"""Bytes of a tenant's name that are kept as they are: the record has to stay small."""

Places = dict[str, tuple[int, str]]
"""Who holds a place: since when, in milliseconds since 1970, and for which tenant; of a key for none."""


@dataclass(frozen=True, slots=True)
class FlowLine:
    """The flows that share places of one kind: all of them, or those of one concurrency key."""

    kind: str
    limits: InFlightLimits
    space: str = WAITING
    prefix: str = ""
    code: str = OVER_LIMIT

    @property
    def of_key(self) -> bool:
        """Whether it is that of a concurrency key."""
        return self.code == CONCURRENCY_LIMIT

    def room_for(self, wanted: Mapping[str, str], held: Places) -> dict[str, str]:
        """Return those of `wanted`, holders with their marks, for which there is room, with what places keep."""
        if not self.of_key:
            return room_for(wanted, held, self.limits.of(self.kind))
        found: dict[str, str] = {}
        for one, mark in wanted.items():  # strictly in turn, and each by its own limit
            if len(held) + len(found) >= limit_in(mark):
                break
            found[one] = ""
        return found

    async def waiting(self, entries: KeyValues, after: str | None, limit: int) -> Sequence[Entry]:
        """Return a page of the flows that wait, in the order of arrival."""
        page = await entries.page(self.space, after or self.prefix or None, limit)
        return [entry for entry in page if entry.key.startswith(self.prefix)]

    def waiting_key(self, flow: Flow) -> str:
        """Return the key of a flow that waits; those that came first sort first."""
        return f"{self.prefix}{int(flow.received_at.timestamp() * 1000):015d}/{place_of(flow)}"

    def waits(self, flow: Flow) -> bool:
        """Whether a flow waits for one of these places."""
        return any(reason.code == self.code for reason in flow.reasons)


def line_of_key(key: str, limit: int) -> FlowLine:
    """Return the line of a concurrency key."""
    return FlowLine(
        OF_KEY + key, InFlightLimits(flows=limit), WAITING_OF_KEY, prefix=key + BEHIND, code=CONCURRENCY_LIMIT
    )


def lines_of(flow: Flow, limits: InFlightLimits | None) -> Sequence[FlowLine]:
    """Return the lines that a flow stands in, in the order in which it takes its places."""
    own = flow.concurrency
    of_key = (line_of_key(own.key, own.limit),) if own is not None else ()
    return (*of_key, FlowLine(FLOWS, limits)) if limits is not None and limits.flows is not None else of_key


def mark_of(flow: Flow, line: FlowLine) -> str:
    """Return what is kept with a flow that waits: its tenant; of a key its limit, and what is to happen beyond it."""
    if not line.of_key or flow.concurrency is None:
        return tenant_of(flow)
    return f"{flow.concurrency.limit} {flow.concurrency.beyond}"


def limit_in(mark: str) -> int:
    """Return the limit in the mark of a flow in the line of its key."""
    return int(mark.partition(" ")[0])


async def places(kind: str, entries: KeyValues) -> tuple[Places, int]:
    """Return who holds a place, and the version of the record, 0 where there is none."""
    entry = await entries.get(SPACE, kind)
    return (read_places(entry), entry.version) if entry else ({}, 0)


def read_places(entry: Entry) -> Places:
    """Return who holds a place by the record of a kind."""
    return json.decode(entry.value, type=Places)


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
    """Store who holds a place; tell whether the record was still at `version`. An empty one of a key is removed."""
    if not held and version and kind.startswith(OF_KEY):
        return await entries.remove(SPACE, kind, version)
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


async def may_begin(flow: Flow, limits: InFlightLimits | None, ports: Ports, now: datetime) -> Reason | None:
    """Return why a flow has to wait for a place, or is refused, before it gets its tickets; None when it may begin."""
    for line in lines_of(flow, limits):
        if not await _has_place(flow, line, ports, now):
            then = THEN[flow.concurrency.beyond] if line.of_key and flow.concurrency else THEN[Beyond.QUEUE]
            return Reason(code=line.code, message=f"{await told_of(flow, line, ports.key_values)}; {then}")
    return None


async def _has_place(flow: Flow, line: FlowLine, ports: Ports, now: datetime) -> bool:
    """Whether a flow has a place of a line now; otherwise it waits for one, unless it would rather be refused."""
    entries, holder, key = ports.key_values, place_of(flow), line.waiting_key(flow)
    refused = line.of_key and flow.concurrency is not None and flow.concurrency.beyond is Beyond.REFUSE
    first = await line.waiting(entries, None, 1)
    held, _ = await places(line.kind, entries)
    others_first = holder not in held and bool(first) and first[0].key != key
    wanted = {holder: "" if line.of_key else tenant_of(flow)}
    if not others_first and await take(line.kind, wanted, line.limits, entries, now):
        if line.waits(flow):
            await stop_waiting(flow, line, entries)
        return True
    if refused:
        stale = await stale_flows(line.kind, ports, now)
        await give_back(line.kind, stale, entries)
        return not others_first and bool(stale) and bool(await take(line.kind, wanted, line.limits, entries, now))
    with suppress(Conflict):  # it waits already
        await entries.put(line.space, key, json.encode(mark_of(flow, line)), version=0, expires_at=flow.deadline)
    return False


async def told_of(flow: Flow, line: FlowLine, entries: KeyValues) -> str:
    """Return the limit of a line as the beginning of a sentence, with the flows that hold the places of a key."""
    if not line.of_key or flow.concurrency is None:
        return line.limits.told(FLOWS)
    own, (held, _) = flow.concurrency, await places(line.kind, entries)
    limit = f"as many flows of the concurrency key '{own.key}' are in flight as may be ({own.limit})"
    return f"{limit}: {holders_told(held)}"


THEN: Mapping[Beyond, str] = {
    Beyond.QUEUE: "it waits for its turn",
    Beyond.REFUSE: "one more is refused",
    Beyond.CANCEL_OLDEST: "the oldest is cancelled, and it waits for its end",
}
"""What happens beyond the limit of a key, as the end of a sentence."""


def holders_told(held: Places) -> str:
    """Return the flows that hold places, the oldest first, as part of a sentence."""
    flows = [flow_of(one) for one in sorted(held, key=lambda one: held[one])]
    more = [f"{len(flows) - NAMED} more"] if len(flows) > NAMED else []
    return ", ".join((*flows[:NAMED], *more)) or "others wait before it"


async def stop_waiting(flow: Flow, line: FlowLine, entries: KeyValues) -> None:
    """Let a flow wait for a place of a line no longer."""
    entry = await entries.get(line.space, line.waiting_key(flow))
    if entry is not None:
        await entries.remove(line.space, entry.key, entry.version)


async def stale_flows(kind: str, ports: Ports, now: datetime) -> Collection[str]:
    """Return those of the oldest holders of a kind of flows that have ended, or never began."""
    held, _ = await places(kind, ports.key_values)
    old = sorted((one for one, place in held.items() if since(place, now) >= STALE), key=lambda one: held[one])
    return [one for one in old[: OLDEST if kind.startswith(OF_KEY) else None] if not await _flow_is_on(one, ports)]


async def _flow_is_on(holder: str, ports: Ports) -> bool:
    try:
        flow = await ports.store.flow(flow_of(holder))
    except Unreadable:
        return True
    return flow is not None and flow.status not in ENDED_FLOWS and place_of(flow) == holder


def waiting_flow(entry: Entry) -> tuple[str, str]:
    """Return the holder and the mark of a flow that waits."""
    return entry.key.rpartition(BEHIND)[2].partition("/")[2], json.decode(entry.value, type=str)


def over_limit(flow: Flow) -> bool:
    """Whether a flow waits for a place."""
    return any(reason.code in {OVER_LIMIT, CONCURRENCY_LIMIT} for reason in flow.reasons)


def begins(flow: Flow) -> bool:
    """Whether a flow that waits for a place can use one now."""
    return flow.status is FlowStatus.GENERATING


def begins_later(entry: Entry, flow: Flow | None, now: datetime) -> bool:
    """Whether a flow that waits may use a place later: it is paused, or its commit is still on its way.

    A flow takes its turn before the commit that says so; one that has not come after `STALE` never will.
    """
    arrived, _, holder = entry.key.rpartition(BEHIND)[2].partition("/")
    if flow is None:
        return since((int(arrived), ""), now) < STALE
    comes = flow.status in {FlowStatus.VALIDATING, FlowStatus.AWAITING_APPROVAL, FlowStatus.PAUSED}
    return comes or flow.redrives < int(holder.partition("/")[2] or 0)


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
