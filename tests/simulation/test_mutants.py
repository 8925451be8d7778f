"""The simulator finds what it is there to find: bugs that are put in on purpose, each within a few seeds."""

import sys

import pytest

from functions._simulator.run import simulate
from tests.simulation.mutants import MUTANTS

SEEDS = range(1, 61)
KNOWN = {
    "stale_read_decides": 9,
    "compensation_in_plan_order": 34,
    "hash_not_compared": 6,
    "clearance_not_looked_at": 13,
    "decision_lost_at_a_conflict": 9,
    "lease_answered_before_its_commit": 6,
    "pulled_ticket_is_posted": 6,
    "trail_counted_twice": 3,
    "needed_edge_is_redundant": 28,
    "skip_stays_alone": 22,
    "approval_never_lapses": 12,
    "event_ends_two_waits": 9,
    "clock_not_given_back": 7,
    "condition_not_looked_at": 8,
    "failed_items_decide": 7,
    "freeze_not_looked_at_by_c4": 52,
    "frozen_ticket_is_forgotten": 89,
    "healing_heals_its_own": 7,
    "guard_gates_nobody": 7,
}
"""Seeds that have found a bug, which are tried first; where one no longer does, all are."""

FAULTS = {
    "trail_counted_twice": ["reply-lost", "second-process"],
    "freeze_not_looked_at_by_c4": ["freeze", "delay"],
    "second_attempt_not_fenced": ["hedge", "zombie-worker", "failing-task", "repeated-report", "contradictory-report"],
    "healing_heals_its_own": ["healing"],
    "frozen_ticket_is_forgotten": ["freeze", "drop", "crash"],
    "guard_gates_nobody": ["guard"],
    "paused_flows_are_forgotten": ["sla-policy"],
    "prediction_gives_work_up": ["lying-model", "slow-worker"],
    "unlikely_flow_is_refused": ["lying-model"],
}
"""Faults without which a bug hardly ever shows; the others are looked for under all of them."""


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    for seed in dict.fromkeys([KNOWN.get(name, SEEDS[0]), *SEEDS]):
        violations = simulate(seed, FAULTS.get(name, ["all"])).violations
        if violations:
            sys.stdout.write(f"{name}: found with seed {seed}: {violations[0].sentence} {violations[0].detail}")
            return
    pytest.fail(f"{name} was not found with seeds {SEEDS[0]} to {SEEDS[-1]}")
