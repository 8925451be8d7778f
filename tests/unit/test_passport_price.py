"""What a flow cost: the seconds of its workers by the prices that they state, and what is no price."""

from typing import Any

import pytest

from functions._core.passport.price import price_part
from tests.support.builders import make_worker


def ticket(worker_id: str | None, seconds: int, began: str | None = "2026-11-30T12:00:00.000Z") -> dict[str, Any]:
    ended = f"2026-11-30T12:{seconds // 60:02}:{seconds % 60:02}.000Z"
    return {"worker_id": worker_id, "started_at": began, "completed_at": ended if began else None}


def test_the_time_of_each_worker_is_priced_as_it_states() -> None:
    workers = [
        make_worker(worker_id="cheap", metadata={"price_per_hour": 3.6}),
        make_worker(worker_id="dear", metadata={"price_per_hour": 36, "currency": "EUR"}),
        make_worker(worker_id="idle", metadata={"price_per_hour": 1}),
    ]
    tickets = [ticket("cheap", 10), ticket("cheap", 20), ticket("dear", 5), ticket("gone", 7), ticket(None, 9)]
    part = price_part([*tickets, ticket("cheap", 1, None)], workers)
    assert part["amounts"] == {"EUR": 0.05, "USD": 0.03}
    lines = {line.pop("worker_id"): line for line in part["workers"]}
    assert lines == {
        "cheap": {"tickets": 2, "seconds": 30.0, "price_per_hour": 3.6, "currency": "USD", "amount": 0.03},
        "dear": {"tickets": 1, "seconds": 5.0, "price_per_hour": 36.0, "currency": "EUR", "amount": 0.05},
        "gone": {"tickets": 1, "seconds": 7.0},
    }


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"price_per_hour": True},
        {"price_per_hour": "3"},
        {"price_per_hour": -1},
        {"price_per_hour": float("nan")},
        {"price_per_hour": 1e300},
        {"price_per_hour": 1, "currency": "dollars"},
        {"price_per_hour": 1, "currency": 7},
    ],
)
def test_what_is_no_price_is_left_out(metadata: dict[str, Any]) -> None:
    part = price_part([ticket("w", 10)], [make_worker(worker_id="w", metadata=metadata)])
    assert part == {"amounts": {}, "workers": [{"worker_id": "w", "tickets": 1, "seconds": 10.0}]}
