"""A transition that an order would make, as one line. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from functions._cli.words import clean, date_and_time, reason_of
from functions._core.explain.spans import counted

REPLANNED = {"tickets": "added", "changed": "changed", "removed": "removed", "kept": "kept"}
"""The numbers of tickets in the line of a replan, and the words for them."""


def change(entry: Mapping[str, Any]) -> str:
    """Return what would change, from what to what, and all that is known about it."""
    subject = f"ticket {clean(entry['task_id'])}" if entry.get("task_id") else "flow"
    before, after = entry.get("from_status"), entry.get("to_status")
    moves = f": {before} → {after}" if after and before != after else ""
    return f"{subject}{moves} ({'; '.join(_facts(entry))})"


def _facts(entry: Mapping[str, Any]) -> Iterator[str]:
    detail = entry.get("detail") or {}
    yield entry["type"]
    if entry.get("worker_id"):
        yield f"worker {clean(entry['worker_id'])}"
    if "requested_by" in detail:
        yield f"by {clean(detail['requested_by'])}"
    if "outcome" in detail:
        yield f"outcome {detail['outcome']}"
    if "until" in detail:
        yield f"until {date_and_time(detail['until'])} UTC at most"
    if "sla_deadline" in detail:
        yield f"deadline {date_and_time(detail['sla_deadline'])} UTC"
    if entry["type"] == "flow.replanned":
        yield ", ".join(f"{detail[name]} {word}" for name, word in REPLANNED.items())
    elif "tickets" in detail:
        yield counted(detail["tickets"], "ticket")
    reasons = ({"reason": reason} for reason in detail.get("reasons") or ())
    yield from filter(None, map(reason_of, (detail, *reasons)))
