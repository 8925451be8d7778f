"""The tickets of a flow, one line each; of many those that need attention most."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from heapq import nsmallest

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.text import Text

from functions._cli.progress import HELD, Progress, TicketLine
from functions._cli.tables import table
from functions._cli.wire import (
    ASSIGNED,
    AT_RISK,
    BREACHED,
    CANCELLED,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    ENDED_TICKETS,
    FAILED,
    PENDING,
    RUNNING,
    SKIPPED,
    WAITING,
)
from functions._cli.words import passed

LOOKS: Mapping[str, tuple[str, str]] = {
    FAILED: ("✖", "red"),
    RUNNING: ("●", "cyan"),
    ASSIGNED: ("◌", "blue"),
    WAITING: ("◷", "blue"),
    COMPENSATING: ("↺", "magenta"),
    PENDING: ("·", "bright_black"),
    COMPENSATED: ("↶", "yellow"),
    CANCELLED: ("⊘", "yellow"),
    SKIPPED: ("↷", "bright_black"),
    COMPLETED: ("✔", "green"),
}
"""Sign and colour of each status; the first ones are shown before the others where not all tickets fit."""

BEHIND: Mapping[str, str] = {AT_RISK: "at risk", BREACHED: "late"}

URGENCY = {status: rank for rank, status in enumerate(LOOKS)}
LONGEST_PATH = "magenta"


def ticket_table(progress: Progress, rows: int, spinner: Spinner | None = None) -> RenderableType:
    """Return up to `rows` tickets in the order of their levels; `spinner` turns beside those that run."""
    lines = progress.tickets.values()
    shown = sorted(nsmallest(rows, lines, key=lambda line: URGENCY[line.status]), key=_place)
    noted = any(_note(line) for line in shown)
    columns = ("", "LEVEL", "TASK", "STATUS", "WORKER", "TIME")
    drawn = table(*columns, right=("LEVEL", "TIME"), rest="" if noted else None)
    now = datetime.now(UTC)
    for line in shown:
        drawn.add_row(*_row(line, now, spinner), *((Text(_note(line), style="yellow"),) if noted else ()))
    parts: list[RenderableType] = [drawn]
    if len(shown) < len(lines):
        parts.append(Text(f"… and {len(lines) - len(shown)} more", style="dim"))
    if any(line.critical for line in shown):
        parts.append(Text.assemble(("◆", LONGEST_PATH), (" on the critical path", "dim")))
    return Group(*parts)


def _row(line: TicketLine, now: datetime, spinner: Spinner | None) -> Sequence[RenderableType]:
    sign, colour = LOOKS[line.status]
    turning = spinner if line.status == RUNNING else None
    waiting = line.status == PENDING
    return (
        turning or Text(sign, style=colour),
        Text(str(line.level), style="dim"),
        Text.assemble(("◆ " if line.critical else "  ", LONGEST_PATH), (line.task_id, "dim" if waiting else "")),
        Text(line.status, style=colour),
        Text(line.worker_id or "", style="" if line.status in HELD else "dim"),
        Text(_time(line, now), style="dim"),
    )


def _place(line: TicketLine) -> tuple[bool, int]:
    """Return where a ticket stands: by level, behind the plan what undoes it."""
    return line.undoes is not None, line.level


def _note(line: TicketLine) -> str:
    undoes = f"undoes {line.undoes}" if line.undoes is not None else ""
    skipped = "skipped" if line.skipped else ""
    standing = BEHIND.get(line.standing or "", "") if line.status not in ENDED_TICKETS else ""
    attempt = f"attempt {line.attempt}" if line.attempt > 1 else ""
    note = line.note or line.waits if line.skipped or line.status != COMPLETED else ""
    first = ", ".join(filter(None, (undoes, skipped, standing, attempt)))
    return ": ".join(filter(None, (first, note)))


def _time(line: TicketLine, now: datetime) -> str:
    """Return how long the present attempt has run, or the last one ran."""
    if line.started_at is None:
        return ""
    return passed(line.started_at, datetime.fromisoformat(line.ended_at) if line.ended_at else now)
