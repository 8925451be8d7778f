"""The platform keeps its promises under every fault, alone and together; a seed always tells the same story."""

import os
import subprocess
import sys

import pytest

from functions._core.decision.sample import Shape, sample_decision
from functions._engine.sweep import Sweeper
from functions._simulator.faults import CATALOGUE
from functions._simulator.plans import scenario_of
from functions._simulator.run import Result, simulate, simulate_many
from tests.conftest import ROOT

ALONE, ENOUGH = range(20), 3
"""Seeds with one fault: so many are enough once it has struck. `make sim` runs a thousand with all of them."""
TOGETHER = range(5000, 5030)


def broken(results: list[Result]) -> list[str]:
    """Return what was broken, with the command that shows it again."""
    return [
        f"flowc simulate --seed {result.seed}: {violation.sentence} {violation.detail}"
        for result in results
        for violation in result.violations
    ]


@pytest.mark.parametrize("fault", [fault.name for fault in CATALOGUE])
def test_every_promise_holds_under_one_fault(fault: str) -> None:
    results: list[Result] = []
    struck = 0
    for seed in ALONE:
        results.append(simulate(seed, [fault]))
        struck += results[-1].struck.get(fault, 0)
        if struck and len(results) >= ENOUGH:
            break
    assert broken(results) == []
    assert struck > 0, "it never struck: nothing was tested"


def test_every_promise_holds_under_all_faults() -> None:
    results = [simulate(seed, ["all"]) for seed in TOGETHER]
    assert broken(results) == []
    struck = {name for result in results for name in result.struck}
    assert {fault.name for fault in CATALOGUE} - struck == set()


def test_without_faults_every_flow_of_a_sound_plan_is_completed_in_time() -> None:
    scenario = scenario_of(sample_decision(12, Shape.LAYERS, 3, ["python"]), workers=4, slots=4)
    results = [simulate(seed, ["none"], scenario) for seed in range(10)]
    assert broken(results) == []
    assert [result.outcome for result in results] == ["COMPLETED"] * 10
    assert all(result.in_time for result in results)
    assert len({result.seconds for result in results}) > 1, "durations are drawn, so finish times differ"


HISTORY = """
import sys
from functions._simulator.run import simulate
for seed in range(40, 44):
    print("\\n".join(simulate(seed, ["all"], keep_history=True).history))
"""


def test_the_same_seed_gives_the_same_history_in_any_process() -> None:
    def history(hash_seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", HISTORY], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        return run.stdout

    first, second = history("1"), history("2")
    assert first.count(b"\n") > 100
    assert first == second


class OutOfTime(BaseException):
    """As raised by a signal, whatever is at work."""


@pytest.mark.parametrize("calls", [1, 5])
def test_an_interruption_from_outside_ends_the_run_and_not_just_the_task_at_work(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, real = iter(range(calls)), Sweeper.sweep

    async def interrupted(sweeper: Sweeper) -> None:
        if next(left, None) is None:
            raise OutOfTime
        await real(sweeper)

    monkeypatch.setattr(Sweeper, "sweep", interrupted)
    with pytest.raises(OutOfTime):
        simulate(1, ["none"])


def test_runs_side_by_side_are_the_runs_one_after_the_other() -> None:
    seeds = range(8)
    apart = [result.fingerprint for result in simulate_many(seeds, ["all"], jobs=1)]
    together = [result.fingerprint for result in simulate_many(seeds, ["all"], jobs=2)]
    assert apart == together
