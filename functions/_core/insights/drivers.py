"""What drives what on a platform: Granger's test over the windows of the last day, and the findings of it. Pure.

The series are counts and means of windows of five minutes. The time of day moves them all, so what a slow wave of a day
explains is taken out of each first: two that only rise and fall together by day drive nothing. Findings are of edges
that hold after the correction for all pairs, at a level that hourly looks allow, and that explain enough to matter.
"""

from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from math import cos, log1p, pi, sin

from functions._core.insights.causal_graph import (
    CausalEdge,
    CausalGraph,
    RootCause,
    causal_steps,
    explanation,
    root_causes,
)
from functions._core.insights.causality import (
    MAX_LAG,
    CausalEffect,
    Confounder,
    causal_effect,
    detect_confounders,
    granger,
)
from functions._core.insights.findings import Advice, ProblemFound, entity, named
from functions._core.insights.hour_sums import COURSE_BUCKETS, PACE, TIMES, Sums
from functions._core.insights.insight import InsightType, RelatedEntity
from functions._core.insights.regression import Design
from functions._core.insights.window import LENGTH
from functions._core.learning.series import constant, mean

LEAST_WINDOWS = 96
"""Windows that have to be known: eight hours."""

LEAST_SEEN = 24
"""Windows of them in which there has to be something of a series: fewer leave it out."""

LEAST_FLOWS = 200
"""Flows that have to have ended in them: a few flows a window say nothing about a window."""

CHANCE = 0.001
"""The corrected p value below which an edge is a finding: it is looked for 24 times a day."""

EXPLAINS = 0.1
"""The share of what is left open that a cause has to explain: less is true, perhaps, and helps nobody."""

WAVES = 3
"""Waves of a day, of a half and of a third of it, that are taken out of each series."""

MOSTLY = 0.8
"""The share of what a cause explains, with the lags that explain most, from which on fewer lags do."""

SHOWN = 12
"""Edges of the graph that an analysis names, the strongest first."""

MINUTES = int(LENGTH.total_seconds()) // 60

WORDS: Mapping[str, str] = {
    "flows": "the number of flows that end",
    "failures": "the number of flows that fail",
    "missed": "the number of flows that miss their deadlines",
    "retries": "the number of tickets that are tried again",
    "wait": "the time that tickets wait for workers",
    "pace": "the time that work takes, by its estimate",
}
"""The series in sentences."""

HARM = frozenset({"failures", "missed", "retries", "wait", "pace"})
"""What is found as an effect: more of it harms. Flows that end do no harm, and the pace of one worker is a cause."""

MADE_OF = frozenset(
    {("failures", "flows"), ("missed", "flows"), ("missed", "failures"), ("failures", "missed")}
    | {("pace", "wait"), ("failures", "retries"), ("retries", "failures")}
)
"""Of these pairs the one is counted with the other, or is a part of it: going together is no news."""

Steps = Generator[tuple[int, int], None, Sequence[ProblemFound]]
"""Yields after each test, of some milliseconds; returns the findings."""


def driving_series(course: Sums) -> Mapping[str, tuple[float, ...]]:
    """Return the series of a course that can be looked at; empty where there is little.

    A mean stays as it was where a window has none.
    """
    sums = course.by_name
    flows = sums.get("flows", ())
    if len(flows) < LEAST_WINDOWS or sum(flows) < LEAST_FLOWS:
        return {}
    found: dict[str, tuple[float, ...]] = {}
    for name, values in sums.items():
        if name.startswith(TIMES):
            continue
        times = sums.get(f"{TIMES}{name}")
        if name.startswith(PACE) and times is None:
            continue
        seen = sum(map(bool, values if times is None else times))
        series = [log1p(value) for value in values] if times is None else _means(values, times)
        if seen >= LEAST_SEEN and not constant(series):
            found[name] = tuple(series)
    return found


def _means(values: Sequence[float], times: Sequence[float]) -> list[float]:
    known = [value / number for value, number in zip(values, times, strict=True) if number]
    last = mean(known) if known else 0.0
    found: list[float] = []
    for value, number in zip(values, times, strict=True):
        last = value / number if number else last
        found.append(last)
    return found


def without_waves(series: Sequence[float]) -> tuple[float, ...]:
    """Return what a trend and the waves of a day leave of a series."""
    places = range(len(series))
    columns: list[list[float]] = [[float(place) for place in places]]
    for wave in range(1, WAVES + 1):
        turn = 2 * pi * wave / COURSE_BUCKETS
        columns += [[cos(turn * place) for place in places], [sin(turn * place) for place in places]]
    slopes = Design(columns, series).fit(len(columns)).slopes
    explained = [sum(slope * column[place] for slope, column in zip(slopes, columns, strict=True)) for place in places]
    level = mean([value - wave for value, wave in zip(series, explained, strict=True)])
    return tuple(value - wave - level for value, wave in zip(series, explained, strict=True))


