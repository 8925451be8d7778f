"""`flowc aggregate`: the statistics of a folder with exported history, as the platform calculates them of its own."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from msgspec import MsgspecError

from functions._cli.console import WRONG_USE, CommandFailed, print_json, run

T = TypeVar("T")

FORMATS = ("parquet", "ndjson", "csv")

MOST_LINES = 5_000_000
"""Lines of a file: as many take some gigabytes of memory."""

TICK = timedelta(milliseconds=1)


def aggregate(
    folder: Annotated[Path, typer.Argument(help="Where `flows` and `tickets` are: .parquet, .ndjson or .csv.")],
    *,
    since: Annotated[
        datetime | None, typer.Option(help="Begin of the time; without it the first end of a flow.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="End of the time; without it the last end.", show_default=False)
    ] = None,
) -> None:
    """Print the statistics of exported history as JSON: those of the source HISTORICAL of `/api/v1/analytics/query`.

    It asks no platform: `flowc export` has written the files. Parquet needs pyarrow (`pip install flowc[learn]`).
    """
    run(_printed(folder, _utc(since), _utc(until)))


async def _printed(folder: Path, since: datetime | None, until: datetime | None) -> int:
    from functions._core.errors import Rejected
    from functions._core.insights.sources import AnalysisScope, historical
    from functions._core.learning.columns import flow_of_columns, ticket_of_columns

    flows = _rows(folder, "flows", flow_of_columns)
    tickets = _rows(folder, "tickets", ticket_of_columns)
    ends = [flow.ended_at for flow in flows]
    begin = since or min(ends, default=datetime.now(UTC))
    end = until or max(ends, default=begin) + TICK
    if end <= begin:
        raise CommandFailed("the end of the time is not behind its begin", exit_status=WRONG_USE)
    few = [flow for flow in flows if begin <= flow.ended_at < end]
    ids = {flow.flow_id for flow in few}
    rows = [ticket for ticket in tickets if ticket.flow_id in ids]
    try:
        print_json(historical(few, rows, AnalysisScope(begin, end), most_rows=MOST_LINES))
    except Rejected as refusal:
        raise CommandFailed(str(refusal)) from refusal
    return 0


def _rows(folder: Path, what: str, made: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Return the rows of a table; raise `CommandFailed` where there is none that can be read."""
    file = next((path for end in FORMATS if (path := folder / f"{what}.{end}").is_file()), None)
    if file is None:
        names = ", ".join(f"{what}.{end}" for end in FORMATS)
        raise CommandFailed(f"{folder} has none of {names}", exit_status=WRONG_USE)
    rows: list[T] = []
    try:
        for line in _read(file, what):
            if len(rows) == MOST_LINES:
                raise CommandFailed(f"{file} has more than {MOST_LINES} lines: export a shorter time")
            rows.append(made(line))
    except (OSError, ValueError, KeyError, TypeError, csv.Error, MsgspecError) as error:
        text = f"{file}: line {len(rows) + 1} of its table is none of {what}: {str(error)[:200]}"
        raise CommandFailed(text, exit_status=WRONG_USE) from error
    return rows


def _read(file: Path, what: str) -> Iterator[Mapping[str, Any]]:
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as stream:
            yield from (_typed(line, what) for line in csv.DictReader(stream, strict=True))
    elif file.suffix == ".ndjson":
        with file.open(encoding="utf-8") as stream:
            yield from (_object(line) for line in stream if line.strip())
    else:
        yield from _parquet(file)


def _object(line: str) -> Mapping[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 a fault of the file
    return value


def _parquet(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as missing:
        hint = "install it with `pip install flowc[learn]`, or export another format"
        raise CommandFailed("Parquet takes pyarrow, which is not installed here", hint=hint) from missing
    try:
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except ArrowException as error:
        raise ValueError(str(error)) from error


def _typed(cells: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Return the values of the cells of a line of CSV."""
    from functions._cli.export_files import FORMULAS, columns_of

    kinds = columns_of(what)
    line: dict[str, Any] = {}
    for name, kind in kinds.items():
        cell = cells[name]
        if cell == "" and kind is not str:
            line[name] = None
        elif kind is bool:
            line[name] = {"true": True, "false": False}[cell]
        elif kind in {int, float}:
            line[name] = kind(cell)
        else:
            line[name] = cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULAS and cell[1:] else cell
    return line


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
