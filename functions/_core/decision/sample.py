"""Decisions to try things out with: valid, of any size and shape, and the same every time for the same seed."""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from functions._core.records.values import Word

Edges = list[list[int]]
"""For each task the tasks that it depends on, all of them earlier ones."""

MOST_DEPENDENCIES = 3
"""Dependencies of one task at most: enough for a graph, few enough to be drawn."""

SHORTEST_MS, LONGEST_MS = 500, 5_000
"""The range of estimates, in milliseconds: short enough to watch a sample run."""

TYPES = ("QUERY", "BUILD", "TEST", "EXECUTE", "TRANSFORM")
"""Types of the tasks, each with its verb at the same place in `VERBS`."""

VERBS = ("collect", "build", "test", "run", "convert")
"""Verbs of the descriptions."""


class Shape(Word):
    """How the tasks of a sample depend on each other."""

    CHAIN = "chain"
    FORK_JOIN = "fork-join"
    LAYERS = "layers"
    RANDOM = "random"


def sample_decision(tasks: int, shape: Shape, seed: int, capabilities: Sequence[str] = ()) -> dict[str, Any]:
    """Return an approved decision with a plan of `tasks` tasks, at least one.

    Each task asks for one of `capabilities`, or for none. The arguments decide the ids: the same sample again is the
    same flow.
    """
    choice = Choice(f"{tasks}/{shape}/{seed}/{'/'.join(capabilities)}")
    name = f"sample-{shape}-{tasks}-{seed}"
    plan_id = f"{name}-{choice.key:08x}"
    return {
        "decision_id": plan_id,
        "plan_id": plan_id,
        "intent_id": name,
        "final_decision": "approve",
        "cognitive_plan": {
            "plan_id": plan_id,
            "tasks": [
                _task(number, edges, choice, capabilities) for number, edges in enumerate(SHAPES[shape](tasks, choice))
            ],
        },
    }


class Choice:
    """Choices that look random and follow from a seed alone, in any order."""

    def __init__(self, seed: str) -> None:
        self.key = crc32(seed.encode())

    def below(self, limit: int, *what: object) -> int:
        """Return a number from 0 to `limit` - 1 for the thing that is chosen."""
        return crc32(repr(what).encode(), self.key) % limit

    def some(self, of: Sequence[int], *what: object) -> list[int]:
        """Return one to three of the given tasks, in order."""
        number = min(len(of), 1 + self.below(MOST_DEPENDENCIES, "number", *what))
        return sorted({of[self.below(len(of), n, *what)] for n in range(number)})


def _task(number: int, dependencies: Sequence[int], choice: Choice, capabilities: Sequence[str]) -> Mapping[str, Any]:
    kind = choice.below(len(TYPES), "kind", number)
    wanted = [capabilities[choice.below(len(capabilities), "capability", number)]] if capabilities else []
    return {
        "task_id": task_name(number),
        "task_type": TYPES[kind],
        "description": f"{VERBS[kind]} part {number + 1}",
        "dependencies": [task_name(before) for before in dependencies],
        "estimated_duration_ms": SHORTEST_MS + choice.below(LONGEST_MS - SHORTEST_MS, "estimate", number),
        "required_capabilities": wanted,
        "parameters": {"part": number + 1},
    }


def task_name(number: int) -> str:
    """Return the id of a task; ids sort as numbers do."""
    return f"task-{number + 1:05}"


def _chain(tasks: int, _choice: Choice) -> Edges:
    return [[number - 1] if number else [] for number in range(tasks)]


def _fork_join(tasks: int, _choice: Choice) -> Edges:
    """One task, many side by side, one that needs them all."""
    middle = list(range(1, tasks - 1))
    first: Edges = [[]]
    last: Edges = [middle or [0]]
    return first + [[0] for _ in middle] + (last if tasks > 1 else [])


def _layers(tasks: int, choice: Choice) -> Edges:
    """Layers about as wide as there are many; each task depends on a few of the layer before."""
    width = max(1, round(tasks**0.5))
    return [
        choice.some(range((number // width - 1) * width, number // width * width), number) if number >= width else []
        for number in range(tasks)
    ]


def _random(tasks: int, choice: Choice) -> Edges:
    """Each task depends on none to three of all earlier ones."""
    return [
        choice.some(range(number), number) if number and choice.below(4, "any", number) else []
        for number in range(tasks)
    ]


SHAPES = {Shape.CHAIN: _chain, Shape.FORK_JOIN: _fork_join, Shape.LAYERS: _layers, Shape.RANDOM: _random}
"""The function that makes the edges of each shape."""
