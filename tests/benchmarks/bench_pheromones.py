"""Trails against the constant 0.5: the same flows and fleet, in virtual time; how often are tickets tried again?

The real platform runs in the simulator. A quarter of the workers fails one task in three; both runs of a seed have the
same plans, arrivals and estimates. `tests/simulation/test_pheromones.py` fails if the effect disappears.
"""

from statistics import fmean

from tests.support.failing_fleet import FAILING, Ran, interval, nothing_learned, ran

SEEDS = range(1, 11)
PAUSES = {"quiet": 30.0, "half busy": 15.0, "busy": 5.0}
"""Seconds between two arrivals, by the load that follows."""


def most(one: Ran) -> float:
    """Return how many times the average the busiest of the good workers got."""
    good = one.given[FAILING:]
    return max(good) / fmean(good)


def test_trails_spare_retries_at_every_load() -> None:
    heads = ("retries", "fewer", "95 % interval", "to failing", "busiest good")
    print(f"\n{'load':10}" + "".join(f"{head:>16}" for head in heads))
    for load, pause in PAUSES.items():
        with nothing_learned():
            plain = [ran(seed, pause=pause) for seed in SEEDS]
        learned = [ran(seed, pause=pause) for seed in SEEDS]
        mean, low, high = interval([1 - b.retries / a.retries for a, b in zip(plain, learned, strict=True)])
        cells = (
            f"{fmean(r.retries for r in plain):.1f} -> {fmean(r.retries for r in learned):.1f}",
            f"{mean:.0%}",
            f"{low:.0%} to {high:.0%}",
            f"{fmean(r.to_failing for r in plain):.0%} -> {fmean(r.to_failing for r in learned):.0%}",
            f"{fmean(map(most, plain)):.2f} -> {fmean(map(most, learned)):.2f}",
        )
        print(f"{load:10}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
        assert low > 0
