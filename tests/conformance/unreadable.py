"""What every store that keeps records as text must do with those that cannot be read."""

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Unreadable
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import CLEARANCES, FlowStatus, SecurityLevel, TicketStatus, Waiting
from tests.support.builders import (
    T0,
    make_action,
    make_audit,
    make_event,
    make_flow,
    make_history,
    make_letter,
    make_ticket,
    make_worker,
    seconds,
)

Damage = Callable[[RecordKind, str, Callable[[str], str]], Awaitable[None]]
"""Changes the stored text of a record; `history`, `audit` and `telemetry` name none: the first is meant."""

LEASE = seconds(10)


def _with(**changes: object) -> Callable[[str], str]:
    def change(doc: str) -> str:
        record: Mapping[str, Any] = json.loads(doc)
        return json.dumps({**record, **{name: value for name, value in changes.items() if name in record}})

    return change


WRONG = dict.fromkeys(("flow_id", "worker_id", "letter_id", "event_id", "id", "audit_id"), 7)
FAULTS: Mapping[str, Callable[[str], str]] = {
    "another kind of value": lambda _doc: "[1]",
    "missing fields": lambda _doc: "{}",
    "wrong types": _with(**WRONG, version="x"),
    "words and shapes of another version": _with(
        status="FROBNICATED", reported="FROBNICATED", kind="frobnication", reason="x", at="x", time="x", type=[]
    ),
}


