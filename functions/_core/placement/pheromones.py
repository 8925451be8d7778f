"""Pheromones: how well a worker has done in a domain of late, as a trail that fades.

    x = x * 0.5^(age / half-life) + strength, at most 10        score = (pos + 1) / (pos + neg + 2)

`signals` says which ends of attempts add to a trail. Trails of one worker in one domain that several processes have
seen are added by the same formula, in any order.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Protocol

from functions._core.records.models import Ticket
from functions._core.records.record import Record
from functions._core.records.values import Timestamp

HALF_LIFE = timedelta(hours=1)
"""After this time a signal counts half: a worker that was repaired is trusted again the same day."""

CAP = 10.0
"""The most that either side of a trail holds: a few recent signals outweigh any past."""

EXPIRY = timedelta(hours=24)
"""A trail without a new signal is forgotten after this; less than a millionth of it is left then."""


class Trail(Record):
    """The signals on one worker's work in one domain, as they counted at `updated_at`."""

    pos: float
    """Signals of success, 0 to 10."""
    neg: float
    """Signals of failure and of retries, 0 to 10."""
    updated_at: Timestamp
    """When the last signal came."""

    def at(self, now: datetime) -> "Trail":
        """Return the trail as it counts at `now`; one that is newer than that counts as it is."""
        if now <= self.updated_at:
            return self
        left = 0.5 ** ((now - self.updated_at) / HALF_LIFE)
        return Trail(pos=self.pos * left, neg=self.neg * left, updated_at=now)

    @property
    def score(self) -> float:
        """How well the worker does, 0 to 1; 0.5 without signals."""
        return (self.pos + 1) / (self.pos + self.neg + 2)

    @property
    def trust(self) -> float:
        """The score if all that is not known of the worker were good; 1 for one that has never failed."""
        return (self.pos + 2) / (self.pos + self.neg + 2)


def added(trail: Trail | None, more: Trail) -> Trail:
    """Return the trail with the signals of another one of the same worker and domain."""
    if trail is None:
        return more
    at = max(trail.updated_at, more.updated_at)
    first, second = trail.at(at), more.at(at)
    return Trail(pos=min(CAP, first.pos + second.pos), neg=min(CAP, first.neg + second.neg), updated_at=at)


Trails = Mapping[str, Trail]
"""The trails of workers in one domain, by worker id; a worker without one has no signals."""

NO_TRAILS: Trails = MappingProxyType({})
"""Nothing is known of any worker."""


class Pheromones(Protocol):
    """The trails, as a function that ranks workers sees them."""

    async def trails(self, domain: str) -> Trails:
        """Return the trails of a domain, those of steps that this process has committed among them; never raises."""


class NoPheromones:
    """No trails at all; implements `Pheromones` where nothing is learned."""

    async def trails(self, _domain: str) -> Trails:
        """Return none."""
        return NO_TRAILS


def domain_of(ticket: Ticket) -> str:
    """Return the domain of a ticket: that of its plan (`original_domain`), else the type of its task."""
    return ticket.domain or ticket.task_type.value
