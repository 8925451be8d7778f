"""Tables without lines, which read well on a terminal and are easily cut where there is none."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from functions._cli.wire import JsonObject
from functions._cli.words import took

STEP_COLOURS = {"completed": "green", "failed": "red", "in_progress": "cyan"}


class Listing(Table):
    """A table whose last column gets the width that is left on a terminal, and what it needs elsewhere."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.expand = console.is_terminal and any(column.ratio for column in self.columns)
        yield from super().__rich_console__(console, options)


def table(*columns: str, right: Sequence[str] = (), rest: str | None = None) -> Table:
    """Return an empty table; the columns `right` are aligned to that side, `rest` is the last one."""
    new = Listing(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:
        new.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    if rest is not None:
        new.add_column(rest, no_wrap=True, overflow="ellipsis", ratio=1)
    return new


def candidates_table(candidates: Sequence[JsonObject]) -> Table:
    """Return the workers that could take a ticket, the best first, with the parts of their scores."""
    parts = ("HEALTH", "PHEROMONE", "TELEMETRY")
    new = table("WORKER", "SCORE", *parts, "HOLDS", right=("SCORE", *parts, "HOLDS"))
    for one in candidates:
        scores = (one["score"], one["health_score"], one["pheromone_score"], one["telemetry_score"])
        new.add_row(one["worker_id"], *(f"{score:.2f}" for score in scores), f"{one['active']} of {one['slots']}")
    return new


def steps_table(steps: Sequence[JsonObject]) -> Table:
    """Return the steps of a flow with what they took."""
    new = table("STEP", "FUNCTION", "STATUS", "TOOK", "ATTEMPTS", right=("TOOK", "ATTEMPTS"))
    for step in steps:
        milliseconds = step["duration_ms"]
        new.add_row(
            step["step"],
            step["name"],
            Text(step["status"], style=STEP_COLOURS.get(step["status"], "dim")),
            "" if milliseconds is None else took(milliseconds),
            str(step["attempts"] or ""),
        )
    return new
