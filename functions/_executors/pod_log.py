"""The log of a container of a pod, read in pieces: each read goes on where the one before it ended.

Lines come with their times, as the API gives them by the second only: lines that were read are known by their times.
Each read is bounded, so a log that grows faster than it is read is read late, and never held as a whole.
"""

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from functions._adapters.http.reply import Reply
from functions._core.masking import Mask, MaskedStream
from functions._executors.cluster import ClusterApi
from functions._executors.port import JobContext
from functions._executors.tail import FLOOD_BYTES, VALUE_BYTES, ProgressLines, Tail

READ_BYTES = 1024 * 1024
"""Bytes of one read."""

READS = 64
"""Reads of one look at a log that has ended: as many as a log may be long."""

STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
"""The time before a line: RFC 3339, in any zone."""


class _Moment(NamedTuple):
    """When a line was written: seconds since 1970, and nanoseconds."""

    second: int
    nanos: int

    @property
    def text(self) -> str:
        """The second, as the API takes it."""
        return datetime.fromtimestamp(self.second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodLog:
    """What one container has written so far."""

    def __init__(self, context: JobContext[Any], path: str, container: str) -> None:
        """Read nothing yet; `path` is that of the pod's log."""
        self._path, self._container = path, container
        self._write = context.write
        self._lines = ProgressLines(context.progress)
        mask = Mask(context.secrets)
        self.tail = Tail(mask)
        self._masked = MaskedStream(mask)
        self.value = bytearray()
        self._last, self._times = _Moment(0, 0), 0
        self._left_out = 0

    @property
    def flooded(self) -> bool:
        """Whether it has written more than anybody reads."""
        return self.tail.total + self._left_out > FLOOD_BYTES

    async def read(self, api: ClusterApi, *, ended: bool = False) -> bool:
        """Take in what was written since; return whether there is more. Raises `CallFailed`.

        With `ended` the last line counts even if it has no end. A log that is not there yet, or not any more, is empty.
        """
        query = {"container": self._container, "timestamps": "true", "limitBytes": str(READ_BYTES)}
        if self._last.second:
            query["sinceTime"] = self._last.text
        reply = await api.text(self._path, query)
        if reply.status in {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST}:
            return False
        if not reply.ok:
            raise api.refused(reply, "GET")
        full = len(reply.body) >= READ_BYTES or not reply.complete
        before = self.tail.total
        self._take(reply, whole=ended and not full)
        if full and self.tail.total == before:
            self._skip(reply)
        return full and not self.flooded

    async def rest(self, api: ClusterApi) -> None:
        """Read to the end of a log whose container has ended."""
        for _ in range(READS):
            if not await self.read(api, ended=True):
                break
        self._write(self._masked.end())

    def _take(self, reply: Reply, *, whole: bool) -> None:
        *lines, cut = reply.body.split(b"\n")
        known = self._times
        for line in [*(one + b"\n" for one in lines), *([cut] if whole and cut else [])]:
            stamp = STAMP.match(line)
            moment = self._last if stamp is None else _moment(stamp)
            if moment < self._last:
                continue
            if moment == self._last and known:
                known -= 1
                continue
            known = 0
            self._times = self._times + 1 if moment == self._last else 1
            self._last = moment
            self._add(line[stamp.end() :] if stamp else line)

    def _add(self, text: bytes) -> None:
        self.tail.add(text)
        self._lines.add(text)
        self._write(self._masked.add(text))
        self.value += text[: max(0, VALUE_BYTES + 1 - len(self.value))]

    def _skip(self, reply: Reply) -> None:
        """Go on with the next second: one read cannot hold what was written in this one."""
        stamp = STAMP.match(reply.body)
        here = max(self._last, _moment(stamp) if stamp else self._last)
        self._add(b"[lines are left out here: there are too many for one second]\n")
        self._last, self._times = _Moment(here.second + 1, 0), 0
        self._left_out += len(reply.body)


def _moment(stamp: re.Match[bytes]) -> _Moment:
    text, fraction, zone = (one.decode() for one in stamp.groups(default=b""))
    try:
        second = int(datetime.fromisoformat(text + zone.replace("Z", "+00:00")).timestamp())
    except ValueError:
        second = 0
    return _Moment(second, int((fraction + "0" * 9)[:9]))
