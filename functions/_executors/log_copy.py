"""The whole log of a job, copied to the worker's store while the job writes, without the values of secrets.

What writes never waits for the store. While the store is slow so much waits in memory; what comes beyond that, or
beyond the bound of a log, is left out, and the log says so. A store that fails costs the copy, never the job.
"""

import asyncio
import threading

from functions._core.masking import Mask, MaskedStream
from functions._executors.stored_files import FileStore, StoredFile, StoreFailed

WAITING_BYTES = 16 * 1024 * 1024
"""Bytes of one log that wait in memory for the store."""

PAUSE_SECONDS = 0.1
"""Between two pieces for the store, so that many short lines are one."""

CLOSE_SECONDS = 30.0
"""How long the end of a log may be on its way; less when its worker stops."""

MIB = 1024 * 1024


class LogCopy:
    """The copy of one log: `begin`, `add` whenever something is written, `end`."""

    def __init__(self, store: FileStore, name: str, mask: Mask, most_mb: int) -> None:
        self._store = store
        self._name = name
        self._stream = MaskedStream(mask)
        self._left = most_mb * MIB
        self._waiting = bytearray()
        self._left_out = 0
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._file: StoredFile | None = None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._ended = False
        self._writing: asyncio.Task[str] | None = None
        self.bytes = 0
        """Bytes that there were, kept or not."""
        self.fault = ""
        """Why there is no copy; empty where there is one."""

    @property
    def result(self) -> str:
        """What became of it: `kept`, `cut`, `lost`; empty where nothing was written."""
        if not self.bytes:
            return ""
        return "lost" if self.fault else "cut" if self._left_out else "kept"

    def begin(self) -> None:
        """Copy from now on; nothing is stored before something is written."""
        self._writing = asyncio.create_task(self._write())

    def add(self, data: bytes) -> None:
        """Take in what was written next; every thread may call it."""
        with self._lock:
            self.bytes += len(data)
            if self.fault or self._ended:
                return
            # What comes after a gap is left out, too: half a secret could stand on its other side.
            room = 0 if self._left_out else min(self._left, WAITING_BYTES - len(self._waiting))
            taken = data[: max(0, room)]
            self._left -= len(taken)
            self._left_out += len(data) - len(taken)
            self._waiting += self._stream.add(taken)
        self._loop.call_soon_threadsafe(self._news.set)

    async def end(self, seconds: float = CLOSE_SECONDS) -> str:
        """Copy the rest, and return where the log is; empty where nothing was written, or nothing could be kept."""
        if self._writing is None:
            return ""
        with self._lock:
            rest = self._stream.end()
            self._waiting += f"\n… {self._left_out} bytes were left out\n".encode() if self._left_out else rest
            self._ended = True
        self._news.set()
        try:
            done, _ = await asyncio.wait({self._writing}, timeout=seconds)
        finally:
            self._writing.cancel()
        if done:
            return self._writing.result()
        self.fault = "the store did not take the log in time"
        return ""

    async def _write(self) -> str:
        try:
            while await self._more():
                with self._lock:
                    data = bytes(self._waiting)
                    self._waiting.clear()
                await asyncio.to_thread(self._put, data)
            return await asyncio.to_thread(self._close)
        except StoreFailed as error:
            self.fault = str(error)
            self._waiting.clear()
            await asyncio.to_thread(self._discard)
            return ""
        except asyncio.CancelledError:  # it took too long; a call that was given up may still be at it, in its thread
            self._loop.run_in_executor(None, self._discard)
            raise

    def _put(self, data: bytes) -> None:
        with self._storing:
            self._file = self._file or self._store.create(self._name)
            self._file.write(data)

    def _close(self) -> str:
        with self._storing:
            if self._file is None:
                return ""
            self._file.close()
            return self._file.uri

    def _discard(self) -> None:
        with self._storing:
            if self._file is not None:
                self._file.discard()

    async def _more(self) -> bool:
        """Wait until there is something for the store; False when there will be nothing any more."""
        while not self._waiting and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._ended and len(self._waiting) < MIB:
            await asyncio.sleep(PAUSE_SECONDS)
        return bool(self._waiting)
