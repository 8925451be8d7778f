"""The last answers of the store about insights and history, kept in memory for seconds: many who ask cost one look."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from functions._core.insights.read_cache import CachedInsights, Observed
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.history_reader import Ended, rows_of_flow
from functions._core.ports import KeyValues, Ports
from functions._core.records.models import Flow

FRESH = timedelta(seconds=10)
"""How long one answer serves all who ask."""

FLOWS, TICKETS = 500, 10_000
"""Ended flows, and tickets of them, that one look at the history reads."""

AT_ONCE = 10
"""Flows whose tickets are read at the same time."""

SPANS = 8
"""Answers about different spans of time that are kept."""

_ANALYST = ThreadPoolExecutor(1, "analysis")
"""Not the turns of flows (`Ports.beside`): an analysis takes seconds, and flows must not wait for it."""


async def beside(compute: Callable[[], Any]) -> Any:  # noqa: ANN401 what it computes
    """Run a computation in the thread of analyses; raise its error."""
    return await asyncio.get_running_loop().run_in_executor(_ANALYST, compute)


class HistoryRows(NamedTuple):
    """The newest flows that ended within a span of time, and their tickets; `complete` where these are all."""

    flows: Sequence[FlowRow]
    tickets: Sequence[TicketRow]
    complete: bool


@dataclass(slots=True)
class RecentAnswers:
    """Answers by key, each for a time; those who ask for the same at once wait for one answer."""

    fresh: timedelta
    most: int
    answers: OrderedDict[Any, tuple[datetime, Any]] = field(default_factory=OrderedDict)
    locks: dict[Any, asyncio.Lock] = field(default_factory=dict)

    def known(self, key: Any, now: datetime) -> Any:  # noqa: ANN401 as it was kept
        """Return an answer that is fresh; None where there is none."""
        at, answer = self.answers.get(key, (None, None))
        return answer if at is not None and timedelta() <= now - at < self.fresh else None

    def keep(self, key: Any, now: datetime, answer: Any) -> None:  # noqa: ANN401 whatever it is
        """Keep an answer; the one that was kept first goes where there are too many."""
        self.answers[key] = now, answer
        self.answers.move_to_end(key)
        while len(self.answers) > self.most:
            self.answers.popitem(last=False)

    async def of(self, key: Any, now: datetime, ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 as above
        """Return an answer, which is asked for where none is fresh."""
        lock = self.locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                answer = self.known(key, now)
                if answer is None:
                    answer = await ask()
                    self.keep(key, now, answer)
                return answer
        finally:
            if not lock.locked():
                self.locks.pop(key, None)


def unobserved(_operation: str, _result: str) -> None:
    """Count nothing."""


def untold(_mape: float | None) -> None:
    """Tell nobody."""


def as_they_are(entries: KeyValues) -> KeyValues:
    """Return small records that are read as their store gives them."""
    return entries


@dataclass(slots=True)
class AnalystState:
    """What was read last, and what queries over several sources said.

    `observed` is told of each look at what is remembered, `forecasted` of the error of each forecast of loads that is
    made, in percent; `in_turns` returns records that leave turns to others, where
    thousands are read.
    """

    observed: Observed = unobserved
    in_turns: Callable[[KeyValues], KeyValues] = as_they_are
    forecasted: Callable[[float | None], None] = untold
    _history: RecentAnswers = field(default_factory=lambda: RecentAnswers(FRESH, SPANS))
    queries: RecentAnswers = field(default_factory=lambda: RecentAnswers(timedelta(seconds=60), 64))
    _cached: CachedInsights | None = None

    def insights(self, ports: Ports) -> CachedInsights:
        """Return the insights of the store, remembered for some seconds."""
        if self._cached is None:
            self._cached = CachedInsights(self.in_turns(ports.key_values), ports.clock, self.observed)
        return self._cached

    def forget(self) -> int:
        """Read everything again; return how many answers were forgotten."""
        cached = 0 if self._cached is None else len(self._cached.all) + len(self._cached.each)
        forgotten = len(self._history.answers) + len(self.queries.answers) + cached
        self._history.answers.clear()
        self.queries.answers.clear()
        if self._cached is not None:
            self._cached.invalidate()
        return forgotten

    async def history(self, ports: Ports, since: datetime, until: datetime) -> HistoryRows:
        """Return the newest flows that ended within a span; it is told by whole minutes, so that many ask for one."""
        begin, now = since.replace(second=0, microsecond=0), ports.clock.now()

        async def read() -> HistoryRows:
            return await read_history(ports, begin, until)

        # A span that ends now is the same one for whoever asks a second later.
        key = begin, None if until >= now else until
        found: HistoryRows = await self._history.of(key, now, read)
        return found


async def read_history(ports: Ports, since: datetime, until: datetime) -> HistoryRows:
    """Return the rows of the newest flows that ended within a span, as many as one look may read."""
    flows = await ports.statistics.ended(since, until, FLOWS)
    few: list[Flow] = []
    left = TICKETS
    for flow in flows:
        if flow.tickets_generated > TICKETS:
            continue  # it alone would be more than one look may hold in memory
        left -= flow.tickets_generated
        if left < 0:
            break
        few.append(flow)
    turns = asyncio.Semaphore(AT_ONCE)

    async def rows(flow: Flow) -> tuple[Ended, bool]:
        async with turns:
            return await rows_of_flow(replace(ports, beside=beside), flow)

    found = await asyncio.gather(*(rows(flow) for flow in few if flow.ended_at is not None))
    tickets = [ticket for (_, some), _ in found for ticket in some]
    whole = len(few) == len(flows) < FLOWS and not any(unreadable for _, unreadable in found)
    return HistoryRows([flow for (flow, _), _ in found], tickets, whole)
