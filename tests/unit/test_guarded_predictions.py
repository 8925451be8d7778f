"""Whatever a model says, a flow gets usable quantiles or none, and waits for no model."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from functions._core.learning import guard
from functions._core.learning.guard import EVALUATIONS, UNUSABLE, Guarded, guarded
from functions._core.learning.predictions import NoPredictions, PlannedWork, Quantiles, Serving
from functions._core.ports import Ports
from functions._core.records.values import Priority, RiskBand, SecurityLevel

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WORK = PlannedWork(
    task_type="EXECUTE",
    task_id="t",
    domain=None,
    capabilities=("python",),
    estimate_ms=1_000,
    parameters_bytes=2,
    risk_band=RiskBand.MEDIUM,
    priority=Priority.NORMAL,
    security_level=SecurityLevel.INTERNAL,
    level=0,
    fan_in=0,
    fan_out=0,
    plan_tasks=1,
    sla_ms=60_000,
    at=NOW,
)


class Says:
    """A model that always says the same, or raises it; it counts how often it is asked."""

    version = "says:1"

    def __init__(self, answer: Any, by_worker: Mapping[str, Any] | None = None) -> None:
        self.answer, self.by_worker, self.asked = answer, by_worker or {}, 0

    def quantiles(self, _work: PlannedWork, worker_id: str | None = None) -> Quantiles:
        self.asked += 1
        answer = self.by_worker.get(worker_id or "", self.answer)
        if isinstance(answer, Exception):
            raise answer
        return cast("Quantiles", answer)


def ask(asked: Guarded, work: PlannedWork = WORK) -> Quantiles | None:
    """Ask how long work takes by whoever gets it."""
    *known_before, at = (getattr(work, one.name) for one in fields(work))
    return asked.quantiles(*known_before, at=at)


def pace(asked: Guarded, worker_id: str) -> float:
    """Ask how much longer a worker needs."""
    return asked.pace(("EXECUTE",), lambda: WORK, worker_id)


def guard_of(model: Says, *, waits: Mapping[str, Any] | None = None, step: float = 0.0) -> Guarded:
    """Return the guard of a model; its clock goes on by `step` seconds whenever it is read."""

    def ticking() -> Iterator[datetime]:
        now = NOW
        while True:
            yield now
            now += timedelta(seconds=step)

    clock = ticking()
    return Guarded(Serving(model, acts=True, waits_ms=waits or {}), lambda: next(clock))


@pytest.fixture(autouse=True)
def _nothing_counted() -> None:
    UNUSABLE.clear()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ValueError("no"), "error"),
        (KeyError("no"), "error"),
        (None, "error"),
        (("a", "b"), "error"),
        ((1, 2, 3), "error"),
        ((float("nan"), 5), "no_number"),
        ((1, float("inf")), "no_number"),
        ((0, 5), "out_of_bounds"),
        ((-3, 5), "out_of_bounds"),
        ((10, 5), "out_of_bounds"),
        ((1, 10**12 + 1), "out_of_bounds"),
    ],
)
def test_what_is_no_prediction_counts_as_none_and_is_counted(answer: object, why: str) -> None:
    assert ask(guard_of(Says(answer))) is None
    assert dict(UNUSABLE) == {why: 1}


def test_a_usable_answer_is_taken_in_whole_milliseconds() -> None:
    assert ask(guard_of(Says((10.7, 20.2)))) == Quantiles(10, 20)
    assert not UNUSABLE


def test_work_that_comes_again_is_asked_for_once_as_long_as_the_model_serves() -> None:
    model, other = Says((1, 2)), Says((3, 4))
    for _ in range(3):
        assert ask(guard_of(model)) == Quantiles(1, 2)
    assert model.asked == 1
    assert ask(guard_of(other)) == Quantiles(3, 4)
    assert ask(guard_of(model), replace(WORK, at=NOW + timedelta(hours=1))) == Quantiles(1, 2)
    assert model.asked == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REMEMBERED", 10)
    asked = guard_of(model := Says((1, 2)))
    for number in range(35):
        ask(asked, replace(WORK, task_id=f"t{number}"))
        pace(asked, f"w{number}")
    memory = guard._memory  # noqa: SLF001
    assert memory.predictor is model
    assert len(memory.quantiles) <= 10
    assert all(len(paces) <= 10 for paces in memory.paces.values())


def test_a_step_asks_a_bounded_number_of_questions() -> None:
    asked = guard_of(model := Says((1, 2)))
    answers = [ask(asked, replace(WORK, task_id=f"t{number}")) for number in range(EVALUATIONS + 50)]
    assert model.asked == EVALUATIONS
    assert answers[-1] is None
    assert UNUSABLE["many"] == 50


def test_a_slow_model_is_given_up_after_the_first_slow_answer_and_asked_again_in_the_next_step() -> None:
    model = Says((1, 2))
    slow = guard_of(model, step=0.030)
    answers = [ask(slow, replace(WORK, task_id=f"t{number}")) for number in range(50)]
    assert answers == [Quantiles(1, 2), *[None] * 49]
    assert model.asked == 1
    assert UNUSABLE["slow"] == 1
    assert ask(guard_of(model), replace(WORK, task_id="t7")) == Quantiles(1, 2)


def test_a_worker_has_its_pace_and_one_of_whom_nothing_is_known_that_of_all() -> None:
    by_worker = {"slow": (2_500, 5_000), "fast": (500, 900), "unknown": ValueError("who?"), "odd": (5, 1)}
    asked = guard_of(model := Says((1_000, 2_000), by_worker))
    assert [pace(asked, name) for name in ("slow", "fast", "unknown", "odd")] == [2.5, 0.5, 1.0, 1.0]
    assert [pace(asked, name) for name in ("slow", "fast")] == [2.5, 0.5]
    assert model.asked == 8
    assert pace(guard_of(Says(ValueError("no"))), "slow") == 1.0


@pytest.mark.parametrize(
    ("waits", "wait_ms"),
    [
        ({}, 0),
        ({"": 7}, 7),
        ({"": 7, "python": 30, "java": 90}, 30),
        ({"": -1}, 0),
        ({"": float("nan")}, 0),
        ({"": 10**15}, 0),
    ],
)
def test_waits_are_those_of_the_scarcest_capability(waits: Mapping[str, Any], wait_ms: int) -> None:
    assert guard_of(Says((1, 2)), waits=waits).wait_ms(("python",)) == wait_ms


def test_a_port_that_raises_predicts_nothing() -> None:
    class Broken:
        async def serving(self) -> Serving | None:
            raise RuntimeError("the store is away")

    def ports(predictions: object) -> Ports:
        return cast("Ports", SimpleNamespace(predictions=predictions, clock=SimpleNamespace(now=lambda: NOW)))

    assert asyncio.run(guarded(ports(Broken()))) is None
    assert UNUSABLE == {"error": 1}
    assert asyncio.run(guarded(ports(NoPredictions()))) is None
    assert UNUSABLE == {"error": 1}


def test_c2_follows_what_c1_was_told_as_long_as_the_model_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PLANS", 3)
    model, told = Says((1, 2)), iter(range(100))

    def said(key: str, *, again: bool = False, by: Says = model) -> int:
        return guard_of(by).of_plan(key, lambda: next(told), again=again)

    assert [said("d-1", again=True), said("d-1"), said("d-2"), said("d-1")] == [0, 0, 1, 0]
    assert [said("d-1", again=True), said("d-1")] == [2, 2]
    assert [said("d-3"), said("d-4"), said("d-1")] == [3, 4, 5]
    assert said("d-1", by=Says((1, 2))) == 6


class Forgets(dict[Any, Any]):
    """What is remembered, which another thread forgets between two looks at it."""

    def __contains__(self, key: object) -> bool:
        known = super().__contains__(key)
        self.clear()
        return known

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.clear()


def test_what_another_thread_forgets_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = guard_of(Says(Quantiles(1, 2)))
    for name in ("plans", "quantiles"):
        monkeypatch.setattr(f"functions._core.learning.guard._memory.{name}", Forgets())
    assert [asked.of_plan("p", lambda: 7, again=again) for again in (True, False)] == [7, 7]
    assert ask(asked) == Quantiles(1, 2)
