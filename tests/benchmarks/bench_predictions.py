"""What predictions pay where estimates are wrong: the same flows, fleet and arrivals, in virtual time; who is too late?

As `bench_slack`, over the real platform, but each kind of work takes 0.3 to 5 times its estimate. A table is learnt
from flows of other seeds, run without predictions; then flows of held-out seeds are run without it, and with it.
"""

import asyncio
import random
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, log, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

from functions._core.learning.duration_table import DurationTable
from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import NoPredictions, Predictions, Predictor, Serving
from functions._core.learning.rows import rows_of
from functions._core.learning.table_training import fitted
from functions._core.planning.graph import schedule
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import Outcome
from functions._simulator.loop import VirtualLoop
from functions._simulator.silent_log import listening
from tests.benchmarks.bench_slack import (
    SLOTS,
    SLOW,
    SLOWNESS,
    TIGHTNESS,
    USE,
    WORKERS,
    Fleet,
    Planned,
    flows_by,
    shapes,
)
from tests.conftest import ROOT
from tests.support.world import decision, report_event

FLOWS, QUICK = 60, 40
"""Flows of a seed, and of one in a test."""

LEARNT, HELD_OUT = (101, 102), tuple(range(1, 11))
"""Seeds of the history, and those that are compared."""

KINDS, WRONG = 12, (0.3, 5.0)
"""Kinds of work, and how many times its estimate one takes, at the least and at the most."""

NOISE = 0.3
"""Standard deviation of the logarithm of durations."""

STUDENT_95 = {2: 4.303, 5: 2.571, 9: 2.262}
"""Quantiles 0.975 of Student's distribution by degrees of freedom."""


