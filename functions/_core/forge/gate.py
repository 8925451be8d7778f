"""The approval gate of the code forge: what the earlier stages say becomes approval, review or rejection.

Scores are compared exactly, to nine places: 0.9 approves and 0.8999 does not, whatever sums of floats they came from.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from functions._core.executors.scan import ScanSeverity
from functions._core.forge.stages import ComposedCode, GateOutcome, GateVerdict, TestedCode, ValidatedCode

QUALITY, TESTS, CONFIDENCE = Decimal("0.6"), Decimal("0.3"), Decimal("0.1")
"""The weights of the score."""

APPROVING, REVIEWED = Decimal("0.9"), Decimal("0.5")
"""The least score that approves without a person, and the least that is not rejected."""

PLACES = Decimal("1e-9")
"""To which scores are rounded: less than any score means, more than sums of floats lose."""

MOST_REASON = 500
"""Characters of what a stage says of its cap."""

SEVERITIES = tuple(severity.lower() for severity in ScanSeverity)
"""Of findings, the worst first."""

Review = Literal["merge_request", "person"]


def gate_verdict(code: ComposedCode, validation: ValidatedCode, tests: TestedCode, review: Review) -> GateVerdict:
    """Return what follows; `review` is who decides where somebody has to."""
    score = gate_score(validation.quality, tests.score, code.confidence_score)
    said = f"the score is {shown_score(score)}"
    forbidden = _forbidden(validation)
    if forbidden:
        return _verdict(GateOutcome.REJECTED, score, f"{said}, but {forbidden}")
    if score < REVIEWED:
        return _verdict(GateOutcome.REJECTED, score, f"{said}, and below {REVIEWED} code is rejected")
    doubts = list(_doubts(tests))
    if score < APPROVING:
        doubts.insert(0, f"below {APPROVING} somebody has to decide")
    if doubts:
        doubts.append(f"findings: {findings_text(validation)}")
        return _verdict(GateOutcome.REVIEW, score, f"{said}; {'; '.join(doubts)}", review)
    return _verdict(GateOutcome.APPROVED, score, f"{said}, and from {APPROVING} on code is approved")


def gate_score(quality: float, tests: float, confidence: float) -> Decimal:
    """Return 0.6 quality + 0.3 tests + 0.1 confidence, each between 0 and 1, to nine places."""
    return _exact(QUALITY * _exact(quality) + TESTS * _exact(tests) + CONFIDENCE * _exact(confidence))


def shown_score(score: Decimal | float) -> str:
    """Return a score for people, to four places, never rounded up to a bound that it does not reach."""
    cut = int(_exact(score) * 10_000) / 10_000
    return f"{cut:.4f}".rstrip("0").rstrip(".") or "0"


def findings_text(validation: ValidatedCode) -> str:
    """Return how many findings of each severity all tools have, the worst first: `1 high, 3 low`, or `none`."""
    counts = ((_found(validation, name), name) for name in SEVERITIES)
    return ", ".join(f"{count} {name}" for count, name in counts if count) or "none"


def _found(validation: ValidatedCode, severity: str) -> int:
    return sum(max(0, one.issues.get(severity, 0)) for one in validation.validation_results)


def _exact(number: Decimal | float) -> Decimal:
    """Return a number as it is written, to nine places."""
    return Decimal(str(number)).quantize(PLACES, ROUND_HALF_EVEN)


def _forbidden(validation: ValidatedCode) -> str:
    """Return why nobody may approve the code; empty for no reason."""
    if validation.capped_by:
        return f"the quality is capped: {validation.capped_by[:MOST_REASON]}"
    return "it has a critical finding" if _found(validation, "critical") else ""


def _doubts(tests: TestedCode) -> Iterator[str]:
    """Yield why a person has to look, however good the score is."""
    if tests.failed:
        yield f"{tests.failed} of {tests.passed + tests.failed + tests.skipped} tests failed"
    elif not tests.passed:
        yield "no test passed"
    if tests.coverage is not None and _exact(tests.coverage) < _exact(tests.minimum):
        yield f"{tests.coverage:.2%} is covered, {tests.minimum:.2%} is asked for"


def _verdict(outcome: GateOutcome, score: Decimal, reason: str, review: Review | None = None) -> GateVerdict:
    return GateVerdict(outcome=outcome, score=float(score), reason=reason, review=review)
