"""Walks along the keys of small records: those that begin alike, page by page, one walk or several in one order."""

from collections import deque
from collections.abc import AsyncIterator, Collection

from functions._core.ports import Entry, KeyValues

PAGE = 50
"""Entries that are read at once, where most walks end early."""


class KeyWalk:
    """The entries of a space whose keys begin with `prefix`, in their order; `first` is where the walk is."""

    def __init__(
        self, entries: KeyValues, space: str, prefix: str, *, after: str | None = None, page: int = PAGE
    ) -> None:
        """Begin behind the key `after`; without it at the first one."""
        self._entries, self._space, self.prefix = entries, space, prefix
        self._after, self._page = after or prefix, page
        self._read: deque[Entry] = deque()
        self._over = False

    async def first(self) -> Entry | None:
        """Return the entry at which the walk is; None at its end."""
        if not self._read and not self._over:
            page = await self._entries.page(self._space, self._after, self._page)
            self._read.extend(entry for entry in page if entry.key.startswith(self.prefix))
            self._over = len(self._read) < self._page
            self._after = page[-1].key if page else self._after
        return self._read[0] if self._read else None

    def drop(self) -> None:
        """Go on to the next entry."""
        self._read.popleft()


async def merged(walks: Collection[KeyWalk]) -> AsyncIterator[Entry]:
    """Yield the entries of several walks, by what follows their prefixes."""
    while True:
        heads = [(entry.key[len(walk.prefix) :], walk) for walk in walks if (entry := await walk.first()) is not None]
        if not heads:
            return
        walk = min(heads, key=lambda head: head[0])[1]
        entry = await walk.first()
        walk.drop()
        if entry is not None:
            yield entry


async def remove(entries: KeyValues, space: str, key: str) -> None:
    """Remove an entry, whatever its version is."""
    entry = await entries.get(space, key)
    if entry is not None:
        await entries.remove(space, key, entry.version)
