"""Options that several commands have."""

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8080"
PAGE = 50
"""Records shown unless more are asked for: a screenful."""


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{value!r} does not start with http:// or https://")
    return value.rstrip("/")


Url = Annotated[str, typer.Option("--url", envvar="FLOWC_URL", callback=_address, help="Where the platform listens.")]
ApiKey = Annotated[
    str,
    typer.Option("--api-key", envvar="FLOWC_API_KEY", show_default=False, help="Key of the platform, if it has one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")]
Cursor = Annotated[
    str | None, typer.Option(metavar="CURSOR", show_default=False, help="Begin behind the page that gave this.")
]
FlowId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The flow: its id or the first 4 characters of it or more, or the id of its decision or plan.",
    ),
]
TicketId = Annotated[str, typer.Argument(metavar="ID", help="Id of the ticket, or FLOW/TASK.")]
By = Annotated[str, typer.Option(show_default="login name", help="Who wants it; it is kept with the flow.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why; it is kept with the flow.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
