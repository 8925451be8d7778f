"""The log of the registry's changes, in small records: revision 1, 2, 3 …, none left out, the newest `KEPT` of them.

A revision is an insert under the next number, so that two processes never write the same one. An entry names agents and
says nothing of them: whoever reads it looks at the agents after that, and so sees them as they were told, or newer. The
order in which processes tell the changes of one agent does not matter, then.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from functions._core.errors import Conflict
from functions._core.placement.agents import AgentChange, Changes
from functions._core.ports import KeyValues
from functions._core.records.record import decode, encode

SPACE = "registry-log"
BOOKMARKS, BOOKMARK = "bookmarks", "registry-log"

KEPT = 1000
"""Revisions that are kept; who has seen none of them lists the registry again."""

TIDIED = 64
"""Revisions after which the old ones are dropped, and a bookmark is set for processes that look for the newest."""

PAGE = 100
TRIES = 20
"""Inserts that meet others: each failure is a success of another process."""


class LogEntry(NamedTuple):
    """The changes of one revision."""

    revision: int
    at: datetime
    changes: Sequence[AgentChange]


async def newest(entries: KeyValues, known: int = 0) -> int:
    """Return the newest revision, 0 where there is none; `known` is one that is known to be there, or 0."""
    if not known and (bookmark := await entries.get(BOOKMARKS, BOOKMARK)):
        known = int(bookmark.value)
    while page := await entries.page(SPACE, _key(known), PAGE):
        known = int(page[-1].key)
        if len(page) < PAGE:
            break
    return known


async def append(entries: KeyValues, changes: Sequence[AgentChange], now: datetime, known: int = 0) -> int:
    """Write changes as the next revision and return its number; `known` as for `newest`."""
    value = encode(Changes(at=now, changes=tuple(changes)))
    for _ in range(TRIES):
        known = await newest(entries, known) + 1
        try:
            await entries.put(SPACE, _key(known), value, version=0)
        except Conflict:
            continue
        if known % TIDIED == 0:
            await _tidy(entries, known)
        return known
    raise Conflict("the registry changes all the time")


async def read_after(entries: KeyValues, revision: int, limit: int) -> Sequence[LogEntry] | None:
    """Return up to `limit` entries behind `revision`, none where it is the newest; None when some are gone already.

    A revision that never was counts as one that is gone.
    """
    page = await entries.page(SPACE, _key(revision), limit)
    if page:
        found = [(int(entry.key), decode(Changes, entry.value)) for entry in page]
        if found[0][0] != revision + 1:
            return None
        return [LogEntry(number, entry.at, entry.changes) for number, entry in found]
    known = revision == 0 or await entries.get(SPACE, _key(revision)) is not None
    return () if known else None


async def _tidy(entries: KeyValues, revision: int) -> None:
    """Set the bookmark and drop what is older than the `KEPT` newest; another process may do the same."""
    known = await entries.get(BOOKMARKS, BOOKMARK)
    try:
        await entries.put(BOOKMARKS, BOOKMARK, str(revision).encode(), version=known.version if known else 0)
    except Conflict:
        return
    for entry in await entries.page(SPACE, None, 2 * TIDIED):
        if int(entry.key) <= revision - KEPT:
            await entries.remove(SPACE, entry.key, entry.version)


def _key(revision: int) -> str:
    """Return the key of a revision: keys are ordered by their bytes."""
    return f"{revision:019d}"
