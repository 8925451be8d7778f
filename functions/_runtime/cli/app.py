"""All commands of `flowc`, in the order in which its help lists them."""

from collections.abc import Callable, Sequence

import typer

from functions._runtime.cli.audit_command import audits, incidents
from functions._runtime.cli.cost_command import cost
from functions._runtime.cli.demo_command import demo
from functions._runtime.cli.event_commands import drop_letter, events, list_letters, replay_letter
from functions._runtime.cli.flow_commands import flows, show, why
from functions._runtime.cli.migrate_command import migrate
from functions._runtime.cli.order_commands import (
    approve,
    cancel,
    deny,
    pause,
    reassign,
    redrive,
    resume,
    retry,
    skip,
)
from functions._runtime.cli.replay_command import replay
from functions._runtime.cli.sample_command import sample
from functions._runtime.cli.simulate_command import simulate
from functions._runtime.cli.submit_command import submit
from functions._runtime.cli.up_command import up
from functions._runtime.cli.worker_command import worker
from functions._runtime.version import __version__

PLATFORM, FLOWS, ORDERS, EVENTS = "Platform", "Flows", "Orders", "Events"

app = typer.Typer(
    help="Flow C turns a decision into done work, inside its SLA.",
    epilog="Start with [bold]flowc demo[/], or with [bold]flowc up[/] and, in another terminal, "
    "[bold]flowc submit FILE --watch[/].",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_letters = typer.Typer(help="See, replay or drop events that could not be handled.", no_args_is_help=True)


def version() -> None:
    """Print the version of Flow C."""
    typer.echo(f"flowc {__version__}")


COMMANDS: Sequence[tuple[str, Callable[..., None]]] = (
    (PLATFORM, demo),
    (PLATFORM, up),
    (PLATFORM, migrate),
    (PLATFORM, worker),
    (FLOWS, sample),
    (FLOWS, simulate),
    (FLOWS, cost),
    (FLOWS, submit),
    (FLOWS, flows),
    (FLOWS, show),
    (FLOWS, why),
    (FLOWS, replay),
    *((ORDERS, order) for order in (cancel, approve, deny, pause, resume, redrive, retry, reassign, skip)),
    (EVENTS, events),
    (EVENTS, audits),
    (EVENTS, incidents),
)
for panel, command in COMMANDS:
    app.command(rich_help_panel=panel)(command)
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=EVENTS)
dead_letters.command("list")(list_letters)
dead_letters.command("replay")(replay_letter)
dead_letters.command("drop")(drop_letter)
app.command(rich_help_panel=PLATFORM)(version)
