"""The constructs of the plan language, put into the tasks of a drawn plan: each in the forms that go well and badly."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from functions._core.records.values import format_time
from functions._simulator.clock import START

SHARE = 0.6
"""The share of the drawn plans that have constructs; the others are graphs of plain tasks."""

EVENT_TYPES = ("simulated.payment", "simulated.parcel")
"""Types of the events that are waited for: few, so that tickets wait for the same event."""

CORRELATED = "/order"
"""Where the events have the fact that ties them to a wait."""

DEEPEST = 2
"""Levels of sub-flows."""

LARGE_LIST, LARGE_SHARE = 300, 0.01
"""The items of a long list, and the share of the lists that are long."""

CONDITIONS = (
    'statuses["{0}"] in ["COMPLETED", "FAILED"]',
    'statuses["{0}"] == "COMPLETED"',
    'statuses["{0}"] == "SKIPPED" || statuses["{0}"] == "FAILED"',
    'outputs["{0}"] != null && outputs["{0}"].attempt == 1',
    'has(outputs["{0}"].approved) && outputs["{0}"].approved == true',
    'outputs["{0}"].there.is.no.such.member > 1',
    'outputs["{0}"] == null',
    "1 < 2",
)
"""Conditions on the task {0}; one of them has no answer."""

Fields = dict[str, Any]


def with_constructs(decision: Mapping[str, Any], draw: Random) -> None:
    """Put constructs into the plan of a decision."""
    _steer(decision["cognitive_plan"]["tasks"], draw, 0)


def _steer(tasks: Sequence[Fields], draw: Random, depth: int) -> None:
    for task in tasks:
        before = task.get("dependencies", ())
        if before and draw.random() < 0.2:
            task["when"] = draw.choice(CONDITIONS).format(draw.choice(before))
        if before and draw.random() < 0.35:
            task["on_skipped"] = draw.choice(("any", "run", "skip"))
        if draw.random() < 0.15:
            task["allow_failure"] = True
        makers = KINDS if depth < DEEPEST else KINDS[:-1]
        (make,) = draw.choices([one for _, one in makers], [weight for weight, _ in makers])
        make(task, draw, depth)


def _plain(_task: Fields, _draw: Random, _depth: int) -> None:
    """Leave the task to a worker."""


def _of_its_own(task: Fields, kind: str) -> None:
    task["task_type"] = kind
    for name in ("compensation", "estimated_duration_ms", "idempotent", "retry", "required_capabilities"):
        task.pop(name, None)


def _approval(task: Fields, draw: Random, _depth: int) -> None:
    _of_its_own(task, "APPROVE")
    task["estimated_duration_ms"] = 1_000
    task["approval"] = {
        "timeout_ms": draw.choice((5_000, 20_000, 60_000)),
        "on_denied": draw.choice(("fail", "continue")),
        "on_timeout": draw.choice(("fail", "continue")),
        "stops_clock": draw.random() < 0.5,
    }


def _moment(task: Fields, draw: Random, _depth: int) -> None:
    _of_its_own(task, "WAIT")
    task["estimated_duration_ms"] = 1_000
    until = START + timedelta(seconds=draw.randint(0, 90))
    task["wait"] = draw.choice(({"seconds": draw.choice((0.5, 3, 20))}, {"until": format_time(until)}))
    task["wait"]["stops_clock"] = draw.random() < 0.3
    if task["dependencies"] and draw.random() < 0.2:
        task["wait"] = {"seconds": {"$output": draw.choice(task["dependencies"]), "path": "/seconds"}}


def _event(task: Fields, draw: Random, _depth: int) -> None:
    _of_its_own(task, "WAIT")
    task["estimated_duration_ms"] = 1_000
    event: Fields = {
        "type": draw.choices(EVENT_TYPES, (4, 1))[0],
        "arrived_before_ms": draw.choice((0, 20_000, 3_600_000)),
    }
    if draw.random() < 0.5:
        event["correlation"] = {"at": CORRELATED, "equals": draw.choice((task["task_id"], "1", 1))}
    if draw.random() < 0.3:
        event["filter"] = "event.data.amount > 0"
    task["wait"] = {"event": event, "on_timeout": draw.choice(("fail", "continue")), "stops_clock": draw.random() < 0.3}
    if draw.random() < 0.8:
        task["wait"]["timeout_ms"] = draw.choice((10_000, 40_000))


def _list(task: Fields, draw: Random, _depth: int) -> None:
    large = draw.random() < LARGE_SHARE
    number = LARGE_LIST if large else draw.choice((0, 1, 2, 3, 5, 8, 12))
    items: Any = [{"number": one} for one in range(number)]
    if task["dependencies"] and draw.random() < 0.4:
        path = draw.choice(("/items", "/items", "/items", "/by"))
        items = {"$output": draw.choice(task["dependencies"]), "path": path}
    task["foreach"] = {
        "items": items,
        "limit": 100 if large else draw.choice((1, 2, 3, 10)),
        "max_failures": draw.choice((0, 0, 1, 1_000)),
        "expected_items": draw.choice((number, number, 2)),
    }
    task["estimated_duration_ms"] = 300 if large else 1 + task.get("estimated_duration_ms", 3_000) // 4
    task["parameters"] = {"item": {"$item": ""}, "number": {"$index": True}}


def _subflow(task: Fields, draw: Random, depth: int) -> None:
    _of_its_own(task, "SUBFLOW")
    inner: list[Fields] = []
    for name in "abc"[: draw.randint(1, 3)]:
        before = [one["task_id"] for one in inner if draw.random() < 0.6]
        inner.append(
            {
                "task_id": name,
                "task_type": "EXECUTE",
                "description": f"do part {name}",
                "dependencies": before,
                "estimated_duration_ms": draw.randint(300, 3_000),
                "required_capabilities": ["python"],
                "parameters": {"of": {"$input": ""}},
                "compensation": draw.random() < 0.4,
            }
        )
    _steer(inner, draw, depth + 1)
    task["plan"] = {"tasks": inner}
    if draw.random() < 0.4:
        task["plan"]["result"] = {"last": {"$output": inner[-1]["task_id"]}}
    if draw.random() < 0.4:
        number = draw.choice((0, 1, 2, 4))
        limit, failures = draw.choice((1, 2)), draw.choice((0, 1))
        task["foreach"] = {"items": list(range(number)), "limit": limit, "max_failures": failures}
        task["parameters"] = {"item": {"$item": ""}}


Maker = Callable[[Fields, Random, int], None]
KINDS: Sequence[tuple[int, Maker]] = (
    (20, _plain),
    (8, _approval),
    (8, _moment),
    (9, _event),
    (12, _list),
    (8, _subflow),
)
"""What a task becomes, each with its weight; sub-flows are last."""
