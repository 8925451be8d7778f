"""What ended tickets have shown so far, as one small value: running figures by kind of work, worker, domain and hour.

Older tickets count less: figures of how long work takes halve in a week, those of failures fade within about a day,
and those of lines and load within about an hour. A `Profile` is stored, and replaced as a whole; a `ProfileBuilder`
takes rows in. Rows of rehearsals are not for it: whoever reads history leaves them out (`real_rows`).

How long work takes is kept as logarithms, in which errors of estimates add up: what is normal for a worker, or an
hour, is the mean of what is left once the kind of work is taken away.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from math import log
from typing import Protocol, Self, TypeVar

from functions._core.learning.groups import HOUR_S, NOTHING, Group, LastHour, WaitTimes
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.predictions import PlannedWork
from functions._core.records.record import Record
from functions._core.records.values import TaskType, Timestamp, milliseconds

TYPES, HOURS = len(TaskType), 24
KINDS, CAPABILITY_SETS, WORKERS, DOMAINS, CAPABILITIES = 300, 40, 100, 12, 40
"""Groups that are kept of each sort."""

STAYS_S, MOST_STAY = 6 * HOUR_S, 28
"""By how much longer a group is kept for each of its tickets, in seconds, and for how many of them at most.

The group that nothing was heard of for the longest time goes first; ids that never come again push out no others.
"""

KEY_BYTES = 32
"""Bytes of a group's name; a longer one, or one that cannot be printed, becomes 16 digits of its SHA-256."""

FARTHEST = 9.0
"""Bound of the logarithm of how many times its estimate work takes: 8,000 times. Farther off, somebody mistook a unit.
"""

SHRINK = 3.0
"""Tickets by which the mean of a group is drawn towards that of the wider group: a few say little."""


G = TypeVar("G", Group, WaitTimes)


class Known(Protocol):
    """What a profile and its builder have in common: all that features are made of."""

    @property
    def since(self) -> datetime | None:
        """When the first ticket ended."""

    @property
    def everything(self) -> Group:
        """All tickets."""

    @property
    def types(self) -> Mapping[str, Group]:
        """By task type."""

    @property
    def kinds(self) -> Mapping[str, Group]:
        """By task type and id of the task."""

    @property
    def capability_sets(self) -> Mapping[str, Group]:
        """By task type and what a worker had to offer."""

    @property
    def workers(self) -> Mapping[str, Group]:
        """By worker; ratios are those beyond the kinds of work."""

    @property
    def domains(self) -> Mapping[str, Group]:
        """By domain."""

    @property
    def hours(self) -> Mapping[str, Group]:
        """By hour of the day in which the work began, UTC; ratios are those beyond the kinds of work."""

    @property
    def recent(self) -> LastHour:
        """The last hour."""

    @property
    def present(self) -> int:
        """Workers whose work ended within the last hour."""


class Profile(Record):
    """What ended tickets have shown, as it is stored: at most about 50 KiB of JSON."""

    since: Timestamp | None = None
    """When the first ticket ended; None while there was none."""
    rows: int = 0
    """Tickets that were taken in, ever."""
    everything: Group = NOTHING
    """All tickets."""
    types: Mapping[str, Group] = {}
    """By task type."""
    kinds: Mapping[str, Group] = {}
    """By a digest of task type and id of the task within its plan."""
    capability_sets: Mapping[str, Group] = {}
    """By a digest of task type and what a worker had to offer."""
    workers: Mapping[str, Group] = {}
    """By worker; ratios are those beyond the kinds of work."""
    domains: Mapping[str, Group] = {}
    """By domain."""
    hours: Mapping[str, Group] = {}
    """By hour of the day in which the work began, UTC; ratios are those beyond the kinds of work."""
    recent: LastHour = LastHour()
    """The last hour."""
    present: int = 0
    """Workers whose work ended within the last hour."""
    waits: Mapping[str, WaitTimes] = {}
    """How long tickets waited for a worker, by capability; `` for all of them."""

    def with_rows(self, rows: Iterable[TicketRow]) -> "Profile":
        """Return it with more tickets taken in, in the order in which they ended."""
        builder = ProfileBuilder(self)
        for row in sorted(rows, key=lambda row: row.completed_at):
            builder.add(row)
        return builder.profile()


