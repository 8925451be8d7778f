"""Pictures of a flow for the terminal: where it is, what time it has left, and how far its tickets are."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.text import Text

from functions._cli.progress import Progress
from functions._cli.ticket_table import LOOKS, ticket_table
from functions._cli.wire import (
    ASSIGNED,
    AT_RISK,
    CANCELLED,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SKIPPED,
    WAITING,
    JsonObject,
)
from functions._cli.words import clean, passed, sla_left, stands_still

BAR = 48
"""Cells of the bar of tickets by status."""

FAILURES = 5
"""Failed tickets of which the reason is repeated in full."""

COLOURS: Mapping[str, str] = {
    "COMPLETED": "green",
    "CANCELLED": "yellow",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "REJECTED": "red",
    "AWAITING_APPROVAL": "yellow",
    "PAUSED": "yellow",
    "COMPENSATING": "magenta",
}
UNDER_WAY = "cyan"

WAITS_FOR_PEOPLE: Mapping[str, str] = {
    "AWAITING_APPROVAL": "waits for approval: flowc approve {}",
    "PAUSED": "paused: flowc resume {}",
}

ENDED_FIRST = (
    COMPLETED,
    SKIPPED,
    FAILED,
    CANCELLED,
    COMPENSATED,
    COMPENSATING,
    RUNNING,
    ASSIGNED,
    WAITING,
    PENDING,
)


def picture(progress: Progress, rows: int, spinner: Spinner | None = None) -> RenderableType:
    """Return the whole picture with at most `rows` tickets."""
    if not progress.tickets:
        return headline(progress.flow)
    table = ticket_table(progress, rows, spinner)
    return Group(headline(progress.flow), _bar(progress), Text(), table, *_failures(progress))


def flow_status(status: str) -> Text:
    """Return the status of a flow in its colour."""
    return Text(status, style=COLOURS.get(status, UNDER_WAY))


def headline(flow: JsonObject) -> RenderableType:
    """Return what the flow is, where it is and how it stands against its SLA."""
    status = flow["status"]
    first = Text.assemble(
        (f" {status} ", f"bold reverse {COLOURS.get(status, UNDER_WAY)}"),
        ("  " + clean(flow["plan_id"] or flow["decision_id"]), "bold"),
        (f"  flow {flow['flow_id']}", "dim"),
    )
    now = datetime.now(UTC)
    ended = datetime.fromisoformat(flow["ended_at"]) if flow["ended_at"] else None
    standing = sla_left(flow, now)
    second = Text.assemble(
        (f"SLA {standing} · " if standing else "", _sla_colour(flow, ended or now)),
        ("at risk · " if _at_risk(flow) else "", "bold yellow"),
        (f"{'took' if ended else 'running for'} {passed(flow['received_at'], ended or now)}", "dim"),
        (f" · {flow['priority'].lower()} priority, {flow['risk_band']} risk", "dim"),
    )
    waits = WAITS_FOR_PEOPLE.get(status, "").format(flow["flow_id"])
    colour = "yellow" if waits else "red"
    reasons = [Text(f"{clean(r['code'])}: {clean(r['message'])}", style=colour) for r in flow["reasons"]]
    warnings = [Text(f"{clean(w['code'])}: {clean(w['message'])}", style="yellow") for w in flow["warnings"]]
    return Group(first, second, *([Text(waits, style="bold yellow")] if waits else []), *reasons, *warnings)


def _at_risk(flow: JsonObject) -> bool:
    return flow["announced"] == AT_RISK and not flow["outcome"]


def _sla_colour(flow: JsonObject, moment: datetime) -> str:
    late = not stands_still(flow) and datetime.fromisoformat(flow["sla_deadline"]) < moment
    return "bold red" if flow["sla_violated"] or late else "green"


def _bar(progress: Progress) -> RenderableType:
    tally, total = progress.tally(), len(progress.planned())
    bar, others = Text(), []
    filled = so_far = 0
    for status in ENDED_FIRST:
        so_far += tally[status]
        cells = round(BAR * so_far / total) - filled
        filled += cells
        colour = LOOKS[status][1]
        bar.append(("─" if status == PENDING else "━") * cells, style=colour)
        if tally[status] and status != COMPLETED:
            others.append(Text(f"{tally[status]} {status.lower()}", style=colour))
    bar.append(f"  {tally[COMPLETED]} of {total} done", style="bold")
    return Group(bar, Text(" · ", style="dim").join(others)) if others else bar


def _failures(progress: Progress) -> Sequence[RenderableType]:
    """Return why tickets failed, at full length, once the flow has ended."""
    lines = progress.planned() if progress.ended else ()
    failed = [line for line in lines if line.status == FAILED]
    return [Text(f"{line.task_id} failed: {line.note}", style="red") for line in failed[:FAILURES]]
