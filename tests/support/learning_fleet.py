"""A platform whose flows have ended hour after hour, for tests of what is learnt from them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import exp
from random import Random

from functions._adapters.memory import MemoryStore
from functions._adapters.stores import Stores
from functions._core.learning.history import TicketRow
from functions._core.learning.progress import ask
from functions._core.learning.training import Serves, Trained, train
from functions.learn.function import Learned, learn
from tests.support.slo_history import ended_flow, ports_of

KINDS = {"BUILD": (1000, 6000), "TEST": (20_000, 4000), "DEPLOY": (3000, 30_000), "VALIDATE": (500, 1500)}
"""What plans expect of a kind of work, and what it takes, in milliseconds."""

TICKETS = 10


def train_table(rows: Sequence[TicketRow], *, now: datetime, by: str, serves: Serves | None = None) -> Trained | None:
    """Train a table by the defaults: what is tested here is what becomes of it."""
    return train(rows, now=now, by=by, chance=Random(1).random, serves=serves, goes_on=lambda: False)


class LearningFleet:
    """A platform whose flows have ended, hour after hour."""

    def __init__(self, stores: Stores | None = None) -> None:
        self.stores = stores or MemoryStore().stores
        self.ports, self.clock = ports_of(self.stores)
        self._draw, self._number, self.factor = Random(4), 0, 1.0

    async def works(self, flows: int) -> None:
        """Let flows end within the next hour, ten tickets each, and let two more minutes pass."""
        for place in range(flows):
            self._number += 1
            end = self.clock.time + timedelta(hours=1) * (place + 1) / flows
            await ended_flow(self.stores, self._number, end, tickets=tuple(self.ticket(end) for _ in range(TICKETS)))
        self.clock.time += timedelta(hours=1, minutes=2)

    async def learns(self, by: object = train_table) -> Learned:
        """Do a round."""
        return await learn(self.ports, trains=by)  # type: ignore[arg-type]

    async def asks(self) -> Learned:
        """Ask for a training, and do a round."""
        await ask(self.ports.key_values, "ada", self.clock.time)
        return await self.learns()

    def ticket(self, end: datetime) -> dict[str, object]:
        """Return the fields of a ticket that was done."""
        kind = self._draw.choice(list(KINDS))
        estimate, takes = KINDS[kind]
        return {
            "task_type": kind,
            "status": "COMPLETED",
            "attempt": 1,
            "worker_id": "w",
            "estimated_duration_ms": estimate,
            "actual_duration_ms": round(takes * self.factor * exp(self._draw.gauss(0, 0.1))),
            "completed_at": end,
        }


async def trained(fleet: LearningFleet) -> Learned:
    """Let a fleet have history, and a shadow of it."""
    await fleet.works(40)
    await fleet.learns()
    return await fleet.asks()
