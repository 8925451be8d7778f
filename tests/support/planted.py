"""Anomalies that were planted in histories and loads, so that it is known what there is to be found."""

import random
from collections.abc import Callable, Collection, Sequence
from functools import cache
from math import cos, pi

from functions._core.learning.history import TicketRow
from functions._core.learning.load_forecast import DAY
from functions._core.records.values import TicketStatus
from tests.support.fleet_world import START, FleetWorld
from tests.support.histories import history_of

Rows = list[TicketRow]


@cache
def worlds(seed: int) -> tuple[tuple[TicketRow, ...], tuple[TicketRow, ...]]:
    """Return the tickets of two weeks, and those of other flows of the same world."""
    world = FleetWorld(seed, recorded=False)
    before, after = (history_of(world, 250, days=14, start=START, seed=number) for number in (1, 2))
    return tuple(row for _, rows in before for row in rows), tuple(row for _, rows in after for row in rows)


def quality(found: Collection[object], planted: Collection[object]) -> tuple[float, float]:
    """Return precision and recall."""
    hits = len(set(found) & set(planted))
    return hits / max(1, len(set(found))), hits / len(set(planted))


def planted(seed: int, change: Callable[[TicketRow, random.Random], TicketRow], share: float) -> tuple[Rows, set[str]]:
    """Return the later tickets of a world, some of those that were completed changed, and the ids of these."""
    draw = random.Random(seed)
    rows, ids = [], set()
    for row in worlds(seed)[1]:
        if row.actual_ms is not None and draw.random() < share:
            rows.append(change(row, draw))
            ids.add(row.ticket_id)
        else:
            rows.append(row)
    return rows, ids


def slower(row: TicketRow, draw: random.Random) -> TicketRow:
    """Return a ticket whose work took 4 to 20 times as long."""
    assert row.actual_ms is not None
    return row.but(actual_ms=round(row.actual_ms * draw.uniform(4, 20)))


def larger(row: TicketRow, draw: random.Random) -> TicketRow:
    """Return a ticket with a far larger output or input, or with many attempts."""
    kind = draw.randrange(3)
    if kind == 0:
        return row.but(output_bytes=row.output_bytes * draw.randrange(5, 50))
    if kind == 1:
        return row.but(parameters_bytes=row.parameters_bytes * draw.randrange(50, 500))
    return row.but(attempts=(attempts := draw.randrange(6, 20)), retries=attempts - 1)


def failing(rows: Sequence[TicketRow], broken: Callable[[TicketRow], bool], seed: int) -> Rows:
    """Return the tickets, of which half of the broken ones fail."""
    draw = random.Random(seed)
    return [
        row.but(status=TicketStatus.FAILED, actual_ms=None)
        if row.status is TicketStatus.COMPLETED and broken(row) and draw.random() < 0.5
        else row
        for row in rows
    ]


def seasonal(days: int, seed: int = 1, growth: float = 0.0, noise: float = 0.08) -> list[float]:
    """Return a load by day and by week, with noise and growth a day."""
    draw = random.Random(seed)
    found = []
    for step in range(days * DAY):
        daily = 1 - 0.6 * cos(2 * pi * step / DAY)
        weekly = 0.45 if step // DAY % 7 >= 5 else 1.0
        found.append(max(0.0, 100 * daily * weekly * (1 + growth * step / DAY) * draw.gauss(1, noise)))
    return found
