"""The errors of tickets and the titles of insights as texts to be found: those that differ in numbers alone are one."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from functions._core.insights.insight import Insight
from functions._core.learning.history import TicketRow

MOST_TEXTS = 1000
"""Texts that are looked through: the commonest errors, then the newest insights."""

NAMED_FLOWS = 20
"""Flows of one error that are named."""

VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|0x[0-9a-f]+|\d+(?:[.,:]\d+)*", re.IGNORECASE)
"""Ids and numbers."""


@dataclass(frozen=True, slots=True)
class ErrorText:
    """A text that somebody may look for."""

    kind: Literal["error", "insight"]
    """Whether tickets ended by it, or an insight says it."""
    text: str
    """The text as it was said last."""
    code: str | None = None
    """The code of the error."""
    count: int = 1
    """How many tickets ended by it."""
    flows: tuple[str, ...] = ()
    """Ids of flows that had it, the newest first."""
    insight_id: str | None = None
    """Id of the insight."""


def pattern_of(text: str) -> str:
    """Return what a text has in common with others that say the same of other numbers and ids."""
    return " ".join(VARYING.sub("#", text).split())


def error_patterns(rows: Iterable[TicketRow]) -> Sequence[ErrorText]:
    """Return the errors of tickets, the commonest first."""
    found: dict[tuple[str | None, str], list[TicketRow]] = {}
    for row in rows:
        if row.error or row.reason_code:
            said = row.error or row.reason_code or ""
            found.setdefault((row.reason_code, pattern_of(said)), []).append(row)
    errors = []
    for (code, _), some in found.items():
        newest = sorted(some, key=lambda row: row.completed_at, reverse=True)
        flows = tuple(dict.fromkeys(row.flow_id for row in newest))[:NAMED_FLOWS]
        said = newest[0].error or code or ""
        errors.append(ErrorText("error", said, code, len(some), flows))
    return sorted(errors, key=lambda one: (-one.count, one.text))


def error_texts(rows: Iterable[TicketRow], insights: Iterable[Insight]) -> Sequence[ErrorText]:
    """Return the texts that are looked through, at most `MOST_TEXTS`."""
    errors = error_patterns(rows)[:MOST_TEXTS]
    newest = sorted(insights, key=lambda one: one.created_at, reverse=True)
    said = [_text_of(one) for one in newest[: MOST_TEXTS - len(errors)]]
    return [*errors, *said]


def _text_of(insight: Insight) -> ErrorText:
    flows = [one.entity_id for one in insight.related_entities if one.entity_type == "flow"]
    text = f"{insight.title}: {insight.summary}"
    return ErrorText("insight", text[:1000], None, 1, tuple(flows[:NAMED_FLOWS]), insight.insight_id)
