"""Look through the history of flows, window by window of five minutes, and make insights of what is wrong in it.

Consumes clock.ticked. Emits insights.analyzed, and insights.strategic or insights.operational by type, stored before
they are told: what a crash leaves untold is told when the window is done again, with the same ids.
Gives up on a window when the store does not answer, until a later tick; on a rule that fails, on a decision or a flow
that cannot be read at once: the others count, and the insights are as much less sure. No flow waits for any of it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.errors import Conflict, FlowcError
from functions._core.events.envelope import CloudEvent
from functions._core.events.insights import insight_events
from functions._core.insights.analysis import (
    CLAIM,
    AnalysisState,
    OpenProblem,
    WindowResult,
    analysed,
    claimed,
    keep_domains,
    kept,
    key_hash,
    remembered,
    still_open,
)
from functions._core.insights.generation import insight_of, renewed, told_now
from functions._core.insights.hour_state import RENEWS_WITHIN, hour_state, keep_hour
from functions._core.insights.insight import Insight
from functions._core.insights.stored import MOST, delete_expired, get, save
from functions._core.insights.trail_rules import MOST_DOMAINS, domain_of_row
from functions._core.insights.window import (
    LENGTH,
    ConsensusFigures,
    HistoryWindow,
    consensus_of,
    window_before,
)
from functions._core.learning.anomaly_kinds import AnomalyKind
from functions._core.learning.history import FlowRow
from functions._core.learning.history_reader import SETTLES, Ended, HistoryCursor, ended_between
from functions._core.placement.pheromones import Trails
from functions._core.placement.workers import own_analyst
from functions._core.ports import Ports
from functions._core.records.values import add_time
from functions._core.records.worker import OWN_ANALYST
from functions._core.rules import LARGE_DECISION, Rules
from functions.analyze.hourly import HOUR, HourLook, HourResult, full_hour

DELAY = SETTLES
"""How long after its end a window is looked at: by then history has all flows that ended in it."""

LOOKS_BACK = timedelta(days=1)
"""Windows that ended earlier are not caught up with: what was wrong then is no news."""

AT_ONCE = 12
"""Windows that one tick closes at most: an hour."""

SECONDS = 10.0
"""After so much time a tick begins no other window: a function of AWS has 30 s."""

HOUR_SECONDS = 18.0
"""After so much time an hourly look begins nothing more, for the same reason."""

MOST_FLOWS, MOST_TICKETS = 1_000, 10_000
"""Flows and tickets of one window that are looked at; of more the first ones, and insights are as much less sure."""

FEW_FLOWS, BEFORE = 200, timedelta(hours=1)
"""A window with fewer flows is looked at together with so many of the time before it, for work that comes again."""

MOST_DECISIONS, DECISIONS_AT_ONCE = 200, 10
"""Decisions of one window that are read, and how many side by side."""

TIDIED_EACH = timedelta(days=1)
"""How often expired insights are forgotten; more often while there are too many."""

TOO_MANY = MOST // 10
"""Insights beyond `MOST` at which the least important are forgotten."""

Tell = Callable[[Sequence[CloudEvent]], Awaitable[None]]
"""Sends events; durable on return, and safe to repeat."""


class Analyzed(NamedTuple):
    """What one tick did, for metrics."""

    windows: int = 0
    """Windows that were closed."""
    insights: Mapping[tuple[str, str], int] = {}
    """New insights, by type and priority."""
    renewed: int = 0
    """Insights that were found again."""
    anomalies: Mapping[tuple[str, str], int] = {}
    """Anomalies, by the figure and the method that has found them."""
    expired: int = 0
    """Insights that were forgotten: expired, or the least important of too many."""
    kept: int = 0
    """About how many insights there are; 0 where this tick has not looked."""
    seconds: float = 0.0
    """How long the windows took."""
    failed: Mapping[str, str] = {}
    """Rules that could not be followed, by name, with the error."""
    left_out: int = 0
    """Findings beyond those that one window may bring."""
    behind: int = 0
    """Windows that are due and not closed yet."""
    forecast: Mapping[int, float | None] = {}
    """The forecast of flows of this hour: its horizons in minutes, each with its error as a share; empty: none."""
    bottlenecks: int = 0
    """Capabilities that will not suffice within the next day."""
    odd: Mapping[AnomalyKind, int] = {}
    """Anomalies of tickets and loads in the last hour, by their kinds."""


async def analyze(
    ports: Ports, tell: Tell | None, *, now: datetime | None = None, rules: Rules | None = None
) -> Analyzed:
    """Close the windows that are due, and `tell` what they bring; None: nobody wants to know.

    Of several processes one works at a time. Raises `Unavailable` when the store does not answer.
    """
    now = now or ports.clock.now()
    await _heard_of(ports, now, rules or Rules())
    claim = await claimed(ports.key_values, now, DELAY)
    if claim is None:
        return Analyzed()
    return await _Tick(ports, tell, now, rules or Rules(), *claim).catch_up()


async def _heard_of(ports: Ports, now: datetime, rules: Rules) -> None:
    """Let the registry list the platform's own analyst while it works; its silence takes it off the list."""
    row = own_analyst(await ports.registry.worker(OWN_ANALYST), now, rules)
    if row is not None:
        with suppress(Conflict):  # another process has just done it
            await ports.registry.put(row)


