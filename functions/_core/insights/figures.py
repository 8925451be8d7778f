"""The figures of a window, their course over the last day, and which of them are not what they usually are.

One import place of the statistics: `anomalies`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from functions._core.insights.anomalies import LEAST_POINTS, iqr, zscore
from functions._core.insights.findings import Advice, ProblemFound, entity
from functions._core.insights.insight import InsightType
from functions._core.insights.window import WENT_WRONG, HistoryWindow
from functions._core.learning.series import median

KEPT = 288
"""Windows of a course: a day of five minutes."""

FEW = 3
"""Flows or tickets of a window below which their median is no figure of it."""

COUNT, MILLISECONDS = "count", "ms"


class Figure(NamedTuple):
    """A figure that is watched."""

    unit: str
    """`count` or `ms`."""
    only_high: bool
    """Whether a value below the usual ones is fine."""
    text: str
    """What it is, in a sentence after a number."""
    weight: float = 1.0
    """How bad the worst anomaly of it is, 0 to 1: that more flows ended is no harm."""


FIGURES: Mapping[str, Figure] = {
    "flows": Figure(COUNT, only_high=False, text="flows ended", weight=0.4),
    "failures": Figure(COUNT, only_high=True, text="flows failed or timed out"),
    "missed": Figure(COUNT, only_high=True, text="flows missed their deadlines"),
    "retries": Figure(COUNT, only_high=True, text="times tickets were tried again", weight=0.6),
    "duration_ms": Figure(MILLISECONDS, only_high=True, text="ms a flow took in the middle", weight=0.7),
    "wait_ms": Figure(MILLISECONDS, only_high=True, text="ms a ticket waited for its worker in the middle", weight=0.7),
}
"""The figures of a window by name."""

LEAST_COUNT = 5
"""How far off its usual value a count has to be: on a quiet platform one flow more is no news."""

LEAST_MS, LEAST_SHARE = 100.0, 0.2
"""How far off its usual value a duration has to be: in milliseconds, and as a share of that value."""

WORST_SCORE = 10.0
"""The score at which an anomaly is as severe as one can be."""

Course = Mapping[str, tuple[float, ...]]
"""The figures of the last windows by name, the oldest first; windows without a figure are left out of its course."""


class FigureAnomaly(NamedTuple):
    """A figure of a window that is not what it usually is."""

    name: str
    """The name of the figure."""
    value: float
    """What it is."""
    usual: float
    """The median of the windows before."""
    score: float
    """By how many deviations it is off."""
    methods: tuple[str, ...]
    """The methods that say so: `zscore`, and `iqr` where that does, too."""
    windows: int
    """How many windows it was compared with."""


def figures_of(window: HistoryWindow) -> Mapping[str, float]:
    """Return the figures of a window; those that it has too little for are left out."""
    flows, waits = window.flows, [float(one.waited_ms) for one in window.tickets if one.waited_ms is not None]
    found = {
        "flows": float(len(flows)),
        "failures": float(sum(flow.outcome in WENT_WRONG for flow in flows)),
        "missed": float(sum(flow.missed for flow in flows)),
        "retries": float(sum(ticket.retries for ticket in window.tickets)),
    }
    if len(flows) >= FEW:
        found["duration_ms"] = median([float(flow.duration_ms) for flow in flows])
    if len(waits) >= FEW:
        found["wait_ms"] = median(waits)
    return found


def continued(course: Course, figures: Mapping[str, float]) -> Course:
    """Return the course with the figures of one window more, the last day of it."""
    return {
        name: (*course.get(name, ()), *([round(figures[name], 1)] if name in figures else []))[-KEPT:]
        for name in FIGURES
    }


def anomalies_of(figures: Mapping[str, float], course: Course) -> Sequence[FigureAnomaly]:
    """Return which figures of a window are anomalies against the course of the windows before it.

    By z-score, |z| > 3, of at least ten windows with this one; quartiles are asked, too, and agree or not.
    """
    found = []
    for name, value in figures.items():
        before, what = course.get(name, ()), FIGURES[name]
        values = [*before, value]
        if len(values) < LEAST_POINTS:
            continue
        usual = median(before)
        least = LEAST_COUNT if what.unit == COUNT else max(LEAST_MS, LEAST_SHARE * usual)
        last = len(values) - 1
        odd = next((one for one in zscore(values, least=least) if one.index == last), None)
        if odd is None or (what.only_high and odd.score < 0):
            continue
        others = [one.method for one in iqr(values) if one.index == last]
        found.append(FigureAnomaly(name, value, usual, abs(odd.score), (odd.method, *others), len(before)))
    return found


def anomaly_problems(anomalies: Sequence[FigureAnomaly]) -> Iterator[ProblemFound]:
    """Yield the findings about anomalies."""
    for one in anomalies:
        what, high = FIGURES[one.name], one.value > one.usual
        yield ProblemFound(
            rule="anomaly",
            subject=f"{one.name}/{'high' if high else 'low'}",
            insight_type=InsightType.ANOMALY,
            title=f"Unusually {'many' if high else 'few'}: {one.value:g} {what.text}"
            if what.unit == COUNT
            else f"Unusually long: {one.value:g} {what.text}",
            summary=f"In these five minutes it was {one.value:g} ({what.text}); in the {one.windows} windows before it "
            f"was {one.usual:g} in the middle. The score is {one.score:.1f}, more than 3 is unusual.",
            analysis=f"Found by {' and '.join(one.methods)} over the windows of the last day.",
            figures={"value": one.value, "usual": one.usual, "score": one.score, "windows": one.windows},
            entities=(entity("metric", one.name, "source"),),
            advice=(
                Advice(action=_ADVICE.get(one.name, "Compare with what was released or changed before."), share=0.4),
            ),
            tags=("anomaly", one.name),
            strength=min(1.0, one.score / WORST_SCORE),
            agreement=len(one.methods) / 2,
            affected=int(one.value) if what.weight == 1.0 else 1,
            severity=what.weight * min(1.0, one.score / WORST_SCORE),
        )


_ADVICE = {
    "flows": "Look at whether flows still arrive, and whether one sender sends more than usual.",
    "wait_ms": "Look at how many workers are registered and healthy.",
    "retries": "Look at which worker or service the retried tickets have in common.",
}
