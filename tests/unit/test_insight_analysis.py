"""The analysis of a window as a whole: whatever strangers have named, rules hold, and insights are bounded."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.insights.analysis import (
    MOST_OPEN,
    PER_WINDOW,
    AnalysisState,
    OpenProblem,
    analysed,
    remembered,
    still_open,
)
from functions._core.insights.figures import KEPT, anomalies_of, continued, figures_of
from functions._core.insights.insight import InsightType, insight_hash
from functions._core.insights.window import LENGTH, ConsensusFigures, HistoryWindow
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.ports import VALUE_BYTES
from functions._core.records.values import Outcome, Priority, TaskType, TicketStatus
from tests.support.builders import T0, seconds
from tests.support.histories import history
from tests.support.insight_rows import END, START, flow_row, ticket_row, window_of

TEXTS = st.text(max_size=40) | st.sampled_from(["\n", "\x1b[2J", "\u202e", "a" * 5000, "{}", "'", "<b>", "\x00"])
FEW = st.sampled_from(["w1", "w2", "w3"])


@st.composite
def flows(draw: st.DrawFn) -> FlowRow:
    ended = START + seconds(draw(st.integers(0, 299)))
    return flow_row(
        flow_id=draw(TEXTS),
        decision_id=draw(TEXTS),
        correlation_id=draw(TEXTS),
        outcome=draw(st.sampled_from(list(Outcome))),
        priority=draw(st.sampled_from(list(Priority))),
        missed=draw(st.booleans()),
        ended_at=ended,
        critical_path_ms=draw(st.none() | st.integers(0, 10**12)),
        reason_code=draw(st.none() | TEXTS),
    )


@st.composite
def tickets(draw: st.DrawFn, flow: FlowRow) -> TicketRow:
    begun = draw(st.none() | st.integers(-1000, 1000))
    return ticket_row(
        flow,
        draw(st.integers(0, 10**6)),
        task_id=draw(TEXTS),
        task_type=draw(st.sampled_from(list(TaskType))),
        domain=draw(st.none() | TEXTS),
        capabilities=tuple(draw(st.lists(TEXTS, max_size=3))),
        status=draw(st.sampled_from(list(TicketStatus))),
        worker_id=draw(st.none() | FEW | TEXTS),
        estimate_ms=draw(st.integers(0, 10**12)),
        actual_ms=draw(st.none() | st.integers(0, 10**12)),
        ready_at=draw(st.none() | st.just(START)),
        assigned_at=None if begun is None else START + timedelta(seconds=begun),
        retries=draw(st.integers(0, 100)),
        reason_code=draw(st.none() | TEXTS),
    )


@st.composite
def windows(draw: st.DrawFn) -> HistoryWindow:
    ended = [(flow, draw(st.lists(tickets(flow), max_size=6))) for flow in draw(st.lists(flows(), max_size=5))]
    number = st.none() | st.floats(0, 1)
    figures = [ConsensusFigures(draw(TEXTS), draw(TEXTS), draw(number), draw(number)) for _ in ended]
    return window_of(*ended, consensus=figures, completeness=draw(st.floats(0, 1)))


@settings(max_examples=60, deadline=None)
@given(windows())
def test_whatever_strangers_have_named_insights_are_sound(window: HistoryWindow) -> None:
    done = analysed(window, {})
    assert done.failed == {}
    assert len(done.insights) <= PER_WINDOW
    for _, insight in done.insights:
        assert len(insight.model_dump_json().encode()) < VALUE_BYTES
        assert insight.hash == insight_hash(insight)
        assert len(insight.title.splitlines()) == 1
        assert "\x1b" not in insight.model_dump_json()
        assert 0 <= insight.confidence_score <= 1
        assert 0 <= insight.impact_score <= 1
    assert analysed(window, {}) == done, "the same window brings the same insights"


def test_a_history_without_faults_is_quiet() -> None:
    good = [(flow_row(number), [ticket_row(flow_row(number))]) for number in range(50)]
    assert analysed(window_of(*good), {}).insights == []


def test_a_busy_history_makes_insights_that_differ_the_most_important_first() -> None:
    found = analysed(window_of(*history(1, 200)), {}).insights
    keys, weights = [key for key, _ in found], [one.impact_score * one.confidence_score for _, one in found]
    assert len(set(keys)) == len({one.insight_id for _, one in found}) == len(found) > 5
    assert all(first >= second - 0.001 for first, second in pairwise(weights))


class TestCourse:
    def test_it_is_a_day_long_at_most(self) -> None:
        course = continued({"flows": tuple(float(number) for number in range(KEPT))}, {"flows": 7.0})
        assert (len(course["flows"]), course["flows"][-1], course["flows"][0]) == (KEPT, 7.0, 1.0)

    def test_a_window_with_few_flows_has_no_median_of_them(self) -> None:
        figures = figures_of(window_of((flow_row(), []), (flow_row(2), [])))
        assert figures == {"flows": 2.0, "failures": 0.0, "missed": 0.0, "retries": 0.0}
        assert "duration_ms" not in continued({}, figures) or continued({}, figures)["duration_ms"] == ()

    def test_failures_after_a_quiet_day_are_an_anomaly_and_fewer_are_none(self) -> None:
        quiet = {"failures": (0.0,) * 100}
        [anomaly] = anomalies_of({"failures": 6.0}, quiet)
        assert (anomaly.name, anomaly.usual, "zscore" in anomaly.methods) == ("failures", 0.0, True)
        assert anomalies_of({"failures": 4.0}, quiet) == []
        assert anomalies_of({"failures": 0.0}, {"failures": (6.0, 7.0, 8.0) * 20}) == [], "fewer is no harm"

    def test_flows_that_stop_are_an_anomaly(self) -> None:
        [anomaly] = anomalies_of({"flows": 0.0}, {"flows": (20.0, 22.0, 21.0, 19.0) * 10})
        assert anomaly.value < anomaly.usual
        assert anomaly.score > 3

    def test_a_tenth_more_time_is_no_news_however_steady_it_was(self) -> None:
        steady = {"duration_ms": (1000.0, 1001.0) * 50}
        assert anomalies_of({"duration_ms": 1150.0}, steady) == []
        assert [one.name for one in anomalies_of({"duration_ms": 1500.0}, steady)] == ["duration_ms"]


class TestOpenFindings:
    def test_they_are_bounded_and_those_seen_last_stay(self) -> None:
        known = {f"{number:04d}": OpenProblem(insight_id="i", seen_at=T0 + seconds(number)) for number in range(300)}
        kept = remembered(known, {"new": "insight"}, END + seconds(1))
        assert len(kept) == MOST_OPEN
        assert "new" in kept
        assert "0000" not in kept

    def test_after_an_hour_they_are_over(self) -> None:
        seen = OpenProblem(insight_id="i", seen_at=T0)
        state = AnalysisState(closed_until=T0, open={"a": seen})
        assert still_open(state, T0 + timedelta(hours=1)) == {"a": seen}
        assert still_open(state, T0 + timedelta(hours=1) + LENGTH) == {}


def test_each_rule_makes_a_type_that_it_says() -> None:
    found = analysed(window_of(*history(2, 200)), {"flows": (3.0,) * 20})
    types = {one.metadata["rule"]: one.insight_type for _, one in found.insights}
    assert types["anomaly"] is InsightType.ANOMALY
    assert types["wrong-estimate"] is InsightType.OPERATIONAL