class _Tick:
    """One tick that has claimed the analysis."""

    def __init__(
        self, ports: Ports, tell: Tell | None, now: datetime, rules: Rules, state: AnalysisState, version: int
    ) -> None:
        self._ports, self._tell, self._now, self._rules = ports, tell, now, rules
        self._entries = ports.key_values
        self._state, self._version = state, version
        self._made: Counter[tuple[str, str]] = Counter()
        self._anomalies: Counter[tuple[str, str]] = Counter()
        self._seconds = 0.0
        self._failed: dict[str, str] = {}
        self._windows = self._renewed = self._expired = self._left_out = 0
        self._hour: HourResult | None = None

    async def catch_up(self) -> Analyzed:
        """Close the windows that are due, as many as one tick does."""
        newest = window_before(add_time(self._now, -DELAY))
        start = max(self._state.closed_until, window_before(add_time(newest, -LOOKS_BACK)))
        time = asyncio.get_running_loop().time
        begun = time()
        until = begun + SECONDS
        try:
            while start < newest and self._windows < AT_ONCE and time() < until:
                await self._close(start, add_time(start, LENGTH))
                start = self._state.closed_until
            if start >= newest:
                await self._look_back(begun + HOUR_SECONDS)
            await self._tidy()
            await self._keep(claimed_until=None)
        except Conflict:  # the claim was lost: another process goes on from what is stored
            return self._analyzed(newest)
        except FlowcError:
            with suppress(FlowcError):
                await self._keep(claimed_until=None)
            raise
        return self._analyzed(newest)

    async def _close(self, start: datetime, end: datetime) -> None:
        """Look at one window; its insights are stored, then told, then the state says that it is closed."""
        time = asyncio.get_running_loop().time
        begun = time()
        window = await _window(self._ports, start, end)
        done: WindowResult = await self._ports.beside(partial(analysed, window, self._state.course))
        known = still_open(self._state, start)
        found, new = await self._all_stored(done.insights, known, end)
        await keep_domains(self._entries, end, done.domains)
        await self._keep(
            closed_until=end,
            claimed_until=add_time(self._ports.clock.now(), CLAIM),
            course=done.course,
            open=remembered(known, found, end),
            kept=self._state.kept + len(new),
        )
        self._count(done, new, time() - begun)

    async def _look_back(self, until: float) -> None:
        """Look at the last full hour once; its insights are stored, then told, then the state says that it is done."""
        hour = full_hour(self._state.closed_until)
        state, version = await hour_state(self._entries)
        if state is not None and hour <= state.done_until <= add_time(hour, HOUR):
            return
        begun = asyncio.get_running_loop().time()
        rows = partial(_real_rows, self._ports)
        self._hour = done = await HourLook(self._ports, rows, self._rules, hour, until).look(state)
        least, start = add_time(hour, -RENEWS_WITHIN), add_time(hour, -HOUR)
        known = {key: one for key, one in done.state.open.items() if one.seen_at >= least}
        made = {key_hash(one): insight_of(one, start, hour) for one in done.problems}
        found, new = await self._all_stored(list(made.items()), known, hour)
        await keep_hour(self._entries, done.state.but(open=remembered(known, found, hour)), version)
        await self._keep(claimed_until=add_time(self._ports.clock.now(), CLAIM), kept=self._state.kept + len(new))
        self._failed |= done.failed
        self._count_insights(len(made), new, asyncio.get_running_loop().time() - begun)

    async def _all_stored(
        self, made: Sequence[tuple[str, Insight]], known: Mapping[str, OpenProblem], end: datetime
    ) -> tuple[Mapping[str, str], Sequence[Insight]]:
        """Store and tell insights that were made at `end`; return their ids by finding, and those that are new."""
        found, new = {}, []
        events: list[CloudEvent] = []
        for key, insight in made:
            stored = await self._stored(known[key].insight_id if key in known else None, insight)
            found[key] = stored.insight_id
            if told_now(stored):
                events += insight_events(stored)
            if stored.created_at == end:
                new.append(stored)
        if events and self._tell is not None:
            await self._tell(events)
        return found, new

    async def _stored(self, known_id: str | None, insight: Insight) -> Insight:
        """Store an insight: a new one, or as the renewal of the one that is known for its finding."""
        if known_id is not None and await get(self._entries, known_id) is not None:
            again = insight.but(insight_id=known_id)
            return await save(self._entries, again, lambda known: renewed(known, insight))
        return await save(self._entries, insight, lambda known: renewed(known, insight))

    async def _tidy(self) -> None:
        """Forget what has expired once a day, and the least important where there are too many."""
        tidied = self._state.tidied_at
        due = tidied is None or not timedelta() <= self._now - tidied < TIDIED_EACH
        if due or self._state.kept > MOST + TOO_MANY:
            forgotten, left = await delete_expired(self._entries, self._now, partial(asyncio.sleep, 0))
            self._expired += forgotten
            await self._keep(tidied_at=self._now, kept=left)

    async def _keep(self, **changes: object) -> None:
        self._state = self._state.but(**changes)
        self._version = await kept(self._entries, self._state, self._version)

    def _count(self, done: WindowResult, new: Sequence[Insight], seconds: float) -> None:
        self._windows += 1
        self._left_out += done.left_out
        self._failed |= done.failed
        self._count_insights(len(done.insights), new, seconds)
        for anomaly in done.anomalies:
            self._anomalies.update((anomaly.name, method) for method in anomaly.methods)

    def _count_insights(self, number: int, new: Sequence[Insight], seconds: float) -> None:
        self._renewed += number - len(new)
        for one in new:
            self._made[one.insight_type.value, one.priority.value] += 1
        self._seconds += seconds

    def _analyzed(self, newest: datetime) -> Analyzed:
        return Analyzed(
            windows=self._windows,
            insights=dict(self._made),
            renewed=self._renewed,
            anomalies=dict(self._anomalies),
            expired=self._expired,
            kept=self._state.kept,
            seconds=self._seconds,
            failed=self._failed,
            left_out=self._left_out,
            behind=max(0, (newest - self._state.closed_until) // LENGTH),
            forecast={} if self._hour is None else self._hour.forecast,
            bottlenecks=0 if self._hour is None else self._hour.bottlenecks,
            odd={} if self._hour is None else self._hour.odd,
        )


async def _window(ports: Ports, start: datetime, end: datetime) -> HistoryWindow:
    """Read a window."""
    ended, whole = await _ended(ports, start, end, MOST_FLOWS)
    before: Sequence[Ended] = ()
    if len(ended) < FEW_FLOWS:
        before, _ = await _ended(ports, add_time(start, -BEFORE), start, FEW_FLOWS)
    consensus, read = await _consensus(ports, [flow for flow, _ in ended])
    trails: dict[str, Trails] = {}
    for domain in list(dict.fromkeys(domain_of_row(row) for _, rows in ended for row in rows))[:MOST_DOMAINS]:
        trails[domain] = await ports.pheromones.trails(domain)
    return HistoryWindow(
        start=start,
        end=end,
        ended=ended,
        before=before,
        consensus=consensus,
        trails=trails,
        completeness=(whole + read) / 2,
    )


async def _ended(ports: Ports, start: datetime, end: datetime, limit: int) -> tuple[Sequence[Ended], float]:
    """Return the flows that ended in a time and were no rehearsals, and about which share of all that is."""
    found: list[Ended] = []
    cursor, tickets, unread = HistoryCursor(at=start), 0, 0
    while True:
        batch = await ended_between(ports, cursor, end, limit - len(found), now=add_time(end, DELAY))
        found += batch.flows
        cursor, unread = batch.cursor, unread + batch.left_out
        tickets += sum(len(rows) for _, rows in batch.flows)
        if batch.complete or len(found) >= limit or tickets >= MOST_TICKETS:
            break
    covered = 1.0 if batch.complete else (cursor.at - start) / (end - start)
    whole = covered * (1 - unread / len(found)) if found else covered
    return [one for one in found if not one[0].simulated], whole


async def _real_rows(ports: Ports, start: datetime, end: datetime) -> Sequence[Ended]:
    """Return the flows of an hourly look, of many the first ones."""
    ended, _ = await _ended(ports, start, end, MOST_FLOWS)
    return ended


async def _consensus(ports: Ports, flows: Sequence[FlowRow]) -> tuple[Sequence[ConsensusFigures], float]:
    """Return how the decisions of flows came about, where they say it, and the share of them that was read."""
    found: list[ConsensusFigures] = []
    read = 0
    for place in range(0, min(len(flows), MOST_DECISIONS), DECISIONS_AT_ONCE):
        some = flows[place : min(place + DECISIONS_AT_ONCE, MOST_DECISIONS)]
        for answer in await asyncio.gather(*(_figures(ports, flow) for flow in some), return_exceptions=True):
            if isinstance(answer, FlowcError):
                continue
            if isinstance(answer, BaseException):
                raise answer
            read += 1
            found += [answer] if answer is not None else []
    return found, read / len(flows) if flows else 1.0


async def _figures(ports: Ports, flow: FlowRow) -> ConsensusFigures | None:
    text = await ports.store.decision(flow.flow_id)
    read = partial(consensus_of, text, flow)
    figures: ConsensusFigures | None = await ports.beside(read) if len(text) > LARGE_DECISION else read()
    return figures
