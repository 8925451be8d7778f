"""Events and waits that race, in processes that die between any two writes: each event ends one wait, at most."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Conflict, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.placement.event_waits import ARRIVALS, ARRIVED, PLACES, WAIT_KEYS, WAITS, Arrival
from functions._core.ports import Entry, KeyValues
from functions._core.records.control import EventFilter
from functions._core.records.models import Ticket
from functions._core.records.record import decode
from functions._core.records.values import TicketStatus
from functions._engine.events_in import EventsIn
from tests.support.clocks import HandClock
from tests.support.waiting import TYPE, Waiters, about, users_event


class Dies(Exception):
    """The process is no more."""


class RacingEntries:
    """Small records whose every call lets others run in between; it may fail for ever after some number of calls."""

    def __init__(self, entries: KeyValues, chance: Random, calls: float) -> None:
        self._entries, self._chance, self._calls = entries, chance, calls

    async def _turn(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        self._calls -= 1
        if self._calls < 0:
            raise Dies

    async def get(self, space: str, key: str) -> Entry | None:
        await self._turn()
        return await self._entries.get(space, key)

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        await self._turn()
        return await self._entries.put(space, key, value, version=version, expires_at=expires_at)

    async def remove(self, space: str, key: str, version: int) -> bool:
        await self._turn()
        return await self._entries.remove(space, key, version)

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        await self._turn()
        return await self._entries.page(space, after, limit)


class Course:
    """A course of events, waits and deaths, drawn by `chance`."""

    def __init__(self, chance: Random, waits: int, events: int, dying: bool) -> None:
        self.chance, self.dying = chance, dying
        self.clock = HandClock()
        self.waiters = Waiters(MemoryStore().stores, self.clock)
        self.number_of_waits, self.number_of_events = waits, events
        self.tickets: list[Ticket] = []
        self.events: list[CloudEvent] = []
        self.unanswered: list[CloudEvent] = []

    def process(self) -> EventsIn:
        """Return a process that may die after some calls."""
        calls = self.chance.randrange(40) if self.dying and self.chance.random() < 0.6 else float("inf")
        racing = RacingEntries(self.waiters.ports.key_values, self.chance, calls)
        return self.waiters.process(replace(self.waiters.ports, key_values=racing))

    def wanted(self) -> EventFilter:
        kind = self.chance.randrange(4)
        if kind == 0:
            return EventFilter(type=TYPE)
        if kind == 1:
            return EventFilter(type=TYPE, filter=f"event.data.order == {self.chance.randrange(2)}")
        return about(self.chance.randrange(2), at=f"/order{self.chance.randrange(3)}")

    async def begin(self) -> None:
        ticket = await self.waiters.wait(self.wanted(), registered=False)
        self.tickets.append(ticket)
        await self.alive(self.process().begun(ticket))

    async def arrive(self) -> None:
        order = self.chance.randrange(2)
        event = users_event(len(self.events), data={"order": order, **{f"order{n}": order for n in range(3)}})
        self.events.append(event)
        times = range(self.chance.randrange(1, 3))
        answered = await asyncio.gather(*(self.alive(self.process().take(event)) for _ in times))
        if not any(answered):
            self.unanswered.append(event)

    async def time_out(self) -> None:
        waiting = [ticket for ticket in self.tickets if await self.waits(ticket)]
        if waiting:
            ticket = self.chance.choice(waiting)
            try:
                step = await self.waiters.times_out(ticket)
            except Conflict:
                return
            if self.chance.random() < 0.5:
                self.waiters.events_in.observe(step)

    async def alive(self, work: Awaitable[object]) -> bool:
        """Tell whether a process has done its work before it died."""
        with suppress(Dies, Conflict, Unavailable):
            await work
            return True
        return False

    async def waits(self, ticket: Ticket) -> bool:
        now = (await self.waiters.ports.store.tickets([ticket.ticket_id], ticket.flow_id))[ticket.ticket_id]
        return now.status is TicketStatus.WAITING

    async def run(self) -> None:
        jobs = [self.begin] * self.number_of_waits + [self.arrive] * self.number_of_events
        jobs += [self.time_out] * self.chance.randrange(3)
        self.chance.shuffle(jobs)
        while jobs:
            some = jobs[: self.chance.randrange(1, 6)]
            jobs = jobs[len(some) :]
            self.clock.move(1)
            await asyncio.gather(*(job() for job in some))
        for _ in range(2):  # senders repeat what was not answered, wake-ups come
            for event in self.unanswered:
                await self.waiters.events_in.take(event)
            for ticket in self.tickets:
                if await self.waits(ticket):
                    await self.waiters.events_in.begun(ticket)
        while self.waiters.events_in.busy:
            await asyncio.sleep(0)
        await self.check()

    async def check(self) -> None:
        given = [event for events in self.waiters.ended.values() for event in events]
        assert len(given) == len(set(given)), "an event has ended two waits"
        assert all(len(events) == 1 for events in self.waiters.ended.values()), "two events have ended one wait"
        arrivals = [
            decode(Arrival, entry.value) for entry in await self.waiters.ports.key_values.page(ARRIVALS, None, 1000)
        ]
        assert len(arrivals) == len(self.events), "an event is lost"
        ended = {(events[0], ticket_id) for ticket_id, events in self.waiters.ended.items()}
        given_to = {(one.event["id"], one.taken_by.ticket_id): one.settled for one in arrivals if one.taken_by}
        assert ended <= given_to.keys(), "an event has ended a wait that it was not given to"
        assert {pair for pair, settled in given_to.items() if settled} <= ended
        free = [
            one for one in arrivals if one.taken_by is None or (one.event["id"], one.taken_by.ticket_id) not in ended
        ]
        waiting = [ticket for ticket in self.tickets if await self.waits(ticket)]
        for ticket in waiting:
            assert not any(self.would_fit(ticket, arrival) for arrival in free), "an event and its wait have not met"

    def would_fit(self, ticket: Ticket, arrival: Arrival) -> bool:
        assert ticket.control is not None
        assert ticket.control.wait is not None
        wanted = ticket.control.wait.event
        assert wanted is not None
        order = arrival.event["data"]["order"]
        if wanted.correlation is not None:
            return bool(wanted.correlation.equals == order)
        return wanted.filter is None or wanted.filter == f"event.data.order == {order}"


@given(seed=st.integers(0, 2**32), waits=st.integers(0, 6), events=st.integers(0, 6), dying=st.booleans())
def test_every_event_ends_one_wait_at_most_and_none_is_lost(seed: int, waits: int, events: int, dying: bool) -> None:
    asyncio.run(Course(Random(seed), waits, events, dying).run())


class Gate:
    """Small records of which one call waits: the first one that begins to write or read in a space."""

    def __init__(self, entries: KeyValues, call: str, space: str) -> None:
        self._entries, self._stopped = entries, (call, space)
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    def __getattr__(self, call: str) -> Any:
        async def called(space: str, *arguments: Any, **more: Any) -> Any:
            if self._stopped == (call, space) and not self.reached.is_set():
                self.reached.set()
                await self.opened.wait()
            return await getattr(self._entries, call)(space, *arguments, **more)

        return called


@pytest.mark.parametrize(
    ("call", "space"),
    [
        ("get", ARRIVALS),
        ("put", ARRIVALS),
        ("put", ARRIVED),
        ("get", PLACES),
        ("page", WAITS),
    ],
)
async def test_an_event_that_is_held_up_anywhere_meets_waits_that_begin_meanwhile(call: str, space: str) -> None:
    waiters = Waiters(MemoryStore().stores, HandClock())
    gate: Any = Gate(waiters.ports.key_values, call, space)
    slow = waiters.process(replace(waiters.ports, key_values=gate))
    taking = asyncio.create_task(slow.take(users_event(7)))
    await gate.reached.wait()
    first = await waiters.wait(about(8))  # makes the place known, and enters what came before
    gate.opened.set()
    kept = await taking
    second = await waiters.wait(about(7))
    assert (kept.result, waiters.ended) == ("kept", {second.ticket_id: ["e-7"]})
    assert first.ticket_id not in waiters.ended


@pytest.mark.parametrize(
    ("call", "space"),
    [("get", PLACES), ("put", PLACES), ("put", WAIT_KEYS), ("put", WAITS), ("page", ARRIVED), ("get", ARRIVALS)],
)
async def test_a_wait_that_is_held_up_anywhere_meets_the_event_that_comes_meanwhile(call: str, space: str) -> None:
    waiters = Waiters(MemoryStore().stores, HandClock())
    await waiters.took(users_event(8))
    gate: Any = Gate(waiters.ports.key_values, call, space)
    slow = waiters.process(replace(waiters.ports, key_values=gate))
    ticket = await waiters.wait(EventFilter(type=TYPE, filter="event.data.order == 7"), registered=False)
    about_it = await waiters.wait(about(7), registered=False)
    for waits in (about_it, ticket):
        beginning = asyncio.create_task(slow.begun(waits))
        await asyncio.wait({beginning, asyncio.create_task(gate.reached.wait())}, return_when="FIRST_COMPLETED")
        await waiters.took(users_event(7, source=waits.flow_id))
        gate.opened.set()
        await beginning
    assert sorted(waiters.ended) == sorted((ticket.ticket_id, about_it.ticket_id))