@dataclass(frozen=True)
class Wrongness:
    """By how much the estimates of each kind of work are wrong."""

    factors: Sequence[float]

    @classmethod
    def drawn(cls, seed: int) -> "Wrongness":
        """Draw how many times its estimate each kind takes."""
        draw = random.Random(f"{seed}/kinds")
        return cls([exp(draw.uniform(log(WRONG[0]), log(WRONG[1]))) for _ in range(KINDS)])

    def planned(self, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return tasks with wrong estimates; what they take is `took_ms` in their parameters."""
        found = []
        for one in tasks:
            kind = crc32(re.sub(r"\d+", "", one["task_id"]).encode()) % KINDS
            takes = one["estimated_duration_ms"]
            found.append(
                {
                    **one,
                    "estimated_duration_ms": max(1, round(takes / self.factors[kind])),
                    "required_capabilities": ["python", f"kind-{kind}"],
                    "parameters": {"takes_ms": takes},
                }
            )
        return found


@dataclass
class TrueFleet(Fleet):
    """Workers that take what work takes, whatever its estimate is."""

    async def _work(self, assignment: Mapping[str, Any], _seconds: float) -> None:
        slow = SLOWNESS if int(assignment["worker_id"].removeprefix("w")) < SLOW else 1.0
        draw = random.Random(f"{assignment['ticket_id']}/{assignment['attempt']}")
        await asyncio.sleep(assignment["parameters"]["takes_ms"] / 1000 * slow * draw.lognormvariate(0, NOISE))
        assert self.platform is not None
        await self.platform.report(report_event(assignment, status="COMPLETED"))


class Always:
    """The port of predictions with one model, which acts."""

    def __init__(self, model: Predictor) -> None:
        self._serving = Serving(model, acts=True)

    async def serving(self) -> Serving | None:
        """See `Predictions.serving`."""
        return self._serving


def arrivals(
    plans: Sequence[Sequence[Mapping[str, Any]]], seed: int, flows: int
) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield when each flow arrives, in seconds, and its decision: its deadline fits what the work really takes."""
    draw = random.Random(f"{seed}/arrivals")
    mean_work = sum(sum(t["parameters"]["takes_ms"] for t in plan) for plan in plans) / len(plans) / 1000
    capacity = SLOTS * (SLOW / SLOWNESS + WORKERS - SLOW) * USE
    at, now = 0.0, datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    for number in range(flows):
        at += draw.expovariate(capacity / mean_work)
        tasks = draw.choice(plans)
        planned = [Planned(t["task_id"], tuple(t["dependencies"]), t["parameters"]["takes_ms"]) for t in tasks]
        path_s = schedule(planned, now, now + timedelta(hours=1)).critical_path_ms / 1000
        sla = max(30.0, path_s * draw.choice(TIGHTNESS))
        yield at, decision(*tasks, decision_id=f"{seed}-{number}", sla_deadline_seconds=sla)


def run(
    plans: Sequence[Any], seed: int, flows: int, folder: Path, predictions: Predictions
) -> tuple[list[Flow], list[Ticket]]:
    """Run all flows of a seed; return them, and their tickets."""
    loop = VirtualLoop(random.Random(f"{seed}/order"))
    with listening([]):
        return loop.run(_run(loop, plans, seed, flows, folder, predictions))


async def _run(
    loop: VirtualLoop, plans: Sequence[Any], seed: int, flows: int, folder: Path, predictions: Predictions
) -> tuple[list[Flow], list[Ticket]]:
    fleet, coming = TrueFleet(random.Random(f"{seed}/fleet")), arrivals(plans, seed, flows)
    offered = ("python", *(f"kind-{kind}" for kind in range(KINDS)))
    ended, ports = await flows_by(fleet, loop, coming, seed, folder, offered, predictions=predictions)
    return ended, [one for flow in ended for one in await ports.store.tickets_of(flow.flow_id)]


def missed(flows: Iterable[Flow]) -> int:
    """Return how many flows came too late, or to nothing."""
    return sum(f.outcome is not Outcome.COMPLETED or bool(f.ended_at and f.ended_at > f.sla_deadline) for f in flows)


def plans_with(wrong: Wrongness) -> list[list[dict[str, Any]]]:
    """Return the plans of recorded workflows where they are at hand, of seeded shapes elsewhere."""
    recorded = ROOT.parent / "shared" / "real-plans"
    return [wrong.planned(tasks) for tasks in shapes(recorded if recorded.is_dir() else None)]


def learnt(plans: Sequence[Any], flows: int, folder: Path, seeds: Sequence[int] = LEARNT) -> DurationTable:
    """Return the table that the history of other seeds teaches, run without predictions."""
    rows: list[TicketRow] = []
    for seed in seeds:
        ended, tickets = run(plans, seed, flows, folder, NoPredictions())
        by_flow = defaultdict(list)
        for ticket in tickets:
            by_flow[ticket.flow_id].append(ticket)
        rows += [row for flow in ended for row in rows_of(flow, by_flow[flow.flow_id])[1]]
    return DurationTable(fitted(rows), "duration:1")


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the mean of differences and half of its 95 % interval."""
    half = STUDENT_95[len(differences) - 1] * statistics.stdev(differences) / sqrt(len(differences))
    return statistics.mean(differences), half


def test_predictions_miss_fewer_deadlines_than_wrong_estimates(tmp_path: Path) -> None:
    plans = plans_with(Wrongness.drawn(1))
    table = learnt(plans, QUICK, tmp_path, LEARNT[:1])
    rows = []
    for seed in HELD_OUT[:3]:
        without, _ = run(plans, seed, QUICK, tmp_path, NoPredictions())
        with_model, _ = run(plans, seed, QUICK, tmp_path, Always(table))
        rows.append((missed(without), missed(with_model)))
    assert sum(row[1] for row in rows) <= 0.9 * sum(row[0] for row in rows), rows


def main() -> None:
    """Print the table of the documents."""
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else FLOWS
    with TemporaryDirectory() as name:
        folder, rows = Path(name), []
        print(
            f"flows of {flows} that missed their deadline",
            f"{'seed':>4} {'estimates':>9} {'predictions':>11} {'fewer':>6}",
            sep="\n",
        )
        for seed in HELD_OUT:
            plans = plans_with(Wrongness.drawn(seed))
            table = learnt(plans, flows, folder)
            without = missed(run(plans, seed, flows, folder, NoPredictions())[0])
            with_model = missed(run(plans, seed, flows, folder, Always(table))[0])
            rows.append((without, with_model))
            print(f"{seed:>4} {without:>9} {with_model:>11} {1 - with_model / max(1, without):>6.0%}", flush=True)
        mean, half = interval([without - with_model for without, with_model in rows])
        print(f"fewer for each seed: {mean:.1f} (95 % interval {mean - half:.1f} to {mean + half:.1f})")


if __name__ == "__main__":
    main()
