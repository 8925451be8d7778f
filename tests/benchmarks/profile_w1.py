"""Where the CPU of a W1 flow goes, by what it is for: `python -m tests.benchmarks.profile_w1 [FLOWS] [IN_FLIGHT]`.

It needs `py-spy` (`pip install py-spy`), which looks a few hundred times a second at what each thread is doing. The
parts share out all the CPU that the platform's process has used, so they add up.
"""

import asyncio
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench_w1 import warm_platform
from tests.benchmarks.load import drive
from tests.benchmarks.measure import TICKS

FLOWS, IN_FLIGHT = 300, 64
ROOT = str(Path(__file__).parents[2]) + "/"
FUNCTIONS_SHOWN = 30
LOOKS_A_SECOND = 150

PARTS: Mapping[str, tuple[str, ...]] = {
    "logs": ("structlog/", "functions/_observability/logs.py"),
    "metrics": ("functions/_observability/",),
    "tokens": ("functions/_engine/tokens.py",),
    "HTTP out": (
        "functions/_adapters/http/client.py",
        "functions/_adapters/http/session.py",
        "functions/_adapters/http/connection.py",
        "functions/_adapters/http/dialing.py",
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


async def profile(folder: Path, flows: int, in_flight: int) -> Mapping[str, float]:
    """Run W1; return the CPU in ms of each stack of the platform, the thread first and the innermost frame last."""
    out = folder / "profile.txt"
    async with warm_platform(folder) as (platform, stub, pid):
        command = ("record", "--pid", str(pid), "--rate", str(LOOKS_A_SECOND), "--format", "raw", "--threads")
        spy = await asyncio.create_subprocess_exec("py-spy", *command, "--full-filenames", "--output", str(out))
        await asyncio.sleep(1)  # it has to find its way into the process
        before = cpu_of_threads(pid)
        await drive(platform.url, stub, flows=flows, in_flight=in_flight)
        after = cpu_of_threads(pid)
        spy.send_signal(signal.SIGINT)
        await spy.wait()
    lines = (line.rpartition(" ") for line in out.read_text().splitlines())
    seen = {stack: int(times) for stack, _, times in lines}
    looks = Counter[str]()
    for stack, times in seen.items():
        looks[thread_of(stack)] += times
    used = {thread: after[thread] - before.get(thread, 0.0) for thread in after}
    return {stack: times * used.get(thread_of(stack), 0.0) / looks[thread_of(stack)] for stack, times in seen.items()}


def cpu_of_threads(pid: int) -> Mapping[str, float]:
    """Return what each thread of a process has used so far, in ms, by its id."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    stats = {task.name: (task / "stat").read_text().rpartition(")")[2].split() for task in tasks}
    return {thread: (int(fields[11]) + int(fields[12])) * 1000 / TICKS for thread, fields in stats.items()}


def thread_of(stack: str) -> str:
    """Return the id of the thread of a stack, which begins as `thread (7): name`."""
    return stack.partition("(")[2].partition(")")[0]


def table(used: Mapping[str, float], flows: int) -> str:
    """Return the parts, the largest first, and the functions that take the most themselves."""
    parts, functions = dict[str, float](), dict[str, float]()
    for stack, ms in used.items():
        frames = [short(frame) for frame in reversed(stack.split(";"))]
        own = next((frame for frame in frames if frame.startswith("functions/")), frames[0])
        for counts, name in ((parts, part_of(frames)), (functions, own)):
            counts[name] = counts.get(name, 0.0) + ms / flows
    whole = sum(parts.values())
    lines = ["| for | CPU ms/flow | share |", "| --- | --- | --- |"]
    lines += [f"| {part} | {ms:.2f} | {ms / whole:.0%} |" for part, ms in _largest(parts)]
    lines += [f"| all | {whole:.2f} | 100% |", ""]
    lines += [f"{ms:8.3f} {name}" for name, ms in _largest(functions)[:FUNCTIONS_SHOWN]]
    return "\n".join(lines)


def short(frame: str) -> str:
    """Return a frame, `function (path:line)`, as `path:function`, the path from the project or a package on."""
    function, _, place = frame.partition(" (")
    path = place.rpartition(":")[0]
    return f"{path.removeprefix(ROOT).rpartition('site-packages/')[2]}:{function}"


def _largest(counts: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    return sorted(counts.items(), key=itemgetter(1), reverse=True)


def main() -> None:
    """Print the profile."""
    given = [int(word) for word in sys.argv[1:]]
    flows, in_flight = (given + [FLOWS, IN_FLIGHT][len(given) :])[:2]
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not there: pip install py-spy")
    with TemporaryDirectory() as folder:
        print(table(asyncio.run(profile(Path(folder), flows, in_flight)), flows))


if __name__ == "__main__":
    main()
