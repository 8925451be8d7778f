"""`flowc demo`: everything started, one decision done before the user's eyes, everything gone again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import CommandFailed, console, print_json, run, say
from functions._cli.options import AsJson

if TYPE_CHECKING:
    from functions._cli.client import PlatformClient
    from functions._cli.wire import JsonObject
    from functions._core.events.envelope import CloudEvent

PATIENCE_SECONDS = 10.0
"""How long the platform within this process may not answer: it has broken down then."""

SAMPLE = Path(__file__).with_name("sample_decision.json")
SAMPLE_SPEED, FILE_SPEED = 300.0, 1000.0
"""The sample takes 29 minutes on its critical path: six seconds are enough to watch."""


def demo(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", show_default=False, help="A decision to use instead of the sample; - is stdin."),
    ] = None,
    *,
    as_json: AsJson = False,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001, show_default="1000 with FILE, 300 for the sample", help="So many times faster than estimated."
        ),
    ] = None,
) -> None:
    """Watch the sample decision getting done, with nothing to set up.

    Starts a platform and four workers, submits the decision, and cleans up at its end.
    With --json stdout is one JSON object, the result of the flow; the rest is on stderr.
    The exit status is 0 only if the flow ends COMPLETED, otherwise 1.
    It is 2 when the file is no decision.
    """
    run(_demo(file, speed, as_json=as_json))


async def _demo(file: str | None, speed: float | None, *, as_json: bool) -> int:
    from functions._cli.submission import read_decision_file

    async def show(client: "PlatformClient") -> int:
        say(f"a platform and four workers are up at {client.url}")
        say(f"every task is simulated, {times:g} times faster than estimated")
        return await _show(client, event, as_json=as_json)

    times = speed or (FILE_SPEED if file else SAMPLE_SPEED)
    try:
        event = read_decision_file(file or str(SAMPLE))
        from functions._cli.demo import demonstrate

        return await demonstrate(event, times, show)
    except CommandFailed as failure:
        if as_json:
            print_json(_no_flow(str(failure)))
        raise


async def _show(client: "PlatformClient", event: "CloudEvent", *, as_json: bool) -> int:
    from functions._cli.client import flow_path
    from functions._cli.following import follow
    from functions._cli.submission import submit_decision

    flow_id = await submit_decision(client, event)
    await follow(client, flow_id, stderr=as_json, patience=PATIENCE_SECONDS)
    result = await client.get(flow_path(flow_id))
    if as_json:
        print_json(result)
    else:
        _print_summary(result)
    return 0 if result["status"] == "COMPLETED" else 1


def _print_summary(result: "JsonObject") -> None:
    from functions._cli.tables import steps_table
    from functions._cli.words import clean, took

    screen = console()
    done = f"{result['tickets_completed']} of {result['tickets_generated']} tickets done"
    facts = (
        f"{result['status']} in {took(result['total_duration_ms'])}: {done}",
        "SLA missed" if result["sla_violated"] else "SLA met" if result["success"] else "",
        "telemetry published" if result["telemetry_published"] else "telemetry not published",
    )
    screen.print()
    screen.print(", ".join(filter(None, facts)), style="bold green" if result["success"] else "bold red")
    if result["error"]:
        screen.print(clean(result["error"]), style="red", markup=False)
    screen.print()
    screen.print(steps_table(result["steps"]))
    screen.print()
    screen.print(
        "[dim]Next: [/dim]flowc up[dim] keeps a platform running; [/dim]flowc --help[dim] shows the rest.[/dim]"
    )


def _no_flow(error: str) -> dict[str, Any]:
    """Return a result in the shape of all others for a decision that never became a flow."""
    return {
        "flow_id": None,
        "status": "REJECTED",
        "success": False,
        "total_duration_ms": 0,
        "tickets_generated": 0,
        "tickets_completed": 0,
        "tickets_failed": 0,
        "telemetry_published": False,
        "sla_violated": False,
        "steps": [],
        "error": error,
    }
