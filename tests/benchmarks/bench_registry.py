"""The registry at work: 1,000 workers that beat each 30 s, 100 flows in flight; what a beat and a discovery cost.

One platform over SQLite serves its api without a network. A beat is compared with one of a platform over the same store
that tells nobody of changes, in turns, as the machine is noisy. Discoveries are timed while the workers beat.
"""

import asyncio
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

import httpx

from functions._adapters.sql.sqlite.store import SqliteStore
from functions._core.placement.workers import Heartbeat, Registration
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._hosts.api_app import api_services
from functions._observability import logs
from functions.api.app import create_app
from tests.support.world import LocalWorld, decision, running_world, task, until

WORKERS, FLOWS, TICKETS = 1000, 100, 2
BEAT_S = 30.0
TURNS, BEATS = 5, 200
DISCOVERIES = 300

BEAT = Heartbeat.model_validate({"telemetry": {"success_rate": 0.95, "total_executions": 100, "cpu": 0.4}})


def test_the_cost_of_the_registry(tmp_path: Path) -> None:
    """Print what docs/internals/benchmarks.md says of it."""
    asyncio.run(_measured(tmp_path))


async def _measured(folder: Path) -> None:
    logs.configure("error")
    store = SqliteStore.open(folder)
    async with running_world(folder, store.stores) as world:
        world.workers.behave = lambda _assignment: None
        begun = process_time()
        for number in range(WORKERS):
            await world.platform.register(_registration(number))
        registered = (process_time() - begun) / WORKERS
        for number in range(FLOWS):
            await world.submit(decision(*(task(f"t{n}") for n in range(TICKETS)), decision_id=f"d{number}"))
        await until(lambda: _all_assigned(world), "all tickets to be assigned", seconds=120)
        telling, silent = await _beats(world, folder)
        times = await _discoveries(world, folder)
    await store.close()
    print(f"\n{WORKERS} workers, {FLOWS} flows of {TICKETS} tickets in flight, SQLite")
    print(f"registration: {1e3 * registered:.2f} ms of CPU")
    ratio = median(one / other for one, other in zip(telling, silent, strict=True))
    print(f"beat: {1e6 * median(telling):.0f} µs of CPU; {ratio:.2f} times one that is not told")
    cut = quantiles(times, n=100)
    print(f"discovery: p50 {1e3 * cut[49]:.1f} ms, p99 {1e3 * cut[98]:.1f} ms")


def _registration(number: int) -> Registration:
    return Registration(worker_id=f"w{number:04}", endpoint="http://127.0.0.1:1/w", capabilities=("python",))


async def _all_assigned(world: LocalWorld) -> bool | None:
    return sum((await world.ports.ticket_counts.active()).values()) == FLOWS * TICKETS or None


async def _beats(world: LocalWorld, folder: Path) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of a beat, with and without telling changes, of each turn."""
    quiet = Platform(Settings(data=folder), world.ports, world.platform._queue, "http://x", tells_registry=False)  # noqa: SLF001 the same store
    costs: dict[Platform, list[float]] = {world.platform: [], quiet: []}
    for turn in range(TURNS):
        for platform in [*costs][:: -1 if turn % 2 else 1]:
            begun = process_time()
            for number in range(BEATS):
                await platform.heartbeat(f"w{number:04}", BEAT)
            costs[platform].append((process_time() - begun) / BEATS)
    return costs[world.platform], costs[quiet]


async def _discoveries(world: LocalWorld, folder: Path) -> list[float]:
    """Return the seconds of each discovery while all workers beat."""

    async def check() -> None:
        """The store is there."""

    async def beat() -> None:
        while True:
            for number in range(WORKERS):
                await world.platform.heartbeat(f"w{number:04}", BEAT)
                await asyncio.sleep(BEAT_S / WORKERS)

    beating = asyncio.create_task(beat())
    app: Any = create_app(api_services(world.platform, Settings(data=folder), check))
    asked = {"capabilities": ["python"], "filters": {"status": "healthy"}, "limit": 5}
    times = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        await client.post("/api/v1/agents/discover", json=asked)  # the first makes the models of its route
        for _ in range(DISCOVERIES):
            begun = perf_counter()
            answer = await client.post("/api/v1/agents/discover", json=asked)
            times.append(perf_counter() - begun)
            assert answer.json()["matched"] > WORKERS // 2
            await asyncio.sleep(0.02)
    beating.cancel()
    return times
