"""What an item of a long list costs: CPU of the platform for each item, and its peak memory."""

import statistics
from typing import Any

import pytest

from tests.benchmarks.load import cost_of_one

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


@pytest.mark.parametrize("sizes", [(1000, 10_000)])
async def test_an_item_of_a_long_list_costs_little_more_than_one_of_a_short_list(
    tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, int]
) -> None:
    small, large = sizes
    found: dict[int, list[tuple[float, int]]] = {small: [], large: []}
    for repetition in range(REPETITIONS):
        for size in sizes:
            folder = tmp_path_factory.mktemp(f"{size}-{repetition}")
            found[size].append(await cost_of_one(folder, listed(size, f"list-{size}"), size))
    cpu = {size: statistics.median(ms for ms, _ in rows) for size, rows in found.items()}
    memory = {size: statistics.median(kb for _, kb in rows) / 1024 for size, rows in found.items()}
    print(
        f"\n{small} items: {cpu[small]:.2f} ms CPU each, {memory[small]:.0f} MB; "
        f"{large} items: {cpu[large]:.2f} ms each, {memory[large]:.0f} MB; ratio {cpu[large] / cpu[small]:.2f}"
    )
