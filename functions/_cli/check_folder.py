"""The checks of a data folder, in use or not: nothing in it is changed."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from functions._adapters.sql import migrations
from functions._adapters.sql.sqlite.folder import DATABASE, connect
from functions._cli.check_report import CATEGORIES, CheckFailed, CheckReport

KEY = "worker.key"
NOT_THE_OWNER = 0o077
NO_PLATFORM = "a folder is checked without its platform"


class FolderChecks:
    """All checks of one data folder."""

    def __init__(self, folder: Path, report: CheckReport) -> None:
        self._folder = folder
        self._report = report

    async def run(self) -> None:
        """Make all checks."""
        check = self._report.check
        if await check("prerequisites", "folder", self._is_there):
            await check("prerequisites", "only its owner may read it", self._guarded)
            await check("store", "integrity", self._integrity)
            await check("store", "schema", self._schema)
            await check("broker", "queue", self._queue)
            await check("telemetry", "buffer", self._buffer)
        for category in CATEGORIES:
            if not self._report.checks[category]:
                self._report.skip(category, "all", NO_PLATFORM)

    async def _is_there(self) -> str:
        if not (self._folder / DATABASE).is_file():
            raise CheckFailed(f"{self._folder} has no {DATABASE}")
        return f"{(self._folder / DATABASE).stat().st_size / 2**20:.1f} MiB"

    async def _guarded(self) -> str:
        for path in (self._folder, self._folder / KEY):
            if path.exists() and path.stat().st_mode & NOT_THE_OWNER:
                raise CheckFailed(f"others may read {path}; chmod go= {path}")
        return "yes"

    async def _integrity(self) -> str:
        (found,) = self._row("PRAGMA integrity_check(1)")
        if found != "ok":
            raise CheckFailed(str(found))
        return "every page was read"

    async def _schema(self) -> str:
        (schema,), newest = self._row("PRAGMA user_version"), len(migrations("sqlite"))
        if schema > newest:
            raise CheckFailed(f"schema {schema} is newer than this version, which knows {newest}")
        return f"schema {schema}" if schema == newest else f"schema {schema}; `flowc up` brings it to {newest}"

    async def _queue(self) -> str:
        (count,) = self._row("SELECT count(*) FROM event_queue")
        return f"{count} events are queued"

    async def _buffer(self) -> str:
        (count,) = self._row("SELECT count(*) FROM telemetry_buffer")
        return f"{count} events wait for the sink"

    def _row(self, query: str) -> tuple[Any, ...]:
        try:
            with closing(connect(self._folder / DATABASE, writes=False)) as connection:
                return tuple(connection.execute(query).fetchone())
        except sqlite3.Error as error:
            raise CheckFailed(f"the database cannot be read: {error}") from error
