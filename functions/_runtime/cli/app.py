"""All commands of `flowc`, in the order in which its help lists them."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import typer

from functions._runtime.cli.audit_command import audits
from functions._runtime.cli.demo_command import demo
from functions._runtime.cli.event_commands import drop_letter, events, list_letters, replay_letter
from functions._runtime.cli.flow_commands import cancel, flows, show, why
from functions._runtime.cli.sample_command import sample
from functions._runtime.cli.submit_command import submit
from functions._runtime.cli.up_command import up
from functions._runtime.cli.worker_command import worker

PLATFORM, FLOWS, EVENTS = "Platform", "Flows", "Events"

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
    try:
        typer.echo(f"flowc {version_of('flowc')}")
    except PackageNotFoundError:
        typer.echo("flowc, from a source tree that is not installed")


for panel, command in (
    (PLATFORM, demo),
    (PLATFORM, up),
    (PLATFORM, worker),
    (FLOWS, sample),
    (FLOWS, submit),
    (FLOWS, flows),
    (FLOWS, show),
    (FLOWS, why),
    (FLOWS, cancel),
    (EVENTS, events),
    (EVENTS, audits),
):
    app.command(rich_help_panel=panel)(command)
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=EVENTS)
dead_letters.command("list")(list_letters)
dead_letters.command("replay")(replay_letter)
dead_letters.command("drop")(drop_letter)
app.command(rich_help_panel=PLATFORM)(version)
