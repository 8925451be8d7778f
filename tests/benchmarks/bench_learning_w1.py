"""What a model that acts adds to W1's CPU per flow: `python -m tests.benchmarks.bench_learning_w1`.

Two platforms over SQLite take turns, so that both meet the same machine: one without learning, one whose store has a
trained model that serves and acts.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from functions._adapters.sql.sqlite import SqliteStore
from functions._core.learning.model_record import JUDGED_ROWS
from tests.benchmarks.bench_w1 import started
from tests.benchmarks.load import Stub, drive
from tests.benchmarks.measure import usage
from tests.support.learning_fleet import TICKETS, LearningFleet
from tests.support.processes import Platform, platform_process, processes

FLOWS, IN_FLIGHT, ROUNDS = 40, 16, 60


async def taught(folder: Path) -> None:
    """Leave a model in the store of `folder` that serves."""
    store = SqliteStore.open(folder / "data")
    fleet = LearningFleet(store.stores)
    await fleet.works(22)
    await fleet.learns()
    await fleet.asks()
    await fleet.works(JUDGED_ROWS // TICKETS)
    assert (await fleet.learns()).promoted == "duration:1"
    await store.close()


@asynccontextmanager
async def warm(folder: Path, learning: str) -> AsyncIterator[tuple[Platform, Stub, int]]:
    """Run a platform with its workers and its sink; some flows are done already."""
    stub = Stub()
    async with stub.serving():
        with processes() as all_processes:
            sink = f"{stub.url}/telemetry"
            platform = platform_process(
                folder, telemetry_url=sink, log_level="warning", heartbeat_seconds=600, learning=learning
            )
            all_processes.append(platform)
            pid = await started(platform, stub)
            await drive(platform.url, stub, flows=100, in_flight=8)
            yield platform, stub, pid


async def round_of(platform: Platform, stub: Stub, pid: int) -> float:
    """Return the CPU per flow of one round, in ms."""
    before = usage(pid).cpu_ms
    await drive(platform.url, stub, flows=FLOWS, in_flight=IN_FLIGHT)
    return (usage(pid).cpu_ms - before) / FLOWS


async def main() -> None:
    """Print the CPU per flow of both, and the ratio with its 95 % interval."""
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        await taught(Path(other))
        async with warm(Path(one), "off") as without, warm(Path(other), "on") as with_model:
            pairs = []
            for number in range(ROUNDS):
                first, second = (without, with_model) if number % 2 else (with_model, without)
                found = [await round_of(*first), await round_of(*second)]
                pairs.append(tuple(found if number % 2 else reversed(found)))
    ratios = [after / before for before, after in pairs]
    error = 1.96 * statistics.stdev(ratios) / len(ratios) ** 0.5
    without_it, with_it = (statistics.mean(one) for one in zip(*pairs, strict=True))
    print(f"{without_it:.2f} ms without, {with_it:.2f} ms with it")
    print(f"ratio: mean {statistics.mean(ratios):.4f} ± {error:.4f}, median {statistics.median(ratios):.4f}")
    print(f"all CPU: {with_it / without_it:.4f}")


if __name__ == "__main__":
    asyncio.run(main())
