"""What a flow cost: the time of its workers, by the prices that they state when they register.

A worker states `price_per_hour`, a number, and `currency`, `USD` without it, in its metadata. One that states none, or
is not registered any more, has no price: its time is there all the same.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from functions._core.records.worker import Worker

CURRENCY = re.compile(r"[A-Z]{3}")
DEAREST = 1e9
"""A price for an hour above it is a mistake."""

HOUR = 3600.0

JsonPart = dict[str, Any]


def price_part(tickets: Sequence[Mapping[str, Any]], workers: Iterable[Worker]) -> JsonPart:
    """Return the price of the tickets of a passport: `workers` with their seconds and amounts, `amounts` by currency.

    The time of a ticket is that of its last attempt. Amounts are rounded to millionths.
    """
    seconds, counts = defaultdict[str, float](float), defaultdict[str, int](int)
    for ticket in tickets:
        if ticket["worker_id"] and ticket["started_at"] and ticket["completed_at"]:
            began, ended = (datetime.fromisoformat(ticket[name]) for name in ("started_at", "completed_at"))
            seconds[ticket["worker_id"]] += max(0.0, (ended - began).total_seconds())
            counts[ticket["worker_id"]] += 1
    stated = {one.worker_id: _stated(one.metadata) for one in workers if one.worker_id in seconds}
    amounts, lines = defaultdict[str, float](float), list[JsonPart]()
    for worker_id in sorted(seconds):
        line: JsonPart = {
            "worker_id": worker_id,
            "tickets": counts[worker_id],
            "seconds": round(seconds[worker_id], 3),
        }
        price = stated.get(worker_id)
        if price is not None:
            per_hour, currency = price
            amount = seconds[worker_id] * per_hour / HOUR
            amounts[currency] += amount
            line |= {"price_per_hour": per_hour, "currency": currency, "amount": round(amount, 6)}
        lines.append(line)
    return {"amounts": {name: round(amounts[name], 6) for name in sorted(amounts)}, "workers": lines}


def price_of(worker: Worker, milliseconds: float) -> tuple[float, str] | None:
    """Return what so much time of a worker costs, to a millionth, and the currency; None where it states no price."""
    stated = _stated(worker.metadata)
    return None if stated is None else (round(milliseconds / 1000 * stated[0] / HOUR, 6), stated[1])


def _stated(metadata: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return price for an hour and currency; None for what is no price."""
    price, currency = metadata.get("price_per_hour"), metadata.get("currency", "USD")
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= DEAREST:
        return None
    if not math.isfinite(price) or not isinstance(currency, str) or not CURRENCY.fullmatch(currency):
        return None
    return float(price), currency
