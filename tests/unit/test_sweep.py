"""The clock of the platform, where acting on one of the records that are due goes wrong."""

from datetime import timedelta

import pytest
import structlog

from functions._adapters.memory import MemoryStore
from functions._adapters.memory.sink import MemorySink
from functions._core.errors import Unavailable
from functions._core.ports import Due
from functions._core.records.change_set import ChangeSet
from functions._engine.clock import SystemClock
from functions._engine.sweep import PAGE, Sweeper
from functions._engine.tokens import JwtTokens
from tests.support.builders import make_flow, make_ticket
from tests.support.world import LocalWorkers


@pytest.mark.parametrize("error", [Unavailable("away"), KeyError("broken"), ValueError("broken")])
async def test_a_record_whose_handling_fails_keeps_no_other_waiting(error: Exception) -> None:
    clock, flow = SystemClock(), make_flow()
    store = MemoryStore().stores
    soon = clock.now() + timedelta(hours=1)
    plan = [make_ticket(flow, number, next_wakeup_at=clock.now()) for number in range(PAGE + 1)]
    await store.store.commit(
        ChangeSet(flow_id=flow.flow_id, tickets=(*plan, make_ticket(flow, 999, next_wakeup_at=soon)))
    )
    ports = store.ports(
        telemetry_sink=MemorySink(), gateway=LocalWorkers(), clock=clock, tokens=JwtTokens(b"k" * 32, clock)
    )
    acted: list[str] = []

    async def act(due: Due) -> None:
        if due.record_id == plan[7].ticket_id:
            raise error
        acted.append(due.record_id)

    async def no_rounds() -> None: ...

    with structlog.testing.capture_logs() as lines:
        await Sweeper(ports, act, no_rounds).sweep()
    assert sorted(acted) == sorted(ticket.ticket_id for ticket in plan if ticket is not plan[7])
    (line,) = lines
    assert (line["event"], line["record_id"]) == ("wakeup.failed", plan[7].ticket_id)
    assert (line["flow_id"], line["ticket_id"]) == (flow.flow_id, plan[7].ticket_id)
    assert ("exc_info" in line) == (not isinstance(error, Unavailable))
