"""The data folder: created, locked to one process, and brought to the schema that this version knows."""

import fcntl
import sqlite3
from contextlib import ExitStack
from pathlib import Path

from functions._adapters.sql import migrations
from functions._core.errors import FlowcError

DATABASE = "flowc.db"
LOCK = "lock"

BUSY_SECONDS = 2.0
"""How long to wait for a foreign program, such as a backup or a shell, that holds the database locked."""

WAL_LIMIT_BYTES = 64 * 2**20
"""To what size the write-ahead log is cut back after a large commit has blown it up."""


class DataFolderInUse(FlowcError):
    """Another platform is using the data folder."""


class DataFolderTooNew(FlowcError):
    """The data folder was written by a newer version of Flow C."""


def claim(folder: Path, stack: ExitStack) -> Path:
    """Create `folder` if need be, lock it for as long as `stack` is open, and return the database's path.

    The lock dies with the process, so nothing is left to clean up after a crash.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = stack.enter_context((folder / LOCK).open("a"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataFolderInUse(f"The data folder {folder} is in use by another platform.") from None
    return folder / DATABASE


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """Open a connection that begins transactions only when told to, and may be handed to another thread."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    if writes:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # What undoes a savepoint is of no use after a crash; as a file it is a third of all that is written.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    else:
        connection.execute("PRAGMA query_only = ON")
    return connection


def migrate(connection: sqlite3.Connection, folder: Path) -> None:
    """Apply the migrations that the database has not seen, each in a transaction of its own."""
    scripts = migrations("sqlite")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise DataFolderTooNew(
            f"The data folder {folder} was written by a newer version of Flow C "
            f"(schema {version}; this version knows {len(scripts)})."
        )
    for number, script in enumerate(scripts[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
