"""Jobs that are programs of this machine: started in the sandbox, heard, ended with all that they have started.

A program does not outlive its worker: where the worker is killed, the next attempt starts it again. `ProgramExecutor`
is the base of executors of programs; what remains to say is how parameters become one, and its end an output.
"""

import asyncio
import os
import shutil
import signal
import socket
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from functions._core.executors.execute import Artifact, Limits, ProgramOutputs, ProgramParameters
from functions._core.masking import Mask, MaskedStream
from functions._core.records.values import Model
from functions._executors.artifacts import ArtifactsRefused, artifacts_in, put_files
from functions._executors.kept_files import Keep
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.process_group import ProcessGroup, done
from functions._executors.sandbox import Sandbox
from functions._executors.settings import ExecutorSettings
from functions._executors.stored_files import StoreFailed
from functions._executors.tail import FLOOD_BYTES, VALUE_BYTES, ProgressLines, Tail
from functions._executors.work_folder import new_folder, remove_folder

NEWS_SECONDS = 1.0
"""How long a look waits for the end."""

PP = TypeVar("PP", bound=ProgramParameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSpec:
    """What is to be run."""

    argv: Sequence[str]
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that every program has."""
    within: str = "."
    """Where it runs, below the folder of the job."""
    network: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended. `value` is its standard output, None where that is too long to be a value."""

    exit_code: int
    stdout: str
    stderr: str
    value: bytes | None
    flooded: bool
    folder: Path
    keep: Keep | None = None
    """See `JobContext.keep`."""


class Program(ProcessGroup):
    """A program that runs."""

    value_bytes: ClassVar[int] = VALUE_BYTES
    """Bytes of standard output that are kept from its beginning."""

    def __init__(self, context: JobContext[Any], folder: Path) -> None:
        super().__init__()
        mask = Mask(context.secrets)
        self.folder = folder
        self._keep = context.keep
        self._write = context.write
        # Each by itself: in the log, where they are mixed, one could stand between the halves of a secret in the other.
        self._masked = {1: MaskedStream(mask), 2: MaskedStream(mask)}
        self._tails = {1: Tail(mask), 2: Tail(mask)}
        self._lines = {1: ProgressLines(context.progress), 2: ProgressLines(context.progress)}
        self._value = bytearray()

    @classmethod
    async def start(
        cls, argv: Sequence[str], stdin: bytes, env: Mapping[str, str], folder: Path, context: JobContext[Any]
    ) -> Self:
        """Start `argv`, which has its own session; raise `OSError`."""
        _, program = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(context, folder), *argv, start_new_session=True, env=dict(env), cwd=str(folder)
        )
        program.feed(stdin)
        return program

    async def finish(self) -> ProgramEnd:
        """End what is left of it, first politely, and return how it ended."""
        code = await self.end()
        for stream in self._masked.values():
            self._write(stream.end())
        return ProgramEnd(
            exit_code=-signal.SIGKILL if code is None else code,
            stdout=self._tails[1].text,
            stderr=self._tails[2].text,
            value=None if self._tails[1].total > self.value_bytes else bytes(self._value),
            flooded=self._written > FLOOD_BYTES,
            folder=self.folder,
            keep=self._keep,
        )

    @property
    def _written(self) -> int:
        return self._tails[1].total + self._tails[2].total

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._written > FLOOD_BYTES:
            return
        self._tails[fd].add(data)
        self._lines[fd].add(data)
        self._write(self._masked[fd].add(data))
        if fd == 1 and len(self._value) <= self.value_bytes:
            self._value += data[: self.value_bytes + 1 - len(self._value)]
        if self._written > FLOOD_BYTES:
            done(self.settled)


P = TypeVar("P", bound=Program)


