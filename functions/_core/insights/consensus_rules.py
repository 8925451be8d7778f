"""Rules about decisions: the specialists were far apart, or took long to agree."""

from collections.abc import Callable, Iterator, Sequence

from functions._core.insights.findings import Advice, ProblemFound, entity, evidence
from functions._core.insights.insight import InsightType
from functions._core.insights.window import ConsensusFigures, HistoryWindow
from functions._core.learning.history import FlowRow
from functions._core.learning.series import median

DIVERGENCE = 0.05
"""The divergence of specialists that is normal: consensus engines accept that much."""

FAR_APART = 0.35
"""The divergence at which nothing is worse: no setting that was seen accepts more."""

SLOW_MS = 5_000.0
"""Milliseconds in which specialists agree normally."""

VERY_SLOW_MS = 60_000.0
"""Milliseconds at which nothing is worse."""

SHOWN = 10
"""Decisions that a finding names, the worst first."""


def consensus_problems(window: HistoryWindow) -> Iterator[ProblemFound]:
    """Yield what is wrong with how the decisions of a window came about: at most one finding for each rule.

    Divergence over 0.05 and convergence over 5,000 ms are findings; exactly those are not.
    """
    yield from _over(window, "divergence", lambda one: one.divergence, DIVERGENCE, FAR_APART, _far_apart)
    yield from _over(window, "slow-consensus", lambda one: one.convergence_ms, SLOW_MS, VERY_SLOW_MS, _slow)


Words = Callable[[Sequence[float], int], tuple[str, str, tuple[Advice, ...]]]
"""Makes title, summary and advice of the figures that are too high, the highest first, and of how many there were."""


def _over(
    window: HistoryWindow,
    rule: str,
    figure: Callable[[ConsensusFigures], float | None],
    limit: float,
    worst: float,
    words: Words,
) -> Iterator[ProblemFound]:
    known = [(value, one) for one in window.consensus if (value := figure(one)) is not None]
    over = sorted((pair for pair in known if pair[0] > limit), key=lambda pair: -pair[0])
    if not over:
        return
    values = [value for value, _ in over]
    title, summary, advice = words(values, len(known))
    yield ProblemFound(
        rule=rule,
        subject="decisions",
        insight_type=InsightType.OPERATIONAL,
        title=title,
        summary=summary,
        analysis=f"{len(known)} decisions of flows that ended in the window say this figure; {limit:g} is normal.",
        figures={"decisions": len(known), "over": len(over), "highest": values[0], "median": median(values)},
        sources=("decisions", "history"),
        entities=(
            *(entity("decision", one.decision_id, "cause") for _, one in over[:SHOWN]),
            *(entity("flow", one.flow_id, "affected") for _, one in over[:SHOWN]),
        ),
        advice=advice,
        tags=("consensus",),
        strength=evidence(len(over)),
        agreement=len(over) / len(known),
        affected=len(over),
        severity=(values[0] - limit) / (worst - limit),
        flow=_flow(window, over[0][1]) if len(over) == 1 else None,
    )


def _far_apart(values: Sequence[float], known: int) -> tuple[str, str, tuple[Advice, ...]]:
    title = f"Specialists were far apart in {len(values)} of {known} decisions"
    summary = (
        f"The divergence was {values[0]:.2f} at most, {median(values):.2f} in the middle; over {DIVERGENCE:g} is much."
    )
    return (
        title,
        summary,
        (
            Advice(
                action="Look at the votes of these decisions: one specialist may be wrong again and again.", share=0.6
            ),
            Advice(action="Let a person approve decisions of that kind until the specialists agree more.", share=0.3),
        ),
    )


def _slow(values: Sequence[float], known: int) -> tuple[str, str, tuple[Advice, ...]]:
    title = f"{len(values)} of {known} decisions took long to come about"
    summary = (
        f"The specialists took {values[0] / 1000:.1f} s at most, {median(values) / 1000:.1f} s in the middle; "
        f"{SLOW_MS / 1000:g} s is normal. That time is gone before a flow begins."
    )
    return (
        title,
        summary,
        (
            Advice(
                action="Look for the specialist that answers last, and give it less weight or more power.", share=0.6
            ),
            Advice(action="Give such decisions more time in their SLA.", share=0.2),
        ),
    )


def _flow(window: HistoryWindow, one: ConsensusFigures) -> FlowRow | None:
    return next((flow for flow in window.flows if flow.flow_id == one.flow_id), None)
