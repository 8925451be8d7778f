"""Tools that are programs: run in the sandbox on a copy of the target, without a shell and without the network.

A program gets a folder of its own: `src` with the files, and beside it the report that it writes. What it writes is
read up to a bound, never through a link. A program that does not end, writes too much or ends otherwise than its
authors say has failed: what is scanned may have made it so, and that is no success.
"""

import asyncio
import os
import stat
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from functions._core.errors import Rejected
from functions._core.executors.execute import Limits
from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.json_text import count_parts, parse_json
from functions._executors.port import CallFailed, JobContext, ToolCheck
from functions._executors.programs import Program, ProgramEnd, ProgramSpec, found, last_words, started_program
from functions._executors.sandbox import Sandbox
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.scanners.target import copied
from functions._executors.settings import ExecutorSettings
from functions._executors.work_folder import remove_folder

REPORT_BYTES = 16 * 1024 * 1024
"""Bytes of a report."""

REPORT = "report.json"
SOURCE = "src"
QUIET = {
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "SEMGREP_ENABLE_VERSION_CHECK": "0",
    "SEMGREP_SEND_METRICS": "off",
}
"""Variables of all tools: none has anything to say to its authors."""

CHECK_SECONDS = 30.0
"""How long a program may take to say its version."""

AT_ONCE = 4
"""Programs that run at the same time for a worker."""

MEMORY_MB = 4_096
"""Memory of each process of a tool: some read all rules of all clouds."""

LAST_WORDS = 300
"""Characters of what a program said last."""


class ScannerProgram(Program):
    """A program whose standard output is a report."""

    value_bytes: ClassVar[int] = REPORT_BYTES


class Programs:
    """Runs programs of tools for one worker: at most `AT_ONCE` at a time, and those alone that its owner allows."""

    def __init__(self, settings: ExecutorSettings, shown: Sequence[Path] = ()) -> None:
        """Show programs the folders `shown`, too, read-only."""
        self._settings = settings
        readable = (*settings.readable, *shown)
        self._sandbox = Sandbox(settings.model_copy(update={"readable": readable}))
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def absence(self, name: str) -> str:
        """Return why a program cannot be run here; empty where it can."""
        if not (name in self._settings.commands or (self._sandbox.on and not self._settings.commands)):
            return f"the worker's owner does not allow it (WORKER_COMMANDS has no {name})"
        return await self.fault()

    async def fault(self) -> str:
        """Return why no program at all can be run; empty where one can."""
        return await self._sandbox.fault()

    async def ended(self, spec: ProgramSpec, context: JobContext[Any], folder: Path, seconds: float) -> ProgramEnd:
        """Run a program to its end; raise `ToolFaulty` where it does not end in its time or writes too much."""
        async with self._turns:
            quiet = replace(context, write=lambda _: None, tell=lambda _percent, _message: None)
            try:
                program = await started_program(ScannerProgram, self._sandbox, spec, quiet, folder)
            except CallFailed as failure:
                raise ToolFaulty(str(failure)) from failure
            try:
                await asyncio.wait({program.settled}, timeout=seconds)
                late = not program.settled.done()
            finally:
                end = await program.finish()
        if late:
            raise ToolFaulty(f"it did not end within {seconds:g} s")
        if end.flooded:
            raise ToolFaulty("it wrote too much", retryable=False)
        return end

    async def version_of(self, argv: Sequence[str]) -> str:
        """Return the first line that a program says of itself; raise `ToolFaulty`."""
        context = JobContext(parameters=ExecutorParameters(), ticket_id="check", attempt=1, idempotency_key="check")
        with TemporaryDirectory(prefix="flowc-check-") as folder:
            spec = ProgramSpec(argv=argv, env=QUIET, limits=Limits(memory_mb=MEMORY_MB))
            end = await self.ended(spec, context, Path(folder), CHECK_SECONDS)
        if end.exit_code != 0:
            raise ToolFaulty(f"it does not say its version: {last_words(end)[-LAST_WORDS:]}")
        said = (end.stdout.strip() or end.stderr.strip()).splitlines()
        return said[0][:100] if said else "of an unknown version"


