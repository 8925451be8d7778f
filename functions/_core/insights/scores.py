"""How sure an insight is, how much it matters, and how soon somebody should look at it."""

from functions._core.insights.insight import InsightPriority

COMPLETENESS, STRENGTH, AGREEMENT = 0.4, 0.4, 0.2
"""The weights of what confidence is made of; together 1."""

AFFECTED, SEVERITY = 0.4, 0.6
"""The weights of what impact is made of."""

MANY_AFFECTED = 10
"""Things that are affected at which their part of the impact has its whole weight."""

STEPS = ((0.75, InsightPriority.CRITICAL), (0.5, InsightPriority.HIGH), (0.25, InsightPriority.MEDIUM))
"""The least product of impact and confidence for each priority, the highest first; below them it is LOW."""


def confidence(completeness: float, strength: float, agreement: float) -> float:
    """Return how sure a finding is, 0 to 1: 0.4 completeness + 0.4 strength + 0.2 agreement of the sources.

    Each is 0 to 1: the share of the data that was looked at, how clear the evidence is, and how many of those that
    could say so did.
    """
    return COMPLETENESS * share(completeness) + STRENGTH * share(strength) + AGREEMENT * share(agreement)


def impact(affected: int, severity: float) -> float:
    """Return how much a finding matters, 0 to 1: min(1, affected / 10 * 0.4 + severity * 0.6)."""
    return min(1.0, max(0, affected) / MANY_AFFECTED * AFFECTED + share(severity) * SEVERITY)


def priority_of(impact_score: float, confidence_score: float) -> InsightPriority:
    """Return the priority by the product of both scores."""
    product = impact_score * confidence_score
    return next((priority for least, priority in STEPS if product >= least), InsightPriority.LOW)


def share(value: float) -> float:
    """Return a number between 0 and 1: the nearest end for one outside, 0 for what is no number."""
    return min(1.0, max(0.0, value)) if value == value else 0.0  # noqa: PLR0124 NaN is not itself
