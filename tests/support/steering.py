"""Words of tests about plans that steer themselves: references, workers with outputs, statuses by task."""

from collections.abc import Mapping
from typing import Any

from functions._core.records.values import TicketStatus
from tests.support.world import LocalWorld


def out(task_id: str, path: str = "") -> dict[str, str]:
    return {"$output": task_id, "path": path}


def saying(**outputs: Any) -> Any:
    """Return workers that answer each task with its output; a function gets the parameters."""

    def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        name = assignment["task_id"].rpartition("/")[2].partition("[")[0]
        output = outputs.get(name)
        output = output(assignment["parameters"]) if callable(output) else output
        if isinstance(output, Exception):
            return {"status": "FAILED", "error": {"type": "broken", "message": str(output), "retryable": False}}
        return {"status": "COMPLETED", "output": output}

    return behave


async def statuses(world: LocalWorld, flow_id: str) -> dict[str, TicketStatus]:
    return {name: ticket.status for name, ticket in (await world.tickets(flow_id)).items()}
