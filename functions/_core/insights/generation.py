"""The insight that a finding makes, and the one that it renews when it is found again.

All texts and lists are bounded here, so that an insight fits into a value of the store whatever strangers have named.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from functions._core.events.insights import NO_TRACE, TOLD
from functions._core.insights.findings import ProblemFound, finite, printable
from functions._core.insights.insight import Insight, InsightPriority, InsightType, Recommendation, TimeWindow, sealed
from functions._core.insights.scores import confidence, impact, priority_of, share
from functions._core.records.values import NAMESPACE, add_time, format_time, name_uuid

TITLE, SENTENCES, ANALYSIS = 200, 1_000, 2_000
"""Characters of a title, of a summary or an action, and of an analysis."""

MOST_FIGURES, MOST_ENTITIES, MOST_ADVICE, MOST_TAGS = 30, 20, 5, 12
"""How many of each an insight has at most."""

NAME, TAG = 80, 60
"""Characters of a figure's name, and of a tag."""

CORRELATION = 255
"""Characters of a correlation id; of a flow with a longer one the insight has its own."""

LIVES: Mapping[InsightType, timedelta] = {
    InsightType.STRATEGIC: timedelta(days=30),
    InsightType.OPERATIONAL: timedelta(days=7),
    InsightType.PREDICTIVE: timedelta(days=2),
    InsightType.CAUSAL: timedelta(days=14),
    InsightType.ANOMALY: timedelta(days=3),
}
"""How long an insight is kept after the window that has last found it."""

WINDOWS, LAST = "windows", "last_window"
"""Metadata: in how many windows it was found, and the end of the last one; see `TOLD`, too."""

ORDER = tuple(InsightPriority)
"""The priorities, the lowest first."""


def insight_of(problem: ProblemFound, start: datetime, end: datetime, completeness: float = 1.0) -> Insight:
    """Return the insight of a finding in the window from `start` to `end`; `completeness` is of the window's data."""
    insight_id = name_uuid(str(NAMESPACE), f"insight/{problem.key}/{format_time(start)}")
    sure = confidence(completeness, problem.strength, problem.agreement)
    matters = impact(problem.affected, problem.severity)
    priority, flow = priority_of(matters, sure), problem.flow
    of_flow = flow is not None and 0 < len(flow.correlation_id) <= CORRELATION
    return sealed(
        Insight(
            insight_id=insight_id,
            correlation_id=flow.correlation_id if flow is not None and of_flow else insight_id,
            trace_id=flow.trace_id if flow is not None else NO_TRACE,
            insight_type=problem.insight_type,
            priority=priority,
            title=printable(problem.title, TITLE),
            summary=printable(problem.summary, SENTENCES),
            detailed_analysis=printable(problem.analysis, ANALYSIS),
            data_sources=problem.sources,
            metrics=dict(list(finite(_short(problem.figures)).items())[:MOST_FIGURES]),
            confidence_score=round(sure, 4),
            impact_score=round(matters, 4),
            recommendations=tuple(
                Recommendation(
                    action=printable(one.action, SENTENCES), priority=priority, estimated_impact=share(one.share)
                )
                for one in problem.advice[:MOST_ADVICE]
            ),
            related_entities=problem.entities[:MOST_ENTITIES],
            time_window=TimeWindow(start=start, end=end),
            created_at=end,
            valid_until=add_time(end, LIVES[problem.insight_type]),
            tags=_tags([problem.rule, *problem.tags]),
            metadata={"rule": problem.rule, WINDOWS: "1", LAST: format_time(end), TOLD: format_time(end)},
        )
    )


def renewed(known: Insight, again: Insight) -> Insight:
    """Return an insight after a later window has found the same: its figures are those of the later window.

    It keeps its id and its beginning. It is told again only when it has become more urgent.
    """
    if known.metadata.get(LAST) == again.metadata[LAST]:
        return known
    urgent = ORDER.index(again.priority) > ORDER.index(known.priority)
    return sealed(
        again.but(
            insight_id=known.insight_id,
            correlation_id=known.correlation_id,
            trace_id=known.trace_id,
            created_at=known.created_at,
            time_window=TimeWindow(start=known.time_window.start, end=again.time_window.end),
            metadata={
                **again.metadata,
                WINDOWS: str(windows_of(known) + 1),
                TOLD: again.metadata[LAST] if urgent else known.metadata.get(TOLD, ""),
            },
        )
    )


def told_now(insight: Insight) -> bool:
    """Whether the last window that has found it made it, or made it more urgent."""
    return insight.metadata.get(TOLD) == insight.metadata.get(LAST)


def windows_of(insight: Insight) -> int:
    """Return in how many windows it was found, at least 1."""
    said = insight.metadata.get(WINDOWS, "")
    return max(1, int(said)) if said.isascii() and said.isdigit() else 1


def weight_of(problem: ProblemFound, completeness: float) -> float:
    """Return how important the insight of a finding would be: impact times confidence."""
    sure = confidence(completeness, problem.strength, problem.agreement)
    return impact(problem.affected, problem.severity) * sure


def importance(insight: Insight) -> tuple[float, datetime]:
    """Return what orders insights by importance: impact times confidence, then how new they are."""
    return insight.impact_score * insight.confidence_score, insight.time_window.end


def _short(figures: Mapping[str, float]) -> Mapping[str, float]:
    return {printable(name, NAME): value for name, value in figures.items()}


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    cleaned = dict.fromkeys(printable(tag.strip().lower(), TAG) for tag in tags if tag.strip())
    return tuple(sorted(list(cleaned)[:MOST_TAGS]))
