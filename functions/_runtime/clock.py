"""The real clock, and ids for what only happens once."""

from datetime import UTC, datetime
from uuid import uuid4


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware UTC."""
        return datetime.now(UTC)


def fresh_id() -> str:
    """Return an id that was never used before."""
    return str(uuid4())
