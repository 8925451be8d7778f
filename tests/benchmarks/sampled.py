"""Runs `flowc` with a profiler beside it: a thread that looks, a thousand times a second, what each thread is doing.

What a thread has used of the CPU since the last look counts for where it is now, so the parts add up to the whole.
Start it as `python -m tests.benchmarks.sampled FILE ARGUMENTS…`; SIGUSR1 begins the count anew and SIGUSR2 writes it to
FILE, as JSON: the CPU time in ms by stack, the innermost frame first, each as `path:function`.
"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from functions.__main__ import main

PAUSE_S = 0.001
DEPTH = 40
"""Frames of a stack that are kept."""

ROOT = str(Path(__file__).parents[2]) + "/"


class Profiler:
    """The count, and the thread that keeps it."""

    def __init__(self, out: Path) -> None:
        """Write to `out` when told to."""
        self._out = out
        self._stacks: Counter[tuple[str, ...]] = Counter()
        self._used: dict[int, int] = {}
        self._names: dict[tuple[str, str], str] = {}

    def begin(self) -> None:
        """Look on in a thread of its own."""
        signal.signal(signal.SIGUSR1, lambda *_: self._stacks.clear())
        signal.signal(signal.SIGUSR2, lambda *_: self._write())
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        own = threading.get_ident()
        while True:
            time.sleep(PAUSE_S)
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 the only way to see other threads
                if ident != own:
                    self._look(ident, frame)

    def _look(self, ident: int, frame: FrameType) -> None:
        try:
            now = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
        except OSError:  # it has ended meanwhile
            return
        used = now - self._used.get(ident, now)
        self._used[ident] = now
        if used:
            self._stacks[self._stack(frame)] += used

    def _stack(self, frame: FrameType | None) -> tuple[str, ...]:
        stack: list[str] = []
        while frame is not None and len(stack) < DEPTH:
            code = frame.f_code
            stack.append(self._name(code.co_filename, code.co_qualname))
            frame = frame.f_back
        return tuple(stack)

    def _name(self, path: str, function: str) -> str:
        known = self._names.get((path, function))
        if known is None:
            short = path.removeprefix(ROOT).rpartition("site-packages/")[2]
            known = self._names[path, function] = f"{short}:{function}"
        return known

    def _write(self) -> None:
        rows = [{"ms": used / 1e6, "stack": stack} for stack, used in list(self._stacks.items())]
        part = self._out.with_suffix(".part")
        part.write_text(json.dumps(rows))
        part.rename(self._out)


if __name__ == "__main__":
    Profiler(Path(sys.argv[1])).begin()
    del sys.argv[1]
    main()
