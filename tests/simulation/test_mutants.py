"""The simulator finds what it is there to find: bugs that are put in on purpose, each within a few seeds."""

import sys

import pytest

from functions._simulator.run import simulate
from tests.simulation.mutants import MUTANTS

SEEDS = range(1, 61)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    for seed in SEEDS:
        violations = simulate(seed, ["all"]).violations
        if violations:
            sys.stdout.write(f"{name}: found with seed {seed}: {violations[0].sentence} {violations[0].detail}")
            return
    pytest.fail(f"{name} was not found with seeds {SEEDS[0]} to {SEEDS[-1]}")
