"""The real clock, and chance: ids for what only happens once, and jitter."""

from datetime import UTC, datetime
from random import Random, SystemRandom
from uuid import UUID

CHANCE = SystemRandom()
"""Chance that nobody can foresee; whoever wants to repeat a run brings one with a seed instead."""


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """Return the current time in whole milliseconds, timezone-aware UTC: stores keep no more."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def fresh_id(chance: Random = CHANCE) -> str:
    """Return an id that was never used before."""
    return str(UUID(int=chance.getrandbits(128), version=4))
