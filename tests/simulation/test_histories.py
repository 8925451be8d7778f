"""The history of a seed changes only on purpose: `histories.json` has the fingerprint of each of 200 of them.

There are two for each: of the world whose steps are commits of their own, and of the one that joins them.

A change of behaviour writes the file again with `python -m tests.simulation.test_histories` and says why it did.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from functions._simulator.run import simulate_many

FILE = Path(__file__).with_name("histories.json")
SEEDS = range(1, 201)
FEW = range(1, 9)
"""As many as every test run can afford; `make test-slow` compares all."""


def fingerprints(seeds: Iterable[int], *, joins: bool) -> dict[str, str]:
    return {str(result.seed): result.fingerprint for result in simulate_many([*seeds], ["all"], joins=joins)}


def recorded(seeds: Iterable[int], *, joins: bool) -> dict[str, str]:
    known: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))["joined" if joins else "separate"]
    return {str(seed): known[str(seed)] for seed in seeds}


@pytest.mark.parametrize("joins", [False, True])
def test_the_first_seeds_tell_the_recorded_histories(*, joins: bool) -> None:
    assert fingerprints(FEW, joins=joins) == recorded(FEW, joins=joins)


@pytest.mark.slow
@pytest.mark.parametrize("joins", [False, True])
def test_every_recorded_seed_tells_its_history(*, joins: bool) -> None:
    assert fingerprints(SEEDS, joins=joins) == recorded(SEEDS, joins=joins)


if __name__ == "__main__":
    told = {"separate": fingerprints(SEEDS, joins=False), "joined": fingerprints(SEEDS, joins=True)}
    FILE.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
