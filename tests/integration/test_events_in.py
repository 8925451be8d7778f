"""Events of users end waits: each one wait, the oldest first, whichever of the two comes first, on every store."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Rejected
from functions._core.placement import event_waits
from functions._core.placement.event_waits import (
    ARRIVALS,
    ARRIVED,
    EVENT_BYTES,
    MAX_PLACES,
    WAIT_KEYS,
    WAITS,
    Arrival,
    WaitingTicket,
)
from functions._core.records.control import EventFilter
from functions._core.records.models import Ticket
from functions._core.records.record import decode, encode
from functions._core.records.values import format_time
from functions._engine import events_in as engine
from functions._engine.clock import SystemClock
from functions._engine.event_claims import EventClaims
from functions._engine.events_in import LONGEST_KEPT
from tests.support.builders import make_step
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.waiting import TYPE, Waiters, about, flow_of, settled, users_event


def by(ticket: Ticket) -> WaitingTicket:
    """Return the wait of a ticket, as the record of an event names it."""
    assert ticket.waiting_since is not None
    return WaitingTicket(
        flow_id=ticket.flow_id,
        ticket_id=ticket.ticket_id,
        task_id=ticket.task_id,
        correlation_id=ticket.correlation_id,
        traceparent="00-a-b-01",
        since=ticket.waiting_since,
    )


class EventsInSuite:
    @pytest.fixture
    async def waiters(self, stores: Stores) -> Waiters:
        return Waiters(stores, SystemClock())

    async def test_an_event_ends_the_wait_and_leaves_nothing_behind(self, waiters: Waiters) -> None:
        ticket = await waiters.wait()
        taken = await waiters.took(users_event())
        assert (taken.result, taken.flow_id, taken.ticket_id) == ("matched", ticket.flow_id, ticket.ticket_id)
        assert taken.kept_until is None
        assert waiters.ended == {ticket.ticket_id: ["e-1"]}
        await settled(waiters.events_in)
        assert await waiters.left(WAITS, WAIT_KEYS, ARRIVED) == []
        assert len(await waiters.left(ARRIVALS)) == 1  # by which a repetition is recognised

    async def test_an_event_that_comes_first_is_kept_and_ends_the_wait_when_it_begins(self, waiters: Waiters) -> None:
        taken = await waiters.took(users_event())
        assert taken.result == "kept"
        assert taken.kept_until is not None
        assert timedelta(minutes=59) < taken.kept_until - SystemClock().now() <= timedelta(hours=1)
        ticket = await waiters.wait()
        assert waiters.ended == {ticket.ticket_id: ["e-1"]}

    async def test_of_two_waits_the_older_one_gets_the_event_and_of_two_events_the_older_one_is_given(
        self, waiters: Waiters
    ) -> None:
        first, second = await self.two_waits(waiters)
        assert (await waiters.took(users_event(1))).ticket_id == first
        assert (await waiters.took(users_event(2))).ticket_id == second
        assert [(await waiters.took(users_event(number))).result for number in (3, 4)] == ["kept", "kept"]
        third, fourth = await self.two_waits(waiters)
        assert waiters.ended == {first: ["e-1"], second: ["e-2"], third: ["e-3"], fourth: ["e-4"]}

    async def two_waits(self, waiters: Waiters) -> list[str]:
        found = []
        for _ in range(2):
            found.append((await waiters.wait()).ticket_id)
            await asyncio.sleep(0.002)  # times are kept to the millisecond
        return found

    async def test_the_same_event_again_does_nothing_whenever_it_comes(self, waiters: Waiters) -> None:
        kept = await waiters.took(users_event())
        again = await waiters.took(users_event())
        assert (again.result, again.kept_until) == ("duplicate", kept.kept_until)
        first = await waiters.wait()
        second = await waiters.wait()
        again = await waiters.took(users_event())
        assert (again.result, again.ticket_id) == ("duplicate", first.ticket_id)
        assert second.ticket_id not in waiters.ended
        assert (await waiters.took(users_event(source="/another"))).result == "matched"

    async def test_source_subject_fact_and_condition_all_have_to_fit(self, waiters: Waiters) -> None:
        wanted = about(7, source="/shop", subject="s", filter="event.data.amount == 10")
        ticket = await waiters.wait(wanted)
        data = {"order": 7, "amount": 10}
        other: list[dict[str, Any]] = [
            {"source": "/other", "subject": "s", "data": data},
            {"subject": "t", "data": data},
            {"data": data},
            {"subject": "s", "data": {**data, "order": 8}},
            {"subject": "s", "data": {**data, "order": "7"}},
            {"subject": "s", "data": {**data, "order": [7]}},
            {"subject": "s", "data": {"amount": 10}},
            {"subject": "s", "data": None},
            {"subject": "s", "data": {**data, "amount": 11}},
            {"subject": "s", "data": data, "event_type": TYPE + "!"},
        ]
        for number, more in enumerate(other):
            assert (await waiters.took(users_event(number, **more))).result == "kept", more
        assert (await waiters.took(users_event("it", subject="s", data={**data, "order": 7.0}))).result == "matched"
        assert waiters.ended == {ticket.ticket_id: ["e-it"]}

    async def test_an_attribute_ties_an_event_to_a_flow_as_well(self, waiters: Waiters) -> None:
        by_subject = await waiters.wait(about("order/7", at="subject"))
        by_extension = await waiters.wait(about("k", at="partitionkey"))
        assert (await waiters.took(users_event(1, subject="order/7"))).ticket_id == by_subject.ticket_id
        assert (await waiters.took(users_event(2, extensions={"partitionkey": "k"}))).ticket_id == (
            by_extension.ticket_id
        )

    async def test_events_before_the_place_was_known_are_found_by_it_and_by_places_beyond_the_limit(
        self, waiters: Waiters
    ) -> None:
        for number in range(MAX_PLACES + 2):
            await waiters.took(users_event(number, data={f"k{number}": number}))
        tickets = [await waiters.wait(about(n, at=f"/k{n}")) for n in range(MAX_PLACES + 2)]
        assert waiters.ended == {ticket.ticket_id: [f"e-{n}"] for n, ticket in enumerate(tickets)}
        late = [await waiters.wait(about(n, at=f"/k{n}")) for n in range(MAX_PLACES + 2)]
        for number, ticket in enumerate(late):
            taken = await waiters.took(users_event(f"{number}b", data={f"k{number}": number}))
            assert taken.ticket_id == ticket.ticket_id

    async def test_an_event_that_came_too_long_before_is_not_taken(self, waiters: Waiters) -> None:
        await waiters.took(users_event())
        await asyncio.sleep(0.005)
        ticket = await waiters.wait(EventFilter(type=TYPE, arrived_before_ms=1))
        assert waiters.ended == {}
        assert (await waiters.took(users_event(2))).ticket_id == ticket.ticket_id

    async def test_an_event_whose_wait_has_ended_otherwise_goes_to_the_next_one(self, waiters: Waiters) -> None:
        gone = await waiters.wait()
        await asyncio.sleep(0.002)  # times are kept to the millisecond
        stays = await waiters.wait()
        await waiters.times_out(gone)
        assert (await waiters.took(users_event())).ticket_id == stays.ticket_id
        await settled(waiters.events_in)
        assert await waiters.left(WAITS) == []
        assert (await waiters.took(users_event(2))).result == "kept"

    async def test_waits_and_events_that_come_together_are_paired_each_once(self, waiters: Waiters) -> None:
        processes = [waiters.process() for _ in range(3)]
        tickets = [await waiters.wait(registered=False) for _ in range(6)]
        events = [users_event(number) for number in range(6)]
        await asyncio.gather(
            *(processes[n % 3].begun(ticket) for n, ticket in enumerate(tickets)),
            *(processes[(n + i) % 3].take(event) for n, event in enumerate(events) for i in (0, 1)),
        )
        assert sorted(waiters.ended) == sorted(ticket.ticket_id for ticket in tickets)
        assert sorted(one for given in waiters.ended.values() for one in given) == [f"e-{n}" for n in range(6)]

    async def test_an_event_that_was_given_without_success_goes_to_whoever_asks_next(self, waiters: Waiters) -> None:
        await waiters.took(users_event())
        gone, asks = [await waiters.wait(registered=False) for _ in range(2)]
        await waiters.times_out(gone)
        [entry] = await waiters.ports.key_values.page(ARRIVALS, None, 9)
        given = encode(decode(Arrival, entry.value).but(taken_by=by(gone)))  # by a process that knew of no end
        await waiters.ports.key_values.put(
            ARRIVALS, entry.key, given, version=entry.version, expires_at=entry.expires_at
        )
        assert await EventClaims(waiters.ports, waiters.tell).give(entry.key, by(asks)) == by(asks)
        assert waiters.ended == {asks.ticket_id: ["e-1"]}

    async def test_commits_register_and_forget_waits(self, waiters: Waiters) -> None:
        ticket = await waiters.wait(registered=False)
        waiters.events_in.observe(make_step(flow_of(ticket), ticket))
        await settled(waiters.events_in)
        assert len(await waiters.left(WAITS, WAIT_KEYS)) == 2
        waiters.events_in.observe(await waiters.times_out(ticket))
        await settled(waiters.events_in)
        assert await waiters.left(WAITS, WAIT_KEYS) == []

    async def test_a_flow_that_cannot_go_on_now_holds_the_event_until_the_ticket_looks_again(
        self, waiters: Waiters
    ) -> None:
        ticket = await waiters.wait()
        waiters.paused = True
        assert (await waiters.took(users_event())).ticket_id == ticket.ticket_id
        assert waiters.ended == {}
        await waiters.wait()
        waiters.paused = False
        await waiters.events_in.begun(ticket)
        assert waiters.ended == {ticket.ticket_id: ["e-1"]}


class TestMemory(OnMemory, EventsInSuite):
    """On memory."""


class TestSqlite(OnSqlite, EventsInSuite):
    """On SQLite."""


class TestPostgres(OnPostgres, EventsInSuite):
    """On PostgreSQL."""


class TestDynamo(OnDynamo, EventsInSuite):
    """On DynamoDB."""


class TestBounds(OnMemory):
    @pytest.fixture
    async def waiters(self, stores: Stores) -> Waiters:
        return Waiters(stores, SystemClock())

    async def test_an_event_that_is_too_large_is_refused_and_the_largest_one_is_taken(self, waiters: Waiters) -> None:
        room = EVENT_BYTES - 200
        with pytest.raises(Rejected) as refused:
            await waiters.took(users_event(data="x" * EVENT_BYTES))
        assert (refused.value.status, refused.value.code) == (413, "event_too_large")
        assert await waiters.left(*event_spaces()) == []
        ticket = await waiters.wait(EventFilter(type=TYPE, source="/shop", filter="é" * 4096))
        other = await waiters.wait(EventFilter(type=TYPE))
        taken = await waiters.took(users_event(data="x" * room))
        assert (taken.result, taken.ticket_id) == ("matched", other.ticket_id)
        assert ticket.ticket_id not in waiters.ended

    @pytest.mark.parametrize("said", ["tomorrow", "", "2020-01-01T00:00:00Z", "-1", "1e400"])
    async def test_an_event_that_has_expired_is_refused(self, waiters: Waiters, said: str) -> None:
        with pytest.raises(Rejected) as refused:
            await waiters.took(users_event(extensions={"expirytime": said}))
        assert (refused.value.status, refused.value.code[-7:]) in {
            (422, "expired"),
            (422, "rytime"[-7:]),
            (422, "rytime"),
        } or (refused.value.code in {"invalid_expirytime", "event_expired"})

    async def test_an_event_says_how_long_it_is_kept_up_to_thirty_days(self, waiters: Waiters) -> None:
        now = SystemClock().now()
        for after, kept in ((timedelta(days=2), timedelta(days=2)), (timedelta(days=3650), LONGEST_KEPT)):
            event = users_event(str(after), extensions={"expirytime": format_time(now + after)})
            until = (await waiters.took(event)).kept_until
            assert until is not None
            assert timedelta(0) <= until - (now + kept) < timedelta(minutes=5)

    async def test_beyond_the_most_that_are_kept_only_wanted_events_are_taken(
        self, waiters: Waiters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "MOST_KEPT", 5)
        await waiters.wait(about(99))
        for number in range(5):
            await waiters.took(users_event(number))
        before = await waiters.left(*event_spaces())
        with pytest.raises(Rejected) as refused:
            await waiters.took(users_event(6))
        assert (refused.value.status, refused.value.code) == (429, "too_many_kept")
        assert await waiters.left(*event_spaces()) == before
        assert (await waiters.took(users_event(99))).result == "matched"
        assert (await waiters.took(users_event(7, "another.type"))).result == "kept"
        await waiters.wait(about(3))
        assert (await waiters.took(users_event(6))).result == "kept"

    async def test_an_event_that_meets_too_many_waits_is_kept_and_a_dead_letter_says_so(
        self, waiters: Waiters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "MOST_WAITS", 3)
        for _ in range(4):
            await waiters.wait(EventFilter(type=TYPE, filter="event.data.order == 9"))
        assert (await waiters.took(users_event())).result == "kept"
        letters, _ = await waiters.ports.dead_letters.letters(None, 9)
        assert [(letter.reason.code, letter.event["id"]) for letter in letters] == [("too_many_waits", "e-1")]
        assert (await waiters.took(users_event(9))).result == "matched"


def event_spaces() -> tuple[str, ...]:
    return ARRIVALS, ARRIVED


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ("subject", "s"),
        ("data", event_waits.MISSING),
        ("nothing", event_waits.MISSING),
        ("/a/0/b~1c", 1),
        ("/a/1", event_waits.MISSING),
        ("/a/²", event_waits.MISSING),
        ("/a/999999999999999999999", event_waits.MISSING),
        ("/a/-1", event_waits.MISSING),
        ("/a/0/b~1c/d", event_waits.MISSING),
        ("/", event_waits.MISSING),
    ],
)
def test_a_place_is_an_attribute_or_leads_into_the_data(at: str, found: object) -> None:
    event = {"id": "1", "subject": "s", "data": {"a": [{"b/c": 1}]}}
    assert event_waits.fact_at(event, at) is found or event_waits.fact_at(event, at) == found