class ProgramScanner:
    """Base of tools that are programs."""

    name: ClassVar[str]
    good_exits: ClassVar[frozenset[int]] = frozenset({0})
    """Exit codes of a program that has done its work, whatever it has found."""
    configuration: ClassVar[frozenset[str]] = frozenset()
    """Names of files by which a target would say how it is looked at, or not at all: the program does not get them."""
    ours: ClassVar[Mapping[str, str]] = {}
    """Files of such names that it gets in their place: path and text."""
    version: ClassVar[Sequence[str]] = ("--version",)

    def __init__(self, programs: Programs) -> None:
        self.programs = programs

    @abstractmethod
    def argv(self, job: ScanJob) -> Sequence[str]:
        """Return the arguments after the program's name; raise `NotRun` where something is missing."""

    @abstractmethod
    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:
        """Return what the program has found; runs beside the event loop. Raises `ToolFaulty`."""

    async def scan(self, job: ScanJob) -> Scanned:
        """See `Scanner.scan`."""
        path = found(self.name)
        if path is None:
            raise NotRun("it is not installed")
        if absence := await self.programs.absence(self.name):
            raise NotRun(absence)
        spec = ProgramSpec(
            argv=(path, *self.argv(job)), env=QUIET, within=SOURCE, limits=limits_for(job.tool.timeout_seconds)
        )
        try:
            await asyncio.to_thread(self._lay_out, job)
            end = await self.programs.ended(spec, job.context, job.folder, job.tool.timeout_seconds)
            if end.exit_code not in self.good_exits:
                raise ToolFaulty(f"exit status {end.exit_code}: {last_words(end)[-LAST_WORDS:]}")
            return await asyncio.to_thread(self._read, job, end)
        finally:
            await asyncio.to_thread(remove_folder, job.folder)

    async def check(self) -> ToolCheck:
        """See `Scanner.check`."""
        path = found(self.name)
        if path is None:
            return ToolCheck(self.name, False, "not installed", required=False)
        if absence := await self.programs.absence(self.name):
            return ToolCheck(self.name, False, absence, required=False)
        try:
            said = await self.programs.version_of((path, *self.version))
        except ToolFaulty as fault:
            return ToolCheck(self.name, False, str(fault), required=False)
        return ToolCheck(self.name, True, f"{said} ({path})", required=False)

    async def aclose(self) -> None:
        """See `Scanner.aclose`."""

    def _lay_out(self, job: ScanJob) -> None:
        source = job.folder / SOURCE
        copied(job.target, job.files, source, self.configuration)
        for name, text in self.ours.items():
            (source / name).write_text(text, encoding="utf-8")

    def _read(self, job: ScanJob, end: ProgramEnd) -> Scanned:
        """Read a report; one of a form that its tool does not write is no report."""
        try:
            return self.read(job, end)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ToolFaulty(f"its report has another form than it should: {type(error).__name__}") from error


def limits_for(seconds: float) -> Limits:
    """Return what a program may use in `seconds`."""
    return Limits(cpu_seconds=ceil(2 * seconds), memory_mb=MEMORY_MB, file_mb=64, processes=256, open_files=1_024)


def report_of(folder: Path, name: str = REPORT) -> Any:  # noqa: ANN401 any JSON
    """Return the JSON of a report that a program has written; raise `ToolFaulty`."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ToolFaulty("it wrote no report") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ToolFaulty("its report is no file", retryable=False)
    with os.fdopen(descriptor, "rb") as source:
        return json_in(source.read(REPORT_BYTES + 1))


def json_in(text: bytes | None, what: str = "its report") -> Any:  # noqa: ANN401 any JSON
    """Return JSON with bounds on its size and its parts; raise `ToolFaulty`."""
    if text is None or len(text) > REPORT_BYTES:
        raise ToolFaulty(f"{what} has more than {REPORT_BYTES} bytes", retryable=False)
    try:
        count_parts(text)
        return parse_json(text)
    except Rejected as error:
        raise ToolFaulty(f"{what} is not JSON that can be read: {error}", retryable=False) from error


def entries(value: object) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a list of a report; raise `ToolFaulty` for what is no list."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ToolFaulty("its report has another form than it should")
    return [one for one in value if isinstance(one, dict)]
