"""Workers that ask for their tickets, beside others: no sequence of faults runs a ticket twice at once or loses one.

The ledger of the simulator checks each step: lost answers, repeated requests, crashes, restarts, silence, expiry.
"""

from random import Random

import pytest

from functions._simulator.faults import CATALOGUE
from functions._simulator.plans import Scenario, asking, drawn_scenario
from functions._simulator.run import Result, simulate
from tests.simulation.test_simulator import broken

SEEDS = range(7000, 7010)


def with_pulling(seed: int, share: float) -> Scenario:
    """Return the scenario of a seed in which a share of the workers ask for their tickets."""
    scenario = drawn_scenario(seed)
    return Scenario(scenario.decisions, asking(scenario.fleet, share, Random(f"{seed}/share")), drawn=True)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_every_promise_holds_under_all_faults(share: float) -> None:
    results = [simulate(seed, ["all"], with_pulling(seed, share)) for seed in SEEDS]
    assert broken(results) == []


@pytest.mark.parametrize("fault", [fault.name for fault in CATALOGUE])
def test_every_promise_holds_under_one_fault(fault: str) -> None:
    results = [simulate(seed, [fault], with_pulling(seed, 1.0)) for seed in range(2)]
    assert broken(results) == []


def test_without_faults_nothing_is_given_to_another_worker() -> None:
    results: list[Result] = [simulate(seed, [], with_pulling(seed, 1.0), keep_history=True) for seed in range(10)]
    assert broken(results) == []
    assert not [line for result in results for line in result.history if "not_asked_for" in line]
    assert sum("ticket.completed" in line for result in results for line in result.history) > 10
