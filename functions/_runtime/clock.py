"""The real clock, and ids for what only happens once."""

from datetime import UTC, datetime
from uuid import uuid4


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """Return the current time in whole milliseconds, timezone-aware UTC: stores keep no more."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def fresh_id() -> str:
    """Return an id that was never used before."""
    return str(uuid4())