class UnreadableSuite(ABC):
    @pytest.fixture
    @abstractmethod
    def stores(self) -> Stores:
        """Give new, empty stores that keep nothing at hand."""

    @pytest.fixture
    @abstractmethod
    def damage(self) -> Damage:
        """Give what damages a record of these stores."""

    @pytest.fixture(params=list(FAULTS))
    def fault(self, request: pytest.FixtureRequest) -> Callable[[str], str]:
        return FAULTS[request.param]

    async def test_one_worker_stops_no_discovery(
        self, stores: Stores, damage: Damage, fault: Callable[[str], str]
    ) -> None:
        for number in (1, 2, 3):
            await stores.registry.put(make_worker(number))
        await damage(RecordKind.WORKER, "worker-2", fault)
        told: list[str] = []
        stores.set_aside.told = lambda record: told.append(record.record_id)
        for _ in range(3):
            assert await stores.registry.workers() == [make_worker(1), make_worker(3)]
        assert told == ["worker-2"]
        with pytest.raises(Unreadable, match="worker-2") as refused:
            await stores.registry.worker("worker-2")
        assert refused.value.version == 1
        assert await stores.registry.remove("worker-2", 1) is True
        assert stores.set_aside.records() == []
        await stores.registry.put(make_worker(2))
        assert len(await stores.registry.workers()) == 3

    async def test_one_flow_stops_no_other(self, stores: Stores, damage: Damage, fault: Callable[[str], str]) -> None:
        flows = [make_flow(number, next_wakeup_at=T0 + seconds(number)) for number in range(1, 5)]
        for flow in flows:
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow))
        for bad in (flows[3], flows[1]):
            await damage(RecordKind.FLOW, bad.flow_id, fault)
        page, cursor = await stores.views.flows(status=None, cursor=None, limit=1)
        assert page == [flows[2]]
        assert (await stores.views.flows(status=None, cursor=cursor, limit=1))[0] == [flows[0]]
        assert (await stores.views.flows(status="VALIDATING", cursor=None, limit=9)) == ([flows[2], flows[0]], None)
        with pytest.raises(Unreadable, match="flow"):
            await stores.store.flow(flows[1].flow_id)
        due = await stores.wakeups.claim_due(T0 + seconds(9), 10, LEASE)
        assert {one.record_id for one in due} == {flow.flow_id for flow in flows}
        assert await stores.wakeups.claim_due(T0 + seconds(9), 10, LEASE) == []
        await stores.statistics.deadlines()
        await stores.statistics.flows(None)
        found = await stores.statistics.under_way(2)
        assert {flow.flow_id for flow in found} == {flows[0].flow_id, flows[2].flow_id}
        await stores.views.counts()
        assert {one.record_id for one in stores.set_aside.records(RecordKind.FLOW)} == {
            flows[1].flow_id,
            flows[3].flow_id,
        }

    async def test_one_ticket_stops_no_other(self, stores: Stores, damage: Damage, fault: Callable[[str], str]) -> None:
        flow = make_flow(next_wakeup_at=None)
        waiting = [make_ticket(flow, n, waiting=Waiting.WORKER, next_wakeup_at=T0) for n in (1, 2, 3)]
        held = [
            make_ticket(flow, n, status=TicketStatus.ASSIGNED, worker_id="worker-1", assigned_at=T0 + seconds(n))
            for n in (4, 5, 6)
        ]
        tickets = (*waiting, *held)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=tickets))
        for bad in (waiting[0], held[0]):
            await damage(RecordKind.TICKET, bad.ticket_id, fault)
        good = [ticket for ticket in tickets if ticket not in (waiting[0], held[0])]
        assert _ids(await stores.store.tickets_of(flow.flow_id)) == _ids(good)
        asked = [ticket.ticket_id for ticket in tickets]
        assert set(await stores.store.tickets(asked, flow.flow_id)) == set(_ids(good))
        with pytest.raises(Unreadable, match="ticket"):
            await stores.store.tickets([waiting[0].ticket_id])
        page, cursor = await stores.views.find_tickets({"flow_id": flow.flow_id}, None, 1)
        assert _ids(page) == _ids(good[:1])
        rest, _ = await stores.views.find_tickets({"flow_id": flow.flow_id}, cursor, 9)
        assert _ids(rest) == _ids(good[1:])
        assert await stores.ticket_counts.active() == {"worker-1": 3}
        assert set(_ids(await stores.ticket_counts.held_by("worker-1", 1))) <= set(_ids(held[1:]))
        assert _ids(await stores.ticket_counts.held_by("worker-1", 2)) == _ids(held[1:])
        claimed = [*await stores.wakeups.claim_waiting(None, T0, 1, LEASE)]
        claimed += await stores.wakeups.claim_waiting(None, T0, 1, LEASE)
        assert sorted(_ids(claimed)) == sorted(_ids(waiting[1:]))
        due = await stores.wakeups.claim_due(T0 + seconds(1), 9, LEASE)
        assert {one.record_id for one in due} == set(_ids(waiting))
        named = stores.set_aside.records(RecordKind.TICKET, flow_id=flow.flow_id)
        assert {record.record_id for record in named} == {waiting[0].ticket_id, held[0].ticket_id}

    @pytest.mark.parametrize("text", ["[1]", "{}", '"build"', "[[]]"])
    async def test_one_requirement_stops_no_other_ticket(self, stores: Stores, damage: Damage, text: str) -> None:
        flow = make_flow(next_wakeup_at=None)
        tickets = tuple(
            make_ticket(flow, n, waiting=Waiting.WORKER, required_capabilities=(f"c{n}",), next_wakeup_at=T0)
            for n in (1, 2, 3)
        )
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=tickets))
        await damage(RecordKind.REQUIREMENT, tickets[0].ticket_id, lambda _text: text)
        told: list[str] = []
        stores.set_aside.told = lambda record: told.append(record.kind)
        for number in (1, 2):
            await stores.wakeups.line(flow.flow_id, tickets[1].requirement)
            claimed = await stores.wakeups.claim_waiting(None, T0 + number * 2 * LEASE, 9, LEASE)
            assert sorted(_ids(claimed)) == sorted(_ids(tickets[1:]))
            await stores.store.tickets_of(flow.flow_id)
        assert told == ["requirement"]
        assert len(stores.set_aside.records()) == 1
        # What the ticket is searched for by is written again with it.
        again = tickets[0].but(version=2, required_capabilities=("c4",))
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(again,)))
        assert _ids(await stores.wakeups.claim_waiting({"c4", *CLEARANCES[SecurityLevel.INTERNAL]}, T0, 9, LEASE)) == [
            again.ticket_id
        ]

    async def test_one_letter_stops_no_other(self, stores: Stores, damage: Damage, fault: Callable[[str], str]) -> None:
        letters = [make_letter(number) for number in (1, 2, 3)]
        for letter in letters:
            await stores.dead_letters.put(letter)
        await damage(RecordKind.DEAD_LETTER, "letter-3", fault)
        page, cursor = await stores.dead_letters.letters(None, 1)
        assert page == [letters[1]]
        assert await stores.dead_letters.letters(cursor, 1) == ([letters[0]], None)
        with pytest.raises(Unreadable, match="letter-3"):
            await stores.dead_letters.letter("letter-3")
        assert await stores.dead_letters.drop("letter-3") is True
        assert stores.set_aside.records() == []

    async def test_one_queued_event_stops_no_other_and_can_be_buried(
        self, stores: Stores, damage: Damage, fault: Callable[[str], str]
    ) -> None:
        events = [make_event(number) for number in (1, 2, 3)]
        for event in events:
            await stores.queue.enqueue([event])
        await damage(RecordKind.QUEUED_EVENT, "event-1", fault)
        first = await stores.queue.pending(0, 1)
        assert [queued.event.id for queued in first] == ["event-2"]
        rest = await stores.queue.pending(first[-1].position, 9)
        assert [queued.event.id for queued in rest] == ["event-3"]
        (record,) = stores.set_aside.records(RecordKind.QUEUED_EVENT)
        assert record.record_id == "event-1"
        assert record.raw
        await stores.queue.dead_letter("event-1", make_letter(1))
        assert stores.set_aside.records() == []
        assert await stores.queue.depth() == 2

    async def test_one_entry_of_telemetry_stops_no_other(
        self, stores: Stores, damage: Damage, fault: Callable[[str], str]
    ) -> None:
        for number in (1, 2, 3):
            await stores.store.commit(ChangeSet(flow_id="f", telemetry=(make_event(number, "telemetry.frame"),)))
        await damage(RecordKind.TELEMETRY, "", fault)
        first = await stores.telemetry_buffer.oldest(1)
        assert [event.id for _, _, event in first] == ["event-2"]
        assert [event.id for _, _, event in await stores.telemetry_buffer.oldest(9, after=first[0][0])] == ["event-3"]
        (record,) = stores.set_aside.records(RecordKind.TELEMETRY)
        await stores.telemetry_buffer.forget([int(record.record_id)])
        assert await stores.telemetry_buffer.size() == 2
        assert stores.set_aside.records() == []

    async def test_one_line_of_history_stops_no_other(
        self, stores: Stores, damage: Damage, fault: Callable[[str], str]
    ) -> None:
        flow = make_flow(next_wakeup_at=None)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, history=(make_history(flow, 1),)))
        for number in (2, 3):
            changed = flow.but(version=number)
            await stores.store.commit(
                ChangeSet(flow_id=flow.flow_id, flow=changed, history=(make_history(flow, number),))
            )
        await damage(RecordKind.HISTORY, "", fault)
        for flow_id in (flow.flow_id, None):
            first = await stores.views.history(flow_id, 0, 1)
            assert [entry.cause for entry in first] == ["event-2"]
            rest = await stores.views.history(flow_id, first[-1].seq, 9)
            assert [entry.cause for entry in rest] == ["event-3"]
        assert len(stores.set_aside.records(RecordKind.HISTORY, flow_id=flow.flow_id)) == 1

    async def test_one_audit_stops_no_other(self, stores: Stores, damage: Damage, fault: Callable[[str], str]) -> None:
        flow = make_flow(next_wakeup_at=None)
        for number in (1, 2, 3):
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, audit=(make_audit(flow, number),)))
        await damage(RecordKind.AUDIT, "", fault)
        for flow_id in (flow.flow_id, None):
            assert [audit.audit_id for audit in await stores.views.audits(flow_id, 9)] == ["audit-3", "audit-2"]
        assert len(stores.set_aside.records(RecordKind.AUDIT)) == 1

    async def test_retention_passes_over_what_cannot_be_read(
        self, stores: Stores, damage: Damage, fault: Callable[[str], str]
    ) -> None:
        flows = [
            make_flow(n, status=FlowStatus.COMPLETED, outcome="COMPLETED", ended_at=T0, next_wakeup_at=None)
            for n in (1, 2)
        ]
        for flow in flows:
            ticket = make_ticket(flow, status=TicketStatus.COMPLETED, next_wakeup_at=None)
            history = (make_history(flow), make_history(flow, 2, ticket_id=ticket.ticket_id))
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=(ticket,), history=history))
            await damage(RecordKind.TICKET, ticket.ticket_id, fault)
        await damage(RecordKind.FLOW, flows[0].flow_id, fault)
        await damage(RecordKind.HISTORY, "", fault)
        await stores.store.commit(ChangeSet(flow_id="", audit=(make_action(1),)))
        await stores.views.flows(status=None, cursor=None, limit=9)
        for _ in range(9):
            if not await stores.retention.forget_ended(T0 + seconds(1), 5):
                break
        assert await stores.views.flows(status=None, cursor=None, limit=9) == ([], None)
        assert (await stores.views.counts())["flows"] == {}
        assert await stores.views.audits(None, 9) == []
        assert stores.set_aside.records(RecordKind.FLOW, RecordKind.TICKET) == []

    async def test_what_is_repaired_is_no_longer_set_aside(self, stores: Stores, damage: Damage) -> None:
        await stores.registry.put(make_worker(1))
        kept: list[str] = []

        def spoil(doc: str) -> str:
            kept.append(doc)
            return "{}"

        await damage(RecordKind.WORKER, "worker-1", spoil)
        assert await stores.registry.workers() == []
        assert len(stores.set_aside.records()) == 1
        await damage(RecordKind.WORKER, "worker-1", lambda _doc: kept[0])
        assert await stores.registry.workers() == [make_worker(1)]
        assert stores.set_aside.records() == []


def _ids(tickets: Any) -> list[str]:
    found: list[Ticket] = list(tickets)
    return [ticket.ticket_id for ticket in found]
