"""What was unusual in the last hour, compared with the day before: counted by kind, for metrics and their alerts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from functions._core.learning.anomaly_kinds import MAX_ROWS, UsualWork, ticket_anomalies
from functions._core.learning.history import TicketRow
from functions._core.learning.history_reader import ended_between
from functions._core.ports import Ports

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

NEW, USUAL = 200, 300
"""Flows of the last hour that are looked at, and flows of the day before that say what is usual; of more the first."""


async def unusual_work(ports: Ports, now: datetime) -> Mapping[str, int]:
    """Return how many anomalies there were in the last hour, by kind; rehearsals do not count.

    Raises `Unavailable` when the store does not answer.
    """
    new = await _rows(ports, now - HOUR, now, NEW)
    if not new:
        return {}
    usual = await _rows(ports, now - HOUR - DAY, now - HOUR, USUAL)
    found: Mapping[str, int] = await ports.beside(partial(_counted, new, usual))
    return found


async def _rows(ports: Ports, since: datetime, until: datetime, most: int) -> Sequence[TicketRow]:
    batch = await ended_between(ports, since, until, most)
    rows = [row for flow, rows in batch.flows if not flow.simulated for row in rows]
    return rows[:MAX_ROWS]  # one flow alone may have more


def _counted(new: Sequence[TicketRow], usual: Sequence[TicketRow]) -> Mapping[str, int]:
    return Counter(anomaly.kind.value.lower() for anomaly in ticket_anomalies(new, UsualWork(usual)))
