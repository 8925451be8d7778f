"""The history of a seed changes only on purpose: `histories.json` has the fingerprint of each of 200 of them.

A change of behaviour writes the file again with `python -m tests.simulation.test_histories` and says why it did.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from functions._simulator.run import simulate_many

FILE = Path(__file__).with_name("histories.json")
SEEDS = range(1, 201)
FEW = range(1, 21)
"""As many as every test run can afford; `make test-slow` compares all."""


def fingerprints(seeds: Iterable[int]) -> dict[str, str]:
    return {str(result.seed): result.fingerprint for result in simulate_many([*seeds], ["all"])}


def recorded(seeds: Iterable[int]) -> dict[str, str]:
    known: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return {str(seed): known[str(seed)] for seed in seeds}


def test_the_first_seeds_tell_the_recorded_histories() -> None:
    assert fingerprints(FEW) == recorded(FEW)


@pytest.mark.slow
def test_every_recorded_seed_tells_its_history() -> None:
    assert fingerprints(SEEDS) == recorded(SEEDS)


if __name__ == "__main__":
    FILE.write_text(json.dumps(fingerprints(SEEDS), indent=1) + "\n", encoding="utf-8")
