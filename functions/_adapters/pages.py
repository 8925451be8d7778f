"""What every store checks alike when a page is asked for: the filters, the cursor, where the page ends.

A cursor is the position of the last row shown. Positions are given when a row is first stored and never
change, so rows that arrive between two pages move nothing.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from functions._core.errors import Rejected
from functions._core.records.values import FlowStatus, Priority, TicketStatus, Word

T = TypeVar("T")

TICKET_FILTERS = frozenset({"flow_id", "plan_id", "intent_id", "status", "priority", "worker_id", "parent"})

LABEL = re.compile(r"[A-Za-z0-9._/-]{1,63}:[A-Za-z0-9._/-]{1,63}")
"""A label as people ask for it: its name and its value."""

MAX_POSITION = 2**63 - 1
"""Above every position: where pages that show the newest first begin."""


def ticket_filters(filters: Mapping[str, str]) -> dict[str, str]:
    """Return `filters` with their words as they are stored.

    Raises `Rejected` with code `unknown_filter` or `invalid_filter`.
    """
    if unknown := sorted(filters.keys() - TICKET_FILTERS):
        known = ", ".join(sorted(TICKET_FILTERS))
        raise Rejected(f"Unknown filter: {', '.join(unknown)}. Known: {known}.", code="unknown_filter")
    words: Mapping[str, type[Word]] = {"status": TicketStatus, "priority": Priority}
    return {name: _word(words[name], value) if name in words else value for name, value in filters.items()}


def label_words(labels: Mapping[str, str]) -> list[str]:
    """Return the labels of a record as they are indexed and asked for: `name:value`."""
    return [f"{name}:{value}" for name, value in labels.items()]


def wanted_labels(labels: Collection[str]) -> list[str]:
    """Return the labels that a record must all have; raise `Rejected` with code `invalid_filter` for what is none."""
    for label in labels:
        if not LABEL.fullmatch(label):
            raise Rejected(f"{label[:130]!r} is no label: name:value.", code="invalid_filter")
    return sorted(set(labels))


def flow_status(status: str | None) -> str | None:
    """Return `status` as it is stored; raise `Rejected` with code `invalid_filter` for an unknown one."""
    return None if status is None else _word(FlowStatus, status)


def _word(words: type[Word], value: str) -> str:
    try:
        return words(value).value
    except ValueError:
        known = ", ".join(words)
        raise Rejected(f"{value!r} is none of {known}.", code="invalid_filter") from None


def position_of(cursor: str | None, *, start: int, most: int = MAX_POSITION) -> int:
    """Return the position to go on from, `start` for None; raise `Rejected` for what is no cursor of ours."""
    if cursor is None:
        return start
    if not (cursor.isascii() and cursor.isdecimal() and int(cursor) <= most):
        raise Rejected("The cursor is not one that was given out.", code="invalid_cursor")
    return int(cursor)


def page(rows: Sequence[tuple[int, T]], limit: int) -> tuple[list[T], str | None]:
    """Cut the page off `rows`, which begin with it and hold one row more when there is more."""
    shown = rows[:limit]
    cursor = str(shown[-1][0]) if shown and len(rows) > limit else None
    return [row for _, row in shown], cursor
