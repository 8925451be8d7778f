"""Brings events of users and the tickets that wait for them together, whichever comes first.

An event is written before it looks for waits, and a wait before it looks for events: so one of the two finds the other
one, and `EventClaims` sees to it that no second one does. A process may die between any two writes: the sender repeats
an event without an answer, and a ticket that waits looks again whenever it is committed, as with each of its wake-ups.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from functions._core.engine import EventTaken, TakenResult
from functions._core.errors import Conflict, FlowcError, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.machine.resolved_values import resolved
from functions._core.placement.event_waits import (
    ARRIVALS,
    ARRIVED,
    EVENT_BYTES,
    MAX_PLACES,
    PLACES,
    VALUE_BYTES,
    WAIT_KEYS,
    WAITS,
    Arrival,
    CorrelatedPlaces,
    EventWait,
    Holds,
    WaitingTicket,
    arrival_key,
    arrival_of,
    bucket,
    buckets,
    condition_holds,
    digest,
    event_of,
    fits,
    ordered,
    place_of,
)
from functions._core.ports import Entry, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import OUTSIDE, id_from_outside, letter_of
from functions._core.records.json_text import json_size
from functions._core.records.models import Reason, Ticket
from functions._core.records.record import decode, encode
from functions._core.records.values import TicketStatus, add_time, parse_time, time_span
from functions._engine.event_claims import TRIES, EventClaims, Fate, Tell
from functions._engine.key_walk import KeyWalk, merged
from functions._observability.logs import log
from functions._observability.metrics import Metrics

MOST_WAITS = 500
"""Waits that an event is compared with; more of one type should ask about a fact, by a correlation."""

MOST_KEPT = 10_000
"""Events of one type that are kept for a wait: one without a correlation looks at each."""

RECOUNT = 250
"""Events of one type that a process keeps until it counts again how many are kept."""

COUNT_PAGE = 1_000
"""Entries in a page when they are counted, and types of which a process knows the count; both are small."""

LONGEST_KEPT = timedelta(days=30)
"""The longest time that an event is kept, whatever it says."""

AFTERWARDS = timedelta(days=1)
"""How long records of a wait stay after its end, should nobody remove them."""

AT_ONCE = 8
"""Waits that a process registers, or forgets, at the same time: one plan may begin thousands."""


class EventsIn:
    """The events of users, and the waits for them, in one process."""

    def __init__(
        self, ports: Ports, retention: timedelta, tell: Tell, metrics: Metrics, holds: Holds | None = None
    ) -> None:
        """Keep an event for `retention`; `tell` a flow of it. `holds` judges conditions in place of CEL."""
        self._ports, self._entries = ports, ports.key_values
        self._claims = EventClaims(ports, tell)
        self._retention = retention
        self._metrics = metrics
        self._holds = holds or condition_holds
        self._room: dict[str, int] = {}
        self._waiting: deque[tuple[Ticket, bool]] = deque()
        self._failed: list[tuple[Ticket, bool]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether waits are being registered or forgotten."""
        return bool(self._tasks)

    def observe(self, step: ChangeSet) -> None:
        """Register the waits that a commit has begun, and forget those that it has ended."""
        for ticket in step.tickets:
            if ticket.control is None or event_of(ticket) is None:
                continue
            waits = ticket.status is TicketStatus.WAITING
            if waits or _left(ticket, step):
                self._begin(ticket, waits=waits)

    async def round(self) -> None:
        """Try again what has failed since the last round; should the process die, wake-ups of the tickets do it."""
        failed, self._failed = self._failed, []
        for ticket, waits in failed:
            self._begin(ticket, waits=waits)

    def _begin(self, ticket: Ticket, *, waits: bool) -> None:
        self._waiting.append((ticket, waits))
        if len(self._tasks) < AT_ONCE:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop; wake-ups see to what is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            ticket, waits = self._waiting.popleft()
            try:
                await (self.begun(ticket) if waits else self._claims.forget(ticket.ticket_id))
            except FlowcError as error:
                about = {"flow_id": ticket.flow_id, "ticket_id": ticket.ticket_id}
                log.warning("event_wait.failed", **about, error=repr(error))
                if not isinstance(error, Rejected):
                    self._failed.append((ticket, waits))

    async def take(self, event: CloudEvent) -> EventTaken:
        """Keep an event, durable before return, and give it to the oldest wait that it fits; see `Engine.take_event`.

        Where too many of its type are kept, it is written only to be offered, and removed when no wait has taken it.
        """
        arrival = arrival_of(event, self._ports.clock.now())
        until = self._kept_until(event, arrival.arrived_at)
        if json_size(arrival.event) > EVENT_BYTES:
            text = f"the event has more than {EVENT_BYTES} bytes as JSON; send a reference to its data instead"
            raise Rejected(text, code="event_too_large", status=413)
        entry, new = await self._kept(arrival_key(event), arrival, until)
        known = decode(Arrival, entry.value)
        room = known.settled or await self._has_room(event.type)
        if room and not known.settled:
            await self._enter(entry, known)
        taker = await self._offer(entry, event)
        if taker is None and not room:
            await self._entries.remove(ARRIVALS, entry.key, entry.version)
            self._count("refused")
            text = f"{MOST_KEPT} events of type {event.type} are kept already, and no wait wants this one"
            raise Rejected(text, code="too_many_kept", status=429)
        result: TakenResult = "duplicate" if not new else "kept" if taker is None else "matched"
        self._count(result)
        if taker is None:
            return EventTaken(result, kept_until=entry.expires_at)
        return EventTaken(result, flow_id=taker.flow_id, ticket_id=taker.ticket_id)

    async def begun(self, ticket: Ticket) -> None:
        """Register the wait of a ticket for an event, and look for one that has come before; repeating it is safe."""
        wait = await self._wait_of(ticket)
        if wait is None:
            return
        at, value = place_of(wait.wanted)
        until = add_time(ticket.until or add_time(wait.by.since, LONGEST_KEPT), AFTERWARDS)
        filled = None if at is None else await self._declare(wait.wanted.type, at, until)
        prefix = bucket(wait.wanted.type) if filled is None else bucket(wait.wanted.type, at, value)
        await self._register(prefix, wait, until)
        if at is not None and filled is False:
            await self._fill(wait.wanted.type, at)
        await self._look_back(prefix, wait)

    # --- Events that arrive

    def _kept_until(self, event: CloudEvent, now: datetime) -> datetime:
        said = event.extensions.get("expirytime")
        if said is None:
            return add_time(now, self._retention)
        try:
            until = parse_time(said)
        except ValueError:
            until = None
        if not isinstance(until, datetime):
            raise Rejected(f"expirytime {said[:100]!r} is no time of RFC 3339", code="invalid_expirytime", status=422)
        if until <= now:
            raise Rejected(f"the event has expired at {said[:100]}", code="event_expired", status=422)
        return min(until, add_time(now, LONGEST_KEPT))

    async def _kept(self, key: str, arrival: Arrival, until: datetime) -> tuple[Entry, bool]:
        """Return the record of an event, and whether it is new."""
        for _ in range(TRIES):
            known = await self._entries.get(ARRIVALS, key)
            if known is not None:
                return known, False
            with suppress(Conflict):
                return await self._entries.put(ARRIVALS, key, encode(arrival), version=0, expires_at=until), True
        raise Conflict(f"the record of event {key} changes all the time")

    async def _has_room(self, event_type: str) -> bool:
        """Whether one more event of a type may be kept."""
        left = self._room.get(event_type, 0)
        if left <= 0:
            if len(self._room) >= COUNT_PAGE:
                self._room.clear()
            left = min(RECOUNT, MOST_KEPT - await self._count_kept(event_type))
        self._room[event_type] = left - 1
        return left > 0

    async def _count_kept(self, event_type: str) -> int:
        walk, count = KeyWalk(self._entries, ARRIVED, bucket(event_type), page=COUNT_PAGE), 0
        while count < MOST_KEPT and await walk.first() is not None:
            walk.drop()
            count += 1
        return count

    async def _enter(self, entry: Entry, arrival: Arrival) -> None:
        """Enter an event under its type, then under its values at the places that are known by now.

        A wait that makes a place known afterwards finds it under its type.
        """
        await self._note([bucket(arrival.event["type"])], entry, arrival)
        await self._note(buckets(arrival.event, await self._claims.places(arrival.event["type"]))[1:], entry, arrival)

    async def _note(self, prefixes: Iterable[str], entry: Entry, arrival: Arrival) -> None:
        for prefix in prefixes:
            key = prefix + ordered(arrival.arrived_at, entry.key)
            with suppress(Conflict):  # it is there already
                await self._entries.put(ARRIVED, key, b"0", version=0, expires_at=entry.expires_at)

    async def _offer(self, entry: Entry, event: CloudEvent) -> WaitingTicket | None:
        """Give an event to the oldest wait that it fits; return the one that has it, None when it is free."""
        arrival = decode(Arrival, entry.value)
        if arrival.taken_by is not None and await self._claims.settle(entry) is not Fate.FREE:
            return arrival.taken_by
        compared = 0
        async for wait in self._waits_for(arrival):
            compared += 1
            if compared > MOST_WAITS:
                await self._too_many(event)
                return None
            if not await self._fits(wait, arrival):
                continue
            taker = await self._claims.give(entry.key, wait.by)
            if taker is not None:
                return taker
        return None

    async def _waits_for(self, arrival: Arrival) -> AsyncIterator[EventWait]:
        """Yield the waits that an event may fit, the oldest first."""
        prefixes = buckets(arrival.event, await self._claims.places(arrival.event["type"]))
        async for entry in merged([KeyWalk(self._entries, WAITS, prefix) for prefix in prefixes]):
            yield decode(EventWait, entry.value)

    async def _fits(self, wait: EventWait, arrival: Arrival) -> bool:
        if wait.wanted.filter is None:
            return fits(wait, arrival, self._holds)
        return bool(await self._ports.beside(partial(fits, wait, arrival, self._holds)))  # conditions take time

    async def _too_many(self, event: CloudEvent) -> None:
        text = (
            f"the {MOST_WAITS} oldest waits for events of type {event.type} do not want this one, and more were not "
            "looked at: waits need a correlation"
        )
        log.error("event.too_many_waits", event_type=event.type, event_id=event.id)
        reason, now = Reason(code="too_many_waits", message=text), self._ports.clock.now()
        letter = letter_of(event, OUTSIDE, reason, 1, now, letter_id=id_from_outside(event))
        await self._ports.dead_letters.put(letter)

    def _count(self, result: str) -> None:
        self._metrics.count("flowc_events_in_total", result)

    # --- Waits that begin

    async def _wait_of(self, ticket: Ticket) -> EventWait | None:
        """Return the wait of a ticket for an event, its correlation filled in; None where it does not wait for one."""
        wanted = event_of(ticket)
        if wanted is None or ticket.status is not TicketStatus.WAITING or ticket.waiting_since is None:
            return None
        if wanted.correlation is not None:
            place, store = "wait.event.correlation.equals", self._ports.store
            filled = await resolved(wanted.correlation.equals, place, ticket, store, VALUE_BYTES)
            wanted = wanted.but(correlation=wanted.correlation.but(equals=filled))
        by = WaitingTicket(
            flow_id=ticket.flow_id,
            ticket_id=ticket.ticket_id,
            task_id=ticket.task_id,
            correlation_id=ticket.correlation_id,
            traceparent=f"00-{ticket.trace_id}-{ticket.span_id}-01",
            since=ticket.waiting_since,
        )
        return EventWait(by=by, wanted=wanted)

    async def _declare(self, event_type: str, at: str, until: datetime) -> bool | None:
        """Let events of a type be entered under a place; tell whether older ones are, too; None for one too many.

        The record stays longer than each of the waits.
        """
        key = digest(event_type)
        for _ in range(TRIES):
            entry = await self._entries.get(PLACES, key)
            known = CorrelatedPlaces(type=event_type) if entry is None else decode(CorrelatedPlaces, entry.value)
            if at not in known.filled and len(known.filled) >= MAX_PLACES:
                return None
            stays = entry.expires_at if entry is not None else None
            if at in known.filled and stays is not None and stays >= until:
                return known.filled[at]
            longer = max(add_time(until, LONGEST_KEPT), stays or until)
            changed = known.but(filled={at: False, **known.filled})
            with suppress(Conflict):
                version = entry.version if entry is not None else 0
                await self._entries.put(PLACES, key, encode(changed), version=version, expires_at=longer)
                return changed.filled[at]
        raise Conflict(f"the places of {event_type} change all the time")

    async def _fill(self, event_type: str, at: str) -> None:
        """Enter under a place the events that have come before it was known."""
        walk = KeyWalk(self._entries, ARRIVED, bucket(event_type))
        while (noted := await walk.first()) is not None:
            walk.drop()
            entry = await self._entries.get(ARRIVALS, _name_in(noted))
            if entry is not None:
                arrival = decode(Arrival, entry.value)
                await self._note(buckets(arrival.event, (at,))[1:], entry, arrival)
        for _ in range(TRIES):
            places = await self._entries.get(PLACES, digest(event_type))
            if places is None:
                return
            known = decode(CorrelatedPlaces, places.value)
            changed = encode(known.but(filled={**known.filled, at: True}))
            with suppress(Conflict):
                await self._entries.put(
                    PLACES, places.key, changed, version=places.version, expires_at=places.expires_at
                )
                return

    async def _register(self, prefix: str, wait: EventWait, until: datetime) -> None:
        """Write down where the wait is, then the wait; each that is there already stays."""
        key = prefix + ordered(wait.by.since, wait.by.ticket_id)
        await self._claims.forget(wait.by.ticket_id, but=key)
        for space, name, value in ((WAIT_KEYS, wait.by.ticket_id, encode(key)), (WAITS, key, encode(wait))):
            known = await self._entries.get(space, name)
            if known is None or known.value != value or (known.expires_at is not None and known.expires_at < until):
                version = known.version if known is not None else 0
                await self._entries.put(space, name, value, version=version, expires_at=until)

    async def _look_back(self, prefix: str, wait: EventWait) -> None:
        """Give a wait the oldest event that it wants and that has come before."""
        earliest = add_time(wait.by.since, -time_span(wait.wanted.arrived_before_ms))
        walk = KeyWalk(self._entries, ARRIVED, prefix, after=prefix + ordered(earliest, ""))
        while (noted := await walk.first()) is not None:
            walk.drop()
            entry = await self._entries.get(ARRIVALS, _name_in(noted))
            arrival = decode(Arrival, entry.value) if entry is not None else None
            if entry is None or arrival is None or arrival.settled:
                await self._entries.remove(ARRIVED, noted.key, noted.version)
            elif await self._is_over(wait, entry, arrival):
                return

    async def _is_over(self, wait: EventWait, entry: Entry, arrival: Arrival) -> bool:
        """Give an event to a wait if it wants it and may have it; tell whether the wait needs no other one."""
        taker = arrival.taken_by
        if taker is None or await self._claims.settle(entry) is Fate.FREE:
            if not await self._fits(wait, arrival):
                return False
            taker = await self._claims.give(entry.key, wait.by)
            if taker is None:
                return not await self._claims.waits(wait.by)
        return taker.ticket_id == wait.by.ticket_id


def _left(ticket: Ticket, step: ChangeSet) -> bool:
    """Whether a ticket waits no longer by a step."""
    return any(
        one.ticket_id == ticket.ticket_id and one.from_status == TicketStatus.WAITING != one.to_status
        for one in step.history
    )


def _name_in(noted: Entry) -> str:
    """Return the key of the event that is entered under a key of `ARRIVED`."""
    return noted.key.rpartition("/")[2]
