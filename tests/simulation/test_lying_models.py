"""A model that lies harms no flow: every invariant holds, and about as many flows are in time as without one."""

import pytest

from functions._core.learning.guard import UNUSABLE
from functions._simulator.lying import LIES, LYING
from functions._simulator.run import simulate

TROUBLE = ("slow-worker", "hung-worker", "failing-task")
"""Faults that a timeout, a retry or a place in the order could make worse."""

FEW, MANY = range(9000, 9012), range(9000, 9400)
"""Seeds of every test run, and of `make test-slow`."""


def in_time(seeds: range, *faults: str) -> list[bool]:
    """Return which flows were done in time; nothing may be broken."""
    results = [simulate(seed, faults) for seed in seeds]
    assert [violation for result in results for violation in result.violations] == []
    return [result.in_time for result in results]


def test_without_other_trouble_a_lying_model_makes_no_flow_late() -> None:
    assert in_time(FEW, LYING) == in_time(FEW, "none")


def test_every_kind_of_lie_is_told_and_found_out() -> None:
    UNUSABLE.clear()
    told = {name for seed in FEW for name, number in simulate(seed, [LYING]).struck.items() if number}
    assert told == {LYING}
    assert {"error", "no_number", "out_of_bounds"} <= UNUSABLE.keys()
    assert len(LIES) == 8


@pytest.mark.slow
def test_with_trouble_a_lying_model_costs_less_than_two_flows_of_a_hundred() -> None:
    usual, lied_to = in_time(MANY, *TROUBLE), in_time(MANY, *TROUBLE, LYING)
    told = f"{sum(usual)} of {len(usual)} in time without a model, {sum(lied_to)} with one that lies"
    assert sum(lied_to) >= sum(usual) - 0.02 * len(usual), told
