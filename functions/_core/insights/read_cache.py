"""What was read a moment ago: values with a time to live, how often each was asked for, and words about it.

Insights change every five minutes, and pages of a console ask for them every few seconds. A process remembers what it
has read for ten seconds; what another process has stored meanwhile it shows as late as that.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from functions._core.insights.insight import Insight
from functions._core.insights.stored import InsightFilter, all_insights, get, select
from functions._core.ports import Clock, KeyValues

T = TypeVar("T")

TIME_TO_LIVE = timedelta(seconds=10)
"""How long a value is remembered unless whoever puts it says otherwise."""

MOST_REMEMBERED = 500
"""Values that are remembered; of more the one that was asked for longest ago is forgotten."""

Observed = Callable[[str, str], None]
"""Is told of each operation (`get`, `put`, `invalidate`) and its result (`hit`, `miss`, `done`), for metrics."""


@dataclass(slots=True)
class CachedValue(Generic[T]):
    """A value that was read."""

    value: T
    """The value."""
    since: datetime
    """Since when it is known; before that a clock was set back, and nobody knows how old it is."""
    until: datetime
    """Until when it may be used."""
    accesses: int = 0
    """How often it was asked for."""


class ReadCache(Generic[T]):
    """Values by key, each for its time."""

    def __init__(self, observed: Observed = lambda _operation, _result: None, most: int = MOST_REMEMBERED) -> None:
        """Know nothing yet."""
        self._values: OrderedDict[str, CachedValue[T]] = OrderedDict()
        self._observed, self._most = observed, most

    def __len__(self) -> int:
        """Return how many values are remembered, some of which may be too old."""
        return len(self._values)

    def get(self, key: str, now: datetime) -> T | None:
        """Return a value that is not too old, and count that it was asked for."""
        known = self._values.get(key)
        if known is None or not known.since <= now < known.until:
            self._values.pop(key, None)
            self._observed("get", "miss")
            return None
        known.accesses += 1
        self._values.move_to_end(key)
        self._observed("get", "hit")
        return known.value

    def put(self, key: str, value: T, now: datetime, *, lives: timedelta = TIME_TO_LIVE) -> None:
        """Remember a value; the count of who asked for the one before it goes on."""
        before = self._values.pop(key, None)
        self._values[key] = CachedValue(value, now, now + lives, before.accesses if before else 0)
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        self._observed("put", "done")

    def accesses(self, key: str) -> int:
        """Return how often a value was asked for while it was there."""
        known = self._values.get(key)
        return 0 if known is None else known.accesses

    def invalidate(self, key: str | None = None) -> None:
        """Forget a value, or all of them."""
        if key is None:
            self._values.clear()
        else:
            self._values.pop(key, None)
        self._observed("invalidate", "done")


class CachedInsights:
    """The insights of a store as one process reads them for people."""

    def __init__(self, entries: KeyValues, clock: Clock, observed: Observed = lambda _operation, _result: None) -> None:
        """Read nothing yet; the entries are best read in turns, as there may be thousands."""
        self._entries, self._clock = entries, clock
        self.all: ReadCache[Sequence[Insight]] = ReadCache(observed, most=1)
        self.each: ReadCache[Insight] = ReadCache(observed)

    async def query(self, wanted: InsightFilter) -> Sequence[Insight]:
        """Return the insights that a filter takes, the newest first."""
        now = self._clock.now()
        known = self.all.get("", now)
        if known is None:
            known = await all_insights(self._entries)
            self.all.put("", known, now)
        return select(known, wanted, now)

    async def get(self, insight_id: str) -> Insight | None:
        """Return one insight."""
        now = self._clock.now()
        known = self.each.get(insight_id, now)
        if known is None:
            known = await get(self._entries, insight_id)
            if known is not None:
                self.each.put(insight_id, known, now)
        return known

    def invalidate(self) -> None:
        """Forget what was read."""
        self.all.invalidate()
        self.each.invalidate()