class ProfileBuilder:
    """A profile that takes in one ticket after the other, and answers as a profile does."""

    def __init__(self, profile: Profile | None = None) -> None:
        """Begin with what a profile knows."""
        known = profile or Profile()
        self.since, self.rows, self.everything, self.recent = known.since, known.rows, known.everything, known.recent
        self.types, self.kinds, self.capability_sets = dict(known.types), dict(known.kinds), dict(known.capability_sets)
        self.workers, self.domains, self.hours = dict(known.workers), dict(known.domains), dict(known.hours)
        self.waits = dict(known.waits)
        self._present = -1, known.present

    def add(self, row: TicketRow) -> Self:
        """Take in a ticket that has ended."""
        at = int(row.completed_at.timestamp())
        self.since, self.rows = self.since or row.completed_at, self.rows + 1
        waited_ms = waited_of(row)
        self.recent = self.recent.with_ticket(at, waited_ms or 0, row.actual_ms or 0)
        if waited_ms is not None:
            for name in ("", *row.capabilities):
                key = key_of(name)
                self.waits[key] = self.waits.get(key, WaitTimes()).with_wait(at, waited_ms)
            _bound(self.waits, CAPABILITIES + 1)
        if row.worker_id is None:
            return self
        log_ms = ratio = beyond = None
        if row.actual_ms is not None:
            log_ms = log(max(1, row.actual_ms))
            ratio = max(-FARTHEST, min(log_ms - log(max(1, row.estimate_ms)), FARTHEST))
            beyond = ratio - kind_ratio(self, row)
        self._add_groups(row, at, log_ms, ratio, beyond)
        return self

    def _add_groups(
        self, row: TicketRow, at: int, log_ms: float | None, ratio: float | None, beyond: float | None
    ) -> None:
        failed = row.actual_ms is None and row.reason_code is not None
        begun = row.assigned_at or row.created_at
        kind, capability_set = names_of(row)
        self.everything = self.everything.with_ticket(at, row.retries, failed=failed, log_ms=log_ms, ratio=ratio)
        for groups, key, most, which in (
            (self.types, row.task_type.value, TYPES, ratio),
            (self.kinds, kind, KINDS, ratio),
            (self.capability_sets, capability_set, CAPABILITY_SETS, ratio),
            (self.workers, key_of(row.worker_id or ""), WORKERS, beyond),
            (self.domains, key_of(row.domain or ""), DOMAINS, ratio),
            (self.hours, str(begun.astimezone(UTC).hour), HOURS, beyond),
        ):
            known = groups.get(key, NOTHING)
            groups[key] = known.with_ticket(at, row.retries, failed=failed, log_ms=log_ms, ratio=which)
            _bound(groups, most)

    @property
    def present(self) -> int:
        """Workers whose work ended within the last hour before the last row; counted anew each minute."""
        minute = self.recent.at // 60
        if self._present[0] != minute and self.recent.at:
            since = self.recent.at - HOUR_S
            self._present = minute, sum(group.at >= since for group in self.workers.values())
        return self._present[1]

    def profile(self) -> Profile:
        """Return the profile."""
        return Profile(
            since=self.since,
            rows=self.rows,
            everything=self.everything.short(),
            types=_shortened(self.types, TYPES),
            kinds=_shortened(self.kinds, KINDS),
            capability_sets=_shortened(self.capability_sets, CAPABILITY_SETS),
            workers=_shortened(self.workers, WORKERS),
            domains=_shortened(self.domains, DOMAINS),
            hours=_shortened(self.hours, HOURS),
            recent=self.recent.short(),
            present=self.present,
            waits={name: waits.short() for name, waits in _newest(self.waits, CAPABILITIES + 1)},
        )


def real_rows(history: Iterable[tuple[FlowRow, Sequence[TicketRow]]]) -> list[TicketRow]:
    """Return the tickets of flows that were no rehearsals."""
    return [row for flow, rows in history if not flow.simulated for row in rows]


def waited_of(row: TicketRow) -> int | None:
    """Return how long a ticket waited for a worker, in milliseconds; without success at least until it ended."""
    if row.waited_ms is None and row.worker_id is None and row.ready_at is not None:
        return max(0, milliseconds(row.completed_at - row.ready_at))
    return row.waited_ms


@lru_cache(maxsize=4096)
def key_of(name: str) -> str:
    """Return the name of a group, which is short."""
    if name.isprintable() and len(name.encode()) <= KEY_BYTES:
        return name
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def names_of(work: PlannedWork | TicketRow) -> tuple[str, str]:
    """Return the names of the groups of work: by its task, and by what a worker has to offer."""
    return _digest(f"{work.task_type} {work.task_id}"), _digest(f"{work.task_type} {','.join(work.capabilities)}")


@lru_cache(maxsize=4096)
def _digest(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def kind_ratio(known: Known, work: PlannedWork | TicketRow) -> float:
    """Return the logarithm of how many times its estimate work takes, by its kind as far as that is known; 0 else.

    From all tickets over the type and what a worker has to offer to the task, each as far as there are tickets of it.
    """
    kind, capability_set = names_of(work)
    ratio = drawn(known.everything, 0.0)
    for group in (known.types.get(work.task_type), known.capability_sets.get(capability_set), known.kinds.get(kind)):
        ratio = ratio if group is None else drawn(group, ratio)
    return ratio


def drawn(group: Group, towards: float) -> float:
    """Return the mean ratio of a group, drawn towards that of a wider one."""
    return (group.done * group.ratio + SHRINK * towards) / (group.done + SHRINK)


def _bound(groups: dict[str, Group] | dict[str, WaitTimes], most: int) -> None:
    """Take groups away once there are an eighth more than may be: one walk for many of them."""
    if len(groups) > most + most // 8:
        for name in sorted(groups, key=lambda name: _stays_until(groups[name]))[: len(groups) - most]:
            if name:  # the group of all is not one of many
                del groups[name]


def _stays_until(group: Group | WaitTimes) -> float:
    return group.at + (STAYS_S * min(group.ended, MOST_STAY) if isinstance(group, Group) else 0)


def _shortened(groups: Mapping[str, Group], most: int) -> Mapping[str, Group]:
    return {name: group.short() for name, group in _newest(groups, most)}


def _newest(groups: Mapping[str, G], most: int) -> Sequence[tuple[str, G]]:
    """Return the groups that stay, by name; the group of all, whose name is empty, is one of them."""
    order = sorted(groups, key=lambda name: (bool(name), -_stays_until(groups[name])))
    return [(name, groups[name]) for name in sorted(order[:most])]