class ProgramExecutor(JobExecutor[PP]):
    """Base of executors whose jobs are programs."""

    Outputs: type[Model] = ProgramOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        self.settings = settings
        self.sandbox = Sandbox(settings)
        self._running: dict[str, Program] = {}

    def prepare(self, context: JobContext[PP], folder: Path) -> None:
        """Put into the folder what the program needs; runs beside the event loop. Raises `CallFailed`, `OSError`."""

    @abstractmethod
    def spec(self, context: JobContext[PP], folder: Path) -> ProgramSpec:
        """Return what is to be run; `folder` may be written to before. Raises `CallFailed`."""

    @abstractmethod
    def judged(self, context: JobContext[PP], end: ProgramEnd) -> JobState:
        """Return what the end of the program means; runs beside the event loop."""

    async def start(self, context: JobContext[PP]) -> JobHandle:
        """Start the program in a new folder."""
        await self.sandbox.require()
        folder = await new_folder(self.settings.folder, context)
        try:
            await self._given(context, folder)
            await asyncio.to_thread(self.prepare, context, folder)
            spec = self.spec(context, folder)
            self._admit(spec, context)
            program = await started_program(Program, self.sandbox, spec, context, folder)
        except BaseException:
            await asyncio.to_thread(remove_folder, folder)
            raise
        job_id = f"{socket.gethostname()}:{program.pid}"
        self._running[job_id] = program
        return JobHandle(job_id=job_id, data={"folder": str(folder)})

    async def poll(self, context: JobContext[PP], handle: JobHandle) -> JobState:
        """Wait a moment for the end of the program."""
        program = self._running.get(handle.job_id)
        if program is None:
            return JobFailed("lost", "the program was one of another worker, with which it ended")
        await asyncio.wait({program.settled}, timeout=NEWS_SECONDS)
        if not program.settled.done():
            return JobRunning(pause_seconds=0)
        end = await program.finish()
        del self._running[handle.job_id]
        if end.flooded:
            state: JobState = JobFailed("output_too_large", f"it wrote more than {FLOOD_BYTES} bytes", retryable=False)
        else:
            state = await asyncio.to_thread(self.judged, context, end)
        kept = isinstance(state, JobSucceeded) and bool(getattr(state.outputs, "artifacts", ()))
        if not kept or end.keep is not None:
            await asyncio.to_thread(remove_folder, program.folder)
        return state

    async def cancel(self, context: JobContext[PP], handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """End the program and all that it has started."""
        program = self._running.pop(handle.job_id, None)
        if program is not None:
            await program.finish()
            await asyncio.to_thread(remove_folder, program.folder)

    async def check(self) -> Sequence[ToolCheck]:
        """Look at the sandbox and the folder."""
        folder = self.settings.folder.resolve()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        allowed = ", ".join(self.settings.commands) or ("all in the sandbox" if self.sandbox.on else "none")
        return (
            await self.sandbox.check("programs"),
            ToolCheck("folder", os.access(there, os.W_OK), str(folder)),
            ToolCheck("programs", self.sandbox.on or bool(self.settings.commands), f"allowed: {allowed}"),
        )

    async def aclose(self) -> None:
        """End all programs."""
        for program in [*self._running.values()]:
            await program.finish()
        self._running.clear()

    def _admit(self, spec: ProgramSpec, context: JobContext[PP]) -> None:
        """Refuse a program that would show a secret to whoever lists processes."""
        why = "a secret is an argument of the program, which every user of the machine can see; use env or stdin"
        context.refuse_secrets(spec.argv, why, "secret_in_arguments")

    async def _given(self, context: JobContext[PP], folder: Path) -> None:
        """Put the files into the folder that the plan names."""
        try:
            await asyncio.to_thread(put_files, context.parameters.files, folder, context.fetch)
        except ArtifactsRefused as refusal:
            raise CallFailed(str(refusal), transient=False, kind="files_refused") from refusal
        except StoreFailed as error:
            raise CallFailed(f"the files cannot be fetched: {error}", kind="no_files") from error
        except OSError as error:
            text = f"the files cannot be put into the folder: {error.strerror}"
            raise CallFailed(text, transient=False, kind="no_files") from error


async def started_program(
    kind: type[P], sandbox: Sandbox, spec: ProgramSpec, context: JobContext[Any], folder: Path
) -> P:
    """Start a program in the sandbox, with `folder` as its own; raise `CallFailed`."""
    (folder / spec.within).mkdir(parents=True, exist_ok=True)
    confined = sandbox.confine(spec.argv, folder, spec.within, spec.limits, network=spec.network)
    env = {**_environment(context, confined.folder), **spec.env}
    cwd = folder if sandbox.on else folder / spec.within
    try:
        program = await kind.start(confined.argv, spec.stdin, env, cwd, context)
    except OSError as error:
        raise CallFailed(f"the program cannot be started: {error.strerror}", kind="not_started") from error
    program.folder = folder
    return program


def outputs_of(end: ProgramEnd, patterns: Sequence[str], value: object = None) -> JobState:
    """Return the outputs of a program that has succeeded, or the failure to have made what was asked for."""
    artifacts = made_files(end, patterns)
    if isinstance(artifacts, JobFailed):
        return artifacts
    return JobSucceeded(
        ProgramOutputs(exit_code=end.exit_code, stdout=end.stdout, stderr=end.stderr, value=value, artifacts=artifacts)
    )


def made_files(end: ProgramEnd, patterns: Sequence[str]) -> tuple[Artifact, ...] | JobFailed:
    """Return the files that a program has made, kept where there is a store, or the failure to have made them."""
    try:
        return artifacts_in(end.folder, patterns, end.keep) if patterns else ()
    except (ArtifactsRefused, OSError) as error:
        return JobFailed("artifacts", str(error))
    except StoreFailed as error:
        return JobFailed("artifacts_not_kept", str(error))


def last_words(end: ProgramEnd) -> str:
    """Return what a program that has failed said last."""
    return (end.stderr.strip() or end.stdout.strip())[-2_000:]


def _environment(context: JobContext[Any], folder: Path) -> dict[str, str]:
    """Return the variables of every program: none of the worker's own but where programs are found."""
    general = {"PATH": search_path(), "HOME": str(folder), "LANG": os.environ.get("LANG", "C.UTF-8")}
    return general | context.variables


def package_check(name: str, absent: str = "it is not installed") -> ToolCheck:
    """Return whether programs of the worker's Python have a package, for `flowc doctor executor`."""
    there = find_spec(name) is not None
    return ToolCheck(name, there, "a package of the worker's Python" if there else absent)


def search_path() -> str:
    """Return where programs are looked for: the worker's own places, never one that a job can write to."""
    import sys

    places = [f"{sys.prefix}/bin", *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(place for place in places if place.startswith("/")))


def found(name: str) -> str | None:
    """Return where a program is that is named without a path."""
    return shutil.which(name, path=search_path())
