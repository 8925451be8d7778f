"""Prices, and the bill for what was counted; beside it what others take for the same plan."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from functions._runtime.cost.course import Course
from functions._runtime.cost.ledger import (
    CLOCK,
    FLOWS,
    INVOCATIONS,
    MESSAGES,
    PUBLISHED,
    READS,
    REQUESTS,
    RETENTION,
    STORED,
    WORKERS,
    WRITES,
)

PRICES = Path(__file__).parent / "prices.json"

SERVICES = ((WRITES, "DynamoDB"), (READS, "DynamoDB"), (PUBLISHED, "EventBridge"), (MESSAGES, "SQS"))
TELEMETRY = frozenset({"flow.step.completed", "telemetry.frame"})
GB = 1e9


class PricesUnusable(Exception):
    """A file of prices lacks something."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for one of each, and what is assumed where nothing can be counted."""

    date: str
    region: str
    source: str
    dollars: Mapping[str, float]
    assumed: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of prices; raise `PricesUnusable`."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            own = json.loads(PRICES.read_text(encoding="utf-8"))
            parts: dict[str, Any] = {name: found[name] for name in own}
            for name in ("dollars", "assumed"):
                parts[name] = {key: float(found[name][key]) for key in own[name]}
            return cls(**parts)
        except (OSError, ValueError, KeyError, TypeError) as wrong:
            raise PricesUnusable(f"{path}: {type(wrong).__name__} {wrong}") from wrong

    def compute(self, invocations: float) -> float:
        """Return the dollars of so many invocations, beside what is paid for each."""
        seconds = self.assumed["milliseconds of an invocation"] / 1000
        return invocations * seconds * self.assumed["memory in MB"] / 1024 * self.dollars["GB-seconds"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill, for one flow; `around` is what is not for the flow's own steps."""

    name: str
    number: float
    dollars: float
    around: bool = False


def bill(course: Course, prices: Prices) -> list[Line]:
    """Return what one flow costs, line by line."""
    return [*_steps(course, prices), *_around(course, prices)]


def total(lines: list[Line], *, around: bool) -> float:
    """Return the dollars of a flow: for its steps, or with all around them."""
    return sum(line.dollars for line in lines if around or not line.around)


def _steps(course: Course, prices: Prices) -> Iterator[Line]:
    for what, service in SERVICES:
        number = course.of(FLOWS, what) - (_telemetry(course) if what == PUBLISHED else 0)
        yield Line(f"{service}: {what}", number, number * prices.dollars[what])
    number = course.of(FLOWS, INVOCATIONS)
    yield Line(f"Lambda: {INVOCATIONS}", number, number * prices.dollars[INVOCATIONS])
    yield Line("Lambda: compute", number, prices.compute(number))


def _around(course: Course, prices: Prices) -> Iterator[Line]:
    number = course.of(FLOWS, REQUESTS)
    yield Line("HTTP API: the decision and the reports", number, number * prices.dollars[REQUESTS], around=True)
    number = _telemetry(course)
    yield Line("EventBridge: telemetry", number, number * prices.dollars[PUBLISHED], around=True)
    number = course.of(CLOCK, INVOCATIONS)
    yield Line("Timers, and the sweeps that they begin", number, _all(course, CLOCK, prices), around=True)
    number = course.of(RETENTION, WRITES)
    kept = course.of(RETENTION, STORED) / GB * prices.dollars["stored GB for a month"]
    yield Line("Kept for a month, then removed", number, _all(course, RETENTION, prices) + kept, around=True)
    number = course.of(FLOWS, INVOCATIONS) + course.of(CLOCK, INVOCATIONS)
    logs = number * prices.assumed["bytes of logs of an invocation"] / GB
    yield Line("CloudWatch: logs", number, logs * prices.dollars["GB of logs"], around=True)


def _telemetry(course: Course) -> float:
    return sum(course.of(FLOWS, PUBLISHED, noun) for noun in TELEMETRY)


def _all(course: Course, account: str, prices: Prices) -> float:
    counted = (WRITES, READS, PUBLISHED, MESSAGES, INVOCATIONS, REQUESTS)
    dollars = sum(course.of(account, what) * prices.dollars[what] for what in counted)
    return dollars + prices.compute(course.of(account, INVOCATIONS))


def monthly(course: Course, prices: Prices) -> Mapping[str, float]:
    """Return the dollars of a month in which nothing happens, and of each worker in it."""
    counted = (WRITES, READS, PUBLISHED, MESSAGES, INVOCATIONS, REQUESTS)
    found = {}
    for account in (CLOCK, WORKERS):
        each = {what: course.idle(account, what) for what in counted}
        dollars = sum(number * prices.dollars[what] for what, number in each.items())
        found[account] = dollars + prices.compute(each[INVOCATIONS])
    return found


def rivals(tasks: int, prices: Prices) -> Mapping[str, float]:
    """Return the dollars of one flow of `tasks` tasks on what else AWS offers for the same.

    A state machine passes eight states and three for each task; a durable function does three operations and four for
    each task. Both call about as many functions.
    """
    invocations = 4 + 2 * tasks
    functions = invocations * prices.dollars[INVOCATIONS] + prices.compute(invocations)
    return {
        "Step Functions Standard": (8 + 3 * tasks) * prices.dollars["transitions"] + functions,
        "Lambda durable functions": (3 + 4 * tasks) * prices.dollars["durable operations"] + functions,
    }
