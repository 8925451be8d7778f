"""Where the CPU of a W1 flow goes, by what it is for: `python -m tests.benchmarks.profile_w1 [FLOWS] [IN_FLIGHT]`.

The parts add up to all that the platform's process has used; `sampled.py` says how they are counted. The profiler's own
thread is left out.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench_w1 import started
from tests.benchmarks.load import Stub, drive
from tests.support.processes import platform_process, processes
from tests.support.world import until

FLOWS, IN_FLIGHT = 300, 64
FUNCTIONS_SHOWN = 25

PARTS: Mapping[str, tuple[str, ...]] = {
    "logs": ("structlog/", "functions/_observability/logs.py"),
    "metrics": ("functions/_observability/",),
    "tokens": ("functions/_engine/tokens.py",),
    "HTTP out": (
        "aiohttp/",
        "functions/_adapters/http/client.py",
        "functions/_adapters/http/session.py",
        "functions/_adapters/http/connection",
        "functions/_adapters/http/workers.py",
        "functions/_adapters/http/telemetry.py",
        "functions/_engine/assignment_sender.py",
        "functions/_core/events/assignment.py",
        "functions/_core/events/signatures.py",
    ),
    "CloudEvents": ("cloudevents/", "functions/_adapters/http/cloudevents.py"),
    "HTTP in": ("uvicorn/", "starlette/", "fastapi/", "functions/api/", "functions/_hosts/"),
    "parse and validate": ("functions/_core/decision/", "functions/validate/", "functions/_core/records/json_text.py"),
    "tickets of a plan": ("functions/_core/planning/", "functions/generate_tickets/"),
    "records as JSON": ("functions/_adapters/documents.py", "functions/_adapters/sql/sqlite/rows.py"),
    "SQL": ("functions/_adapters/sql/",),
    "state machine": (
        "functions/_core/machine/",
        "functions/_core/placement/",
        "functions/_core/records/",
        "functions/monitor/",
        "functions/discover/",
        "functions/assign/",
    ),
    "telemetry": ("functions/_core/events/telemetry.py", "functions/publish_telemetry/"),
    "engine": ("functions/_engine/", "functions/_core/"),
}
"""The places of each part; a stack belongs to the part of its innermost frame that has one."""

OTHER = "event loop"


def part_of(stack: Sequence[str]) -> str:
    """Return the part that a stack belongs to."""
    for frame in stack:
        for part, places in PARTS.items():
            if frame.startswith(places):
                return part
    return OTHER


async def profile(folder: Path, flows: int, in_flight: int) -> Sequence[Mapping[str, object]]:
    """Run W1 and return the profile of its platform."""
    out = folder / "profile.json"
    stub = Stub()
    async with stub.serving():
        with processes() as all_processes:
            platform = platform_process(
                folder, telemetry_url=f"{stub.url}/telemetry", log_level="warning", heartbeat_seconds=600
            )
            platform.module, platform.arguments = "tests.benchmarks.sampled", [str(out), *platform.arguments]
            all_processes.append(platform)
            await started(platform, stub)
            await drive(platform.url, stub, flows=50, in_flight=8)  # warm
            assert platform.running is not None
            platform.running.send_signal(signal.SIGUSR1)
            result = await drive(platform.url, stub, flows=flows, in_flight=in_flight)
            platform.running.send_signal(signal.SIGUSR2)
            await until(lambda: _there(out), "the profile")
    print(f"{flows} flows, {in_flight} in flight: {result.rate:.1f} flows/s with the profiler beside them")
    rows: Sequence[Mapping[str, object]] = json.loads(out.read_text())
    return rows


async def _there(out: Path) -> bool | None:
    return out.exists() or None  # noqa: ASYNC240 a look at a file


def table(rows: Sequence[Mapping[str, object]], flows: int) -> str:
    """Return the parts, the largest first, and the functions that take the most themselves."""
    parts, functions = dict[str, float](), dict[str, float]()
    for row in rows:
        stack, ms = row["stack"], row["ms"]
        assert isinstance(stack, list)
        assert isinstance(ms, float)
        own = next((frame for frame in stack if frame.startswith("functions/")), stack[0])
        for counts, name in ((parts, part_of(stack)), (functions, own)):
            counts[name] = counts.get(name, 0.0) + ms / flows
    whole = sum(parts.values())
    lines = ["| for | CPU ms/flow | share |", "| --- | --- | --- |"]
    lines += [f"| {part} | {ms:.2f} | {ms / whole:.0%} |" for part, ms in _largest(parts)]
    lines += [f"| all | {whole:.2f} | 100% |", ""]
    lines += [f"{ms:8.3f} {name}" for name, ms in _largest(functions)[:FUNCTIONS_SHOWN]]
    return "\n".join(lines)


def _largest(counts: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    return sorted(counts.items(), key=itemgetter(1), reverse=True)


def main() -> None:
    """Print the profile."""
    given = [int(word) for word in sys.argv[1:]]
    flows, in_flight = (given + [FLOWS, IN_FLIGHT][len(given) :])[:2]
    with TemporaryDirectory() as folder:
        rows = asyncio.run(profile(Path(folder), flows, in_flight))
    print(table(rows, flows))


if __name__ == "__main__":
    main()
