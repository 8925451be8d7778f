"""The files that `flowc export` writes: CSV, a JSON object for each line, or Parquet."""

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, get_args

from msgspec import structs

from functions._cli.console import WRONG_USE, CommandFailed
from functions._core.learning.columns import FlowColumns, TicketColumns

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

Columns = Mapping[str, type]
"""The types of the columns by name, in order."""

FORMULAS = frozenset("=+-@\t\r＝＋－＠")  # noqa: RUF001 what spreadsheets take for the same
"""First characters of a text that a spreadsheet would compute: such a text gets a `'` before it, so that it stays text.
"""

ROWS_AT_ONCE = 20_000
"""Lines of one group of a Parquet file, which are in memory together."""


class ExportTable(Protocol):
    """A table that is written."""

    def add(self, rows: Sequence["JsonObject"]) -> None:
        """Write more lines."""

    def close(self) -> None:
        """Write what is left."""


def columns_of(what: str) -> Columns:
    """Return the columns of `flows` or `tickets`."""
    record = FlowColumns if what == "flows" else TicketColumns
    return {field.name: _type_of(field.type) for field in structs.fields(record)}


def _type_of(hint: object) -> type:
    """Return the type of a column: bool, int, float, datetime, or str for all words."""
    return next((kind for kind in (bool, int, float, datetime) if kind in _parts(hint)), str)


def _parts(hint: object) -> Iterator[object]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


@contextmanager
def table_in(file: Path | None, file_format: str, columns: Columns) -> Iterator[ExportTable]:
    """Give a table that is written to a file, which is there when all of it is; None: standard output.

    Raises `CommandFailed` when the file cannot be written, or when its format takes what is not installed.
    """
    if file is None:
        table = _text_table(sys.stdout, file_format, columns)
        yield table
        table.close()
        return
    make_parquet = _parquet() if file_format == "parquet" else None
    if file.is_dir():
        raise CommandFailed(f"{file} is a folder", exit_status=WRONG_USE)
    try:
        number, name = tempfile.mkstemp(prefix=f".{file.name[:100]}.", suffix=".part", dir=file.parent)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}", exit_status=WRONG_USE) from error
    try:
        if make_parquet is not None:
            os.close(number)
            with closing(make_parquet(name, columns)) as table:
                yield table
        else:
            with os.fdopen(number, "w", encoding="utf-8", newline="") as stream:
                table = _text_table(stream, file_format, columns)
                yield table
                table.close()
        Path(name).replace(file)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _text_table(stream: IO[str], file_format: str, columns: Columns) -> ExportTable:
    return _Csv(stream, columns) if file_format == "csv" else _Ndjson(stream, columns)


class _Csv:
    """Comma-separated values as RFC 4180 has them, with a line of names first."""

    def __init__(self, stream: IO[str], columns: Columns) -> None:
        self._columns, self._writer = columns, csv.writer(stream)
        self._writer.writerow(columns)

    def add(self, rows: Sequence["JsonObject"]) -> None:
        self._writer.writerows([_cell(row.get(name)) for name in self._columns] for row in rows)

    def close(self) -> None:
        """Nothing is left."""


def _cell(value: object) -> object:
    """Return a value as a cell: nothing for null, and no text that a spreadsheet would compute."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in FORMULAS and value:
        return f"'{value}"
    return "" if value is None else value


class _Ndjson:
    """A JSON object for each line."""

    def __init__(self, stream: IO[str], columns: Columns) -> None:
        self._columns, self._stream = columns, stream

    def add(self, rows: Sequence["JsonObject"]) -> None:
        lines = ({name: row.get(name) for name in self._columns} for row in rows)
        self._stream.writelines(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)

    def close(self) -> None:
        """Nothing is left."""


def _parquet() -> Any:  # noqa: ANN401 a class that is made where the library is there
    """Return what makes a Parquet table at a path; raise `CommandFailed` where its library is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as missing:
        hint = "install it with `pip install flowc[learn]`, or choose --format csv"
        raise CommandFailed("Parquet takes pyarrow, which is not installed here", hint=hint) from missing
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    types[datetime] = pa.timestamp("ms", tz="UTC")

    class Parquet:
        """Columns with types, compressed."""

        def __init__(self, path: str, columns: Columns) -> None:
            self._columns, self._rows = columns, list["JsonObject"]()
            self._schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
            self._writer = parquet.ParquetWriter(path, self._schema)

        def add(self, rows: Sequence["JsonObject"]) -> None:
            self._rows += rows
            if len(self._rows) >= ROWS_AT_ONCE:
                self._write()

        def close(self) -> None:
            if self._rows:
                self._write()
            self._writer.close()

        def _write(self) -> None:
            made = {name: [_value(row.get(name), kind) for row in self._rows] for name, kind in self._columns.items()}
            self._writer.write_table(pa.table(made, schema=self._schema))
            self._rows = []

    return Parquet


def _value(value: object, kind: type) -> object:
    return datetime.fromisoformat(value) if kind is datetime and isinstance(value, str) else value
