"""Jobs that are tools of the worker's owner: a few programs one after the other, with the owner's credentials.

A tool gets the variables that the owner names for it (`WORKER_<NAME>_PASS=AWS_PROFILE,KUBECONFIG`), and no others of
the worker. Their values are masked in all that it writes. No plan names a variable, a program or a file outside of the
owner's projects: who writes configuration for a tool has its credentials. A tool ends with its worker.
"""

import asyncio
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from functions._core.errors import Rejected
from functions._core.executors.execute import Limits
from functions._core.executors.parameters import ExecutorParameters
from functions._core.masking import Mask
from functions._core.records.json_text import parse_json
from functions._executors.port import CallFailed, JobContext, JobFailed, JobHandle, JobState, ToolCheck
from functions._executors.process_group import done
from functions._executors.programs import Program, ProgramSpec, found, last_words, started_program
from functions._executors.sandbox import INSIDE, Sandbox
from functions._executors.settings import PREFIX, ExecutorSettings
from functions._executors.task_jobs import TaskExecutor
from functions._executors.work_folder import new_folder, remove_folder

READ_BYTES = 16 * 1024 * 1024
"""Bytes of standard output that are read and not logged: the JSON of a plan or a history."""

LIMITS = Limits(cpu_seconds=7_200, memory_mb=65_536, file_mb=4_096, processes=1_024, open_files=4_096)
"""What a tool may use: they are programs in Go, which reserve much more memory than they take."""

P = TypeVar("P", bound=ExecutorParameters)


@dataclass(frozen=True, slots=True)
class ToolEnd:
    """How one program ended: `read` is the standard output of one that was not logged."""

    code: int
    read: bytes
    said: str
    """What it said last, on both streams; masked."""

    @property
    def json(self) -> Any:  # noqa: ANN401 any JSON
        """What was read, as JSON; raises `CallFailed` for what is none."""
        try:
            return parse_json(self.read)
        except Rejected as error:
            raise CallFailed("the tool did not print JSON", transient=False, kind="not_json") from error


