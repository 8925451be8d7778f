"""How good a project is by what its tools have found: a score for each tool, each kind of validation, and all. Pure.

A kind is the mean of its tools that have looked at the project; one that none has looked at counts as 0, as nobody
knows. A critical finding, or a policy that denies, leaves less than the half that an approval takes.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal, NamedTuple

from functions._core.events.pipelines import ForgeValidation
from functions._core.executors.findings import CAPPED, score_of
from functions._core.executors.scan import ScanSeverity, ToolOutcome
from functions._core.records.values import Timestamp

ValidationType = Literal["SAST", "SECURITY", "LINT", "POLICY"]

TOOLS: Mapping[str, ValidationType] = {
    "bandit": "SAST",
    "semgrep": "SAST",
    "sonarqube": "SAST",
    "detect-secrets": "SECURITY",
    "trivy": "SECURITY",
    "snyk": "SECURITY",
    "ruff": "LINT",
    "checkov": "POLICY",
    "opa": "POLICY",
}
"""The tools of the stage by the kind of their validation."""

WEIGHTS: Mapping[ValidationType, float] = {"SAST": 0.30, "SECURITY": 0.30, "LINT": 0.20, "POLICY": 0.20}
"""What each kind is of the whole."""

DIGITS = 6
"""Digits of a score: sums of shares are not exact, and a bound must not be missed by that."""


class ToolVerdict(NamedTuple):
    """What came of one tool."""

    result: ForgeValidation
    denied: bool = False
    """Whether it said no by itself."""


def verdict_on(
    outcome: ToolOutcome,
    *,
    version: str = "",
    report_uri: str | None = None,
    started_at: Timestamp | None = None,
) -> ToolVerdict:
    """Return what came of a tool that was run."""
    counts = outcome.counts
    grave = counts.get(ScanSeverity.CRITICAL, 0) + counts.get(ScanSeverity.HIGH, 0)
    some = sum(number for name, number in counts.items() if name != ScanSeverity.INFO)
    result = ForgeValidation(
        validation_type=TOOLS[outcome.tool],
        tool_name=outcome.tool,
        tool_version=version,
        status="FAILED" if grave or outcome.denied else "WARNING" if some else "PASSED",
        score=score_of(counts, denied=outcome.denied),
        issues={severity.lower(): counts.get(severity, 0) for severity in ScanSeverity},
        report_uri=report_uri,
        started_at=started_at,
        completed_at=started_at + timedelta(seconds=outcome.seconds) if started_at else None,
    )
    return ToolVerdict(result, outcome.denied)


def skipped(tool: str) -> ToolVerdict:
    """Return what came of a tool that was not run."""
    return ToolVerdict(ForgeValidation(validation_type=TOOLS[tool], tool_name=tool, status="SKIPPED"))


def quality_of(verdicts: Iterable[ToolVerdict]) -> tuple[float, str]:
    """Return the quality, 0 to 1, and why it is no more than `CAPPED`, empty where it may be."""
    scores: dict[str, list[float]] = {}
    grave: list[str] = []
    for result, denied in verdicts:
        if result.score is None:
            continue
        scores.setdefault(result.validation_type, []).append(result.score)
        if denied:
            grave.append(f"denied by {result.tool_name}")
        if result.issues.get("critical"):
            grave.append(f"a critical finding of {result.tool_name}")
    whole = sum(WEIGHTS[kind] * sum(found) / len(found) for kind in WEIGHTS if (found := scores.get(kind)))
    return round(min(whole, CAPPED) if grave else whole, DIGITS), ", ".join(grave)
