"""What a ticket costs in small and large plans: CPU of the platform for each, and its peak memory."""

import statistics
from typing import Any

import pytest

from tests.benchmarks.load import cost_of_one

REPETITIONS = 3


def layered(size: int, name: str, width: int = 50) -> dict[str, Any]:
    """Return a decision whose plan has layers of `width` tasks, each depending on two of the layer before."""
    tasks = []
    for number in range(size):
        layer, place = divmod(number, width)
        after = [] if layer == 0 else [f"t{(layer - 1) * width + (place + n) % width}" for n in range(2)]
        tasks.append(
            {
                "task_id": f"t{number}",
                "task_type": "EXECUTE",
                "description": f"task {number}",
                "dependencies": after,
                "estimated_duration_ms": 1000,
                "required_capabilities": ["python"],
            }
        )
    plan = {"plan_id": name, "tasks": tasks}
    return {
        "decision_id": f"d-{name}",
        "plan_id": name,
        "intent_id": "bench",
        "final_decision": "approve",
        "cognitive_plan": plan,
    }


@pytest.mark.parametrize("sizes", [(200, 2000), (1000, 10_000)])
async def test_a_ticket_of_a_large_plan_costs_little_more_than_one_of_a_small_plan(
    tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, int]
) -> None:
    small, large = sizes
    found: dict[int, list[tuple[float, int]]] = {small: [], large: []}
    for repetition in range(REPETITIONS):
        for size in sizes:
            folder = tmp_path_factory.mktemp(f"{size}-{repetition}")
            found[size].append(await cost_of_one(folder, layered(size, f"plan-{size}"), size))
    cpu = {size: statistics.median(ms for ms, _ in rows) for size, rows in found.items()}
    memory = {size: statistics.median(kb for _, kb in rows) / 1024 for size, rows in found.items()}
    print(
        f"\n{small} tickets: {cpu[small]:.2f} ms CPU each, {memory[small]:.0f} MB; "
        f"{large} tickets: {cpu[large]:.2f} ms each, {memory[large]:.0f} MB; ratio {cpu[large] / cpu[small]:.2f}"
    )
    assert cpu[large] <= 1.3 * cpu[small]
    assert memory[large] <= memory[small] + 60