def driver_steps(course: Sums) -> Steps:
    """Find what drives the harm of a day, one finding for each sort of harm; nothing where chance explains it."""
    series: dict[str, Sequence[float]] = {}
    for name, values in driving_series(course).items():
        series[name] = without_waves(values)
        yield 0, len(HARM)
    graph = yield from causal_steps(series)
    graph = graph._replace(edges=tuple(edge for edge in graph.edges if _matters(edge)))
    found: list[ProblemFound] = []
    for effect in sorted(HARM & {edge.effect for edge in graph.edges}):
        root = root_causes(graph, effect)[0]
        confounders: list[Confounder] = []
        for name in sorted(series.keys() - set(root.path)):
            confounders += detect_confounders(series[root.name], series[effect], {name: series[name]})
            yield len(found), len(HARM)
        lag = 0
        for cause, driven in pairwise(root.path):
            lag += reaction(series[cause], series[driven])
            yield len(found), len(HARM)
        moved = causal_effect(series[root.name], series[effect], min(lag, MAX_LAG))
        found.append(_driver(graph, root, lag, moved, confounders, len(series[effect])))
        yield len(found), len(HARM)
    return found


def reaction(cause: Sequence[float], effect: Sequence[float]) -> int:
    """Return after how many windows an effect follows: the fewest lags that explain most of what can be explained."""
    tests = granger(cause, effect).lags
    most = max(test.explained for test in tests)
    return next(test.lag for test in tests if test.explained >= MOSTLY * most)


def _matters(edge: CausalEdge) -> bool:
    counted = (edge.cause, edge.effect) in MADE_OF or (edge.cause.startswith(PACE) and edge.effect == "pace")
    return edge.p_value < CHANCE and edge.strength >= EXPLAINS and not counted


def _edges_of(graph: CausalGraph, root: RootCause) -> list[CausalEdge]:
    by_ends = {(edge.cause, edge.effect): edge for edge in graph.edges}
    return [by_ends[ends] for ends in pairwise(root.path)]


def _driver(
    graph: CausalGraph,
    root: RootCause,
    lag: int,
    moved: CausalEffect,
    confounders: Sequence[Confounder],
    windows: int,
) -> ProblemFound:
    """Return the finding that a root drives a harm."""
    effect, minutes = root.path[-1], MINUTES * lag
    chance = max(edge.p_value for edge in _edges_of(graph, root))
    also = ", ".join(_words(one.name) for one in confounders[:3])
    beside = f" What else goes with both: {also}." if also else " Nothing else that is known goes with both."
    shown = "; ".join(f"{edge.cause} → {edge.effect} ({edge.lag}, {edge.strength:.2f})" for edge in graph.edges[:SHOWN])
    way = f" It goes by {' → '.join(map(_words, root.path))}." if len(root.path) > 2 else ""  # noqa: PLR2004
    return ProblemFound(
        rule="driver",
        subject=f"{root.name}/{effect}",
        insight_type=InsightType.CAUSAL,
        title=f"{_words(root.name).capitalize()} drives {_words(effect)}",
        summary=f"A change of {_words(root.name)} is followed within {minutes} minutes by one of {_words(effect)}: it "
        f"explains {root.strength:.0%} of what the past of that leaves open, and chance does so in {chance:.1g} of "
        f"all cases.{way}{beside}",
        analysis=f"{' '.join(explanation(graph, effect, 'windows of five minutes'))} "
        f"Lagged regression over {windows} windows, without the waves of the day, p values corrected for all pairs. "
        f"The graph (lag, strength): {shown}.",
        figures={
            "lag_minutes": minutes,
            "explained": root.strength,
            "p_value": chance,
            "effect_deviations": moved.standardised,
            "windows": windows,
            "confounders": len(confounders),
        },
        entities=(_entity(root.name, "cause"), *(_entity(one, "affected") for one in root.path[1:])),
        advice=(
            Advice(action=f"Look at what changes {_words(root.name)}: what follows it is its effect.", share=0.6),
            Advice(action="Change it for an hour and see whether the effect goes: no regression proves it.", share=0.3),
        ),
        tags=("cause", *(() if root.name.startswith(PACE) else (root.name,)), effect),
        strength=min(1.0, 0.5 + root.strength / 2),
        agreement=1 / (1 + sum(one.explains for one in confounders)),
        affected=len(root.path) - 1,
        severity=min(1.0, max(abs(moved.standardised), root.strength)),
    )


def _words(name: str) -> str:
    return f"the pace of worker {named(name.removeprefix(PACE))}" if name.startswith(PACE) else WORDS.get(name, name)


def _entity(name: str, relationship: str) -> RelatedEntity:
    if name.startswith(PACE):
        return entity("worker", name.removeprefix(PACE), relationship)
    return entity("metric", name, relationship)
