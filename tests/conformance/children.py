"""What every store must do for waiting, skipped and child tickets, which come in commits after that of the plan."""

from collections.abc import Sequence

import pytest

from functions._adapters.stores import Stores
from functions._core.records.change_set import ChangeSet
from functions._core.records.control import Approval, Children, Control, Foreach, OnSkipped
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, TaskType, TicketStatus, Waiting, ticket_id_of
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, later, make_flow, make_plan, make_step, make_ticket, seconds

FLOW = make_flow(status=FlowStatus.EXECUTING)


def make_child(parent: Ticket, index: int, **changes: object) -> Ticket:
    """Build the child of `parent` for one item of its list; it waits for its turn."""
    task_id = f"{parent.task_id}[{index}]"
    fields = {
        "ticket_id": ticket_id_of(FLOW.flow_id, task_id),
        "task_id": task_id,
        "parent": parent.ticket_id,
        "index": index,
        "item": {"größe": [index, None]},
        "waiting": Waiting.TURN,
        "waiting_since": T0,
        "labels": {"region": f"eu-{index}"},
    }
    return make_ticket(FLOW, index, **{**fields, **changes})


class ChildrenSuite(StoresSuite):
    batches = (120, 120, 20)
    """Children that are made in one commit each; a transaction and a read by keys of DynamoDB hold 100."""

    @pytest.fixture
    async def parent(self, stores: Stores) -> Ticket:
        """Commit a plan of three tickets, of which the second one has children."""
        plan = make_plan(
            FLOW, 3, control=Control(foreach=Foreach(items=[1, 2]), when="true"), waiting=Waiting.DISCOVERY
        )
        await stores.store.commit(make_step(FLOW, *plan))
        return plan[1]

    async def expand(self, stores: Stores, parent: Ticket) -> tuple[Ticket, Sequence[Ticket]]:
        """Make the children, in batches; return the parent as it is then, and the children."""
        made: list[Ticket] = []
        total = sum(self.batches)
        for size in self.batches:
            batch = [make_child(parent, len(made) + place) for place in range(size)]
            made += batch
            progress = Children(total=total, made=len(made))
            waiting = {"status": TicketStatus.WAITING, "waiting": Waiting.CHILDREN, "children": progress}
            parent = later(parent, **waiting)
            await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=(parent, *batch)))
        return parent, made

    async def test_every_new_field_is_read_back(self, stores: Stores) -> None:
        control = Control(
            when='outputs["a"] > 1', on_skipped=OnSkipped.ANY, allow_failure=True, approval=Approval(form={"a": []})
        )
        ticket = make_ticket(
            FLOW,
            task_type=TaskType.APPROVE,
            status=TicketStatus.WAITING,
            waiting=Waiting.APPROVAL,
            control=control,
            children=Children(total=3, made=2, completed=1),
            labels={"team": "größe"},
        )
        flow = FLOW.but(
            labels={"team": "a"}, tolerated={"FAILED": 2}, clock_waits={ticket.ticket_id: T0}, tickets_generated=1
        )
        await stores.store.commit(make_step(flow, ticket))
        assert await stores.store.flow(flow.flow_id) == flow
        assert await stores.store.tickets([ticket.ticket_id]) == {ticket.ticket_id: ticket}
        changed = later(ticket, children=Children(total=3, made=3), waiting=Waiting.EVENT, until=T0)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(changed,)))
        assert await stores.store.tickets_of(flow.flow_id) == [changed]

    async def test_a_waiting_ticket_is_live_and_a_skipped_one_is_not(self, stores: Stores) -> None:
        waiting, skipped, pending = make_plan(FLOW, 3)
        await stores.store.commit(make_step(FLOW, waiting, skipped, pending))
        waiting = later(waiting, status=TicketStatus.WAITING, waiting=Waiting.MOMENT, next_wakeup_at=T0 + seconds(5))
        skipped = later(skipped, status=TicketStatus.SKIPPED, waiting=None, next_wakeup_at=None)
        await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=(waiting, skipped)))
        assert await stores.store.tickets_of(FLOW.flow_id, live_only=True) == [waiting, pending]
        assert await stores.ticket_counts.live(FLOW.flow_id, 9) == 2
        counts = await stores.ticket_counts.by_status(FLOW.flow_id)
        assert (counts["WAITING"], counts["SKIPPED"], counts["PENDING"]) == (1, 1, 1)
        assert (await stores.views.counts())["tickets"] == {"WAITING": 1, "SKIPPED": 1, "PENDING": 1}
        assert await stores.views.find_tickets({"status": "waiting"}, None, 9) == ([waiting], None)
        assert await stores.ticket_counts.fitting({"status": "skipped"}, 9) == 1
        assert await stores.ticket_counts.active() == {}
        due = await stores.wakeups.claim_due(T0 + seconds(6), 9, seconds(1))
        assert [one.record_id for one in due] == [waiting.ticket_id]

    async def test_children_follow_the_plan_by_index(self, stores: Stores, parent: Ticket) -> None:
        parent, children = await self.expand(stores, parent)
        found = await stores.store.tickets_of(FLOW.flow_id)
        assert [ticket.task_id for ticket in found[:3]] == ["task-1", "task-2", "task-3"]
        assert found[1] == parent
        assert found[3:] == children
        assert (await stores.ticket_counts.by_status(FLOW.flow_id))["PENDING"] == 2 + len(children)
        assert await stores.ticket_counts.live(FLOW.flow_id, 1_000) == 3 + len(children)

    async def test_children_are_read_by_id_and_end_one_by_one(self, stores: Stores, parent: Ticket) -> None:
        parent, children = await self.expand(stores, parent)
        wanted = {child.ticket_id: child for child in children[60:200]}
        assert await stores.store.tickets(list(wanted), FLOW.flow_id) == wanted
        assert await stores.store.tickets(list(wanted)) == wanted
        first = later(children[0], status=TicketStatus.COMPLETED, waiting=None, output=[1], next_wakeup_at=None)
        counted = later(parent, children=Children(total=len(children), made=len(children), begun=1, completed=1))
        await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=(first, counted)))
        ids = [parent.ticket_id, first.ticket_id]
        assert await stores.store.tickets(ids, FLOW.flow_id) == {parent.ticket_id: counted, first.ticket_id: first}

    async def test_children_of_a_ticket_come_in_pages(self, stores: Stores, parent: Ticket) -> None:
        _, children = await self.expand(stores, parent)
        filters = {"flow_id": FLOW.flow_id, "parent": parent.ticket_id}
        first, cursor = await stores.views.find_tickets(filters, None, 150)
        second, end = await stores.views.find_tickets(filters, cursor, 150)
        assert [*first, *second] == children
        assert end is None
        assert await stores.ticket_counts.fitting(filters, 1_000) == len(children)
        assert (await stores.views.find_tickets({"parent": parent.ticket_id}, None, 1))[0] == [children[0]]
        nobody = {"flow_id": FLOW.flow_id, "parent": children[0].ticket_id}
        assert await stores.views.find_tickets(nobody, None, 10) == ([], None)

    async def test_a_child_that_is_written_whole_keeps_its_parent(self, stores: Stores, parent: Ticket) -> None:
        child = make_child(parent, 0)
        await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=(later(parent), child)))
        changed = later(child, description="Do it another way.", item=7, hash="e" * 64)
        step = ChangeSet(flow_id=FLOW.flow_id, tickets=(changed,), rewritten=frozenset({child.ticket_id}))
        await stores.store.commit(step)
        assert await stores.store.tickets([child.ticket_id]) == {child.ticket_id: changed}
        assert (await stores.views.find_tickets({"parent": parent.ticket_id}, None, 9))[0] == [changed]

    async def test_retention_removes_children(self, stores: Stores, parent: Ticket) -> None:
        parent, children = await self.expand(stores, parent)
        ended = [later(child, status=TicketStatus.SKIPPED, waiting=None, next_wakeup_at=None) for child in children]
        await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=tuple(ended)))
        over = later(FLOW, status=FlowStatus.COMPLETED, outcome="COMPLETED", ended_at=T0, next_wakeup_at=None)
        await stores.store.commit(make_step(over))
        while await stores.retention.forget_ended(T0 + seconds(1), 200):
            pass
        assert await stores.store.tickets_of(FLOW.flow_id) == []
        assert await stores.store.flow(FLOW.flow_id) is None
        assert await stores.store.tickets([parent.ticket_id, children[0].ticket_id]) == {}
