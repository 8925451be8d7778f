"""The bill for what was counted; beside it what others take for the same plan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from functions._cost.ledger import (
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
from functions._cost.prices import Prices
from functions._cost.run import CountedRun

SERVICES = ((WRITES, "DynamoDB"), (READS, "DynamoDB"), (PUBLISHED, "EventBridge"), (MESSAGES, "SQS"))
COUNTED = (WRITES, READS, PUBLISHED, MESSAGES, INVOCATIONS, REQUESTS)
TELEMETRY = frozenset({"flow.step.completed", "telemetry.frame"})
GB = 1e9


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill, for one flow; `around` is what is not for the steps of the flow itself."""

    name: str
    number: float
    dollars: float
    around: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a flow costs, in dollars: `steps` for its own steps, `whole` with all around them.

    `idle` is what a month costs without any flow, `worker` what it costs that a worker says it is alive.
    """

    tasks: int
    lines: Sequence[BillLine]
    steps: float
    whole: float
    idle: float
    worker: float
    rivals: Mapping[str, float]
    prices: Prices

    @classmethod
    def of(cls, run: CountedRun, prices: Prices) -> Self:
        """Price what was run."""
        lines = [*_steps(run, prices), *_around(run, prices)]
        return cls(
            tasks=run.tasks,
            lines=lines,
            steps=sum(line.dollars for line in lines if not line.around),
            whole=sum(line.dollars for line in lines),
            idle=_idle(run, CLOCK, prices),
            worker=_idle(run, WORKERS, prices),
            rivals=rivals(run.tasks, prices),
            prices=prices,
        )

    def as_json(self) -> Mapping[str, Any]:
        """Return the bill as plain values."""
        return asdict(self)


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


def _steps(run: CountedRun, prices: Prices) -> Iterator[BillLine]:
    for what, service in SERVICES:
        number = run.of(FLOWS, what) - (_telemetry(run) if what == PUBLISHED else 0)
        yield BillLine(f"{service}: {what}", number, number * prices.dollars[what])
    number = run.of(FLOWS, INVOCATIONS)
    yield BillLine(f"Lambda: {INVOCATIONS}", number, number * prices.dollars[INVOCATIONS])
    yield BillLine("Lambda: compute of these", number, prices.compute(number, run.of(FLOWS, REQUESTS)))


def _around(run: CountedRun, prices: Prices) -> Iterator[BillLine]:
    number = run.of(FLOWS, REQUESTS)
    yield BillLine("HTTP API: the decision, the reports", number, number * prices.dollars[REQUESTS], around=True)
    number = _telemetry(run)
    yield BillLine("EventBridge: telemetry", number, number * prices.dollars[PUBLISHED], around=True)
    number = run.of(CLOCK, INVOCATIONS)
    yield BillLine("Timers, and the sweeps that they begin", number, _each(run, CLOCK, prices), around=True)
    number = run.of(RETENTION, WRITES)
    kept = run.of(RETENTION, STORED) / GB * prices.dollars["stored GB for a month"]
    yield BillLine("Kept for a month, then removed", number, _each(run, RETENTION, prices) + kept, around=True)
    number = run.of(FLOWS, INVOCATIONS) + run.of(CLOCK, INVOCATIONS)
    logs = number * prices.assumed["bytes of logs of an invocation"] / GB
    yield BillLine("CloudWatch: logs of all invocations", number, logs * prices.dollars["GB of logs"], around=True)


def _telemetry(run: CountedRun) -> float:
    return sum(run.of(FLOWS, PUBLISHED, event_type) for event_type in TELEMETRY)


def _each(run: CountedRun, account: str, prices: Prices) -> float:
    return _dollars({what: run.of(account, what) for what in COUNTED}, prices)


def _idle(run: CountedRun, account: str, prices: Prices) -> float:
    return _dollars({what: run.idle(account, what) for what in COUNTED}, prices)


def _dollars(numbers: Mapping[str, float], prices: Prices) -> float:
    dollars = sum(number * prices.dollars[what] for what, number in numbers.items())
    return dollars + prices.compute(numbers[INVOCATIONS], numbers[REQUESTS])
