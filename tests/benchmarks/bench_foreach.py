"""What an item of a long list costs: CPU of the platform for each item, and its peak memory."""

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from tests.benchmarks.load import Stub, cost_of_one

REPETITIONS = 3
ITEM_BYTES = 100


def listed(size: int, name: str) -> dict[str, Any]:
    """Return a decision with one task that is done for each of so many items."""
    items = [{"number": number, "text": (f"{number:x}" * ITEM_BYTES)[:ITEM_BYTES]} for number in range(size)]
    each = {
        "task_id": "each",
        "task_type": "EXECUTE",
        "description": "one item",
        "dependencies": [],
        "estimated_duration_ms": 1000,
        "required_capabilities": ["python"],
        "parameters": {"item": {"$item": ""}},
        "foreach": {"items": items, "limit": 50},
    }
    return {
        "decision_id": f"d-{name}",
        "plan_id": name,
        "intent_id": "bench",
        "final_decision": "approve",
        "cognitive_plan": {"plan_id": name, "tasks": [each]},
    }


def from_output(_size: int, name: str) -> dict[str, Any]:
    """Return a decision with a task that is done for each of so many numbers, which are the output of another one."""
    made = listed(0, name)
    (each,) = made["cognitive_plan"]["tasks"]
    each |= {"dependencies": ["list"], "foreach": {"items": {"$output": "list"}, "limit": 50}}
    source = {name: value for name, value in each.items() if name not in {"foreach", "parameters"}}
    made["cognitive_plan"]["tasks"] = [{**source, "task_id": "list", "dependencies": []}, each]
    return made


class Numbers(Stub):
    """Workers whose task `list` has numbers as its output."""

    def __init__(self, size: int) -> None:
        """Remember how many."""
        super().__init__()
        self._size = size

    def end_of(self, assignment: dict[str, Any]) -> dict[str, Any]:
        """See `Stub.end_of`."""
        output = list(range(self._size)) if assignment["task_id"] == "list" else None
        return {"status": "COMPLETED", "output": output}


@pytest.mark.parametrize("sizes", [(1000, 10_000)])
@pytest.mark.parametrize("plan", [listed, from_output])
async def test_an_item_of_a_long_list_costs_little_more_than_one_of_a_short_list(
    tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, int], plan: Callable[[int, str], dict[str, Any]]
) -> None:
    small, large = sizes
    found: dict[int, list[tuple[float, int]]] = {small: [], large: []}
    for repetition in range(REPETITIONS):
        for size in sizes:
            folder = tmp_path_factory.mktemp(f"{size}-{repetition}")
            decision = plan(size, f"list-{size}")
            tickets = size + (plan is from_output)
            found[size].append(await cost_of_one(folder, decision, tickets, Numbers(size)))
    cpu = {size: statistics.median(ms for ms, _ in rows) for size, rows in found.items()}
    memory = {size: statistics.median(kb for _, kb in rows) / 1024 for size, rows in found.items()}
    print(
        f"\n{plan.__name__}: {small} items: {cpu[small]:.2f} ms CPU each, {memory[small]:.0f} MB; "
        f"{large} items: {cpu[large]:.2f} ms each, {memory[large]:.0f} MB; "
        f"ratio {cpu[large] / cpu[small]:.2f} of CPU, {memory[large] / memory[small]:.2f} of memory"
    )
