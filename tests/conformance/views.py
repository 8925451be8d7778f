"""What every `Views` must do."""

from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Rejected
from functions._core.records.audits import AnyAudit, AuditKind
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, Priority, TicketStatus
from tests.conformance.suite import StoresSuite
from tests.support.builders import (
    T0,
    later,
    make_action,
    make_audit,
    make_flow,
    make_history,
    make_plan,
    make_step,
    make_ticket,
    seconds,
)


def flow_at(number: int, **changes: object) -> Flow:
    return make_flow(number, received_at=T0 + seconds(number), **changes)


async def put(stores: Stores, flow: Flow, *tickets: Ticket, **rest: object) -> None:
    await stores.store.commit(make_step(flow, *tickets, **rest))


async def all_flows(stores: Stores, limit: int, status: str | None = None) -> list[list[str]]:
    """Return the decision ids of each page."""
    pages, cursor = [], None
    while True:
        flows, cursor = await stores.views.flows(status=status, cursor=cursor, limit=limit)
        pages.append([flow.decision_id for flow in flows])
        if cursor is None:
            return pages


async def all_tickets(stores: Stores, limit: int = 10, **filters: str) -> list[list[str]]:
    """Return plan and task of each ticket of each page."""
    pages, cursor = [], None
    while True:
        tickets, cursor = await stores.views.find_tickets(filters, cursor, limit)
        pages.append([f"{ticket.plan_id}/{ticket.task_id}" for ticket in tickets])
        if cursor is None:
            return pages


async def flows_with(stores: Stores, *labels: str, limit: int = 10, **more: Any) -> list[list[str]]:
    """Return the decision ids of each page of flows with labels."""
    pages, cursor = [], None
    while True:
        flows, cursor = await stores.views.flows(status=more.get("status"), cursor=cursor, limit=limit, labels=labels)
        pages.append([flow.decision_id for flow in flows])
        if cursor is None:
            return pages


async def tickets_with(stores: Stores, *labels: str, limit: int = 10, **filters: str) -> list[list[str]]:
    """Return the task ids of each page of tickets with labels, which are as many as are counted."""
    pages, cursor = [], None
    while True:
        tickets, cursor = await stores.views.find_tickets(filters, cursor, limit, labels)
        pages.append([ticket.task_id for ticket in tickets])
        if cursor is None:
            assert await stores.ticket_counts.fitting(filters, 100, labels) == sum(map(len, pages))
            return pages


