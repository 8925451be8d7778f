"""W1's CPU per flow against a fixed piece of Python, in one run: `make bench-quick`.

The yardstick is the CPU that a fixed piece of work takes in this interpreter, measured before and after each round, so
a slow or busy machine slows both alike. The least of each counts: what else a machine does only adds. A change that
makes a flow dearer by more than `TOLERANCE` fails.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench_w1 import started
from tests.benchmarks.load import Stub, drive
from tests.benchmarks.measure import usage
from tests.support.processes import platform_process, processes

RECORDED = Path(__file__).with_name("results") / "quick.json"

FLOWS, IN_FLIGHT, ROUNDS = 80, 16, 5
TOLERANCE = 1.25
"""How much dearer a flow may become against the yardstick than it was when `RECORDED` was written."""


def yardstick() -> float:
    """Return the CPU in ms of a fixed piece of work: dicts, text and JSON, as a flow is made of."""
    begun = time.process_time()
    for number in range(4_000):
        record = {f"field_{place}": f"{number}:{place}" for place in range(20)}
        assert json.loads(json.dumps(record)) == record
    return (time.process_time() - begun) * 1000


async def rounds(folder: Path) -> list[tuple[float, float]]:
    """Return the platform's CPU per flow and the yardstick of some rounds, in ms."""
    stub, found = Stub(), []
    async with stub.serving():
        with processes() as all_processes:
            platform = platform_process(
                folder, telemetry_url=f"{stub.url}/telemetry", log_level="warning", heartbeat_seconds=600
            )
            all_processes.append(platform)
            pid = await started(platform, stub)
            await drive(platform.url, stub, flows=40, in_flight=8)  # warm
            for _ in range(ROUNDS):
                units, before = [yardstick(), yardstick()], usage(pid).cpu_ms
                await drive(platform.url, stub, flows=FLOWS, in_flight=IN_FLIGHT)
                found.append(((usage(pid).cpu_ms - before) / FLOWS, min(*units, yardstick(), yardstick())))
    return found


def main() -> int:
    """Print the ratio, and compare it with the recorded one; with `--record` write it."""
    with TemporaryDirectory() as folder:
        found = asyncio.run(rounds(Path(folder)))
    for flow, unit in found:
        print(f"{flow:.1f} ms CPU a flow, yardstick {unit:.0f} ms")
    ratio = min(flow for flow, _ in found) / min(unit for _, unit in found)
    if "--record" in sys.argv:
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text(json.dumps({"ratio": round(ratio, 4)}) + "\n")
    recorded = json.loads(RECORDED.read_text())["ratio"]
    print(f"ratio {ratio:.4f}, recorded {recorded:.4f}, allowed up to {TOLERANCE * recorded:.4f}")
    return int(ratio > TOLERANCE * recorded)


if __name__ == "__main__":
    sys.exit(main())
