"""Insights in the store: small records of `KeyValues`, found by all that people ask for, and few enough to be read.

There is one value for each insight, and no index: as many are kept as can be read in one go. Whoever serves requests
reads them through `read_cache.CachedInsights`, over entries that are read in turns.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from functions._core.insights.generation import importance
from functions._core.insights.insight import Insight, InsightPriority, InsightType
from functions._core.ports import Entry, KeyValues
from functions._core.records.values import add_time
from functions._core.small_records import PAGE, changed_entry, every

SPACE = "insights"
"""The space of insights, by id."""

MOST = 2_000
"""Insights that are kept: those of a week of much trouble. Of more the least important are forgotten."""

AFTER_EXPIRY = timedelta(days=2)
"""When the store itself forgets an insight that has expired: where nobody looks through them any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightFilter:
    """Which insights are wanted; what is empty or None wants all."""

    types: frozenset[InsightType] = frozenset()
    """Of one of these types."""
    priorities: frozenset[InsightPriority] = frozenset()
    """Of one of these priorities."""
    since: datetime | None = None
    """Whose time that was looked at ends at this moment or later."""
    until: datetime | None = None
    """Whose time that was looked at begins before this moment."""
    entity_type: str | None = None
    """About something of this kind."""
    entity_id: str | None = None
    """About the thing of this id."""
    tags: frozenset[str] = frozenset()
    """With one of these tags, in lower case."""
    all_tags: bool = False
    """Whether all of the tags are wanted."""
    include_expired: bool = False
    """Whether those that have expired are wanted, too, as long as they are there."""

    def takes(self, insight: Insight, now: datetime) -> bool:
        """Whether an insight is wanted."""
        if not self.include_expired and expired(insight, now):
            return False
        if self.types and insight.insight_type not in self.types:
            return False
        if self.priorities and insight.priority not in self.priorities:
            return False
        if self.since is not None and insight.time_window.end < self.since:
            return False
        if self.until is not None and insight.time_window.start >= self.until:
            return False
        return self._about(insight) and self._tagged(insight)

    def _about(self, insight: Insight) -> bool:
        if self.entity_type is None and self.entity_id is None:
            return True
        return any(
            self.entity_type in {None, one.entity_type} and self.entity_id in {None, one.entity_id}
            for one in insight.related_entities
        )

    def _tagged(self, insight: Insight) -> bool:
        if not self.tags:
            return True
        return self.tags <= {*insight.tags} if self.all_tags else not self.tags.isdisjoint(insight.tags)


EVERYTHING = InsightFilter()
"""The filter that takes all insights that have not expired."""


async def save(entries: KeyValues, new: Insight, change: Callable[[Insight], Insight] | None = None) -> Insight:
    """Store an insight, or what `change` makes of the one that has its id; return what is stored then.

    The same insight again changes nothing. Raises `Conflict` when others write it all the time.
    """

    def stored(entry: Entry | None) -> tuple[bytes, Insight] | None:
        known = None if entry is None else read(entry)
        wanted = new if known is None or change is None else change(known)
        return None if wanted == known else (wanted.model_dump_json().encode(), wanted)

    expires_at = None if new.valid_until is None else add_time(new.valid_until, AFTER_EXPIRY)
    done = await changed_entry(entries, SPACE, new.insight_id, stored, expires_at)
    return done[0] if done is not None else await get(entries, new.insight_id) or new


async def get(entries: KeyValues, insight_id: str) -> Insight | None:
    """Return an insight, one that has expired, too; None where there is none that can be read."""
    entry = await entries.get(SPACE, insight_id)
    return None if entry is None else read(entry)


async def query(entries: KeyValues, wanted: InsightFilter, now: datetime) -> Sequence[Insight]:
    """Return the insights that a filter takes, the newest first."""
    return select(await all_insights(entries), wanted, now)


async def all_insights(entries: KeyValues) -> Sequence[Insight]:
    """Return all insights that can be read, expired ones, too, the newest first."""
    found = await every(entries, SPACE, MOST, read)
    return sorted(found, key=lambda one: (one.time_window.end, one.created_at, one.insight_id), reverse=True)


def select(insights: Sequence[Insight], wanted: InsightFilter, now: datetime) -> Sequence[Insight]:
    """Return those of some insights that a filter takes, in their order."""
    return [one for one in insights if wanted.takes(one, now)]


async def no_pause() -> None:
    """Do not pause."""


async def delete_expired(
    entries: KeyValues, now: datetime, pause: Callable[[], Awaitable[None]] = no_pause
) -> tuple[int, int]:
    """Forget the insights that have expired, and of too many the least important; return how many went, and stayed.

    It pauses after each page, and after each that it forgets: there may be thousands.
    """
    live: list[tuple[tuple[float, datetime], str, int]] = []
    gone: list[tuple[str, int]] = []
    after: str | None = None
    while page := await entries.page(SPACE, after, PAGE):
        for entry in page:
            one = read(entry)
            if one is None or expired(one, now):
                gone.append((entry.key, entry.version))
            else:
                live.append((importance(one), entry.key, entry.version))
        after = page[-1].key
        await pause()
    live.sort(reverse=True)
    forgotten = 0
    for key, version in [*gone, *((key, version) for _, key, version in live[MOST:])]:
        forgotten += await entries.remove(SPACE, key, version)
        await pause()
    return forgotten, min(MOST, len(live))


def expired(insight: Insight, now: datetime) -> bool:
    """Whether an insight is of no use any more."""
    return insight.valid_until is not None and insight.valid_until <= now


def read(entry: Entry) -> Insight | None:
    """Return the insight that an entry holds; None for one that cannot be read."""
    try:
        return Insight.model_validate_json(entry.value)
    except ValidationError:
        return None
