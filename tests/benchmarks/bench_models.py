"""How good models are on held-out history, and how long a training takes.

    python -m tests.benchmarks.bench_models [flows] [seeds]

The last fifth of each history, by time, is held out. What is judged is what `learn` would store: the search, the table,
and trees where they are better. `docs/guides/predictions.md` has the figures.
"""

import sys
import time
from datetime import UTC, datetime
from statistics import mean, stdev

from functions._core.learning.evaluation import split_by_time
from functions._core.learning.features import real_rows
from functions._core.learning.history import TicketRow
from functions._core.learning.table_training import usable
from functions._learning.training import trained
from tests.support.fleet_world import FleetWorld
from tests.support.histories import History, history_of

MEASURES = ("mae_ms", "estimate_mae_ms", "mean_ms", "r2", "mape", "p90_coverage")
RESOURCES = ("worker_mae_ms", "estimate_worker_mae_ms", "worker_total_ratio", "attempts_total_ratio")
T_HALF = {3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26}
"""Student's t for an interval of 95 % over so many seeds."""


def measured(seed: int, flows: int) -> dict[str, float]:
    """Return the measures of the model of one history."""
    world = FleetWorld(seed)
    course = history_of(world, flows)
    rows: list[TicketRow] = real_rows(course)
    begun = time.process_time()
    done = trained(rows, now=datetime.now(UTC), by="bench")
    took = time.process_time() - begun
    if done is None:
        raise ValueError(f"{flows} flows are too few")
    record = done.record
    print(
        f"seed {seed}: {record.rows} tickets, {record.kind}, {record.state}, "
        f"MAE {record.metrics['mae_ms'] / 1000:.2f} s"
        f" (estimates {record.metrics['estimate_mae_ms'] / 1000:.2f} s), R² {record.metrics['r2']:.3f}, "
        f"MAPE {record.metrics['mape']:.1%}, p90 holds {record.metrics['p90_coverage']:.1%}, {took:.0f} s of CPU",
        flush=True,
    )
    known = truth(world, course)
    print(f"  who knows the truth: MAE {known / 1000:.2f} s")
    return {name: record.metrics[name] for name in (*MEASURES, *RESOURCES)} | {"seconds": took, "truth_mae_ms": known}


def truth(world: FleetWorld, course: History) -> float:
    """Return the MAE of who knows the true median of each ticket, on the held-out rows: what noise alone leaves."""
    known = {(plan.plan_id, task_id): ms for plan in world.plans for task_id, ms in plan.base_ms.items()}
    base = {row.ticket_id: known[flow.plan_id or "", row.task_id] for flow, rows in course for row in rows}
    _, after = split_by_time([row for row in real_rows(course) if usable(row)])
    errors = [
        abs((row.actual_ms or 0) - world.true_ms(row.work, row.worker_id or "", base[row.ticket_id])) for row in after
    ]
    return mean(errors)


def main() -> None:
    """Measure some seeds."""
    given = [int(word) for word in sys.argv[1:3]]
    flows, seeds = given[0] if given else 400, given[1] if len(given) > 1 else 5
    found = [measured(seed, flows) for seed in range(101, 101 + seeds)]
    for name in (*MEASURES, *RESOURCES, "truth_mae_ms", "seconds"):
        values = [one[name] for one in found]
        half = T_HALF.get(seeds, 2.0) * stdev(values) / seeds**0.5 if seeds > 1 else 0.0
        print(f"{name}: {mean(values):.3f} ± {half:.3f}")


if __name__ == "__main__":
    main()
