"""Plans to run: recorded ones where they are at hand, and seeded ones of the same shapes everywhere."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

Shape = Callable[[random.Random], list[tuple[str, list[str]]]]


def chain(_random: random.Random, length: int = 12) -> list[tuple[str, list[str]]]:
    """One task after the other."""
    return [(f"t{n}", [f"t{n - 1}"] if n else []) for n in range(length)]


def fork_join(_random: random.Random, width: int = 12) -> list[tuple[str, list[str]]]:
    """One, many side by side, one."""
    middle = [f"t{n}" for n in range(1, width + 1)]
    return [("t0", []), *((name, ["t0"]) for name in middle), ("end", middle)]


def layers(random_: random.Random, sizes: Sequence[int] = (8, 12, 6, 14, 4, 1)) -> list[tuple[str, list[str]]]:
    """Layers of tasks, each depending on a few of the layer before."""
    edges: list[tuple[str, list[str]]] = []
    before: list[str] = []
    for level, size in enumerate(sizes):
        names = [f"l{level}n{n}" for n in range(size)]
        edges += [(name, sorted(random_.sample(before, min(len(before), 1 + random_.randrange(3))))) for name in names]
        before = names
    return edges


def islands(random_: random.Random, count: int = 6) -> list[tuple[str, list[str]]]:
    """Separate small chains: many sources and many sinks."""
    return [
        (f"i{island}n{n}", [f"i{island}n{n - 1}"] if n else [])
        for island in range(count)
        for n in range(1 + random_.randrange(5))
    ]


def mosaic(random_: random.Random) -> list[tuple[str, list[str]]]:
    """103 tasks in the shape of an image mosaic: project, fit each pair, combine, correct each, and add up."""
    project = [f"project{n}" for n in range(24)]
    fit = [(f"fit{n}", sorted(random_.sample(project, 2))) for n in range(50)]
    background = [(f"background{n}", ["model", project[n]]) for n in range(24)]
    return [
        *((name, []) for name in project),
        *fit,
        ("concat", [name for name, _ in fit]),
        ("model", ["concat"]),
        *background,
        ("table", [name for name, _ in background]),
        ("add", ["table"]),
        ("view", ["add"]),
    ]


SHAPES: Mapping[str, Shape] = {
    "chain": chain,
    "fork_join": fork_join,
    "layers": layers,
    "islands": islands,
    "mosaic": mosaic,
}


def seeded_decision(shape: str, seed: int) -> dict[str, Any]:
    """Return an approved decision whose plan has the given shape; estimates are seconds to a minute."""
    random_ = random.Random(f"{shape}/{seed}")
    decision_id, plan_id = str(uuid4()), str(uuid4())
    tasks = [
        {
            "task_id": name,
            "task_type": random_.choice(["EXECUTE", "QUERY", "build", "test"]),
            "description": f"run {name}",
            "dependencies": after,
            "estimated_duration_ms": random_.randrange(1000, 60_000),
            "required_capabilities": ["execute"],
            "parameters": {"program": name},
        }
        for name, after in SHAPES[shape](random_)
    ]
    return {
        "decision_id": decision_id,
        "plan_id": plan_id,
        "intent_id": str(uuid4()),
        "final_decision": "approve",
        "cognitive_plan": {"plan_id": plan_id, "version": "1.0.0", "tasks": tasks},
    }


def proves_itself(plan: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a history says against a completed plan: nothing, if each ticket was done once and in order."""
    wrong: list[str] = []
    completed: dict[str, int] = {}
    for position, entry in enumerate(history):
        task_id = entry.get("task_id")
        if entry["type"] == "ticket.completed":
            if task_id in completed:
                wrong.append(f"{task_id} completed twice")
            completed[str(task_id)] = position
    for task in plan["tasks"]:
        name = task["task_id"]
        if name not in completed:
            wrong.append(f"{name} never completed")
        first = next((n for n, e in enumerate(history) if e["type"] == "ticket.assigned" and e["task_id"] == name), -1)
        wrong += [
            f"{name} was assigned before {dependency} had completed"
            for dependency in task.get("dependencies", [])
            if not 0 <= completed.get(dependency, -1) < first
        ]
    return wrong
