"""The sandbox of programs: bubblewrap around them, limits on them, and nothing of the machine that they do not need.

Within it a program sees the system and Python, read-only, its own folder at `/job`, a small `/tmp` of its own, no other
process and no network. It cannot become anybody else. Where the worker is root, the program is a user that owns
nothing but its folder, another one for each job, so that the limit of processes holds and jobs do not see each other.
Without bubblewrap, or where the system permits no namespaces, nothing runs, unless the worker's owner says
`WORKER_SANDBOX=off`.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from functions._core.executors.execute import Limits
from functions._executors.port import CallFailed, ToolCheck
from functions._executors.settings import ExecutorSettings

LAUNCHER = Path(__file__).with_name("launch.py").read_text(encoding="utf-8")
"""Given as text: the sandbox does not show where this package is."""

INSIDE = Path("/job")
"""Where the folder of a job is, in the sandbox."""

SYSTEM = ("/usr", "/etc", "/opt", "/nix/store", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""What the sandbox shows of the system, read-only; links stay links."""

NAMES = "/run/systemd/resolve"
"""Where many systems say how names are resolved; for programs with the network."""

TMP = "/tmp"  # noqa: S108 - that of the sandbox
TMP_BYTES = 256 * 1024 * 1024
"""Bytes that a program may keep in its /tmp, which is memory."""

SHARED, SHARED_BYTES = "/dev/shm", 64 * 1024 * 1024  # noqa: S108 - that of the sandbox
"""Memory that processes of a program share, by locks of Python too; its size in bytes."""

FIRST_USER, USERS = 1_900_000_000, 100_000_000
"""Users that jobs of a worker of root become: numbers beyond those of people, services and containers."""

TRIAL_SECONDS = 20.0
"""How long a trial of the sandbox may take, on a machine that has much to do."""

MIB = 1024 * 1024


class Confined(NamedTuple):
    """How a program is run: what to execute, where from, and where its folder is for the program itself."""

    argv: Sequence[str]
    folder: Path


class Sandbox:
    """Confines programs as the settings of a worker say."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._python = os.path.realpath(sys.executable)
        self._bwrap = shutil.which("bwrap")
        self._fault: str | None = None
        self.on = settings.sandbox == "on"

    def confine(self, argv: Sequence[str], folder: Path, within: str, limits: Limits, *, network: bool) -> Confined:
        """Return how `argv` is run in `within` of the folder of its job, which becomes the program's own."""
        bounds = _bounds(limits)
        if not self.on:
            options = {"limits": bounds, "dies_with_parent": True}
            return Confined(self._launched(options, argv), folder)
        user = _user_of(folder) if os.geteuid() == 0 else None
        if user is not None:
            for path in (folder, *folder.rglob("*")):  # all of it is new and the worker's own
                os.chown(path, user, user, follow_symlinks=False)
        inner = {"limits": bounds | {"RLIMIT_NPROC": limits.processes}, "user": user}
        view = ["--bind", str(folder), str(INSIDE), "--chdir", str(INSIDE / within)]
        share = network and self._settings.program_network
        return Confined([*self._outer(view, network=share), *self._launched(inner, argv)], INSIDE)

    async def fault(self) -> str:
        """Return why no program can be run in the sandbox; empty where it can. It is tried once."""
        if not self.on:
            return ""
        if self._fault is None:
            self._fault = await self._tried()
        return self._fault

    async def check(self, what: str) -> ToolCheck:
        """Return how programs are confined, for `flowc doctor executor`; `what` are those of an executor."""
        fault = await self.fault()
        confined = "bubblewrap" if self.on else f"off: {what} run as the worker does"
        return ToolCheck("sandbox", not fault, fault or confined)

    def permits(self, name: str) -> bool:
        """Whether the worker's owner lets a program, by name or path, or a function be run."""
        return name in self._settings.commands or (self.on and not self._settings.commands)

    async def require(self) -> None:
        """Raise `CallFailed` where no program can be run."""
        if fault := await self.fault():
            text = f"no sandbox: {fault}; WORKER_SANDBOX=off lets programs run without one"
            raise CallFailed(text, transient=False, kind="no_sandbox")

    def _outer(self, view: Sequence[str], *, network: bool) -> Sequence[str]:
        """Return bubblewrap with all that the sandbox has; a user namespace only where one is needed."""
        shown: list[str] = []
        for path in map(Path, SYSTEM):
            linked = ("--symlink", str(path.readlink())) if path.is_symlink() else ("--ro-bind-try", str(path))
            shown += (*linked, str(path))
        shown += ["--proc", "/proc", "--dev", "/dev"]
        for place, size in ((TMP, TMP_BYTES), (SHARED, SHARED_BYTES)):
            shown += ["--size", str(size), "--perms", "1777", "--tmpfs", place]
        own = {sys.prefix, sys.base_prefix, *(str(path.resolve()) for path in self._settings.readable)}
        own |= {NAMES} if network and Path(NAMES).exists() else set()
        for place in sorted(own - {"/usr", "/"}):  # after /tmp, as they may be below it
            shown += [*_way_to(place), "--ro-bind", place, place]
        alone = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        alone += [] if network else ["--unshare-net"]
        alone += [] if os.geteuid() == 0 else ["--unshare-user", "--disable-userns"]
        ends = ["--die-with-parent", "--new-session", "--remount-ro", "/", "--"]
        return [self._bwrap or "bwrap", *shown, *view, *alone, *ends]

    def _launched(self, options: object, argv: Sequence[str]) -> Sequence[str]:
        return [self._python, "-I", "-S", "-c", LAUNCHER, json.dumps(options), *argv]

    async def _tried(self) -> str:
        if self._bwrap is None:
            return "bubblewrap (bwrap) is not installed"
        user = FIRST_USER if os.geteuid() == 0 else None
        argv = [*self._outer((), network=False), *self._launched({"limits": {}, "user": user}, ["true"])]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await asyncio.wait_for(process.communicate(), TRIAL_SECONDS)
        except (OSError, TimeoutError) as error:
            return f"bubblewrap cannot be run: {str(error) or 'it did not end'}"
        why = said.decode(errors="replace").strip()
        return f"bubblewrap is not permitted here: {why[-300:]}" if process.returncode else ""


def _way_to(path: str) -> Sequence[str]:
    """Return the folders above a path, for everybody to go through: by itself bubblewrap makes them for root alone."""
    above = [str(parent) for parent in reversed(Path(path).parents) if str(parent) != "/"]
    made = [parent for parent in above if not parent.startswith(SYSTEM) and parent != TMP]
    return [word for parent in made for word in ("--perms", "0755", "--dir", parent)]


def _bounds(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.memory_mb * MIB,
        "RLIMIT_FSIZE": limits.file_mb * MIB,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
    }


def _user_of(folder: Path) -> int:
    return FIRST_USER + crc32(folder.name.encode()) % USERS