class QuietProgram(Program):
    """A program whose standard output is read, and not logged."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != 1:
            super().pipe_data_received(fd, data)
        elif len(self._value) > READ_BYTES:
            done(self.settled)
        else:
            self._value += data

    @property
    def read(self) -> bytes:
        """What it has written to standard output; raises `CallFailed` for too much."""
        if len(self._value) > READ_BYTES:
            raise CallFailed(f"it printed more than {READ_BYTES} bytes", transient=False, kind="answer_too_large")
        return bytes(self._value)


class ToolJob:
    """One job: runs programs in its folder, one at a time."""

    def __init__(
        self, sandbox: Sandbox, context: JobContext[Any], folder: Path, passed: Mapping[str, str], *, network: bool
    ) -> None:
        self.folder = folder
        self.inside = INSIDE if sandbox.on else folder
        """Its folder, as its programs see it."""
        self._sandbox = sandbox
        self._network = network
        self._passed = passed
        self._given = context
        secrets = (*context.secrets, *passed.values())
        mask = Mask(secrets)
        self.context = replace(context, secrets=secrets, write=lambda text: context.write(mask.data(text)))
        """The context in which nothing is written that the owner passes: what is written has whole values."""

    async def run(
        self,
        *argv: str,
        quiet: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        limits: Limits = LIMITS,
    ) -> ToolEnd:
        """Run a program to its end; one that is cancelled is ended with all that it has started."""
        why = "a secret is an argument of the tool, which every user of the machine can see"
        self._given.refuse_secrets(argv, why, "secret_in_arguments")
        variables = {**self._passed, **(env or {})}
        spec = ProgramSpec(argv=argv, stdin=stdin, env=variables, network=self._network, limits=limits)
        kind = QuietProgram if quiet else Program
        program = await started_program(kind, self._sandbox, spec, self.context, self.folder)
        try:
            await asyncio.wait({program.settled})
        finally:
            end = await program.finish()
        if end.flooded:
            raise CallFailed("it wrote too much", transient=False, kind="output_too_large")
        return ToolEnd(end.exit_code, program.read if isinstance(program, QuietProgram) else b"", last_words(end))

    async def put(self, name: str, value: Mapping[str, Any]) -> str:
        """Write JSON to a file in its folder that others cannot read; return its path, as its programs see it."""
        await asyncio.to_thread(_written, self.folder / name, json.dumps(dict(value)))
        return f"{self.inside}/{name}"

    async def good(self, *argv: str, quiet: bool = False, env: Mapping[str, str] | None = None) -> ToolEnd:
        """Run a program that has to succeed; raise `ToolFailed`."""
        end = await self.run(*argv, quiet=quiet, env=env)
        if end.code:
            raise ToolFailed(f"{Path(argv[0]).name} ended with exit status {end.code}: {end.said}")
        return end


class ToolFailed(Exception):
    """A program of a tool has ended badly."""


class ToolExecutor(TaskExecutor[P]):
    """Base of executors whose jobs are tools; what remains to say is which programs, and what they mean."""

    PROGRAMS: ClassVar[Sequence[str]]
    """The programs that do; the first one that is there is taken."""
    NEEDS_NETWORK: ClassVar[bool] = True

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__()
        shown = (*settings.readable, *settings.projects)
        self.settings = settings.model_copy(update={"readable": shown})
        self.sandbox = Sandbox(self.settings)
        names = settings.environment.get(f"{PREFIX}{self.name.upper()}_PASS", "")
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        self._passed = {name: settings.environment[name] for name in wanted if name in settings.environment}
        self._absent = [name for name in wanted if name not in settings.environment]

    @abstractmethod
    async def work(self, context: JobContext[P], job: ToolJob) -> JobState:
        """Do the job. Raises `ToolFailed` and `CallFailed`."""

    @property
    def program(self) -> str | None:
        """Where the tool is."""
        return next(filter(None, map(found, self.PROGRAMS)), None)

    @property
    def tool(self) -> str:
        """Where the tool is; raises `CallFailed`."""
        if (program := self.program) is None:
            text = f"{' or '.join(self.PROGRAMS)} is not installed"
            raise CallFailed(text, transient=False, kind="no_tool")
        return program

    async def start(self, context: JobContext[P]) -> JobHandle:
        """Start the first program in a new folder."""
        await self.sandbox.require()
        if self.NEEDS_NETWORK and self.sandbox.on and not self.settings.program_network:
            text = "the worker's owner does not let programs have the network (WORKER_PROGRAM_NETWORK)"
            raise CallFailed(text, transient=False, kind="not_allowed")
        self.admit(context)
        _ = self.tool
        folder = await new_folder(self.settings.folder, context)
        job = ToolJob(self.sandbox, context, folder, self._passed, network=self.settings.program_network)
        return self.begin(context, partial(self._done, context, job))

    def admit(self, context: JobContext[P]) -> None:
        """Refuse what the worker's owner does not allow: raise `CallFailed`."""

    async def check(self) -> Sequence[ToolCheck]:
        """Look at the sandbox, the tool and what the owner passes to it."""
        network = self.settings.program_network or not self.sandbox.on
        passed = ", ".join(self._passed) or "none"
        missing = f"; not set: {', '.join(self._absent)}" if self._absent else ""
        return (
            await self.sandbox.check("tools"),
            ToolCheck("tool", self.program is not None, self.program or f"no {' or '.join(self.PROGRAMS)}"),
            ToolCheck("network", network, "allowed" if network else "WORKER_PROGRAM_NETWORK", self.NEEDS_NETWORK),
            ToolCheck("variables", not self._absent, f"{PREFIX}{self.name.upper()}_PASS: {passed}{missing}"),
        )

    async def _done(self, context: JobContext[P], job: ToolJob) -> JobState:
        try:
            return await self.work(context, job)
        except ToolFailed as failure:
            return JobFailed("exit_status", str(failure))
        except CallFailed as failure:
            return JobFailed(failure.kind, str(failure), failure.transient)
        finally:
            await asyncio.to_thread(remove_folder, job.folder)


def _written(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


def projects_check(settings: ExecutorSettings) -> ToolCheck:
    """Return whether the worker's owner has projects, and whether they are there."""
    absent = [str(path) for path in settings.projects if not path.is_dir()]
    named = ", ".join(map(str, settings.projects)) or "none"
    missing = f"; not there: {', '.join(absent)}" if absent else ""
    return ToolCheck("projects", bool(settings.projects) and not absent, f"WORKER_PROJECTS: {named}{missing}")


def project_in(settings: ExecutorSettings, name: str) -> Path:
    """Return the folder of a project below those of the worker's owner; raise `CallFailed` for any other."""
    for base in map(Path.resolve, settings.projects):
        folder = (base / name).resolve()
        if folder.is_relative_to(base) and folder.is_dir():
            return folder
    text = "the worker's owner has no such project (WORKER_PROJECTS)"
    raise CallFailed(text, transient=False, kind="not_allowed")
