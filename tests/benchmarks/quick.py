"""W1's CPU per flow against a fixed piece of Python, in one run: `make bench-quick`.

The yardstick is the CPU that a fixed piece of work takes in this interpreter, measured before and after each round, so
a slow or busy machine slows both alike. A change that makes a flow dearer by more than `TOLERANCE` fails.
"""

import asyncio
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench_w1 import warm_platform
from tests.benchmarks.load import drive
from tests.benchmarks.measure import usage

RECORDED = Path(__file__).with_name("results") / "quick.json"

FLOWS, IN_FLIGHT, ROUNDS = 60, 16, 6
YARDSTICKS, BESIDE = 8, 2
"""Yardsticks on each side of a round, and how many run beside each other: a core alone is faster than two."""

TOLERANCE = 1.25
"""How much dearer a flow may become against the yardstick than it was when `RECORDED` was written."""


def yardstick(_number: int) -> float:
    """Return the CPU in ms of a fixed piece of work: dicts, text and JSON, as a flow is made of."""
    begun = time.process_time()
    for number in range(4_000):
        record = {f"field_{place}": f"{number}:{place}" for place in range(20)}
        assert json.loads(json.dumps(record)) == record
    return (time.process_time() - begun) * 1000


def yardsticks() -> list[float]:
    """Return some yardsticks, taken while both cores are busy, as they are in a round."""
    with ProcessPoolExecutor(BESIDE) as workers:
        return list(workers.map(yardstick, range(YARDSTICKS)))


async def rounds(folder: Path) -> list[tuple[float, float]]:
    """Return the platform's CPU per flow and the yardstick of some rounds, in ms."""
    found = []
    async with warm_platform(folder) as (platform, stub, pid):
        for _ in range(ROUNDS):
            units, before = yardsticks(), usage(pid).cpu_ms
            await drive(platform.url, stub, flows=FLOWS, in_flight=IN_FLIGHT)
            cost = (usage(pid).cpu_ms - before) / FLOWS
            found.append((cost, statistics.mean([*units, *yardsticks()])))
    return found


def main() -> int:
    """Print the ratio, and compare it with the recorded one; with `--record` write it."""
    with TemporaryDirectory() as folder:
        found = asyncio.run(rounds(Path(folder)))
    for flow, unit in found:
        print(f"{flow:.1f} ms CPU a flow, yardstick {unit:.0f} ms")
    ratio = statistics.median(flow / unit for flow, unit in found)
    if "--record" in sys.argv:
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text(json.dumps({"ratio": round(ratio, 4)}) + "\n")
    recorded = json.loads(RECORDED.read_text())["ratio"]
    print(f"ratio {ratio:.4f}, recorded {recorded:.4f}, allowed up to {TOLERANCE * recorded:.4f}")
    return int(ratio > TOLERANCE * recorded)


if __name__ == "__main__":
    sys.exit(main())
