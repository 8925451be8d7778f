"""The use of trails: work goes to the workers that do it. `tests/benchmarks/bench_pheromones.py` measures how much."""

from tests.support.failing_fleet import FAILING, SHARE, WORKERS, Ran, interval, nothing_learned, ran

SEEDS = range(1, 7)
SMALL = {"flows": 12, "tasks": 16}
FAIR = FAILING / WORKERS
"""The share of the tickets of the failing workers where nothing is learned."""


def worlds() -> list[Ran]:
    return [ran(seed, **SMALL) for seed in SEEDS]


def test_with_a_quarter_of_the_workers_failing_one_task_in_three_there_are_fewer_retries() -> None:
    with nothing_learned():
        plain = worlds()
    learned = worlds()
    mean, low, _ = interval(
        [float(before.retries - after.retries) for before, after in zip(plain, learned, strict=True)]
    )
    assert low > 0, f"{mean:.1f} fewer retries on average"
    assert sum(one.retries for one in learned) < 0.75 * sum(one.retries for one in plain)
    assert interval([one.to_failing for one in learned])[2] < FAIR
    assert FAILING / WORKERS == 1 / 4
    assert SHARE == 1 / 3
