"""Explanations of stored records that cannot be read."""

from collections.abc import Sequence

from functions._core.explain.ticket import Explanation
from functions._core.explain.wording import plain, said
from functions._core.records.models import Reason
from functions._core.records.set_aside import RecordKind, UnreadableRecord

UNREADABLE = "UNREADABLE"
"""Stands for the status of a record that cannot be read."""

NAMED = 5
"""Records that are named one by one."""


def explain_unreadable(kind: RecordKind, record_id: str, error: Exception) -> Explanation:
    """Return why a record cannot be explained: `error` was raised when it was read."""
    return Explanation(
        kind=kind.value,
        subject=record_id,
        status=UNREADABLE,
        headline=f"{kind.capitalize()} {plain(record_id)} waits for a person: {_said(str(error))}.",
        waits_for="its stored record to be repaired",
        details=("It is set aside; all other records go on. Its wake-up comes again as soon as it can be read.",),
    )


def with_unreadable(explanation: Explanation, records: Sequence[UnreadableRecord]) -> Explanation:
    """Return an explanation that names the records which were left out of it because they cannot be read."""
    sentences = [
        f"The stored {record.kind.replace('_', ' ')} {plain(record.record_id)} cannot be read and is left out: "
        f"{_said(record.why)}."
        for record in records[:NAMED]
    ]
    if len(records) > NAMED:
        sentences.append(f"So are {len(records) - NAMED} more.")
    return explanation.but(details=(*explanation.details, *sentences))


def _said(why: str) -> str:
    return said(Reason(code="unreadable_record", message=why))
