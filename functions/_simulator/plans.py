"""What a simulated world is about: a decision, and the workers that are there for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from functions._core.decision.model import unwrap_plan
from functions._core.decision.sample import Shape, sample_decision
from functions._core.errors import Rejected
from functions._core.placement.workers import Registration
from functions._core.records.policies import Beyond
from functions._core.records.values import SecurityLevel
from functions._core.records.worker import AssignmentMode
from functions._simulator.constructs import SHARE, with_constructs

CAPABILITIES = ("python", "shell", "terraform")
LARGE = 50
ACROSS = 0.15
"""The share of the tasks that depend on one more task, drawn from those before it."""

SHARING = 0.1
"""The share of the worlds whose flows share a concurrency key."""

PULLING = 0.25
"""The share of the workers that ask for their tickets."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Decisions and the fleet for them; the first is the one a run is about, the others compete with it for workers.

    `drawn` says that all comes from the seed, so that people may meddle with it, too. `failing` are workers that fail a
    share of their tasks, 0 to 1, in a way that another try may fix; `latency` is what workers take before each task,
    `pause` the time between two decisions, both in seconds. `outputs` are those of tasks that are not to be made up, by
    task as in `outputs.Paths`.
    """

    decisions: Sequence[Mapping[str, Any]]
    fleet: Sequence[Registration]
    drawn: bool = False
    failing: Mapping[str, float] = field(default_factory=dict)
    latency: Mapping[str, float] = field(default_factory=dict)
    pause: float = 0.0
    outputs: Mapping[str, Any] = field(default_factory=dict)


def worker(
    number: int, capabilities: Sequence[str], slots: int, clearance: SecurityLevel = SecurityLevel.RESTRICTED
) -> Registration:
    """Return the registration of a simulated worker, which gets tickets of any level if nothing else is said."""
    worker_id = f"worker-{number}"
    return Registration(
        worker_id=worker_id,
        endpoint=f"http://127.0.0.1:1/{worker_id}",
        capabilities=tuple(capabilities),
        slots=slots,
        clearance=clearance,
    )


def scenario_of(
    decision: Mapping[str, Any], workers: int, slots: int, outputs: Mapping[str, Any] | None = None
) -> Scenario:
    """Return a user's decision with equal workers that offer all it asks for."""
    tasks = all_tasks(plan_of(decision))
    asked = sorted({word for task in tasks for word in _words(task.get("required_capabilities"))})
    fleet = [worker(number + 1, asked, slots) for number in range(workers)]
    return Scenario([decision], fleet, outputs=outputs or {})


def drawn_scenario(seed: int) -> Scenario:
    """Return decisions and a fleet drawn from the seed: mostly one of 3 to 12 tasks, now and then 50."""
    draw = Random(f"{seed}/scenario")
    size = LARGE if draw.random() < 0.02 else draw.randint(3, 12)
    decisions: list[Mapping[str, Any]] = [_drawn(draw, size, 10 * seed)]
    while draw.random() < 0.15:
        decisions.append(_drawn(draw, draw.randint(1, 6), 10 * seed + len(decisions)))
    _with_a_key(decisions, Random(f"{seed}/key"), 10 * seed)
    levels = Random(f"{seed}/levels")
    for task in (task for one in decisions for task in one["cognitive_plan"]["tasks"]):
        if levels.random() < 0.2:
            task["security_level"] = levels.choice(list(SecurityLevel)).value
    fleet = [worker(1, CAPABILITIES, draw.randint(1, 4))]
    for number in range(draw.randint(0, 4)):
        offered = [word for word in CAPABILITIES if draw.random() < 0.6]
        fleet.append(worker(number + 2, offered, draw.randint(1, 4), levels.choice(list(SecurityLevel))))
    return Scenario(decisions, asking(fleet, PULLING, Random(f"{seed}/pull")), drawn=True)


def _drawn(draw: Random, size: int, seed: int) -> Mapping[str, Any]:
    """Return a decision that uses what a decision may say."""
    decision = sample_decision(size, draw.choice(list(Shape)), seed, CAPABILITIES)
    decision["sla_deadline_seconds"] = draw.choice((90, 120, 300, 300, 600, 900))
    decision["cognitive_plan"]["risk_band"] = draw.choice(("low", "medium", "high", "critical"))
    decision["cognitive_plan"]["requires_approval"] = draw.random() < 0.1
    pace = draw.choice((1, 1, 4, 10))
    _across(decision["cognitive_plan"]["tasks"], Random(f"{seed}/edges"))
    for task in decision["cognitive_plan"]["tasks"]:
        task["estimated_duration_ms"] *= pace
        if draw.random() < 0.15:
            task["idempotent"] = False
        if draw.random() < 0.4:
            task["compensation"] = True
        if draw.random() < 0.1:
            task["retry"] = {"max_retries": draw.randint(0, 4), "initial_ms": draw.choice((100, 5_000))}
        for limit in ("timeout_ms", "schedule_to_start_ms", "heartbeat_timeout_ms"):
            if draw.random() < 0.03:
                task[limit] = draw.choice((10_000, 60_000))
        if task["dependencies"] and draw.random() < 0.2:
            task["parameters"]["from"] = {"$output": draw.choice(task["dependencies"])}
    constructs = Random(f"{seed}/constructs")
    if constructs.random() < SHARE:
        with_constructs(decision, constructs)
    return decision


def _with_a_key(decisions: list[Mapping[str, Any]], draw: Random, seed: int) -> None:
    """Let the flows of some worlds share a concurrency key, with one or two more of them."""
    if draw.random() >= SHARING:
        return
    for _ in range(draw.randint(1, 2)):
        decisions.append(_drawn(draw, draw.randint(1, 4), seed + len(decisions)))
    key = {"key": "simulated", "limit": draw.choice((1, 1, 2)), "beyond": draw.choice([*Beyond]).value}
    decisions[:] = [{**one, "concurrency": key} for one in decisions]


def _across(tasks: Sequence[dict[str, Any]], draw: Random) -> None:
    """Let some tasks depend on an earlier one besides, which another dependency may imply or not."""
    for place, task in enumerate(tasks):
        other = draw.choice(tasks[:place])["task_id"] if place and draw.random() < ACROSS else None
        if other is not None and other not in task["dependencies"]:
            task["dependencies"] = [*task["dependencies"], other]


def asking(fleet: Sequence[Registration], share: float, draw: Random) -> Sequence[Registration]:
    """Return a fleet of which a share, 0 to 1, asks for its tickets."""
    asks = {"delivery": AssignmentMode.PULL, "endpoint": ""}
    return [one.but(**asks) if draw.random() < share else one for one in fleet]


def plan_of(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the plan of a decision, an empty one where C1 will refuse it anyway."""
    try:
        plan, _ = unwrap_plan(decision.get("cognitive_plan"))
    except Rejected:
        return {}
    return plan if isinstance(plan, Mapping) else {}


def tasks_in(plan: object) -> Sequence[Mapping[str, Any]]:
    """Return the tasks of a plan, or of one within it, as far as they can be read."""
    tasks = plan.get("tasks") if isinstance(plan, Mapping) else None
    return [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, list) else []


def all_tasks(plan: object) -> Iterator[Mapping[str, Any]]:
    """Yield the tasks of a plan and those of the plans within it."""
    for task in tasks_in(plan):
        yield task
        yield from all_tasks(task.get("plan"))


def _words(value: object) -> Sequence[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
