"""What the jobs of a worker leave in its store: whole logs, and artifacts, below a place of each attempt."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from functions._core.masking import Mask
from functions._executors.log_copy import CLOSE_SECONDS, LogCopy
from functions._executors.port import JobContext
from functions._executors.stored_files import FileStore, StoredFile, StoreFailed
from functions._executors.work_folder import safe_name
from functions._observability.logs import log
from functions._worker.context import CONTEXT

STOPPED_SECONDS = 1.0
"""How long the end of a log may be on its way when nobody wants its job any more: its worker may have to stop."""

ATTEMPTS = 10
"""Attempts among which a file is looked for."""


class JobFiles:
    """The files of one attempt at one ticket."""

    def __init__(self, context: JobContext[Any], store: FileStore, most_mb: int) -> None:
        """Belong to the running event loop; `most_mb` bounds the log, in mebibytes."""
        ticket = safe_name(context.ticket_id)
        place = f"{ticket}/{context.attempt}"
        self.log = LogCopy(store, f"{place}/log.txt", Mask(context.secrets), most_mb)
        self._about = {"ticket_id": context.ticket_id, "attempt": context.attempt}
        self._task = CONTEXT.get()
        keep, kept = partial(_kept, store, place), partial(_before, store, ticket, context.attempt)
        self.context = replace(context, keep=keep, fetch=store.read, kept=kept)
        if self._task is None:
            self.context = replace(self.context, write=self.log.add)
        else:
            self._task.written.copy = self.log.add
        self.log.begin()

    async def end(self, *, wanted: bool = True) -> str:
        """Return where the whole log is, which the log of the ticket says, too; empty where there is none."""
        if self._task is not None:
            self._task.written.copy = None
        uri = await self.log.end(CLOSE_SECONDS if wanted else STOPPED_SECONDS)
        if self.log.fault:
            log.warning("job.log_not_kept", **self._about, reason=self.log.fault)
        if self._task is not None and (uri or self.log.fault):
            said = f"the whole log is at {uri}" if uri else f"the whole log could not be kept: {self.log.fault}"
            self._task.written.add(f"{said}\n".encode())
        return uri


def _kept(store: FileStore, place: str, name: str) -> StoredFile:
    return store.create(f"{place}/{name}")


def _before(store: FileStore, ticket: str, attempt: int, name: str) -> bytes | None:
    for number in range(attempt, max(0, attempt - ATTEMPTS), -1):
        with suppress(StoreFailed):
            return b"".join(store.read(store.uri(f"{ticket}/{number}/{name}")))
    return None
