"""Flows that stand still where a test wants them, and the check that their history tells everything."""

from collections.abc import Mapping
from typing import Any

from functions._core.machine.replay import StoredState, differences, fold
from functions._core.records.models import Ticket
from tests.support.world import LocalWorld, report_event, task, until

SAID: Mapping[str, Any] = {"requested_by": "ada", "reason": "because"}
DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))
REVIEWED: Mapping[str, Any] = {"final_decision": "review_required"}


def silent(_assignment: Mapping[str, Any]) -> None:
    """Take the ticket and say nothing more."""


def breaks_at(*task_ids: str) -> Any:
    """Behave like a worker whose tasks `task_ids` fail for good."""

    def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        if assignment["task_id"] in task_ids:
            return {"status": "FAILED", "error": {"type": "broken", "message": "it broke", "retryable": False}}
        return {"status": "COMPLETED", "output": {"by": assignment["task_id"]}}

    return behave


def done(_assignment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Behave like a worker that can do everything."""
    return {"status": "COMPLETED"}


async def taken(world: LocalWorld, task_id: str, attempt: int = 1) -> Mapping[str, Any]:
    """Wait until a worker has taken an attempt at a task and the platform knows it; return the assignment."""

    async def look() -> Mapping[str, Any] | None:
        for assignment in world.workers.assignments:
            if (assignment["task_id"], assignment["attempt"]) == (task_id, attempt):
                ticket = (await world.ports.store.tickets([assignment["ticket_id"]]))[assignment["ticket_id"]]
                return assignment if ticket.acknowledged_at or not ticket.live else None
        return None

    return await until(look, f"attempt {attempt} at {task_id}")


async def ticket_at(world: LocalWorld, flow_id: str, task_id: str, **wanted: Any) -> Ticket:
    """Wait until a ticket has the wanted values."""

    def there(ticket: Ticket) -> bool:
        return ticket.task_id == task_id and all(getattr(ticket, name) == value for name, value in wanted.items())

    return await world.ticket(flow_id, there, f"is {task_id} with {wanted}")


async def finish(world: LocalWorld, assignment: Mapping[str, Any], status: str = "COMPLETED") -> str:
    """Report the end of an assignment and return what came of it."""
    return (await world.platform.report(report_event(assignment, status=status))).result


async def assert_history_tells_all(world: LocalWorld, flow_id: str) -> None:
    """Check that history alone leads to the records, in whatever pages it is read."""
    entries = await world.ports.views.history(flow_id, 0, 10_000)
    flow = await world.ports.store.flow(flow_id)
    assert flow is not None
    folded = fold(entries)
    paged = None
    for entry in entries:
        paged = fold([entry], paged)
    assert paged == folded
    assert differences(folded, flow, map(StoredState.of, await world.ports.store.tickets_of(flow_id))) == ()
