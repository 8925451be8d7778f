"""The analysis of one window after the other: what each finds, and what the next one has to know.

The state is one small record. Who analyses claims it first, for some minutes, by its version: of several processes one
works. If that one dies, the next one does the window again, and finds the same insights with the same ids.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from msgspec import MsgspecError

from functions._core.errors import Conflict
from functions._core.insights.consensus_rules import consensus_problems
from functions._core.insights.figures import (
    Course,
    FigureAnomaly,
    anomalies_of,
    anomaly_problems,
    continued,
    figures_of,
)
from functions._core.insights.findings import ProblemFound
from functions._core.insights.flow_rules import flow_problems
from functions._core.insights.generation import insight_of, weight_of
from functions._core.insights.insight import Insight
from functions._core.insights.trail_rules import DomainStatistics, domain_statistics, trail_problems
from functions._core.insights.window import LENGTH, HistoryWindow, window_before
from functions._core.insights.work_rules import work_problems
from functions._core.ports import KeyValues
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp, add_time

STATE, WINDOWS, DOMAINS = "insight-state", "windows", "domains"
"""The space of what the analysis has to know, and its keys: the state, and the statistics of the last window."""

CLAIM = timedelta(minutes=3)
"""For how long a process has the analysis for itself: several times what a round takes."""

PER_WINDOW = 50
"""Insights of one window, the most important ones: a flood of failures has few causes, or nobody reads them all."""

MOST_OPEN = 200
"""Findings that are remembered so that they renew their insights; of more the one is forgotten that is longest ago."""

RENEWS = timedelta(hours=1)
"""A finding that comes again within this time is the same one: its insight is renewed."""


class OpenProblem(Record):
    """A finding whose insight is renewed when it comes again."""

    insight_id: str
    """Id of the insight."""
    seen_at: Timestamp
    """End of the last window that has found it."""


class AnalysisState(Record):
    """What the analysis of the next window has to know."""

    closed_until: Timestamp
    """End of the last window that was analysed."""
    claimed_until: Timestamp | None = None
    """Until when the process that analyses now has it for itself; None when none does."""
    course: Mapping[str, tuple[float, ...]] = {}
    """The figures of the windows of the last day, the oldest first."""
    open: Mapping[str, OpenProblem] = {}
    """Findings of the last hour, by a hash of their keys."""
    kept: int = 0
    """About how many insights are kept."""
    tidied_at: Timestamp | None = None
    """When expired insights were forgotten last."""


class LastDomains(Record):
    """The statistics of the domains in the last window that had tickets."""

    end: Timestamp
    """End of the window."""
    domains: tuple[DomainStatistics, ...] = ()
    """The domains by name."""


class WindowResult(NamedTuple):
    """What one window has brought."""

    insights: Sequence[tuple[str, Insight]]
    """Insights with the hashes of their findings, the most important first."""
    anomalies: Sequence[FigureAnomaly]
    """Figures that were not what they usually are."""
    course: Course
    """The course with this window."""
    domains: Sequence[DomainStatistics]
    """The statistics of its domains."""
    failed: Mapping[str, str]
    """Rules that could not be followed, by name, with the error."""
    left_out: int
    """Findings beyond `PER_WINDOW`."""


RULES: Mapping[str, Callable[[HistoryWindow], Iterator[ProblemFound]]] = {
    "flows": flow_problems,
    "consensus": consensus_problems,
    "trails": trail_problems,
    "work": work_problems,
}
"""The rules about one window."""


def analysed(window: HistoryWindow, course: Course) -> WindowResult:
    """Return what a window brings; a rule that fails stops no other. Pure; some 10 ms for a thousand flows."""
    failed: dict[str, str] = {}
    problems: list[ProblemFound] = []
    for name, rule in RULES.items():
        try:
            problems += rule(window)
        except Exception as error:  # noqa: BLE001 what strangers have sent must not end the analysis of all else
            failed[name] = repr(error)
    figures = figures_of(window)
    anomalies: Sequence[FigureAnomaly] = ()
    try:
        anomalies = anomalies_of(figures, course)
        problems += anomaly_problems(anomalies)
    except Exception as error:  # noqa: BLE001 as above
        failed["anomalies"] = repr(error)
    distinct = {key_hash(one): one for one in reversed(problems)}
    ordered = sorted(distinct.items(), key=lambda pair: (-weight_of(pair[1], window.completeness), pair[0]))
    made = [(key, insight_of(one, window.start, window.end, window.completeness)) for key, one in ordered[:PER_WINDOW]]
    return WindowResult(
        insights=made,
        anomalies=anomalies,
        course=continued(course, figures),
        domains=[one for _, one in sorted(domain_statistics(window).items())],
        failed=failed,
        left_out=max(0, len(ordered) - PER_WINDOW),
    )


def key_hash(problem: ProblemFound) -> str:
    """Return a short name of what a finding is about."""
    return sha256(problem.key.encode()).hexdigest()[:16]


def still_open(state: AnalysisState, window_start: datetime) -> Mapping[str, OpenProblem]:
    """Return the findings whose insights a window renews that begins then."""
    least = add_time(window_start, -RENEWS)
    return {key: one for key, one in state.open.items() if one.seen_at >= least}


def remembered(
    known: Mapping[str, OpenProblem], found: Mapping[str, str], window_end: datetime
) -> Mapping[str, OpenProblem]:
    """Return the findings that are open after a window has found some, by hash with the ids of their insights."""
    now = {key: OpenProblem(insight_id=insight_id, seen_at=window_end) for key, insight_id in found.items()}
    ordered = sorted({**known, **now}.items(), key=lambda pair: (pair[1].seen_at, pair[0]), reverse=True)
    return dict(ordered[:MOST_OPEN])


async def claimed(entries: KeyValues, now: datetime, delay: timedelta) -> tuple[AnalysisState, int] | None:
    """Claim the analysis; return the state and its version, None where another process has it or nothing is due.

    The first time nothing is due: analysis begins with the window that is under way. A window is due `delay` after its
    end. A state from the future, which a wrong clock has left, begins anew from now on.
    """
    entry = await entries.get(STATE, WINDOWS)
    state = None if entry is None else _state(entry.value)
    version = 0 if entry is None else entry.version
    newest = window_before(add_time(now, -delay))
    ahead = state is not None and state.closed_until > add_time(now, LENGTH)
    if state is None or ahead:
        begun = (state or AnalysisState(closed_until=now)).but(closed_until=window_before(now), claimed_until=None)
        await _put(entries, begun, version)
        return None
    if state.claimed_until is not None and now < state.claimed_until <= add_time(now, CLAIM):
        return None
    if newest <= state.closed_until:
        return None
    taken = state.but(claimed_until=add_time(now, CLAIM))
    put = await _put(entries, taken, version)
    return None if put is None else (taken, put)


async def kept(entries: KeyValues, state: AnalysisState, version: int) -> int:
    """Store the state in place of that version, return its version; raises `Conflict` where the claim was lost."""
    return (await entries.put(STATE, WINDOWS, encode(state), version=version)).version


async def keep_domains(entries: KeyValues, end: datetime, domains: Sequence[DomainStatistics]) -> None:
    """Store the statistics of the domains in a window, unless it had none; of two processes one does."""
    if not domains:
        return
    entry = await entries.get(STATE, DOMAINS)
    value = encode(LastDomains(end=end, domains=tuple(domains)))
    try:
        await entries.put(STATE, DOMAINS, value, version=0 if entry is None else entry.version)
    except Conflict:
        return


async def last_domains(entries: KeyValues) -> LastDomains | None:
    """Return the statistics of the domains in the last window that had tickets; None where there are none."""
    entry = await entries.get(STATE, DOMAINS)
    try:
        return None if entry is None else decode(LastDomains, entry.value)
    except MsgspecError:
        return None


async def analysis_state(entries: KeyValues) -> AnalysisState | None:
    """Return how far the analysis is; None where it has never begun."""
    entry = await entries.get(STATE, WINDOWS)
    return None if entry is None else _state(entry.value)


def _state(value: bytes) -> AnalysisState | None:
    try:
        return decode(AnalysisState, value)
    except MsgspecError:
        return None


async def _put(entries: KeyValues, state: AnalysisState, version: int) -> int | None:
    """Store the state in place of that version and return its version; None where another process was faster."""
    try:
        return await kept(entries, state, version)
    except Conflict:
        return None
