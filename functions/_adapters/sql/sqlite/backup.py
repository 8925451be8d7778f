"""Backups of a data folder: one SQLite file that holds the database and, in a table of its own, the folder's key.

SQLite makes the copy inside one read transaction: a platform that runs meanwhile goes on, and what it had acknowledged
before the backup began is in it. Pages that were freed are not copied.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from functions._adapters.sql import migrations
from functions._adapters.sql.sqlite.folder import BUSY_SECONDS, DATABASE, LOCK, claim, migrate
from functions._core.errors import FlowcError

KEY = "worker.key"
KEY_BYTES = 4096
"""The longest key that is kept: one of the platform's own has 32 bytes."""

MODE = 0o600
KIND = 0x464C4F57
"""`application_id` of a backup, "FLOW": it tells backups from other databases, and from a folder's own."""

KEYS = "CREATE TABLE backup_key (name TEXT PRIMARY KEY, content BLOB NOT NULL)"

SCHEMA = """SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL
    AND NOT (type = 'table' AND name IN ('sqlite_sequence', 'sqlite_stat1', 'sqlite_stat4'))"""
"""All that somebody has made; a database makes the rest by itself."""


class BackupFailed(FlowcError):
    """A backup cannot be made, or cannot be restored; the message says why."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds: `size` in bytes, `schema` the number of its last migration, `has_key` the tokens' key."""

    size: int
    schema: int
    flows: int
    has_key: bool


def back_up(folder: Path, file: Path) -> Backup:
    """Write a backup of `folder`, which a platform may be using, to `file`, readable by its owner only.

    `file` appears whole or not at all. Raises `BackupFailed`, also when `file` is there already.
    """
    database = folder / DATABASE
    if not database.is_file():
        raise BackupFailed(f"{folder} is no data folder: it has no {DATABASE}")
    if file.exists():
        raise BackupFailed(f"{file} is there already")
    with _draft(file) as draft:
        with closing(sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)) as live:
            live.execute("VACUUM INTO ?", (str(draft),))
        with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = FULL")
            copy.execute("BEGIN")
            copy.execute(KEYS)
            if (folder / KEY).is_file():
                copy.execute("INSERT INTO backup_key VALUES (?, ?)", (KEY, _key(folder / KEY)))
            copy.execute(f"PRAGMA application_id = {KIND}")
            copy.execute("COMMIT")
            made = _checked(copy, draft)
        _sync(draft)
        try:
            file.hardlink_to(draft)  # unlike a rename it replaces nothing that has appeared meanwhile
        except FileExistsError:
            raise BackupFailed(f"{file} is there already") from None
        _sync(file.parent)
    return made


def restore(file: Path, folder: Path) -> Backup:
    """Make the data folder `folder` out of a backup, brought to the schema of this version.

    The folder may not be there, or must be empty; its database appears last, or not at all. Raises `BackupFailed`;
    `DataFolderInUse` when a platform has the folder, `DataFolderTooNew` when a newer version made the backup.
    """
    if not file.is_file():
        raise BackupFailed(f"there is no backup {file}")
    with ExitStack() as stack:
        database = claim(folder, stack)
        if any(entry.name != LOCK for entry in folder.iterdir()):
            raise BackupFailed(f"{folder} is not empty: a backup is restored into a new folder")
        with _draft(database) as draft:
            _copy(file, draft)
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("PRAGMA cell_size_check = ON")
                _check_kind(connection, file)
                _check_schema(connection, file)
                made = _checked(connection, file)
                key = _kept_key(connection, file)
                connection.execute("DROP TABLE backup_key")
                connection.execute("PRAGMA application_id = 0")
                migrate(connection, folder)
            _sync(draft)
            if key is not None:
                _write(folder / KEY, key)
            draft.rename(database)  # last: a folder that has a database has all of it
            _sync(folder)
    return made


def _check_kind(connection: sqlite3.Connection, file: Path) -> None:
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    if kind != KIND:
        raise BackupFailed(f"{file} is not a backup: `flowc backup` makes them")


def _checked(connection: sqlite3.Connection, file: Path) -> Backup:
    """Return what a backup holds, after every page of it was read; raise `BackupFailed`."""
    _check_kind(connection, file)
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise BackupFailed(f"{file} is damaged: {found}")
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    (flows,) = connection.execute("SELECT count(*) FROM flow").fetchone()
    (keys,) = connection.execute("SELECT count(*) FROM backup_key").fetchone()
    return Backup(size=file.stat().st_size, schema=schema, flows=flows, has_key=bool(keys))


def _check_schema(connection: sqlite3.Connection, file: Path) -> None:
    """Refuse tables that are not as the migrations make them, and all else but further tables.

    Triggers, views, indexes, checks and virtual tables run code: whoever gave the backup may not have made it. So this
    comes before anything is read. A schema that is too new is refused where it is to be migrated.
    """
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if schema > len(scripts := migrations("sqlite")):
        return
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as clean:
        for script in (*scripts[: max(schema, 0)], KEYS):
            clean.executescript(script)
        ours = {*clean.execute(SCHEMA)}
    theirs = {*connection.execute(SCHEMA)}
    plain = {entry for entry in theirs if entry[0] == "table" and not entry[2].upper().startswith("CREATE VIRTUAL")}
    if wrong := (ours - theirs) | (theirs - ours - plain):
        kind, name, _ = min(wrong)
        raise BackupFailed(f"{file} is not as a platform makes it: see its {kind} {name[:100]!r}")


def _kept_key(connection: sqlite3.Connection, file: Path) -> bytes | None:
    """Return the key of the workers' tokens that a backup holds, None for none; raise `BackupFailed`."""
    query = "SELECT typeof(content) = 'blob' AND length(content) <= ?, content FROM backup_key WHERE name = ?"
    fits, key = connection.execute(query, (KEY_BYTES, KEY)).fetchone() or (True, None)
    if not fits:
        raise BackupFailed(f"{file} holds a {KEY} that is none")
    return bytes(key) if key is not None else None


@contextmanager
def _draft(file: Path) -> Iterator[Path]:
    """Give an empty file beside `file`, readable by its owner only, and remove it in the end; raise `BackupFailed`."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))
        yield draft
    except sqlite3.Error as error:
        raise BackupFailed(f"{file}: {error}") from error
    except OSError as error:
        raise BackupFailed(f"{file}: {error.strerror or error}") from error
    finally:
        for name in (draft.name, f"{draft.name}-journal", f"{draft.name}-wal", f"{draft.name}-shm"):
            draft.with_name(name).unlink(missing_ok=True)


def _key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) > KEY_BYTES:
        raise BackupFailed(f"{path} is no key: it has {len(key)} bytes")
    return key


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("r+b") as writer:
        while block := reader.read(2**20):
            writer.write(block)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