class ViewsSuite(StoresSuite):
    async def test_flows_are_found_by_all_of_their_labels(self, stores: Stores) -> None:
        marks = [{"team": "pay"}, {"team": "pay", "env": "prod"}, {}, {"team": "ops", "env": "prod"}, {"team": "pay"}]
        for number, labels in enumerate(marks, 1):
            await put(stores, flow_at(number, labels=labels))
        await put(stores, flow_at(6))
        assert await flows_with(stores, "team:pay") == [["decision-5", "decision-2", "decision-1"]]
        assert await flows_with(stores, "team:pay", limit=2) == [["decision-5", "decision-2"], ["decision-1"]]
        assert await flows_with(stores, "env:prod", "team:pay", "env:prod") == [["decision-2"]]
        assert await flows_with(stores, "env:prod", limit=1) == [["decision-4"], ["decision-2"]]
        for nothing in (("team:pay", "team:ops"), ("team:pa",), ("prod:env",), ("nobody:has-it",)):
            assert await flows_with(stores, *nothing) == [[]]
        assert await flows_with(stores, "team:pay", status="GENERATING") == [[]]
        assert len((await flows_with(stores, "team:pay", status="validating"))[0]) == 3
        assert len((await all_flows(stores, 10))[0]) == 6

    async def test_a_flow_gets_its_labels_as_it_leaves_validating(self, stores: Stores) -> None:
        flow = flow_at(1)
        await put(stores, flow)
        moved = later(flow, status=FlowStatus.GENERATING, labels={"team": "pay"})
        left = make_history(flow, from_status=FlowStatus.VALIDATING, to_status=FlowStatus.GENERATING, ticket_id=None)
        await put(stores, moved, history=(left,))
        again = later(moved, status=FlowStatus.EXECUTING)
        await put(stores, again)
        assert await flows_with(stores, "team:pay", status="EXECUTING") == [["decision-1"]]

    async def test_tickets_are_found_by_all_of_their_labels(self, stores: Stores) -> None:
        for number in (1, 2, 3):
            flow = flow_at(number, labels={"team": "pay"} if number < 3 else {})
            tickets = [
                make_ticket(flow, place, labels={**flow.labels, **({"kind": "build"} if place % 2 else {})})
                for place in range(1, 5)
            ]
            await put(stores, flow, *tickets)
        late = flow_at(2, labels={"team": "pay"})
        added = make_ticket(late, 9, labels={"team": "pay", "kind": "late"})
        await stores.store.commit(ChangeSet(flow_id=late.flow_id, tickets=(added,)))
        assert len((await tickets_with(stores, "team:pay"))[0]) == 9
        assert [len(page) for page in await tickets_with(stores, "team:pay", limit=4)] == [4, 4, 1]
        assert [len(page) for page in await tickets_with(stores, "kind:build", limit=4)] == [4, 2]
        assert len((await tickets_with(stores, "kind:build", "team:pay"))[0]) == 4
        assert await tickets_with(stores, "kind:late") == [[added.task_id]]
        assert len((await tickets_with(stores, "kind:build", flow_id=late.flow_id))[0]) == 2
        assert len((await tickets_with(stores, "team:pay", status="pending"))[0]) == 9
        assert await tickets_with(stores, "team:pay", status="FAILED") == [[]]
        assert await tickets_with(stores, "kind:build", "kind:late") == [[]]

    async def test_labels_of_a_ticket_that_is_written_anew_are_those_that_it_has_then(self, stores: Stores) -> None:
        flow = flow_at(1)
        ticket = make_ticket(flow, labels={"kind": "old"})
        await put(stores, flow, ticket)
        changed = later(ticket, labels={"kind": "new"})
        ids = frozenset({ticket.ticket_id})
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(changed,), rewritten=ids))
        assert await tickets_with(stores, "kind:new") == [[ticket.task_id]]
        assert await tickets_with(stores, "kind:old") == [[]]

    @pytest.mark.parametrize(
        "label", ["", "team", "team:", ":pay", "a:b:c", "te am:pay", "a:\x00", "%:_", "a:" + "b" * 64]
    )
    async def test_a_label_that_is_none_is_refused(self, stores: Stores, label: str) -> None:
        with pytest.raises(Rejected) as refused:
            await stores.views.flows(status=None, cursor=None, limit=1, labels=[label])
        assert refused.value.code == "invalid_filter"
        for ask in (stores.views.find_tickets({}, None, 1, [label]), stores.ticket_counts.fitting({}, 1, [label])):
            with pytest.raises(Rejected):
                await ask

    async def test_flows_come_in_pages_the_newest_first(self, stores: Stores) -> None:
        for number in range(1, 6):
            await put(stores, flow_at(number))
        assert await all_flows(stores, 2) == [
            ["decision-5", "decision-4"],
            ["decision-3", "decision-2"],
            ["decision-1"],
        ]

    async def test_a_full_last_page_says_that_nothing_follows(self, stores: Stores) -> None:
        assert await all_flows(stores, 2) == [[]]
        for number in (1, 2):
            await put(stores, flow_at(number))
        assert await all_flows(stores, 2) == [["decision-2", "decision-1"]]

    async def test_a_page_continues_where_the_last_ended_whatever_arrived(self, stores: Stores) -> None:
        flows = [flow_at(number) for number in range(1, 5)]
        for flow in flows:
            await put(stores, flow)
        first, cursor = await stores.views.flows(status=None, cursor=None, limit=2)
        await put(stores, flow_at(5))
        await put(stores, later(flows[0], status=FlowStatus.GENERATING))
        second, end = await stores.views.flows(status=None, cursor=cursor, limit=2)
        assert [flow.decision_id for flow in (*first, *second)] == [f"decision-{n}" for n in (4, 3, 2, 1)]
        assert end is None

    async def test_flows_are_filtered_by_status_in_any_case(self, stores: Stores) -> None:
        for number in range(1, 6):
            status = FlowStatus.COMPLETED if number % 2 else FlowStatus.EXECUTING
            await put(stores, flow_at(number, status=status))
        assert await all_flows(stores, 2, "COMPLETED") == [["decision-5", "decision-3"], ["decision-1"]]
        assert await all_flows(stores, 9, "completed") == [["decision-5", "decision-3", "decision-1"]]

    async def test_a_status_that_does_not_exist_is_rejected(self, stores: Stores) -> None:
        with pytest.raises(Rejected) as refusal:
            await stores.views.flows(status="DONE", cursor=None, limit=10)
        assert refusal.value.code == "invalid_filter"

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "²", "9" * 30])
    async def test_a_cursor_that_was_never_given_out_is_rejected(self, stores: Stores, cursor: str) -> None:
        with pytest.raises(Rejected) as refusal:
            await stores.views.flows(status=None, cursor=cursor, limit=10)
        assert refusal.value.code == "invalid_cursor"

    async def test_flows_and_tickets_are_counted_by_status(self, stores: Stores) -> None:
        assert await stores.views.counts() == {"flows": {}, "tickets": {}}
        for number in (1, 2, 3):
            flow = flow_at(number)
            await put(stores, flow, *make_plan(flow, 2))
        await put(stores, later(flow, status=FlowStatus.FAILED), make_ticket(flow, 3, status=TicketStatus.FAILED))
        assert await stores.views.counts() == {
            "flows": {"VALIDATING": 2, "FAILED": 1},
            "tickets": {"PENDING": 6, "FAILED": 1},
        }

    @pytest.fixture
    async def two_flows(self, stores: Stores) -> tuple[Flow, Flow]:
        one, two = flow_at(1), flow_at(2)
        await put(stores, one, *make_plan(one, 3, created_at=T0))
        await put(
            stores,
            two,
            make_ticket(two, 1, created_at=T0 + seconds(1), priority=Priority.HIGH),
            make_ticket(two, 2, created_at=T0 + seconds(1), status=TicketStatus.RUNNING, worker_id="worker-1"),
        )
        return one, two

    async def test_tickets_come_in_pages_oldest_first(self, stores: Stores, two_flows: tuple[Flow, Flow]) -> None:
        assert len(two_flows) == 2
        assert await all_tickets(stores, 2) == [
            ["plan-1/task-1", "plan-1/task-2"],
            ["plan-1/task-3", "plan-2/task-1"],
            ["plan-2/task-2"],
        ]

    async def test_each_filter_narrows_the_tickets(self, stores: Stores, two_flows: tuple[Flow, Flow]) -> None:
        one, two = two_flows
        of_one = [["plan-1/task-1", "plan-1/task-2", "plan-1/task-3"]]
        assert await all_tickets(stores, flow_id=one.flow_id) == of_one
        assert await all_tickets(stores, plan_id="plan-1") == of_one
        assert await all_tickets(stores, intent_id="intent-1") == of_one
        assert await all_tickets(stores, status="running") == [["plan-2/task-2"]]
        assert await all_tickets(stores, priority="High") == [["plan-2/task-1"]]
        assert await all_tickets(stores, worker_id="worker-1") == [["plan-2/task-2"]]
        assert await all_tickets(stores, flow_id=two.flow_id, status="PENDING") == [["plan-2/task-1"]]
        assert await all_tickets(stores, flow_id=one.flow_id, status="RUNNING") == [[]]

    async def test_a_filtered_page_continues_where_the_last_ended(
        self, stores: Stores, two_flows: tuple[Flow, Flow]
    ) -> None:
        one, _ = two_flows
        first, cursor = await stores.views.find_tickets({"flow_id": one.flow_id}, None, 2)
        await put(stores, later(one), make_ticket(one, 4), later(first[0], status=TicketStatus.COMPLETED))
        second, end = await stores.views.find_tickets({"flow_id": one.flow_id}, cursor, 2)
        assert [ticket.task_id for ticket in (*first, *second)] == ["task-1", "task-2", "task-3", "task-4"]
        assert end is None

    @pytest.mark.parametrize("name", ["doc", "colour", "ticket_id; --", ""])
    async def test_an_unknown_filter_is_rejected(self, stores: Stores, name: str) -> None:
        with pytest.raises(Rejected) as refusal:
            await stores.views.find_tickets({"status": "PENDING", name: "x"}, None, 10)
        assert refusal.value.code == "unknown_filter"

    @pytest.mark.parametrize("name", ["status", "priority"])
    async def test_a_word_that_does_not_exist_is_rejected(self, stores: Stores, name: str) -> None:
        with pytest.raises(Rejected) as refusal:
            await stores.views.find_tickets({name: "x"}, None, 10)
        assert refusal.value.code == "invalid_filter"

    async def test_transitions_come_in_the_order_of_their_commits(self, stores: Stores) -> None:
        one, two = flow_at(1), flow_at(2)
        await put(stores, one, history=(make_history(one, 1), make_history(one, 2, detail={"ключ": [1]})))
        await put(stores, two, history=(make_history(two, 3),))
        await put(stores, later(one), history=(make_history(one, 4),))
        entries = await stores.views.history(None, 0, 10)
        assert [entry.cause for entry in entries] == ["event-1", "event-2", "event-3", "event-4"]
        assert entries[1].but(seq=0) == make_history(one, 2, detail={"ключ": [1]})

    async def test_the_number_of_a_transition_grows_and_a_reader_goes_on_after_it(self, stores: Stores) -> None:
        one, two = flow_at(1), flow_at(2)
        for number in range(1, 6):
            flow = one if number % 2 else two
            history = (make_history(flow, number),)
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, history=history))
        for flow_id, causes in ((None, [1, 2, 3, 4, 5]), (one.flow_id, [1, 3, 5]), (two.flow_id, [2, 4])):
            seen, after = [], 0
            while entries := await stores.views.history(flow_id, after, 2):
                assert len(entries) <= 2
                assert after < entries[0].seq <= entries[-1].seq
                after = entries[-1].seq
                seen += [entry.cause for entry in entries]
            assert seen == [f"event-{number}" for number in causes]

    async def test_the_history_of_an_unknown_flow_is_empty(self, stores: Stores) -> None:
        assert await stores.views.history(make_flow().flow_id, 0, 10) == []

    async def test_audits_come_the_newest_first(self, stores: Stores) -> None:
        one, two = flow_at(1), flow_at(2)
        for number, flow in ((1, one), (2, two), (3, one)):
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, audit=(make_audit(flow, number),)))
        audits = await stores.views.audits(None, 10)
        assert [audit.audit_id for audit in audits] == ["audit-3", "audit-2", "audit-1"]
        assert await stores.views.audits(one.flow_id, 1) == [make_audit(one, 3)]
        assert await stores.views.audits(make_flow(3).flow_id, 10) == []

    @pytest.fixture
    async def audited(self, stores: Stores) -> None:
        one, two = flow_at(1), flow_at(2)
        audits: tuple[AnyAudit, ...] = (
            make_audit(one, 1),
            make_audit(two, 2, valid=False),
            make_action(3, flow_id=one.flow_id),
            make_action(4),
            make_audit(one, 5, valid=False),
        )
        for audit in audits:
            await stores.store.commit(ChangeSet(flow_id=audit.flow_id, audit=(audit,)))

    @pytest.mark.usefixtures("audited")
    @pytest.mark.parametrize(
        ("filters", "numbers"),
        [
            ({}, [5, 4, 3, 2, 1]),
            ({"kind": AuditKind.ACTION}, [4, 3]),
            ({"kind": AuditKind.VALIDATION}, [5, 2, 1]),
            ({"valid": False}, [5, 2]),
            ({"valid": True}, [1]),
            ({"kind": AuditKind.ACTION, "valid": True}, []),
        ],
    )
    async def test_each_filter_narrows_the_audits(
        self, stores: Stores, filters: dict[str, Any], numbers: list[int]
    ) -> None:
        one = flow_at(1).flow_id
        for flow_id, fitting in ((None, {1, 2, 3, 4, 5}), (one, {1, 3, 5})):
            audits = await stores.views.audits(flow_id, 10, **filters)
            assert [int(audit.audit_id[-1]) for audit in audits] == [n for n in numbers if n in fitting]

    @pytest.mark.usefixtures("audited")
    async def test_an_action_comes_back_as_it_was_kept(self, stores: Stores) -> None:
        assert await stores.views.audits(None, 1, kind=AuditKind.ACTION) == [make_action(4)]
