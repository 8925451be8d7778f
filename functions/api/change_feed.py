"""The changes of flows as they happen. One reader of the history tells all who follow it in this process.

So the store is asked as often for a hundred followers as for one, and not at all when there are none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from functions._core.errors import FlowcError
from functions._core.ports import Views
from functions._core.records.history import HistoryEntry
from functions._core.records.record import Record, encode
from functions._core.records.values import Timestamp

HISTORY = "the history"
"""What the reader waits for in place of a flow."""

PAUSE = 0.5
"""Seconds between two looks at the history."""

PAGE = 500
"""Changes that are read at a time."""

MOST_BEHIND = 2_000
"""Changes that a follower may be behind; one that reads more slowly is dropped, one that comes later starts again."""

Pause = Callable[[str, float], Awaitable[object]]


class FlowChange(Record):
    """A transition of a flow or a ticket, as it is told to those who follow."""

    seq: int
    type: str
    flow_id: str
    ticket_id: str | None
    task_id: str | None
    from_status: str | None
    to_status: str | None
    occurred_at: Timestamp


Told = tuple[int, str, bytes]
"""Number, flow and message of a change."""


def messages(entries: Sequence[HistoryEntry]) -> list[Told]:
    """Return changes as server-sent events; the last one of a number has it as id, so that none is lost between."""
    if not entries:
        return []
    following = [entry.seq for entry in entries[1:]]
    return [
        _message(entry, is_last=after != entry.seq) for entry, after in zip(entries, [*following, None], strict=True)
    ]


def _message(entry: HistoryEntry, *, is_last: bool) -> Told:
    change = FlowChange(
        seq=entry.seq,
        type=entry.type,
        flow_id=entry.flow_id,
        ticket_id=entry.ticket_id,
        task_id=entry.task_id,
        from_status=entry.from_status,
        to_status=entry.to_status,
        occurred_at=entry.at,
    )
    number = f"id: {entry.seq}\n" if is_last else ""
    return entry.seq, entry.flow_id, f"{number}data: ".encode() + encode(change) + b"\n\n"


class Follower:
    """One who follows all flows, or one; `seq` is the number of the last change that it was given."""

    def __init__(self, flow_id: str | None, seq: int) -> None:
        self.seq = seq
        self.ended = False
        self._flow_id = flow_id
        self._waiting: list[Told] = []
        self._woken = asyncio.Event()

    def tell(self, told: Sequence[Told]) -> None:
        """Keep changes for it; end it when it is too far behind."""
        if self.ended:
            return
        self._waiting += [one for one in told if one[0] > self.seq and self._flow_id in {None, one[1]}]
        if len(self._waiting) > MOST_BEHIND:
            self.end()
        elif self._waiting:
            self._woken.set()

    def end(self) -> None:
        """Tell it nothing more."""
        self.ended = True
        self._waiting.clear()
        self._woken.set()

    async def next(self, seconds: float) -> bytes:
        """Return the messages that it was not given yet, together, none after so many seconds or when it has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        told, self._waiting = self._waiting, []
        if not self.ended:
            self._woken.clear()
        if told:
            self.seq = told[-1][0]
        return b"".join(message for _, _, message in told)


class ChangeFeed:
    """The one reader of the history; it reads while somebody follows."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()
        self._task: asyncio.Task[None] | None = None
        self._begin = asyncio.Lock()
        self._seq = 0

    @property
    def following(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def follow(self, views: Views, pause: Pause, flow_id: str | None, seq: int) -> tuple[Follower, int]:
        """Return a new follower of what comes behind `seq`, and the number up to which it has to read by itself.

        `pause` waits for so many seconds; it raises `Unavailable` when the platform stops.
        """
        async with self._begin:
            if self._task is None or self._task.done():
                self._seq = await views.last_seq()
                self._task = asyncio.create_task(self._run(views, pause))
            follower = Follower(flow_id, max(seq, self._seq))
            self._followers.add(follower)
            return follower, self._seq

    def leave(self, follower: Follower) -> None:
        """Forget a follower."""
        self._followers.discard(follower)

    async def _run(self, views: Views, pause: Pause) -> None:
        try:
            while self._followers:
                entries = await views.history(None, self._seq, PAGE)
                if entries:
                    self._seq = entries[-1].seq
                    self._tell(messages(entries))
                if len(entries) < PAGE:
                    await pause(HISTORY, PAUSE)
                else:
                    await asyncio.sleep(0)
        except FlowcError:
            return  # the store or the platform is away: those who followed come again
        finally:
            for follower in self._followers:
                follower.end()
            self._followers.clear()

    def _tell(self, told: Sequence[Told]) -> None:
        for follower in [*self._followers]:
            follower.tell(told)
            if follower.ended:
                self._followers.discard(follower)


async def missed(views: Views, flow_id: str | None, after: int, until: int) -> list[Told] | None:
    """Return the changes behind `after` up to `until`; None when they are too many to be told."""
    found: list[HistoryEntry] = []
    while after < until:
        entries = await views.history(flow_id, after, PAGE)
        found += [entry for entry in entries if entry.seq <= until]
        if not entries:
            break
        if len(found) > MOST_BEHIND:
            return None
        after = entries[-1].seq
    return messages(found)
