"""Each construct of the plan language in a simulated world, and the seeds that have found faults with them."""

import json
import re
from pathlib import Path

import pytest

from functions._core.decision.sample_constructs import CONSTRUCTS, construct_sample
from functions._cost.run import counted
from functions._simulator.plans import scenario_of
from functions._simulator.run import simulate
from tests.simulation.test_simulator import broken
from tests.support.command_line import flowc

FOUND = {
    19: "the replay of a history counted children that no line tells of",
    150: "two looks at the places of a concurrency key at once",
    188: "a failure that may be, for want of a slot at the deadline, was not tolerated",
}
"""Seeds, and the fault that each has found."""


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_sample_of_each_construct_is_completed_and_keeps_every_invariant(name: str) -> None:
    scenario = scenario_of(construct_sample(name, "one"), workers=2, slots=4)
    calm = [simulate(seed, ["none"], scenario) for seed in range(2)]
    assert broken(calm) == []
    assert {result.outcome for result in calm} == {"COMPLETED"}
    assert broken([simulate(seed, ["all"], scenario) for seed in range(2)]) == []


@pytest.mark.parametrize("seed", FOUND)
def test_a_fault_that_was_found_does_not_come_back(seed: int) -> None:
    assert broken([simulate(seed, ["all"])]) == []


@pytest.mark.parametrize("items", [0, 1, 300])
def test_a_list_of_any_length_is_joined(items: int) -> None:
    decision = construct_sample("foreach", "long")
    task = decision["cognitive_plan"]["tasks"][0]
    task["foreach"] |= {"items": [{"order": one} for one in range(items)], "limit": 50, "expected_items": items}
    result = simulate(1, ["none"], scenario_of(decision, workers=4, slots=16))
    assert broken([result]) == []
    assert (result.outcome, result.tickets) == ("COMPLETED", 2 + items)


def test_the_command_simulates_people_and_events_that_a_plan_waits_for(tmp_path: Path) -> None:
    for name in ("approval", "event"):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(construct_sample(name, "one")), encoding="utf-8")
        run = flowc("simulate", str(file), "--faults", "none", "--runs", "2", "--jobs", "1")
        assert re.search(r"COMPLETED +2 +100\.0%", run.output)


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_each_construct_has_a_price(name: str) -> None:
    assert counted(construct_sample(name, "one"), 1, 1_000_000).tasks > 0
