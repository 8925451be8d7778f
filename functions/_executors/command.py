"""The executor `command`: a program with its arguments; a shell only where the plan asks for it."""

from pathlib import Path
from typing import ClassVar

from functions._core.errors import Rejected
from functions._core.executors.execute import CommandParameters
from functions._core.executors.table import WORK
from functions._core.records.json_text import parse_json
from functions._core.records.values import TaskType
from functions._executors.port import CallFailed, JobContext, JobFailed, JobState
from functions._executors.programs import ProgramEnd, ProgramExecutor, ProgramSpec, last_words, outputs_of

SHELL = "/bin/sh"


class CommandExecutor(ProgramExecutor[CommandParameters]):
    """Runs a program of the machine. Nothing of its parameters is read by a shell, but for `shell` itself."""

    name: ClassVar[str] = "command"
    family: ClassVar[str] = "execute"
    task_types: ClassVar[frozenset[TaskType]] = WORK
    Parameters = CommandParameters

    def spec(self, context: JobContext[CommandParameters], folder: Path) -> ProgramSpec:  # noqa: ARG002 - the base's
        """Return the program; raise `CallFailed` for one that is not allowed."""
        given = context.parameters
        argv = (SHELL, "-c", given.shell) if given.shell is not None else given.argv or ()
        if not self.sandbox.permits("sh" if given.shell is not None else argv[0]):
            text = f"the worker's owner does not allow {'a shell' if given.shell is not None else 'this program'}"
            raise CallFailed(f"{text} (WORKER_COMMANDS)", transient=False, kind="not_allowed")
        return ProgramSpec(
            argv=argv,
            stdin=(given.stdin or "").encode(),
            env=given.env,
            within=given.folder,
            network=given.network,
            limits=given.limits,
        )

    def judged(self, context: JobContext[CommandParameters], end: ProgramEnd) -> JobState:
        """Return the outputs where the exit code is one that is expected."""
        given = context.parameters
        if end.exit_code not in given.expected_exit:
            return JobFailed("exit_status", f"exit status {end.exit_code}: {last_words(end)}")
        if given.read == "text":
            return outputs_of(end, given.artifacts)
        try:
            value = parse_json(end.value or b"")
        except Rejected as error:
            return JobFailed("output_not_json", f"standard output is not one JSON value: {error}", retryable=False)
        return outputs_of(end, given.artifacts, value)
