"""`flowc jobs`: the jobs of executors that are under way, and those that nobody could end."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Limit, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject


def jobs(
    *,
    leaked: Annotated[bool, typer.Option("--leaked", help="Only those that go on and that nobody could end.")] = False,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List jobs of executors that are not known to be over; a person has to look at those that are LEAKED."""
    run(_jobs(limit, url, api_key, leaked=leaked, as_json=as_json))


async def _jobs(limit: int, url: str, api_key: str, *, leaked: bool, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    status = "LEAKED" if leaked else None
    async with PlatformClient(url, api_key) as client:
        found = (await client.page("/api/v1/jobs", limit=limit, status=status))["items"]
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0


def _print(found: "list[JsonObject]") -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    listing = table("STATUS", "EXECUTOR", "JOB", "WORKER", "BEGUN", "TICKET", rest="WHY, OR WHERE")
    for job in found:
        listing.add_row(
            Text(job["status"], style="bold red" if job["status"] == "LEAKED" else ""),
            Text(clean(job["executor"])),
            Text(clean(job["job_id"] or job["key"])),
            Text(clean(job["worker_id"])),
            date_and_time(job["begun_at"]),
            Text(f"{job['flow_id']}/{clean(job['task_id'])}"),
            Text(clean(": ".join(filter(None, (job["why"], job["url"]))))),
        )
    console().print(listing if found else "no job is under way")
