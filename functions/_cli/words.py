"""What the API answers in words for people: times, deadlines, transitions. Pure, on top of the core's wording."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from functions._cli.wire import COMPLETED, ENDED_FLOWS, STANDING_FLOWS, UNPRINTABLE
from functions._core.explain.spans import counted, span

SAYS_ITSELF = frozenset(
    {
        "ticket.assigned",
        "ticket.started",
        "ticket.completed",
        "ticket.failed",
        "ticket.cancelled",
        "ticket.compensated",
        "ticket.waiting",
        "ticket.skipped",
    }
    | {"plan.validated", "tickets.generated", "flow.consolidated"}
    | {f"flow.{status.lower()}" for status in ENDED_FLOWS}
)
"""Transitions whose new status tells what they are."""


def took(milliseconds: float) -> str:
    """Return a measured duration, short ones in milliseconds."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else span(timedelta(milliseconds=milliseconds))  # noqa: PLR2004 - a second


def clean(text: str) -> str:
    """Return foreign text on one line, without anything that would move a terminal's cursor."""
    return UNPRINTABLE.sub("?", " ".join(text.split()))


def clock(time: str | None) -> str:
    """Return the time of day, in UTC with milliseconds, of an RFC 3339 time."""
    return time[11:23] if time else ""


def date_and_time(time: str) -> str:
    """Return date and time of day, in UTC to the second, of an RFC 3339 time."""
    return f"{time[:10]} {time[11:19]}"


def passed(start: str, end: datetime) -> str:
    """Return how much time lies between; never less than none, as two clocks may differ."""
    return took(max(0.0, (end - datetime.fromisoformat(start)).total_seconds() * 1000))


def sla_left(flow: Mapping[str, Any], now: datetime) -> str:
    """Return how a flow stands against its SLA: what is left of it, or at the end whether it was met.

    A flow that came to another end before its deadline has neither met nor missed it.
    """
    if flow["status"] in ENDED_FLOWS:
        return "missed" if flow["sla_violated"] else "met" if flow["status"] == COMPLETED else ""
    if flow.get("outcome") not in {None, COMPLETED} and not flow["sla_violated"]:
        return ""
    if stands_still(flow):
        return f"{span(timedelta(milliseconds=flow['sla_remaining_ms']))} left when it goes on"
    left = datetime.fromisoformat(flow["sla_deadline"]) - now
    if flow.get("outcome"):  # its work is over, and so is its time
        left = timedelta(milliseconds=flow["sla_remaining_ms"])
    return f"{span(left)} left" if left >= timedelta(0) else f"{span(left)} overdue"


def stands_still(flow: Mapping[str, Any]) -> bool:
    """Tell whether people are waited for, so that the time of the SLA does not run."""
    return flow["status"] in STANDING_FLOWS and not flow.get("sla_limit")


def reason_of(detail: Mapping[str, Any]) -> str:
    """Return the reason that a transition names, as a sentence: a person's own words, or those of a rule."""
    reason = detail.get("reason") or ""
    return clean(reason if isinstance(reason, str) else reason.get("message") or reason.get("code", ""))


def transition(entry: Mapping[str, Any]) -> str:
    """Return one line about a transition: when, what, its new status, and why or by whom."""
    subject = entry.get("task_id") or "flow"
    status = entry.get("to_status") or ""
    return f"{clock(entry.get('at'))}  {subject:<26} {status:<11} {circumstances(entry)}".rstrip()


def circumstances(entry: Mapping[str, Any]) -> str:
    """Return what else there is to say of a transition: worker, attempt, sizes, reasons."""
    kind = entry["type"]
    said = kind.partition(".")[2].replace("_", " ") if entry.get("task_id") else kind
    parts = [
        "" if kind in SAYS_ITSELF else said,
        entry.get("worker_id") or "",
        f"attempt {entry['attempt']}" if (entry.get("attempt") or 0) > 1 else "",
        *_facts(entry.get("detail") or {}),
    ]
    return ", ".join(filter(None, parts))


def _facts(detail: Mapping[str, Any]) -> Iterator[str]:
    if "tasks" in detail:
        yield f"{counted(detail['tasks'], 'task')} in {counted(detail.get('levels', 1), 'level')}"
    yield from _prospects(detail)
    if "tickets" in detail:
        yield counted(detail["tickets"], "ticket")
    if "outcome" in detail:
        yield f"outcome {detail['outcome']}"
    if detail.get("telemetry_refused"):
        yield f"telemetry: {counted(detail['telemetry_refused'], 'event')} refused by the sink"
    elif "telemetry_published" in detail:
        yield "telemetry published" if detail["telemetry_published"] else "telemetry kept until the sink is back"
    yield from _awaited(detail)
    if "compensated" in detail:
        yield f"{detail['compensated']} of {detail['planned']} undone"
    if "incident_type" in detail:
        yield f"{detail['incident_type'].replace('_', ' ').lower()}: {clean('; '.join(detail['details']))}"
    if detail.get("requested_by"):
        yield f"by {clean(detail['requested_by'])}"
    reasons: Sequence[Mapping[str, Any]] = detail.get("reasons") or ()
    yield from filter(None, (reason_of(detail), *(reason_of({"reason": reason}) for reason in reasons)))


def _prospects(detail: Mapping[str, Any]) -> Iterator[str]:
    if detail.get("critical_path_ms"):
        yield f"critical path {took(detail['critical_path_ms'])}"
    if detail.get("prediction"):
        yield f"in time with a probability of {detail['prediction']['probability']:.0%}"


def _awaited(detail: Mapping[str, Any]) -> Iterator[str]:
    if "waiting" in detail:
        until = f" until {date_and_time(detail['until'])} UTC" if detail.get("until") else ""
        yield f"for {detail['waiting'].lower()}{until}"
