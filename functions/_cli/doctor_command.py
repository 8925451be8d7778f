"""`flowc doctor`: the questions of troubleshooting, answered by the platform."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import print_json, run
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

CASES = (
    "not-starting",
    "no-tickets",
    "empty-discovery",
    "unpublished",
    "sla",
    "telemetry",
    "buffer",
    "hmac",
    "learning",
)
"""The cases in the order of a flow; a test compares them with those of the platform."""

EXECUTOR = "executor"
"""The word before the name of an executor that is to be looked at."""


def doctor(
    case: Annotated[
        str | None, typer.Argument(metavar="[CASE]", help=f"One of {', '.join(CASES)}; all of them if absent.")
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of an executor or a family, behind the word executor.")
    ] = None,
    *,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Look for what keeps flows from getting done, and say what helps.

    flowc doctor executor NAME looks, without a platform, whether a worker here could use an executor: its tools,
    credentials and reach. NAME may be several with commas between, a family such as execute or test, or all. The exit
    status is 1 when there is a problem.
    """
    if case == EXECUTOR:
        from functions._cli.executor_check import check_executor

        run(check_executor(name, as_json=as_json))
        return
    if name is not None:
        raise typer.BadParameter("only an executor has a name", param_hint="NAME")
    if case is not None and case not in CASES:
        raise typer.BadParameter(f"{case[:60]!r} is none of {', '.join(CASES)}", param_hint="CASE")
    run(_doctor((case,) if case else CASES, url, api_key, as_json=as_json))


async def _doctor(cases: tuple[str, ...], url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = [await client.get(f"/api/v1/diagnose/{case}") for case in cases]
    if as_json:
        print_json({"items": found})
    else:
        for one in found:
            _print(one)
        say_page(url, "stuck")
    return 1 if any(one["status"] == "problem" for one in found) else 0


def _print(found: "JsonObject") -> None:
    from functions._cli.words import clean

    typer.echo(f"{found['case']}: {found['status']}")
    for finding in found["findings"]:
        typer.echo(f"  {clean(finding)}")
    for remedy in found["remedy"]:
        typer.echo(f"  -> {clean(remedy)}")
