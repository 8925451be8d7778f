"""The numbers that decide when something is waited for, tried again or given up, each with its reason."""

from dataclasses import dataclass
from datetime import timedelta
from zlib import crc32

TICKETS_PER_EVENT = 25
"""Ticket ids in one chain event: keeps it far below the smallest broker limit (64 KiB) with 5 candidates each."""

CANDIDATES_PER_TICKET = 5
"""How many ranked workers discovery hands on: enough to spread and to fall back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits of every wait. Defaults are the platform's promise; settings may change those a user needs."""

    default_sla: timedelta = timedelta(seconds=14_400)
    reemit: timedelta = timedelta(seconds=30)
    """A chain event that had no effect is sent again after this, then after twice as long, and so on."""
    reemit_most: timedelta = timedelta(minutes=16)
    failures: int = 3
    """Answered errors of one step before the flow is given up."""
    redeliver: timedelta = timedelta(seconds=5)
    """An assignment that was not acknowledged is delivered again to the same worker."""
    unreachable: timedelta = timedelta(seconds=30)
    """After this the next candidate gets it."""
    no_worker: timedelta = timedelta(minutes=10)
    """How long a ticket waits for a capable worker to register."""
    settle: timedelta = timedelta(seconds=5)
    """When a last ticket's end is looked at again, in case the end of the flow was not recorded with it."""
    sink: timedelta = timedelta(seconds=60)
    """How long the end of a flow waits for the telemetry sink."""
    retry_initial: timedelta = timedelta(seconds=1)
    retry_most: timedelta = timedelta(seconds=60)
    retry_jitter: float = 0.2
    heartbeat: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=15)
    """After the platform was down, workers have this long to repeat their reports before a ticket times out."""

    @property
    def degraded(self) -> timedelta:
        """Silence after which a worker is DEGRADED: two heartbeats."""
        return 2 * self.heartbeat

    @property
    def unhealthy(self) -> timedelta:
        """Silence after which a worker is UNHEALTHY and loses its tickets: three heartbeats."""
        return 3 * self.heartbeat

    @property
    def removed(self) -> timedelta:
        """Silence after which a worker is forgotten: ten heartbeats."""
        return 10 * self.heartbeat

    def reemit_after(self, emissions: int) -> timedelta:
        """Return how long to wait after the event was sent `emissions` times before: doubling, capped."""
        return min(self.reemit * (1 << min(emissions, 20)), self.reemit_most)

    def retry_after(self, ticket_id: str, retries: int) -> timedelta:
        """Return the backoff before retry number `retries` + 1: doubling, capped, with jitter.

        The jitter is a function of ticket and retry, so that the decision stays reproducible.
        """
        backoff = min(self.retry_initial * (1 << min(retries, 20)), self.retry_most)
        share = crc32(f"{ticket_id}/{retries}".encode()) / 2**32
        return backoff * (1 + self.retry_jitter * (2 * share - 1))
