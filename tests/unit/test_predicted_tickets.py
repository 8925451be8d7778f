"""Predictions in C2, in the slack and in the order of work: they order work, and give none up."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.events.assignment import assignment_data
from functions._core.learning.predictions import PlannedWork, Quantiles
from functions._core.learning.rows import rows_of
from functions._core.planning.children import item_tickets
from functions._core.planning.compensation import compensations
from functions._core.planning.predicted_schedule import LONGER, longer_timeout
from functions._core.planning.slack import fits, last_call, needed
from functions._core.planning.tickets import generate_tickets, intact, score_at
from functions._core.records.models import Flow, Ticket
from functions._core.records.ordering import MOST_BOOST, boost_of
from functions._core.records.prediction import Prediction
from functions._core.records.values import TicketStatus
from functions._core.rules import Rules
from tests.support.decisions import NOW, a_decision, a_flow, a_task
from tests.support.predicting import Told, guarded_by

RULES = Rules()
NAMES = "abcdef"


def made(*tasks: dict[str, Any], model: Told | None = None, acts: bool = True, sla: float = 600) -> dict[str, Ticket]:
    """Return the tickets of tasks, by the estimates alone or with a model."""
    decision = a_decision(*tasks, sla_deadline_seconds=sla)
    model_of = None if model is None else guarded_by(model, acts=acts)
    tickets = generate_tickets(a_flow(decision), decision, NOW, RULES, model_of)
    return {ticket.task_id: ticket for ticket in tickets}


def flow_of(*tasks: dict[str, Any], sla: float = 600) -> Flow:
    return a_flow(a_decision(*tasks, sla_deadline_seconds=sla), status="EXECUTING")


@st.composite
def plans(draw: st.DrawFn) -> tuple[dict[str, Any], ...]:
    """Draw the tasks of a plan."""
    tasks = []
    for place in range(draw(st.integers(1, len(NAMES)))):
        after = draw(st.sets(st.sampled_from(NAMES[:place]), max_size=3)) if place else ()
        tasks.append(a_task(NAMES[place], *sorted(after), estimated_duration_ms=draw(st.integers(1, 400_000))))
    return tuple(tasks)


ANSWERS = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.one_of(st.integers(1, 10**6), st.integers(1, 10**12)), st.floats(1, 10)).map(
        lambda drawn: (drawn[0], min(10**12, round(drawn[0] * drawn[1])))
    ),
)


@given(plans(), ANSWERS, st.integers(1, 2_000), st.integers(0, 2_500))
def test_whatever_a_model_says_nothing_is_given_up_earlier(
    tasks: tuple[dict[str, Any], ...], answers: dict[str, tuple[int, int]], sla: int, seconds: int
) -> None:
    flow, start = flow_of(*tasks, sla=sla), NOW + timedelta(seconds=seconds)
    usual, predicted = made(*tasks, sla=sla), made(*tasks, model=Told(answers), sla=sla)
    for name, off in usual.items():
        on = predicted[name]
        assert needed(on) <= needed(off)
        assert fits(on, flow, start, RULES) >= fits(off, flow, start, RULES)
        assert off.late >= on.late
        calls = last_call(on, flow), last_call(off, flow)
        assert off.late or (None not in calls and calls[0] >= calls[1])  # type: ignore[operator]
        assert off.timeout <= on.timeout <= LONGER * off.timeout
        assert intact(on)
        assert on.hash == off.hash
        assert on.sla.timeout_ms == off.sla.timeout_ms
        assert on.estimated_duration_ms == off.estimated_duration_ms
        assert NOW <= on.latest_start <= on.sla.deadline <= flow.sla_deadline


def test_a_plan_and_its_history_show_a_model_the_same_work() -> None:
    asked: list[PlannedWork] = []

    class Asked(Told):
        def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
            asked.append(work)
            return super().quantiles(work, worker_id)

    more = {"parameters": {"where": "Zürich", "of": [1, 2.5, None]}, "risk_band": "high", "priority": "HIGH"}
    tasks = a_task("fetch"), a_task("build", "fetch", required_capabilities=["Python", "docker"], **more)
    flow = flow_of(*tasks).but(tickets_generated=2, outcome="COMPLETED", ended_at=NOW + timedelta(minutes=1))
    ended = {"status": TicketStatus.COMPLETED, "attempt": 1, "completed_at": NOW + timedelta(minutes=1)}
    tickets = [ticket.but(**ended) for ticket in made(*tasks, model=Asked()).values()]
    assert asked == [row.work for row in rows_of(flow, tickets)[1]]


def test_a_decision_that_comes_with_another_plan_is_not_told_what_was_said_of_its_first_one() -> None:
    """C1 of the first plan was here, that of the second one in another process: its C2 comes here again."""
    model = Told({"a": (5_000, 6_000), "c": (7_000, 8_000)})
    for names in ("ab", "ac"):
        decision = a_decision(*map(a_task, names), decision_id="same")
        tickets = generate_tickets(a_flow(decision), decision, NOW, RULES, guarded_by(model))
        assert [ticket.task_id for ticket in tickets] == [*names]
    predicted = {ticket.task_id: ticket.prediction for ticket in tickets}
    assert predicted["c"] is not None
    assert predicted["c"].p50_ms == 7_000


@given(plans(), ANSWERS)
def test_a_model_that_only_advises_changes_nothing_but_what_is_shown(
    tasks: tuple[dict[str, Any], ...], answers: dict[str, tuple[int, int]]
) -> None:
    usual, advised = made(*tasks), made(*tasks, model=Told(answers), acts=False)
    assert {name: one.but(prediction=None) for name, one in advised.items()} == usual
    assert all(one.prediction is not None and not one.prediction.acts for one in advised.values())
    assert [one.order for one in advised.values()] == [one.order for one in usual.values()]


def test_the_time_is_shared_out_by_what_work_really_takes() -> None:
    tasks = a_task("a", estimated_duration_ms=60_000), a_task("b", "a", estimated_duration_ms=60_000)
    usual = made(*tasks)
    predicted = made(*tasks, model=Told({"a": (20_000, 30_000), "b": (200_000, 270_000)}))
    assert usual["a"].sla.deadline == NOW + timedelta(seconds=300)
    assert predicted["a"].sla.deadline == NOW + timedelta(seconds=60)
    assert predicted["b"].latest_start == NOW + timedelta(seconds=330)
    assert predicted["b"].estimated_duration_ms == 60_000


def test_what_will_hardly_fit_is_not_put_before_other_work() -> None:
    tasks = a_task("a", estimated_duration_ms=60_000), a_task("b", "a", estimated_duration_ms=60_000)
    usual, hopeless = made(*tasks), made(*tasks, model=Told({"a": (500_000, 600_000), "b": (500_000, 600_000)}))
    assert [one.latest_start for one in hopeless.values()] == [one.latest_start for one in usual.values()]
    assert not any(one.late for one in hopeless.values())


def test_work_that_is_faster_than_its_estimate_has_chances_for_longer() -> None:
    task = a_task("a", estimated_duration_ms=500_000)
    usual, predicted = made(task)["a"], made(task, model=Told({"a": (50_000, 60_000)}))["a"]
    start = NOW + timedelta(seconds=300)
    assert not fits(usual, flow_of(task), start, RULES)
    assert fits(predicted, flow_of(task), start, RULES)
    assert not made(task, model=Told({"a": (50_000, 60_000)}), sla=100)["a"].late
    assert made(task, sla=100)["a"].late


@pytest.mark.parametrize(
    ("p50", "p90", "usual", "room", "longer"),
    [
        (20_000, 25_000, 60_000, 600_000, None),
        (60_000, 90_000, 60_000, 600_000, 180_000),
        (200_000, 300_000, 60_000, 10_000_000, 240_000),
        (60_000, 90_000, 60_000, 200_000, 140_000),
        (60_000, 90_000, 60_000, 100_000, 90_000),
        (60_000, 90_000, 60_000, 50_000, None),
        (10**12, 10**12, 60_000, 10**12, 240_000),
    ],
)
def test_a_timeout_becomes_longer_as_far_as_another_attempt_still_fits(
    p50: int, p90: int, usual: int, room: int, longer: int | None
) -> None:
    assert longer_timeout(Quantiles(p50, p90), usual, room) == longer


def test_the_worker_is_told_the_longer_timeout_and_one_that_a_task_names_stays() -> None:
    tasks = a_task("a", estimated_duration_ms=10_000), a_task("b", estimated_duration_ms=10_000, timeout_ms=30_000)
    tickets = made(*tasks, model=Told({"a": (50_000, 70_000), "b": (50_000, 70_000)}))
    told = {name: assignment_data(one, 1, {})["timeout_ms"] for name, one in tickets.items()}
    assert told == {"a": 140_000, "b": 30_000}
    assert {one.sla.timeout_ms for one in tickets.values()} == {60_000, 30_000}


def test_tasks_without_a_worker_have_no_prediction() -> None:
    tickets = made(
        a_task("ask", task_type="APPROVE"),
        a_task("pause", task_type="WAIT", wait={"seconds": 5}),
        a_task("work", "ask", "pause"),
        model=Told(),
    )
    assert [name for name, one in tickets.items() if one.prediction is not None] == ["work"]


def test_an_item_of_a_list_has_its_part_of_the_prediction() -> None:
    foreach = {"items": list(range(8)), "limit": 2, "expected_items": 8}
    task = a_task("each", estimated_duration_ms=10_000, foreach=foreach)
    parent = made(task, model=Told({"each": (30_000, 45_000)}))["each"]
    assert parent.prediction is not None
    assert (parent.prediction.p50_ms, parent.prediction.p90_ms) == (120_000, 180_000)
    child = item_tickets(parent, ["x"], 0, NOW, NOW + timedelta(seconds=600))[0]
    assert child.prediction is not None
    assert (child.prediction.p50_ms, child.prediction.p90_ms) == (30_000, 45_000)
    assert child.latest_start == max(NOW, parent.sla.deadline - timedelta(seconds=45))


def test_what_undoes_work_has_no_prediction_of_that_work() -> None:
    task = a_task("a", compensation={"parameters": {"undo": 1}})
    original = made(task, model=Told({"a": (500_000, 590_000)}))["a"].but(status=TicketStatus.COMPLETED)
    flow = flow_of(task).but(status="COMPENSATING", outcome="FAILED")
    (undoing,), _ = compensations(flow, [original], NOW, timedelta(minutes=10))
    assert undoing.prediction is None


def a_prediction(p50: int, *, acts: bool = True) -> Prediction:
    return Prediction(p50_ms=p50, p90_ms=2 * p50, model="told:1", acts=acts)


@pytest.mark.parametrize(
    ("p50", "left", "boost"),
    [(10_000, 20, 0.0), (20_000, 20, 0.0), (25_000, 20, 0.05), (30_000, 20, 0.1), (40_000, 20, 0.2), (10**12, 20, 0.2)],
)
def test_a_predicted_overrun_adds_to_the_score_at_most_twenty_points(p50: int, left: int, boost: float) -> None:
    assert boost_of(a_prediction(p50), timedelta(seconds=left)) == pytest.approx(boost)
    assert boost_of(a_prediction(p50, acts=False), timedelta(seconds=left)) == 0
    assert boost_of(None, timedelta(seconds=left)) == 0
    assert boost_of(a_prediction(p50), timedelta(seconds=-left)) == MOST_BOOST == 0.2


def test_the_boost_is_in_the_score_that_is_shown_and_orders_what_is_equally_urgent() -> None:
    one = made(a_task("a"), sla=100)["a"]
    predicted = one.but(prediction=a_prediction(90_000))
    assert score_at(predicted, NOW) == score_at(one, NOW)
    later = NOW + timedelta(seconds=40)
    assert score_at(predicted, later) == pytest.approx(score_at(one, later) + 0.1)
    at_last = NOW + timedelta(seconds=99)
    assert score_at(predicted, at_last) == pytest.approx(min(1.0, score_at(one, at_last) + 0.2))
    assert (one.urgency, one.precedence) > (predicted.urgency, predicted.precedence)
    ended = predicted.but(status=TicketStatus.COMPLETED, completed_at=at_last)
    assert score_at(ended, at_last) == score_at(ended.but(prediction=None), at_last)
