"""One event and the wait that it is given to: by one change of its record, settled by what its ticket becomes.

    free      no wait has it
    given     one wait has it, no other one may; whether it has ended that wait is to be found out
    settled   it has ended that wait, for good

The record is changed under its version, so that one wait gets the event. Then the ticket is told; the version of the
ticket lets one event end it. An event that came too late for its ticket is free again. Whoever comes upon an event that
was given and not settled, as a process died in between, settles it: all of that can be repeated.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from enum import Enum

from functions._core.errors import Conflict, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.placement.event_waits import (
    ARRIVALS,
    ARRIVED,
    PLACES,
    WAIT_KEYS,
    WAITS,
    Arrival,
    CorrelatedPlaces,
    WaitingTicket,
    arrived_event,
    buckets,
    digest,
    ordered,
)
from functions._core.ports import Entry, Ports
from functions._core.records.models import Ticket
from functions._core.records.record import decode, encode
from functions._core.records.values import TicketStatus, Waiting
from functions._engine.dispatch import DispatchResult
from functions._engine.key_walk import remove
from functions._observability.logs import log

TRIES = 32
"""Reads of a record while others change it."""

HISTORY_PAGE = 500
"""Transitions that are read at once, to find the one that has ended a ticket."""

Tell = Callable[[CloudEvent], Awaitable[DispatchResult]]
"""Lets a flow handle an event of its own, see `Platform.handle`."""


class Fate(Enum):
    """The result of telling a ticket of the event that it was given."""

    TAKEN = "the event has ended the wait"
    HELD = "the ticket still waits, and cannot be ended now"
    FREE = "the ticket has ended otherwise"


class EventClaims:
    """Gives events to waits; `tell` is how a flow handles an event of its own."""

    def __init__(self, ports: Ports, tell: Tell) -> None:
        self._ports, self._entries, self._tell = ports, ports.key_values, tell

    async def give(self, key: str, by: WaitingTicket) -> WaitingTicket | None:
        """Give an event to a wait, unless another one has it; return the one that has it then.

        None when none has it: it is gone, or `by` has ended otherwise. A wait that was given the event and has ended
        otherwise does not count: the event is free by that, and nobody but the one who asks may see it.
        """
        for _ in range(TRIES):
            entry = await self._entries.get(ARRIVALS, key)
            if entry is None:
                return None
            taker = decode(Arrival, entry.value).taken_by
            if taker is None:
                taker = by
                try:
                    entry = await self._write(entry, decode(Arrival, entry.value).but(taken_by=by))
                except Conflict:
                    continue
            if await self.settle(entry) is not Fate.FREE:
                return taker
            if taker == by:
                return None
        raise Conflict(f"the record of event {key} changes all the time")

    async def settle(self, entry: Entry) -> Fate:
        """Tell the ticket that has an event, and record whether the event has ended its wait."""
        arrival = decode(Arrival, entry.value)
        by = arrival.taken_by
        if arrival.settled or by is None:
            return Fate.TAKEN if arrival.settled else Fate.FREE
        fate = await self._fate(arrived_event(arrival, by, self._ports.clock.now()), by)
        with suppress(Conflict):  # somebody else has found out the same
            if fate is Fate.TAKEN:
                without = {name: value for name, value in arrival.event.items() if name != "data"}
                await self._write(entry, arrival.but(event=without, settled=True))
                await self._leave(entry.key, arrival)
            elif fate is Fate.FREE:
                await self.forget(by.ticket_id, began=by.since)
                await self._write(entry, arrival.but(taken_by=None))
        return fate

    async def waits(self, by: WaitingTicket) -> bool:
        """Whether a ticket still waits, and by this wait."""
        return _waits(await self._ticket(by), by)

    async def forget(self, ticket_id: str, *, began: datetime | None = None, but: str | None = None) -> None:
        """Forget the wait of a ticket: the one that `began` then, if that is given, and none that has the key `but`."""
        named = await self._entries.get(WAIT_KEYS, ticket_id)
        key = decode(str, named.value) if named is not None else but
        if named is None or key is None or key == but:
            return
        if began is None or key.endswith(ordered(began, ticket_id)):
            await remove(self._entries, WAITS, key)
            await self._entries.remove(WAIT_KEYS, ticket_id, named.version)

    async def places(self, event_type: str) -> tuple[str, ...]:
        """Return the places that waits for events of a type ask about."""
        entry = await self._entries.get(PLACES, digest(event_type))
        return () if entry is None else tuple(decode(CorrelatedPlaces, entry.value).filled)

    async def _write(self, entry: Entry, arrival: Arrival) -> Entry:
        return await self._entries.put(
            ARRIVALS, entry.key, encode(arrival), version=entry.version, expires_at=entry.expires_at
        )

    async def _leave(self, key: str, arrival: Arrival) -> None:
        """Remove the entries of an event; one that is left over is removed by the wait that meets it."""
        for prefix in buckets(arrival.event, await self.places(arrival.event["type"])):
            await remove(self._entries, ARRIVED, prefix + ordered(arrival.arrived_at, key))

    async def _fate(self, told: CloudEvent, by: WaitingTicket) -> Fate:
        ticket = await self._ticket(by)
        if _waits(ticket, by):
            try:
                step = (await self._tell(told)).step
            except Rejected as refusal:
                log.warning("event.refused", flow_id=by.flow_id, ticket_id=by.ticket_id, error=str(refusal))
            else:
                if any(_ends(one.ticket_id, one.to_status, by) for one in step.history):
                    return Fate.TAKEN
            ticket = await self._ticket(by)
            if _waits(ticket, by):
                return Fate.HELD
        completed = ticket is not None and ticket.status is TicketStatus.COMPLETED
        return Fate.TAKEN if completed and await self._was_ended_by(told.id, by) else Fate.FREE

    async def _ticket(self, by: WaitingTicket) -> Ticket | None:
        return (await self._ports.store.tickets([by.ticket_id], by.flow_id)).get(by.ticket_id)

    async def _was_ended_by(self, told_id: str, by: WaitingTicket) -> bool:
        """Whether the history says that this event has completed the ticket: another process may have told it."""
        after = 0
        while page := await self._ports.views.history(by.flow_id, after, HISTORY_PAGE):
            if any(one.event_id == told_id and _ends(one.ticket_id, one.to_status, by) for one in page):
                return True
            after = page[-1].seq
        return False


def _waits(ticket: Ticket | None, by: WaitingTicket) -> bool:
    if ticket is None or ticket.status is not TicketStatus.WAITING or ticket.waiting is not Waiting.EVENT:
        return False
    return ticket.waiting_since == by.since


def _ends(ticket_id: str | None, to_status: str | None, by: WaitingTicket) -> bool:
    return ticket_id == by.ticket_id and to_status == TicketStatus.COMPLETED
