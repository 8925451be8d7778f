"""What the errors of the driver and of the database mean to callers."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from functions._core.errors import Conflict, FlowcError, Rejected, Unavailable

CONFLICT = "FC409"
"""Raised by `flowc_expect`."""

AGAIN = frozenset({CONFLICT, "40001", "40P01"})
"""Conflict, serialization failure, deadlock: nothing was written, and after a reload it may succeed."""

NEVER = frozenset({"22", "23", "54"})
"""Classes of errors that the values themselves cause: data, constraints, limits of the program."""


@contextmanager
def told() -> Iterator[None]:
    """Raise what the driver raises as one of ours; a message never holds the credentials."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _meaning(error) from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # the driver could not encode a value
            raise Rejected(f"It cannot be stored: {error}.", code="not_storable") from error
        raise Unavailable(f"The database does not answer: {error}.") from error
    except asyncpg.InternalClientError as error:
        # The server has ended the session, and the driver has not seen the end of the connection yet.
        raise Unavailable("The database does not answer: the connection is broken.") from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"The database does not answer: {str(error) or type(error).__name__}.") from error


@contextmanager
def connecting() -> Iterator[None]:
    """Likewise where the driver reads the URL: what it says of that may hold the password, and is not repeated."""
    try:
        with told():
            yield
    except (ValueError, Rejected):
        raise Unavailable(
            "The URL of the database is not understood: postgresql://user:password@host:port/database is, "
            "special characters written as %xx."
        ) from None


def _meaning(error: asyncpg.PostgresError) -> FlowcError:
    state = str(getattr(error, "sqlstate", None) or "")
    if state in AGAIN:
        return Conflict()
    if state[:2] in NEVER:
        return Rejected(f"It cannot be stored: {error}.", code="not_storable")
    return Unavailable(f"The database does not answer: {error}.")
