"""A process in a session of its own, which is heard while it runs and ended with all that it has started."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import cast

KILL_AFTER_SECONDS = 5.0
"""How long what is told to stop may take before it is killed."""

PIPES_CLOSE_SECONDS = 1.0
"""How long output may be on its way after the end; only a process that left its group takes longer."""


class ProcessGroup(asyncio.SubprocessProtocol):
    """The process that leads the group. Those who inherit say what becomes of its output."""

    def __init__(self, settled: asyncio.Future[None] | None = None) -> None:
        """Belong to the running event loop; give `settled` where somebody else may settle it, too."""
        loop = asyncio.get_running_loop()
        self.settled: asyncio.Future[None] = settled or loop.create_future()
        """Done when it has ended, or is to be ended."""
        self._exited: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()

    @property
    def pid(self) -> int:
        """The process that was started, which leads its group."""
        return self._transport.get_pid()

    def feed(self, text: bytes) -> None:
        """Write `text` to standard input and close it; a process that has ended or does not read is no error."""
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        if not stdin.is_closing():
            stdin.write(text)
            stdin.close()

    async def end(self) -> int | None:
        """End what is left of the group, first politely, hear the rest, and return the exit status of its leader."""
        group = self.pid
        try:
            _signal(group, signal.SIGTERM)
            await asyncio.wait({self._exited}, timeout=KILL_AFTER_SECONDS)
        finally:
            _signal(group, signal.SIGKILL)
            try:
                await asyncio.wait({self._closed}, timeout=PIPES_CLOSE_SECONDS)
            finally:
                self._transport.close()
        return self._transport.get_returncode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.SubprocessProtocol`."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def process_exited(self) -> None:
        """See `asyncio.SubprocessProtocol`."""
        done(self._exited)
        done(self.settled)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """See `asyncio.SubprocessProtocol`."""
        done(self._closed)


def done(future: asyncio.Future[None]) -> None:
    """Settle a future that may be settled already."""
    if not future.done():
        future.set_result(None)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(group, number)
