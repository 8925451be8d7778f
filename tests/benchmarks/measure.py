"""What a process costs: CPU, memory, bytes and flushes to disk."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Totals of a process since its start; CPU in ms, memory (the largest so far) and writes in kB."""

    cpu_ms: float
    peak_kb: int
    written_kb: float


def usage(pid: int) -> Usage:
    """Return what a process has used so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    writes = dict(line.split(": ", 1) for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return Usage(
        cpu_ms=(int(fields[11]) + int(fields[12])) * 1000 / TICKS,
        peak_kb=int(status["VmHWM"].split()[0]),
        written_kb=int(writes["write_bytes"]) / 1024,
    )


def flushes() -> int:
    """Return how many cache flushes all block devices have done: machine-wide, so right on a quiet machine only."""
    total = 0
    for stat in Path("/sys/block").glob("*/stat"):
        numbers = stat.read_text().split()
        total += int(numbers[15]) if len(numbers) > 15 else 0
    return total
