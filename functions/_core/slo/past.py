"""The past as a policy would have seen it: flows that ended, and what was left of budgets from moment to moment. Pure.

Of an SLO over flows of the own history the budget is calculated again, in the order in which flows end: each counts
from its end on until it leaves the window of the SLO; an empty window has a full budget, as on a platform. Of every
other SLO the budget is as its course was, each hour as its worst calculation, and without one the last one stays.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from functions._core.slo.admission import FlowFacts
from functions._core.slo.budget import ErrorBudget, Indicator, budget_of, share_of
from functions._core.slo.course import CoursePoint
from functions._core.slo.definition import OF_TICKETS, Slo
from functions._core.slo.freezing import FreezeEvent

Counts = tuple[tuple[int, bool], ...]
"""The SLOs that a flow counts for, by their places, and whether it is bad there."""


class PastFlow(NamedTuple):
    """A flow that has ended; when it came, ended, and was to end."""

    flow_id: str
    came: datetime
    ended: datetime
    deadline: datetime
    facts: FlowFacts
    counts: Counts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known: policies are tried from `since` on, and flows count from `counted_since` on.

    Flows are in the order of their ends, the last first; courses begin with their oldest point.
    """

    since: datetime
    until: datetime
    counted_since: datetime
    complete: bool = True
    flows: Sequence[PastFlow] = ()
    slos: Sequence[Slo] = ()
    courses: Mapping[str, Sequence[CoursePoint]] = field(default_factory=dict)
    freezes: Sequence[FreezeEvent] = ()


def replayable(slo: Slo) -> bool:
    """Whether the budget of an SLO follows from flows that ended."""
    query = slo.sli_query.history
    return query is not None and query.measure not in OF_TICKETS


def window_of(slo: Slo) -> timedelta:
    """Return the window of an SLO."""
    return timedelta(days=slo.window_days)


class Timeline:
    """Moments in their order, and the budgets at each."""

    def __init__(self, past: Past) -> None:
        """Begin with no budget; the courses of those that are not calculated again are laid out."""
        self.now = past.counted_since
        self.budgets: dict[str, ErrorBudget] = {}
        self._slos = past.slos
        self._totals, self._bads = [0] * len(past.slos), [0] * len(past.slos)
        self._moments: list[tuple[datetime, bool, int, Callable[[], None]]] = []
        self._numbers = count()
        self._changed: set[int] = set()
        self._services: set[str] = set()
        for slo in past.slos:
            for point in past.courses.get(slo.slo_id, ()):
                self.at(point.at, partial(self._recorded, slo, point))

    def at(self, moment: datetime, do: Callable[[], None], *, after: bool = False) -> None:
        """Have something done at a moment, or `after` the budgets of the moment are known."""
        heappush(self._moments, (moment, after, next(self._numbers), do))

    def ends(self, moment: datetime, counts: Counts) -> None:
        """Let a flow end at a moment, and count."""
        if counts:
            self.at(moment, partial(self._ended, moment, counts))

    def run(self, until: datetime, settled: Callable[[Collection[str]], None]) -> None:
        """Pass through all moments up to and with `until`.

        `settled` is told at each which services have budgets whose status may be another.
        """
        while self._moments and self._moments[0][0] <= until:
            self.now = self._moments[0][0]
            self._do_all(after=False)
            settled(self._settle())
            self._do_all(after=True)

    def consumed(self, place: int) -> float | None:
        """Return percent of the budget of an SLO that is used now; None where nothing is in its window."""
        return self._budget(place).error_budget_consumed if self._totals[place] else None

    def _do_all(self, *, after: bool) -> None:
        moment = (self.now, after)
        while self._moments and self._moments[0][:2] == moment:
            heappop(self._moments)[3]()

    def _ended(self, moment: datetime, counts: Counts) -> None:
        self._count(counts, 1)
        by_window: dict[timedelta, list[tuple[int, bool]]] = {}
        for place, bad in counts:
            by_window.setdefault(window_of(self._slos[place]), []).append((place, bad))
        for window, some in by_window.items():
            self.at(moment + window, partial(self._count, tuple(some), -1))

    def _count(self, counts: Counts, number: int) -> None:
        for place, bad in counts:
            self._totals[place] += number
            self._bads[place] += number * bad
            self._changed.add(place)

    def _recorded(self, slo: Slo, point: CoursePoint) -> None:
        budget = budget_of(slo, point.at, "", Indicator(point.sli_value), {})
        self._services.add(slo.service_name)
        self.budgets[slo.slo_id] = budget.but(
            error_budget_consumed=point.consumed, error_budget_remaining=point.remaining_min, status=point.status
        )

    def _settle(self) -> Collection[str]:
        services, self._services = self._services, set()
        for place in self._changed:
            slo = self._slos[place]
            before = self.budgets.get(slo.slo_id)
            after = self.budgets[slo.slo_id] = self._budget(place)
            if before is None or before.status is not after.status:
                services.add(slo.service_name)
        self._changed.clear()
        return services

    def _budget(self, place: int) -> ErrorBudget:
        measured = share_of(self._totals[place], self._bads[place])
        return budget_of(self._slos[place], self.now, "", measured, {})
