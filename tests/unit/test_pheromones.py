"""Trails: which ends of attempts add to them, how they fade, and what they do to the ranking."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.decision.model import CognitivePlan
from functions._core.events.subscribers import signal_events
from functions._core.placement.pheromones import CAP, HALF_LIFE, Trail, added, domain_of
from functions._core.placement.ranking import composite, rank
from functions._core.placement.signals import SignalKind, signals_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.values import TaskType
from functions._core.records.worker import WorkerTelemetry
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, make_worker, seconds

RULES = Rules()
FLOW = make_flow()
TICKET = make_ticket(FLOW)
HOUR = timedelta(hours=1)


def trail(pos: float, neg: float, after: timedelta = timedelta()) -> Trail:
    return Trail(pos=pos, neg=neg, updated_at=T0 + after)


def step(kind: str, cause: str = "", from_status: str | None = "RUNNING", worker_id: str | None = "w1") -> ChangeSet:
    """Return a step in which one attempt ended."""
    entry = HistoryEntry(
        flow_id=FLOW.flow_id,
        at=T0,
        type=kind,
        cause=cause,
        ticket_id=TICKET.ticket_id,
        task_id=TICKET.task_id,
        from_status=from_status,
        attempt=1,
        worker_id=worker_id,
    )
    return ChangeSet(flow_id=FLOW.flow_id, tickets=(TICKET,), history=(entry,))


class TestTrail:
    def test_a_half_life_of_an_hour_halves_the_value(self) -> None:
        faded = trail(4, 1).at(T0 + HALF_LIFE)
        assert timedelta(hours=1) == HALF_LIFE
        assert [faded.pos, faded.neg] == pytest.approx([2, 0.5])

    def test_a_deposit_is_added_to_what_is_left_and_ten_is_the_most(self) -> None:
        assert added(trail(4, 0), trail(1, 0, HOUR)).pos == pytest.approx(3)
        whole: Trail | None = None
        for _ in range(30):
            whole = added(whole, trail(1, 0))
        assert whole == trail(CAP, 0)

    @pytest.mark.parametrize(
        ("pos", "neg", "score", "trust"),
        [(0, 0, 0.5, 1), (1, 0, 2 / 3, 1), (0, 1, 1 / 3, 2 / 3), (10, 0, 11 / 12, 1), (10, 10, 0.5, 12 / 22)],
    )
    def test_the_score_is_that_of_laplace_and_trust_is_lost_by_failures_alone(
        self, pos: float, neg: float, score: float, trust: float
    ) -> None:
        assert trail(pos, neg).score == pytest.approx(score)
        assert trail(pos, neg).trust == pytest.approx(trust)

    def test_a_clock_that_goes_back_changes_nothing(self) -> None:
        assert trail(3, 1).at(T0 - HOUR) == trail(3, 1)

    @given(st.permutations([(1.0, 0.0, 0), (0.0, 1.0, 30), (0.0, 0.5, 90), (1.0, 0.0, 90), (1.0, 0.0, 400)]))
    def test_the_order_of_signals_does_not_matter(self, signals: list[tuple[float, float, int]]) -> None:
        whole: Trail | None = None
        for pos, neg, minutes in signals:
            whole = added(whole, trail(pos, neg, timedelta(minutes=minutes)))
        assert whole is not None
        in_order = [1 + 2 ** (-310 / 60) + 2 ** (-400 / 60), 2 ** (-370 / 60) + 0.5 * 2 ** (-310 / 60)]
        assert [whole.pos, whole.neg] == pytest.approx(in_order)


class TestSignals:
    @pytest.mark.parametrize(
        ("kind", "cause", "signal"),
        [
            ("ticket.completed", "worker reports COMPLETED", SignalKind.SUCCESS),
            ("ticket.failed", "no_such_tag", SignalKind.FAILURE),
            ("ticket.failed", "timed_out", SignalKind.FAILURE),
            ("ticket.retried", "timed_out", SignalKind.FAILURE),
            ("ticket.retried", "heartbeat_lost", SignalKind.FAILURE),
            ("ticket.retried", "no_route", SignalKind.WARNING),
            ("ticket.completed", "skipped", None),
            ("ticket.failed", "worker_unreachable", None),
            ("ticket.failed", "worker_lost", None),
            ("ticket.failed", "ticket_corrupted", None),
            ("ticket.failed", "unresolved_reference", None),
            ("ticket.reassigned", "worker_refused", None),
            ("ticket.cancelled", "cancelled", None),
            ("ticket.started", "worker reports RUNNING", None),
        ],
    )
    def test_the_end_of_an_attempt_says_how_the_worker_did_its_work(
        self, kind: str, cause: str, signal: SignalKind | None
    ) -> None:
        assert [one.kind for one in signals_of(step(kind, cause))] == ([signal] if signal else [])

    def test_nothing_is_said_of_a_worker_that_does_not_have_the_ticket(self) -> None:
        assert list(signals_of(step("ticket.failed", "no_worker", "PENDING", None))) == []
        assert list(signals_of(step("ticket.failed", "not_compensated", "COMPENSATING"))) == []

    def test_a_retry_counts_half_of_a_failure(self) -> None:
        (failed,), (retried,) = (signals_of(step(kind)) for kind in ("ticket.failed", "ticket.retried"))
        assert (failed.trail, retried.trail) == (trail(0, 1), trail(0, 0.5))

    def test_a_signal_is_told_with_an_id_of_its_own(self) -> None:
        (event,) = signal_events(step("ticket.retried", "no_route"), FLOW)
        (again,) = signal_events(step("ticket.retried", "no_route"), FLOW)
        assert (event.type, event.subject) == ("io.neuralhive.pheromone.deposited.v1", TICKET.ticket_id)
        assert event.id == again.id
        about = {name: event.data[name] for name in ("domain", "worker_id", "kind", "strength", "cause")}
        assert about == {
            "domain": "BUILD",
            "worker_id": "w1",
            "kind": "WARNING",
            "strength": 0.5,
            "cause": "no_route",
        }

    @pytest.mark.parametrize(
        ("word", "domain"), [("TECHNICAL", "TECHNICAL"), (" security ", "SECURITY"), ("poetry", "BUILD"), (7, "BUILD")]
    )
    def test_the_domain_is_that_of_the_plan_else_the_type_of_the_task(self, word: Any, domain: str) -> None:
        tasks = [{"task_id": "t", "task_type": "BUILD", "description": "d"}]
        plan = CognitivePlan.model_validate({"plan_id": "p", "original_domain": word, "tasks": tasks})
        assert domain_of(TICKET.but(domain=plan.original_domain, task_type=TaskType.BUILD)) == domain


class TestRanking:
    @pytest.mark.parametrize(
        ("parts", "score"),
        [((1, 0.8, 0.95), 0.925), ((1, 0.5, 0.5), 0.7), ((1, 0, 0), 0.4), ((1, 1, 1), 1)],
    )
    def test_the_score_is_the_weighted_sum_of_its_parts(self, parts: tuple[float, float, float], score: float) -> None:
        assert composite(*parts) == score

    def test_failures_lower_the_rank_and_successes_raise_the_score(self) -> None:
        workers = [make_worker(number, last_seen=T0) for number in (1, 2, 3)]
        ranked = rank(TICKET, workers, {}, T0, RULES, {"worker-1": trail(1, 2), "worker-2": trail(9, 0)}).candidates
        assert ranked[-1].worker_id == "worker-1"
        by_id = {one.worker_id: one for one in ranked}
        assert by_id["worker-1"].pheromone_score == pytest.approx(2 / 5)
        assert by_id["worker-2"].pheromone_score == pytest.approx(10 / 11, abs=1e-6)
        assert by_id["worker-3"].pheromone_score == 0.5
        assert by_id["worker-2"].score == pytest.approx(0.4 + 0.3 * 10 / 11 + 0.15, abs=1e-6)

    def test_a_worker_that_fails_too_often_comes_after_busier_ones(self) -> None:
        workers = [make_worker(1, last_seen=T0), make_worker(2, last_seen=T0)]
        busy, failing = {"worker-1": 3}, {"worker-1": trail(10, 0), "worker-2": trail(10, 3.3)}
        assert [one.worker_id for one in rank(TICKET, workers, busy, T0, RULES, failing).candidates] == [
            "worker-1",
            "worker-2",
        ]
        now = T0 + 6 * HOUR
        workers = [worker.but(last_seen=now) for worker in workers]
        assert rank(TICKET, workers, busy, now, RULES, failing).candidates[0].worker_id == "worker-2"

    def test_workers_that_have_never_failed_share_the_work_as_if_nothing_were_known(self) -> None:
        workers = [make_worker(number, last_seen=T0) for number in range(1, 6)]
        known = {"worker-1": trail(10, 0), "worker-3": trail(0.2, 0, -HOUR)}
        for number in range(1, 30):
            ticket = make_ticket(FLOW, number)
            order = [one.worker_id for one in rank(ticket, workers, {}, T0, RULES).candidates]
            assert [one.worker_id for one in rank(ticket, workers, {}, T0, RULES, known).candidates] == order

    def test_telemetry_and_trails_count_the_same(self) -> None:
        good = make_worker(1, last_seen=T0, telemetry=WorkerTelemetry(success_rate=1.0))
        poor = make_worker(2, last_seen=T0 - seconds(1), telemetry=WorkerTelemetry(success_rate=0.5))
        ranked = rank(TICKET, [good, poor], {}, T0, RULES, {"worker-1": trail(2, 10), "worker-2": trail(10, 0)})
        assert [one.worker_id for one in ranked.candidates] == ["worker-2", "worker-1"]
