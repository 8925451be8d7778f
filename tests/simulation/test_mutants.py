"""The simulator finds what it is there to find: bugs that are put in on purpose, each within a few seeds."""

import sys

import pytest

from functions._simulator.run import simulate
from tests.simulation.mutants import MUTANTS

SEEDS = range(1, 61)
FAULTS = {
    "trail_counted_twice": ["reply-lost", "second-process"],
    "freeze_not_looked_at_by_c4": ["freeze", "delay"],
    "second_attempt_not_fenced": ["hedge", "zombie-worker", "failing-task", "repeated-report", "contradictory-report"],
    "healing_heals_its_own": ["healing"],
    "frozen_ticket_is_forgotten": ["freeze", "drop", "crash"],
    "guard_gates_nobody": ["guard"],
    "paused_flows_are_forgotten": ["sla-policy"],
}
"""Faults without which a bug hardly ever shows; the others are looked for under all of them."""


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    for seed in SEEDS:
        violations = simulate(seed, FAULTS.get(name, ["all"])).violations
        if violations:
            sys.stdout.write(f"{name}: found with seed {seed}: {violations[0].sentence} {violations[0].detail}")
            return
    pytest.fail(f"{name} was not found with seeds {SEEDS[0]} to {SEEDS[-1]}")
