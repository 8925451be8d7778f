"""From a finding to an insight: its hash, its ids, its bounds, and what becomes of it when it is found again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.events.insights import TOLD, insight_events
from functions._core.insights.findings import Advice, ProblemFound, entity, named, printable
from functions._core.insights.generation import (
    LIVES,
    insight_of,
    renewed,
    told_now,
    windows_of,
)
from functions._core.insights.insight import Insight, InsightPriority, InsightType, insight_hash
from functions._core.insights.window import LENGTH
from functions._core.ports import VALUE_BYTES
from tests.support.insight_rows import END, START, flow_row


def problem(**changes: Any) -> ProblemFound:
    """Return a finding."""
    defaults: dict[str, Any] = {
        "rule": "flow-failure",
        "subject": "w1",
        "insight_type": InsightType.OPERATIONAL,
        "title": "Two flows failed",
        "summary": "Two of three flows failed.",
        "figures": {"flows": 2.0},
        "entities": (entity("worker", "w1", "cause"),),
        "advice": (Advice(action="Look at it.", share=0.5),),
        "tags": ("failure",),
        "strength": 0.5,
        "affected": 2,
        "severity": 0.5,
    }
    return ProblemFound(**{**defaults, **changes})


def test_an_insight_has_all_of_its_finding_and_a_hash_of_it() -> None:
    insight = insight_of(problem(), START, END)
    assert insight.hash == insight_hash(insight)
    assert insight.but(title="Another").hash != insight_hash(insight.but(title="Another"))
    assert (insight.confidence_score, insight.impact_score) == (0.8, 0.38)
    assert insight.priority is InsightPriority.MEDIUM
    assert [one.priority for one in insight.recommendations] == [InsightPriority.MEDIUM]
    assert insight.tags == ("failure", "flow-failure")
    assert insight.valid_until == END + LIVES[InsightType.OPERATIONAL]
    assert Insight.model_validate_json(insight.model_dump_json()) == insight


@pytest.mark.parametrize("kind", list(InsightType))
@pytest.mark.parametrize("severity", [0.0, 0.4, 0.8, 1.0])
def test_each_type_and_priority_is_made(kind: InsightType, severity: float) -> None:
    insight = insight_of(problem(insight_type=kind, severity=severity, strength=1.0, affected=4), START, END)
    assert insight.insight_type is kind
    assert insight.priority is list(InsightPriority)[[0.0, 0.4, 0.8, 1.0].index(severity)]


def test_the_same_finding_of_the_same_window_has_the_same_id_and_no_other_has_it() -> None:
    one = insight_of(problem(), START, END)
    assert insight_of(problem(title="Other words", affected=9), START, END).insight_id == one.insight_id
    others = [
        insight_of(problem(subject="w2"), START, END),
        insight_of(problem(rule="slow-worker"), START, END),
        insight_of(problem(), END, END + LENGTH),
    ]
    assert len({one.insight_id, *(other.insight_id for other in others)}) == 4


def test_less_data_is_less_sure() -> None:
    assert insight_of(problem(), START, END, 0.5).confidence_score == pytest.approx(0.6)


def test_an_insight_about_one_flow_is_in_its_trace() -> None:
    insight = insight_of(problem(flow=flow_row(7)), START, END)
    assert (insight.correlation_id, insight.trace_id) == ("correlation-7", f"{7:032x}")
    alone = insight_of(problem(), START, END)
    assert (alone.correlation_id, alone.trace_id) == (alone.insight_id, "0" * 32)


class TestRenewal:
    def test_a_finding_that_comes_again_keeps_its_id_and_lives_longer(self) -> None:
        first, again = insight_of(problem(), START, END), insight_of(problem(affected=3), END, END + LENGTH)
        now = renewed(first, again)
        assert (now.insight_id, now.created_at, windows_of(now)) == (first.insight_id, END, 2)
        assert (now.time_window.start, now.time_window.end) == (START, END + LENGTH)
        assert now.valid_until == END + LENGTH + LIVES[InsightType.OPERATIONAL]
        assert now.hash == insight_hash(now)
        assert (told_now(first), told_now(now)) == (True, False)

    def test_it_is_told_again_when_it_is_more_urgent_and_not_when_less(self) -> None:
        first = insight_of(problem(), START, END)
        worse = renewed(first, insight_of(problem(severity=1.0, affected=9), END, END + LENGTH))
        assert (worse.priority, told_now(worse)) == (InsightPriority.CRITICAL, True)
        better = renewed(worse, insight_of(problem(), END + LENGTH, END + 2 * LENGTH))
        assert (better.priority, told_now(better), windows_of(better)) == (InsightPriority.MEDIUM, False, 3)

    def test_the_same_window_again_changes_nothing(self) -> None:
        first = insight_of(problem(), START, END)
        assert renewed(first, insight_of(problem(affected=9), START, END)) is first

    @pytest.mark.parametrize("windows", ["", "-1", "x", "²", "9" * 30])
    def test_a_count_that_somebody_broke_is_survived(self, windows: str) -> None:
        broken = insight_of(problem(), START, END)
        assert windows_of(broken.but(metadata={**broken.metadata, "windows": windows})) >= 1


class TestEvents:
    @pytest.mark.parametrize(
        ("kind", "types"),
        [
            ("STRATEGIC", ["insights.analyzed", "insights.strategic"]),
            ("OPERATIONAL", ["insights.analyzed", "insights.operational"]),
            ("ANOMALY", ["insights.analyzed"]),
            ("CAUSAL", ["insights.analyzed"]),
            ("PREDICTIVE", ["insights.analyzed"]),
        ],
    )
    def test_each_is_told_to_all_and_by_its_type(self, kind: str, types: list[str]) -> None:
        insight = insight_of(problem(insight_type=InsightType(kind), flow=flow_row(7)), START, END)
        events = insight_events(insight)
        assert [event.event_type for event in events] == types
        for event in events:
            assert event.subject == event.extensions["partitionkey"] == insight.insight_id
            assert event.extensions["correlationid"] == "correlation-7"
            assert event.extensions["traceparent"].startswith(f"00-{7:032x}-")
            assert Insight.model_validate(event.data) == insight

    def test_an_insight_of_no_flow_has_a_trace_of_its_own(self) -> None:
        [event, _] = insight_events(insight_of(problem(), START, END))
        version, trace, span, flags = event.extensions["traceparent"].split("-")
        assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
        assert int(trace, 16) > 0
        assert int(span, 16) > 0

    def test_told_again_is_the_same_event_and_a_higher_priority_is_another(self) -> None:
        first = insight_of(problem(), START, END)
        worse = renewed(first, insight_of(problem(severity=1.0, affected=9), END, END + LENGTH))
        assert [one.id for one in insight_events(first)] == [one.id for one in insight_events(first)]
        assert {one.id for one in insight_events(first)}.isdisjoint(one.id for one in insight_events(worse))
        assert worse.metadata[TOLD] != first.metadata[TOLD]


HOSTILE = [
    "two\nlines\r\nand a third",
    "\x1b[2J\x1b]0;title\x07",
    "abc\u202etxt.exe",
    "\u2028\u2029\u0085",
    "it's ' OR 1=1 --",
    "<script>alert(1)</script>",
    "\ud800 half",
    "{{7*7}} ${jndi:ldap://x}",
    "a" * 100_000,
    "",
]


class TestHostileTexts:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_names_are_one_short_quoted_line(self, text: str) -> None:
        shown = named(text)
        assert len(shown) <= 62
        assert len(shown.splitlines()) == 1
        assert shown.isprintable()
        assert shown[1:-1].count("'") == 0, "a name cannot end its own quotes"

    @pytest.mark.parametrize("text", HOSTILE)
    def test_an_insight_of_them_is_bounded_and_can_be_stored(self, text: str) -> None:
        worst = problem(
            subject=text,
            title=text,
            summary=text,
            analysis=text,
            figures={f"{number}{text}": float(number) for number in range(100)} | {"inf": float("inf")},
            entities=tuple(entity("worker", f"{number}{text}", "cause") for number in range(100)),
            advice=tuple(Advice(action=text, share=7.0) for _ in range(100)),
            tags=tuple(f"{number}{text}" for number in range(100)),
            flow=flow_row(correlation_id=text.replace("\ud800", "?")),
        )
        insight = insight_of(worst, START, END)
        stored = insight.model_dump_json().encode()
        assert len(stored) < VALUE_BYTES
        assert Insight.model_validate_json(stored) == insight
        assert len(insight.title.splitlines() or [""]) == 1
        assert (len(insight.title) <= 200, len(insight.related_entities), len(insight.tags)) == (True, 20, 12)

    @given(st.text(max_size=300), st.integers(1, 100))
    def test_any_text_is_a_printable_line_of_its_length(self, text: str, most: int) -> None:
        line = printable(text, most)
        assert len(line) <= most
        assert line.isprintable() or " " in line or not line.isascii()
        assert len(line.splitlines()) <= 1
        line.encode()
