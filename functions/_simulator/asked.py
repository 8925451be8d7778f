"""A simulation that somebody asked for over HTTP: a decision, workers as they are, and what many runs say together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any

from functions._core.placement.workers import Registration
from functions._core.records.values import parse_time
from functions._core.records.worker import AssignmentMode
from functions._simulator.clock import START
from functions._simulator.plans import Scenario
from functions._simulator.report import BARS, SimulationReport, bars
from functions._simulator.run import Result, simulate

TASKS = 20
"""Tasks of the critical path that are told, the most frequent."""

ENOUGH_S = 12.0
"""Seconds of processor time after which no other run begins."""

FIELDS = ("worker_id", "capabilities", "clearance", "slots", "delivery")


def simulated(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `runs` runs of a decision with the given workers say; fewer runs where the time is over."""
    scenario = scenario_of_workers(asked["decision"], asked["workers"])
    start = parse_time(asked["at"]) if asked.get("at") else START
    results: list[Result] = []
    enough = process_time() + ENOUGH_S
    for seed in range(asked["seed"], asked["seed"] + asked["runs"]):
        results.append(simulate(seed, ["none"], scenario, start))  # type: ignore[arg-type]
        if process_time() >= enough:
            break
    return summary(results, asked["runs"]) | {"workers": len(scenario.fleet)}


def scenario_of_workers(decision: Mapping[str, Any], workers: Sequence[Mapping[str, Any]]) -> Scenario:
    """Return a decision with workers as they are: each with what it can do, its slots, its failures and its latency."""
    fleet, failing, latency = [], {}, {}
    for one in workers:
        push = one.get("delivery") != AssignmentMode.PULL
        fields = {name: one[name] for name in FIELDS if name in one}
        fleet.append(Registration(**fields, endpoint="http://127.0.0.1:1/worker" if push else ""))
        failing[one["worker_id"]] = 1 - one["success_rate"]
        latency[one["worker_id"]] = one["latency_ms"] / 1000
    return Scenario([decision], fleet, failing=failing, latency=latency)


def summary(results: Sequence[Result], asked: int) -> dict[str, Any]:
    """Return what runs say together, as JSON values."""
    report = SimulationReport(results)
    told = report.as_json()
    critical = Counter(task_id for result in results for task_id in result.critical_path)
    return {
        **{name: told[name] for name in ("runs", "outcomes", "rejected_because", "finish_seconds", "sla")},
        "asked": asked,
        "histogram": [
            {"from_seconds": round(low, 3), "to_seconds": round(high, 3), "count": count}
            for low, high, count in bars(report.finishes, BARS)
        ],
        "critical_path": [
            {"task_id": task_id, "share": number / len(results)} for task_id, number in critical.most_common(TASKS)
        ],
        "broken": len(report.broken),
    }
