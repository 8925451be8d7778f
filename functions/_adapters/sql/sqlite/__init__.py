"""Every storage port in one SQLite file: the store of the platform on one machine.

One process owns a data folder. All writes go through one committer thread; short reads are made where they
are asked for, in the thread of the event loop; long ones in a reading thread.
"""

from functions._adapters.sql.sqlite.folder import DataFolderInUse, DataFolderTooNew
from functions._adapters.sql.sqlite.store import SqliteStore

__all__ = ["DataFolderInUse", "DataFolderTooNew", "SqliteStore"]
