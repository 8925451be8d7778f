"""The worker time of tickets that a platform has done: retried and hedged ones have all of their attempts."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from functions._core.events.commands import HedgeRequest
from functions._core.learning.history_reader import ended_between
from functions._core.learning.worker_time import of_history
from functions._core.records.values import add_time, milliseconds
from tests.support.http_api import running_api
from tests.support.world import LocalWorld, decision, report_event, task, until

SECOND = timedelta(seconds=1)
MISHAP = {"error": {"type": "mishap", "message": "once", "retryable": True}, "status": "FAILED"}


async def row_of(world: LocalWorld, flow_id: str) -> Any:
    """Return the row of the only ticket of an ended flow, as it is read for learning."""
    flow = await world.ended(flow_id)
    assert flow.ended_at is not None
    one = await ended_between(
        world.ports, flow.received_at, add_time(flow.ended_at, SECOND), 10, now=add_time(flow.ended_at, SECOND * 600)
    )
    return one.flows[0][1][0]


async def test_a_retried_ticket_has_the_time_of_both_attempts(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        world = api.world
        await world.register("w-1")
        world.workers.behave = lambda one: MISHAP if one["attempt"] == 1 else {"status": "COMPLETED"}
        retry = {"initial_interval_ms": 1, "max_interval_ms": 1}
        row = await row_of(world, flow_id := await world.submit(decision(task("a", retry_policy=retry))))
        lines = await world.ports.views.history(flow_id, 0, 500)
        given = [one.at for one in lines if one.type == "ticket.assigned"]
        over = [one.at for one in lines if one.type in {"ticket.retried", "ticket.completed"}]
        spans = [milliseconds(end - begin) for begin, end in zip(given, over, strict=True)]
        assert (row.attempts, len(spans), row.worker_ms) == (2, 2, sum(spans))


async def test_a_hedged_ticket_has_the_time_of_both_and_its_history_tells_the_same(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        world = api.world
        world.workers.behave = lambda _assignment: None
        for worker_id in ("w1", "w2"):
            await world.register(worker_id)
        flow_id = await world.submit(decision(task("a")))
        ticket = await world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "held")
        await world.platform.order(HedgeRequest(flow_id=flow_id, ticket_id=ticket.ticket_id))

        async def sent() -> Any:
            return next((one for one in world.workers.assignments if one["attempt"] == 2), None)

        second = await until(sent, "the second attempt to be sent")
        await world.platform.report(report_event(second, status="COMPLETED"))
        row = await row_of(world, flow_id)
        lines = await world.ports.views.history(flow_id, 0, 500)
        assert row.worker_ms == of_history(lines)[ticket.ticket_id]
        assert row.hedged
        assert row.worker_ms > (row.actual_ms or 0)
