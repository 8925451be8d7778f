"""What every store must do for outputs of any size that a report may have: keep them, move them, forget them."""

from random import Random

import pytest

from functions._adapters.stores import Stores
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus, Outcome, TicketStatus
from functions.api.services import MAX_REPORT
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, later, make_flow, make_plan, make_step, seconds

KIB = 1024


def noise(size: int) -> str:
    """Return so many characters that no compression makes much smaller than half."""
    return Random(1).randbytes(size // 2).hex()


class OutputsSuite(StoresSuite):
    @pytest.mark.parametrize("size", [0, 32 * KIB, 400 * KIB, MAX_REPORT], ids=["0", "32 KiB", "400 KiB", "1 MiB"])
    async def test_an_output_is_kept_whatever_its_size_moves_with_its_ticket_and_goes_with_its_flow(
        self, stores: Stores, size: int
    ) -> None:
        flow = make_flow(status=FlowStatus.EXECUTING)
        plan = make_plan(flow, 3)
        await stores.store.commit(make_step(flow, *plan))
        ended = {"status": TicketStatus.COMPLETED, "completed_at": T0, "next_wakeup_at": None}
        done = [later(ticket, output={"text": noise(size)}, **ended) for ticket in plan[:2]]
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=tuple(done)))
        assert await stores.store.tickets([done[0].ticket_id], flow.flow_id) == {done[0].ticket_id: done[0]}
        assert await stores.store.tickets_of(flow.flow_id) == [*done, plan[2]]
        assert await stores.store.tickets_of(flow.flow_id, live_only=True) == [plan[2]]
        undoing = later(done[0], status=TicketStatus.COMPENSATING)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(undoing,)))
        page, _ = await stores.views.find_tickets({"flow_id": flow.flow_id}, None, 10)
        assert page == [undoing, done[1], plan[2]]
        again = later(undoing, status=TicketStatus.PENDING, output=None)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(again,)))
        assert await stores.store.tickets([again.ticket_id]) == {again.ticket_id: again}
        outcome = {"status": FlowStatus.COMPLETED, "outcome": Outcome.COMPLETED}
        over = later(flow, ended_at=T0, next_wakeup_at=None, **outcome)
        await stores.store.commit(make_step(over, *(later(one, **ended) for one in (again, plan[2]))))
        while await stores.retention.forget_ended(T0 + seconds(1), 100):
            pass
        assert await stores.store.tickets([ticket.ticket_id for ticket in plan]) == {}
        assert await self.leftovers(stores) == 0

    async def leftovers(self, stores: Stores) -> int:  # noqa: ARG002 a store whose outputs are apart looks
        """Return how many rows are left once everything is forgotten."""
        return 0
