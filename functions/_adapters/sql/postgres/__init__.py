"""Every storage port in one PostgreSQL database, which many processes may share.

A commit is one statement and so one round trip; versions guard it. Nothing is kept at hand between calls: another
process may have changed it.
"""

from functions._adapters.sql.postgres.migrations import migrate
from functions._adapters.sql.postgres.store import PostgresStore

__all__ = ["PostgresStore", "migrate"]
