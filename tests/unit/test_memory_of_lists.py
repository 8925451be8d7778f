"""Memory that a long list takes on its way into a flow: little more than the list itself, whatever its length."""

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from functions._core.decision.admission import admit
from functions._core.decision.reading import read_decision
from functions._core.planning.tickets import generate_tickets
from functions._core.rules import Rules
from tests.support.world import decision, decision_event, task

T = TypeVar("T")
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def peak_of(work: Callable[[], T]) -> tuple[T, int]:
    """Return a result, and the most memory that was taken on the way to it, in bytes."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    found = work()
    return found, tracemalloc.get_traced_memory()[1] - before


@pytest.mark.parametrize("size", [300, 3_000])
def test_a_list_is_in_memory_once_while_it_is_taken_in_and_once_while_tickets_are_made(size: int) -> None:
    items = [{"number": number, "text": f"{number:050d}"} for number in range(size)]
    data: dict[str, Any] = decision(task("each", foreach={"items": items}), decision_id=f"of {size}")
    text, rules = json.dumps(data).encode(), Rules()
    generate_tickets(admit(decision_event(data), text, NOW, rules)[0], read_decision(text), NOW, rules)
    tracemalloc.start()
    try:
        _, as_values = peak_of(lambda: json.loads(text))
        (flow, _), admitted = peak_of(lambda: admit(decision_event(data), text, NOW, rules))
        _, generated = peak_of(lambda: generate_tickets(flow, read_decision(text), NOW, rules))
    finally:
        tracemalloc.stop()
    assert admitted < 200_000  # the form that is hashed is made in pieces
    assert generated < 2 * as_values + 100_000
