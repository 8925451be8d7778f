"""Schedules: what a look costs that finds nothing due, with few and with ten thousand of them."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._core.schedules.wakeups import arm, first
from functions._engine.clock import SystemClock

LOOKS = 400


@pytest.mark.timeout(600)
async def test_ten_thousand_idle_schedules_cost_a_look_no_more_than_ten(tmp_path: Path) -> None:
    store, clock = SqliteStore.open(tmp_path / "flowc.db"), SystemClock()
    entries = store.stores.key_values(clock)
    later = clock.now() + timedelta(hours=1)

    async def cost() -> float:
        """Return the processor's time of one look, in ms."""
        begun = time.process_time()
        for _ in range(LOOKS):
            assert await first(entries) == later
        return (time.process_time() - begun) * 1000 / LOOKS

    try:
        for number in range(10):
            await arm(entries, later + timedelta(seconds=number), f"s{number}")
        later = await first(entries) or later
        few = min([await cost() for _ in range(3)])
        for number in range(10, 10_000):
            await arm(entries, later + timedelta(seconds=number), f"s{number}")
        many = min([await cost() for _ in range(3)])
    finally:
        await store.close()
    print(f"\na look while nothing is due: {few:.3f} ms with 10 schedules, {many:.3f} ms with 10,000")
    assert many <= 1.5 * few
