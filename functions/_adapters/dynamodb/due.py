"""Where a record stands in the index of wake-ups.

A wake-up may fire early, never late, and each move of an entry is paid for twice. So an entry stays where it is when
the wake-up moves to later, and one for the next minute, which most records do not live to see, is made early enough for
the shorter ones that follow. Who finds an entry that is due looks at the record: what is not due yet is moved on.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from functions._adapters.dynamodb.changes import ItemChange, key_of
from functions._adapters.dynamodb.keys import Key, due_entry, moment
from functions._adapters.dynamodb.stamps import Stamps
from functions._adapters.dynamodb.values import Item, text, texts, to_integer, to_text

SOON = timedelta(minutes=1)
EARLY = timedelta(seconds=5)
"""How far ahead the entry of a wake-up is that comes soon."""

REMEMBERED = 20_000


class DueEntries:
    """Remembers the entries of records that were read, and says what becomes of them."""

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._seen: dict[Key, tuple[int, str]] = {}

    def saw(self, item: Item) -> None:
        """Remember the entry of an item that was read."""
        self._remember(key_of(item), to_integer(item, "v"), to_text(item, "ws"))

    def entered(
        self, change: ItemChange, kind: str, record_id: str, at: datetime | None, *, lasts: bool = False
    ) -> ItemChange:
        """Return `change`, of a record whose wake-up is `at`, with what it does to the entry.

        An entry is left where it is unless the record `lasts`: unless it probably lives to see the entry's time.
        """
        entry = self._known(change)
        if at is None:
            return change.but(removes=[*change.removes, "wp", "ws"])
        exact = due_entry(kind, record_id, at)
        if entry and entry <= exact["ws"] and not lasts:
            return self._left(change, entry, exact["ws"])
        return self._set(change, self._early(kind, record_id, at, exact))

    def lowered(self, change: ItemChange, kind: str, record_id: str, at: datetime | None) -> ItemChange:
        """Return `change` with the entry no later than `at`: of an entry that stands for other wake-ups, too."""
        entry = self._known(change)
        if not entry:
            return self._set(change, due_entry(kind, record_id, self._now()))
        exact = due_entry(kind, record_id, at) if at else {"ws": entry}
        if entry <= exact["ws"]:
            return self._left(change, entry, exact["ws"] if at else None)
        return self._set(change, exact)

    def _known(self, change: ItemChange) -> str | None:
        """Return the entry of the record that is changed, if it was read or written here."""
        version, entry = self._seen.pop(change.key, (None, None))
        return entry if version == change.version else None

    def _left(self, change: ItemChange, entry: str, latest: str | None) -> ItemChange:
        """Return `change` with the entry as it is, which must be no later than `latest`."""
        self._remember(change.key, to_integer(change.sets, "v"), entry)
        return change.but(most={"ws": text(latest)}) if latest else change

    def _set(self, change: ItemChange, entry: Mapping[str, str]) -> ItemChange:
        self._remember(change.key, to_integer(change.sets, "v"), entry["ws"])
        return change.but(sets={**change.sets, **texts(entry)})

    def _remember(self, key: Key, version: int, entry: str | None) -> None:
        """Remember the entry of a record at a version. After a failed commit it is wrong, as the condition tells."""
        self._seen.pop(key, None)
        if entry:
            self._seen[key] = version, entry
            if len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._stamps.now() / 1_000_000, tz=UTC)

    def _early(self, kind: str, record_id: str, at: datetime, exact: Mapping[str, str]) -> Mapping[str, str]:
        now = self._now()
        return due_entry(kind, record_id, now + EARLY) if now + EARLY < at <= now + SOON else exact


def entry_of(item: Item) -> tuple[str, str]:
    """Return time and kind of an entry."""
    at, _, kind = item["ws"]["S"].partition("#")
    return at, kind


def moved_to(at: datetime, kind: str) -> Item:
    """Return the sort key of an entry that is moved."""
    return text(f"{moment(at)}#{kind}")
