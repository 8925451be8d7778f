"""Records that people keep under names of their choice, such as policies and playbooks, in spaces of `KeyValues`.

They are few and small: all of a kind are read together, and seldom change. One that cannot be read is passed over.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

from pydantic import ValidationError

from functions._core.ports import Entry, KeyValues
from functions._core.records.values import Model
from functions._core.small_records import changed_entry, every, every_entry, removed_entry

M = TypeVar("M", bound=Model)


class NamedRecords(Generic[M]):
    """The records of one kind, by name, in one space."""

    def __init__(self, space: str, model: type[M], at_most: int) -> None:
        """Read `model`; people may make so many of them `at_most`."""
        self.space, self.model, self.at_most = space, model, at_most

        def parsed(value: bytes) -> M | None:
            try:
                return model.model_validate_json(value)
            except ValidationError:
                return None

        self._parsed = lru_cache(maxsize=2 * at_most)(parsed)

    async def all(self, entries: KeyValues) -> Sequence[M]:
        """Return all that can be read, by name."""
        return await every(entries, self.space, self.at_most, lambda entry: self._parsed(entry.value))

    async def one(self, entries: KeyValues, name: str) -> tuple[M | None, int]:
        """Return a record and its version; None for one that is not there or cannot be read, 0 where nothing is."""
        entry = await entries.get(self.space, name)
        return (None, 0) if entry is None else (self._parsed(entry.value), entry.version)

    async def get(self, entries: KeyValues, name: str) -> M | None:
        """Return a record; None for one that is not there or cannot be read."""
        return (await self.one(entries, name))[0]

    async def put(self, entries: KeyValues, name: str, new: M) -> None:
        """Store a record in place of whatever has its name."""
        await self.changed(entries, name, lambda _known, _version: new)

    async def changed(self, entries: KeyValues, name: str, change: Callable[[M | None, int], M]) -> tuple[M, int]:
        """Store what `change` makes of a record and its version; return that, and the version it has then."""

        def as_stored(entry: Entry | None) -> tuple[bytes, M]:
            known, version = (None, 0) if entry is None else (self._parsed(entry.value), entry.version)
            new = change(known, version)
            return new.model_dump_json().encode(), new

        new, entry = await changed_entry(entries, self.space, name, as_stored)
        return new, entry.version

    async def removed(
        self, entries: KeyValues, name: str, check: Callable[[int], None] = lambda _version: None
    ) -> bool:
        """Remove a record whose version `check` takes; tell whether it was there."""
        return await removed_entry(entries, self.space, name, lambda entry: check(entry.version))

    async def full(self, entries: KeyValues) -> bool:
        """Whether there are as many as there may be, those that cannot be read, too."""
        return len(await every_entry(entries, self.space, self.at_most)) >= self.at_most
