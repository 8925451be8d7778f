"""`flowc export`: the history of flows and tickets as a table in a file, for a spreadsheet or a program."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from functions._cli.console import CommandFailed, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, Url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from functions._cli.client import PlatformClient
    from functions._cli.wire import JsonObject

PAGE = 500
"""Lines that are asked for at once: as many as the platform gives."""

PATIENCE = (1, 2, 4, 8, 16)
"""Seconds before a page is asked for again, where the platform cannot give it now or has given too many."""

SPANS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

MOST_DIGITS = 5


class Exported(StrEnum):
    """What can be exported."""

    TICKETS = "tickets"
    FLOWS = "flows"


class FileFormat(StrEnum):
    """How a table is written."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


def _moment(value: str | None) -> str | None:
    """Return a moment as RFC 3339; a span such as 14d is so long ago."""
    if value is None:
        return None
    unit = SPANS.get(value[-1:])
    if unit is not None and value[:-1].isdecimal() and value.isascii() and len(value) <= MOST_DIGITS + 1:
        return (datetime.now(UTC) - int(value[:-1]) * unit).isoformat(timespec="milliseconds")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(
            f"{value!r} is no moment such as 2026-11-29T02:00:00Z, and no span such as 14d"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat(timespec="milliseconds")


def export(
    what: Annotated[Exported, typer.Argument(help="Which table.")],
    *,
    since: Annotated[
        str | None,
        typer.Option(callback=_moment, metavar="MOMENT", help="Only flows that ended then or later; 14d: 14 days ago."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(callback=_moment, metavar="MOMENT", help="Only flows that ended before it.")
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", show_default="by the name of FILE, else csv", help="How.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to put it; standard output without it.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Write flows that have ended, or their tickets, as a table: one line each, the first to end first.

    docs/reference/history.md has the columns. A file is complete or not there: it is written under another name first.
    Parquet needs pyarrow (`pip install flowc[learn]`) and a FILE.
    """
    named = out.suffix.removeprefix(".").lower() if out is not None else ""
    chosen = file_format or (FileFormat(named) if named in set(FileFormat) else FileFormat.CSV)
    if out is None and chosen is FileFormat.PARQUET:
        raise typer.BadParameter("Parquet is written to a file: give --out", param_hint="--format")
    run(
        _export(
            what, _Span(since, until or datetime.now(UTC).isoformat(timespec="milliseconds")), chosen, out, url, api_key
        )
    )


class _Span(NamedTuple):
    """The span of time in which flows ended."""

    since: str | None
    until: str


async def _export(what: Exported, span: _Span, chosen: FileFormat, out: Path | None, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.export_files import columns_of, table_in

    columns = columns_of(what)
    number = 0
    async with PlatformClient(url, api_key) as client:
        with table_in(out, chosen, columns) as table:
            async for page in _pages(client, what, span):
                table.add(page)
                number += len(page)
    if out is not None:
        say(f"{out}: {number} {what}")
    return 0


async def _pages(client: "PlatformClient", what: Exported, span: _Span) -> "AsyncIterator[Sequence[JsonObject]]":
    cursor: str | None = None
    while True:
        page = await _page(client, what, span, cursor)
        yield page["items"]
        cursor = page["cursor"]
        if cursor is None:
            return


async def _page(client: "PlatformClient", what: Exported, span: _Span, cursor: str | None) -> "JsonObject":
    from asyncio import sleep

    from functions._cli.client import PlatformUnavailable

    path = f"/api/v1/history/{what}"
    for pause in PATIENCE:
        try:
            return await client.get(path, since=span.since, until=span.until, cursor=cursor, limit=PAGE)
        except PlatformUnavailable:
            await sleep(pause)
    try:
        return await client.get(path, since=span.since, until=span.until, cursor=cursor, limit=PAGE)
    except PlatformUnavailable as away:
        raise CommandFailed(str(away), hint="nothing was written") from away
