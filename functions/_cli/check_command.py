"""`flowc check`: whether a platform, or a data folder, is as it should be."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

if TYPE_CHECKING:
    from functions._cli.check_report import CheckReport

MARKS = {"passed": "[green]✓[/green]", "failed": "[red]✗[/red]", "skipped": "[dim]-[/dim]"}


def check(
    *,
    data: Annotated[
        Path | None, typer.Option(show_default=False, help="Check this data folder, without its platform.")
    ] = None,
    as_json: AsJson = False,
    seconds: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long the flow may take.")
    ] = 120,
    host: Annotated[
        str | None, typer.Option(show_default="this machine's", help="Address that its worker listens on.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the platform reaches its worker, if not there.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Check a platform in twelve categories, by a small flow.

    A worker of its own registers and does the two tasks of the flow, one of them only at the second attempt.
    The worker leaves again, and the flow stays as one that has ended; a flow that does not end is cancelled.
    The exit status is 0 when every check that was made has passed, otherwise 1.
    """
    run(_check(data, seconds, host, endpoint, url, api_key, as_json=as_json))


async def _check(
    data: Path | None, seconds: float, host: str | None, endpoint: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.check_report import CheckReport

    if data is not None:
        from functions._cli.check_folder import FolderChecks

        report = CheckReport(str(data))
        await FolderChecks(data, report).run()
    else:
        from functions._cli.check_platform import PlatformChecks
        from functions._cli.client import PlatformClient
        from functions._observability import logs

        logs.configure("error")
        report = CheckReport(url)
        async with PlatformClient(url, api_key) as client:
            await PlatformChecks(client, report, endpoint=endpoint, host=host).run(seconds, api_key)
    if as_json:
        print_json(report.document())
    else:
        _print(report)
    return 0 if report.ok else 1


def _print(report: "CheckReport") -> None:
    from rich.markup import escape

    out = console()
    for category, checks in report.checks.items():
        out.print(f"[bold]{category}[/bold]")
        for one in checks:
            out.print(f"  {MARKS[one.status]} {one.name}: {escape(one.detail)}")
    made = report.count("passed") + report.count("failed")
    out.print(f"{report.count('passed')} of {made} checks passed ({report.success_rate:.0%})")
