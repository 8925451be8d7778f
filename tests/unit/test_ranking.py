"""Who gets a ticket, and why the others do not."""

import pytest

from functions._core.placement.ranking import choose, health_of, rank
from functions._core.placement.workers import Heartbeat, heard, silent
from functions._core.records.values import Health
from functions._core.records.worker import Worker, WorkerTelemetry
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, make_worker, seconds

RULES = Rules()
TICKET = make_ticket(make_flow(), required_capabilities=("build",))


def worker(number: int, *, rate: float | None = None, slots: int = 10, silence: float = 0, **changes: object) -> Worker:
    """Build a worker that offers `build`."""
    return make_worker(
        number,
        capabilities=("build",),
        slots=slots,
        telemetry=WorkerTelemetry(success_rate=rate),
        last_seen=T0 - seconds(silence),
        **changes,
    )


@pytest.mark.parametrize(
    ("silence", "rate", "score"),
    [(0, 0.95, 0.835), (0, None, 0.70), (0, 0.0, 0.55), (0, 1.0, 0.85), (61, 1.0, 0.65)],
)
def test_the_score_is_the_weighted_sum_with_unknown_as_a_half(silence: float, rate: float | None, score: float) -> None:
    ranking = rank(TICKET, [worker(1, rate=rate, silence=silence)], {}, T0, RULES)
    assert ranking.candidates[0].score == pytest.approx(score)


def test_every_worker_left_out_is_named_with_its_reason() -> None:
    workers = [
        make_worker(1, capabilities=("deploy",), last_seen=T0),
        worker(2, silence=95),
        worker(3, slots=2),
        worker(4),
    ]
    ranking = rank(TICKET, workers, {"worker-3": 2}, T0, RULES)
    assert [c.worker_id for c in ranking.candidates] == ["worker-4"]
    assert {r.worker_id: r.reason for r in ranking.refusals} == {
        "worker-1": "does not offer build",
        "worker-2": "unhealthy: silent for 95 s",
        "worker-3": "all 2 slots are taken",
    }
    assert ranking.capable


def test_nobody_capable_differs_from_everybody_busy() -> None:
    assert not rank(TICKET, [make_worker(1, capabilities=("deploy",), last_seen=T0)], {}, T0, RULES).capable
    assert rank(TICKET, [worker(1, slots=1)], {"worker-1": 1}, T0, RULES).capable


def test_near_equals_are_ordered_by_load_and_clearly_worse_ones_come_last() -> None:
    workers = [worker(1, rate=1.0), worker(2, rate=0.9), worker(3, rate=0.2)]
    ranking = rank(TICKET, workers, {"worker-1": 5, "worker-2": 1}, T0, RULES)
    assert [c.worker_id for c in ranking.candidates] == ["worker-2", "worker-1", "worker-3"]


def test_a_worker_that_was_tried_before_comes_after_all_others() -> None:
    tried = TICKET.but(excluded_workers=("worker-1",))
    ranking = rank(tried, [worker(1, rate=1.0), worker(2, rate=0.1)], {}, T0, RULES)
    assert [c.worker_id for c in ranking.candidates] == ["worker-2", "worker-1"]


@pytest.mark.parametrize(
    ("silence", "health"),
    [
        (0, Health.HEALTHY),
        (59.9, Health.HEALTHY),
        (60, Health.DEGRADED),
        (89.9, Health.DEGRADED),
        (90, Health.UNHEALTHY),
        (10_000, Health.UNHEALTHY),
    ],
)
def test_health_is_a_function_of_silence(silence: float, health: Health) -> None:
    assert health_of(worker(1, silence=silence), T0, RULES) is health


def test_what_a_worker_says_of_itself_never_makes_it_healthier_than_its_silence() -> None:
    assert health_of(worker(1, silence=95, reported=Health.HEALTHY), T0, RULES) is Health.UNHEALTHY
    assert health_of(worker(1, silence=65, reported=Health.UNHEALTHY), T0, RULES) is Health.UNHEALTHY
    assert health_of(worker(1, reported=Health.DEGRADED), T0, RULES) is Health.DEGRADED


def test_the_choice_falls_on_the_first_candidate_with_a_free_slot() -> None:
    candidates = rank(TICKET, [worker(1, slots=1), worker(2, slots=1)], {}, T0, RULES).candidates
    first, second = candidates
    assert choose(candidates, {}) == first
    assert choose(candidates, {first.worker_id: 1}) == second
    assert choose(candidates, {"worker-1": 1, "worker-2": 1}) is None


def test_one_heartbeat_ends_degraded_and_two_in_a_row_end_unhealthy() -> None:
    def beat(known: Worker, at: float, status: Health = Health.HEALTHY) -> tuple[Worker, Health]:
        now = T0 + seconds(at)
        after = heard(known, Heartbeat(status=status), now, RULES)
        return after, health_of(after, now, RULES)

    degraded, health = beat(worker(1), 0, Health.DEGRADED)
    assert health is Health.DEGRADED
    assert beat(degraded, 30)[1] is Health.HEALTHY
    lost = silent(worker(1), T0 + seconds(95), RULES)
    assert lost is not None
    assert lost.announced is Health.UNHEALTHY
    for ill, at in ((lost, 100.0), (beat(worker(1), 0, Health.UNHEALTHY)[0], 30.0)):
        first, health = beat(ill, at)
        assert health is Health.UNHEALTHY
        assert beat(first, at + 30)[1] is Health.HEALTHY
        not_in_a_row, health = beat(first, at + 30, Health.DEGRADED)
        assert health is Health.UNHEALTHY
        again, health = beat(not_in_a_row, at + 60)
        assert health is Health.UNHEALTHY
        assert beat(again, at + 90)[1] is Health.HEALTHY
        assert beat(first, at + 200)[1] is Health.UNHEALTHY, "silent for too long in between"


@pytest.mark.parametrize(
    ("rate", "executions", "health"),
    [(0.69, 10, Health.DEGRADED), (0.7, 10, Health.HEALTHY), (0.1, 9, Health.HEALTHY), (0.1, None, Health.HEALTHY)],
)
def test_a_worker_whose_tasks_fail_often_is_degraded(rate: float, executions: int | None, health: Health) -> None:
    telemetry = WorkerTelemetry(success_rate=rate, total_executions=executions)
    assert health_of(worker(1).but(telemetry=telemetry), T0, RULES) is health
