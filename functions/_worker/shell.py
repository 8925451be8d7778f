"""An executor that runs a shell command for each task and leaves no process behind."""

import asyncio
import json
import os
from functools import partial

from functions._core.errors import Rejected
from functions._core.masking import Mask, MaskedStream
from functions._core.records.json_text import parse_json
from functions._core.records.values import format_time
from functions._executors.process_group import ProcessGroup, done
from functions._worker.tasks import OUTPUT_LIMIT, Assignment, TaskFailed
from functions._worker.written import WRITTEN, Written

ERROR_TAIL = 2_000
"""Bytes of stderr that are kept of a command that fails: its last words say why."""

SECRET_PREFIX = "FLOWC_"  # noqa: S105 - the prefix of our settings, some of which are secrets
"""The worker's settings are kept from commands, which get variables so named about their task."""


class ShellExecutor:
    """Runs `command` in a shell: the assignment is JSON on stdin, stdout is the output, as JSON or else as text.

    An exit status other than 0 fails the task with the end of stderr as message. The command and all that it
    started in its process group end with the task.
    """

    abandoned = 0

    def __init__(self, command: str) -> None:
        self._command = command

    async def run(self, assignment: Assignment) -> object:
        """Run the command once; when cancelled, return after it has ended."""
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A task of its own: a command that is cancelled while it is being started would otherwise live on.
        running = asyncio.create_task(self._run(assignment, settled))
        running.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else may ask
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            done(settled)
            await asyncio.wait({running})
            raise

    async def _run(self, assignment: Assignment, settled: asyncio.Future[None]) -> object:
        """Start the command and end it when it is settled."""
        try:
            _, process = await asyncio.get_running_loop().subprocess_shell(
                partial(_Process, settled), self._command, start_new_session=True, env=_environment(assignment)
            )
        except OSError as error:
            raise TaskFailed("not_started", f"the command cannot be started: {error}") from error
        try:
            process.feed(json.dumps(assignment.for_task()).encode())
            await settled
        finally:
            status = await process.end()
            process.write_rest()
        if process.overflowed:
            message = f"the command wrote more than {OUTPUT_LIMIT} bytes"
            raise TaskFailed("output_too_large", message, retryable=False)
        if status:
            raise TaskFailed("exit_status", f"exit status {status}: {process.last_words}")
        return _value(bytes(process.output))


class _Process(ProcessGroup):
    """Collects what a command writes, and says that it is settled when it has ended or written too much."""

    def __init__(self, settled: asyncio.Future[None]) -> None:
        super().__init__(settled)
        self.output = bytearray()
        self._written = WRITTEN.get() or Written()
        self.overflowed = False
        self._errors = bytearray()
        self._mask = self._written.mask or Mask(())
        self._masked = {1: MaskedStream(self._mask), 2: MaskedStream(self._mask)}
        self._kept = ERROR_TAIL + self._mask.longest

    @property
    def last_words(self) -> str:
        # Where the beginning was cut off, half a secret may stand there.
        start = self._mask.longest if len(self._errors) == self._kept else 0
        return self._mask.data(bytes(self._errors), start).decode(errors="replace").strip()

    def write_rest(self) -> None:
        """Write to the log what was held back as the beginning of a secret; the process has ended."""
        for stream in self._masked.values():
            self._written.add(stream.end())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        # Each stream by itself: one could stand between the halves of a secret in the other.
        self._written.add(self._masked[fd].add(data))
        if fd == 1:
            self.output += data
            self.overflowed = len(self.output) > OUTPUT_LIMIT
            if self.overflowed:
                del self.output[OUTPUT_LIMIT:]
                done(self.settled)
        else:
            self._errors += data
            del self._errors[: -self._kept]


def _environment(assignment: Assignment) -> dict[str, str]:
    deadline = assignment.sla_deadline
    about = {
        "TICKET_ID": assignment.ticket_id,
        "FLOW_ID": assignment.flow_id,
        "PLAN_ID": assignment.plan_id,
        "TASK_ID": assignment.task_id,
        "TASK_TYPE": assignment.task_type,
        "ATTEMPT": str(assignment.attempt),
        "TIMEOUT_MS": str(assignment.timeout_ms),
        "CORRELATION_ID": assignment.correlation_id,
        "SLA_DEADLINE": format_time(deadline) if deadline else "",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SECRET_PREFIX)}
    # A zero byte ends a variable; nothing else is forbidden in one.
    return inherited | {f"FLOWC_{name}": value.replace("\0", "") for name, value in about.items()}


def _value(output: bytes) -> object:
    """Return JSON as its value, other text as text, nothing as None."""
    if not output.strip():
        return None
    try:
        return parse_json(output)
    except Rejected:
        return output.decode(errors="replace").rstrip("\n")
