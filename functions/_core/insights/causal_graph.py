"""Which of several series drive which: a graph without cycles, its roots, and what it says in sentences. Pure.

Edges are those of Granger's test, whose p values are corrected for the number of pairs (Benjamini and Hochberg). Of two
that drive each other the stronger direction counts. An edge that vanishes once a third series is known, which has to do
with both, is left out, and named with it. Of each cycle the weakest edge is cut.

Twenty series of 2,000 points take ten seconds; so the work is a generator that yields after each test, of 30 ms at
most, and callers go on when they like: see `causal_steps`.
"""

from collections.abc import Generator, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

from functions._core.insights.causality import LEAST_POINTS, SURE, granger
from functions._core.learning.series import UnusableSeries, checked, constant

MAX_SERIES = 20
"""Series of a graph: each pair of them is tested twice."""

MAX_GRAPH_POINTS = 2000
"""Points of each series of a graph."""

MAX_NAME = 200
"""Characters of the name of a series that sentences show."""


class CausalEdge(NamedTuple):
    """A series that drives another one."""

    cause: str
    """The name of the one."""
    effect: str
    """The name of the other one."""
    lag: int
    """After how many points, at most."""
    p_value: float
    """How likely it is by chance, 0 to 1, corrected for the number of pairs."""
    strength: float
    """The share, 0 to 1, of what the effect's own past leaves unexplained that the cause explains."""


class ExplainedEdge(NamedTuple):
    """An edge that was left out, as a third series explains it."""

    edge: CausalEdge
    """The edge."""
    by: str
    """The name of that series: it drives both, or lies between them."""


class CausalGraph(NamedTuple):
    """Which series drive which."""

    names: tuple[str, ...]
    """All series, sorted."""
    edges: tuple[CausalEdge, ...]
    """What drives what, the strongest first; there is no cycle."""
    explained: tuple[ExplainedEdge, ...] = ()
    """Edges that another series explains."""
    cut: tuple[CausalEdge, ...] = ()
    """Edges that were the weakest of a cycle."""


class RootCause(NamedTuple):
    """A series that nothing drives, and that drives another one by whatever way."""

    name: str
    """The series."""
    strength: float
    """The product of the strengths along the strongest way, 0 to 1."""
    path: tuple[str, ...]
    """That way, from the root to what it drives."""


Step = Generator[tuple[int, int], None, CausalGraph]
"""Yields how many steps of how many are done, at least; returns the graph."""


def causal_graph(series: Mapping[str, Sequence[float]]) -> CausalGraph:
    """Return which series drive which, in one go; raises `UnusableSeries`."""
    steps = causal_steps(series)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            graph: CausalGraph = done.value
            return graph


def causal_steps(series: Mapping[str, Sequence[float]]) -> Step:
    """Return the graph of the series step by step; raises `UnusableSeries` at the first one."""
    if len(series) > MAX_SERIES:
        raise UnusableSeries(f"a graph has at most {MAX_SERIES} series, not {len(series)}")
    lengths = {len(values) for values in series.values()}
    if len(lengths) > 1:
        raise UnusableSeries("the series of a graph have as many points each")
    usable = {name: checked(series[name], LEAST_POINTS, MAX_GRAPH_POINTS) for name in sorted(series)}
    moving = [name for name, values in usable.items() if not constant(values)]
    pairs = list(permutations(moving, 2))
    raw = []
    for done, (cause, effect) in enumerate(pairs):
        test = granger(usable[cause], usable[effect])
        raw.append(CausalEdge(cause, effect, test.best.lag, test.p_value, test.best.explained))
        yield done + 1, len(pairs) + 1
    edges = _one_direction(corrected(raw))
    edges, explained = yield from _left_after(edges, usable, len(pairs))
    kept, cut = acyclic(edges)
    return CausalGraph(tuple(usable), kept, explained, cut)


def corrected(edges: Sequence[CausalEdge]) -> list[CausalEdge]:
    """Return the edges that hold when so many were tried (Benjamini and Hochberg), the strongest first."""
    ordered = sorted(edges, key=lambda edge: edge.p_value)
    lowest, found = 1.0, []
    for place in reversed(range(len(ordered))):
        lowest = min(lowest, ordered[place].p_value * len(ordered) / (place + 1))
        if lowest < SURE:
            found.append(ordered[place]._replace(p_value=lowest))
    return sorted(found, key=_rank)


def _rank(edge: CausalEdge) -> tuple[float, float, str, str]:
    return -edge.strength, edge.p_value, edge.cause, edge.effect


def _one_direction(edges: Sequence[CausalEdge]) -> list[CausalEdge]:
    """Return the edges, the strongest first, without the weaker one of two that contradict each other."""
    kept: dict[tuple[str, str], CausalEdge] = {}
    for edge in edges:
        if (edge.effect, edge.cause) not in kept:
            kept[edge.cause, edge.effect] = edge
    return list(kept.values())


def _left_after(
    edges: Sequence[CausalEdge], usable: Mapping[str, Sequence[float]], pairs: int
) -> Generator[tuple[int, int], None, tuple[list[CausalEdge], tuple[ExplainedEdge, ...]]]:
    """Return the edges that no third series explains, and the others.

    The weakest is looked at first. Only a series that still has to do with both ends may explain an edge, so that two
    that are alike do not explain each other away.
    """
    left = list(edges)
    explained = []
    for edge in reversed(edges):
        linked = {frozenset((one.cause, one.effect)) for one in left}
        for other in usable:
            if not {frozenset((other, edge.cause)), frozenset((other, edge.effect))} <= linked - {
                frozenset((edge.cause, edge.effect))
            }:
                continue
            beside = granger(usable[edge.cause], usable[edge.effect], [usable[other]])
            yield pairs, pairs + 1
            if not beside.causes:
                left.remove(edge)
                explained.append(ExplainedEdge(edge, other))
                break
    return left, tuple(explained)


def acyclic(edges: Sequence[CausalEdge]) -> tuple[tuple[CausalEdge, ...], tuple[CausalEdge, ...]]:
    """Return the edges without cycles, and those cut: what closes a cycle of stronger edges is its weakest."""
    kept: list[CausalEdge] = []
    cut: list[CausalEdge] = []
    for edge in sorted(edges, key=_rank):
        (cut if _reaches(kept, edge.effect, edge.cause) else kept).append(edge)
    return tuple(kept), tuple(cut)


def _reaches(edges: Sequence[CausalEdge], start: str, end: str) -> bool:
    reached, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        after = {edge.effect for edge in edges if edge.cause == here} - reached
        reached |= after
        waiting += sorted(after)
    return end in reached


def root_causes(graph: CausalGraph, effect: str) -> tuple[RootCause, ...]:
    """Return what drives a series, by whatever way, and is itself driven by nothing; the strongest first."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {effect: (1.0, (effect,))}
    waiting = [effect]
    while waiting:
        here = waiting.pop()
        strength, path = best[here]
        for edge in graph.edges:
            if edge.effect == here and strength * edge.strength > best.get(edge.cause, (0.0, ()))[0]:
                best[edge.cause] = strength * edge.strength, (edge.cause, *path)
                waiting.append(edge.cause)
    driven = {edge.effect for edge in graph.edges}
    found = [RootCause(name, *way) for name, way in best.items() if name != effect and name not in driven]
    return tuple(sorted(found, key=lambda one: (-one.strength, one.name)))


def explanation(graph: CausalGraph, effect: str, unit: str = "steps") -> tuple[str, ...]:
    """Return what the graph says about a series, a sentence each; `unit` is what points are apart."""
    said = [
        f"{_named(edge.cause)} drives {_named(effect)} within {edge.lag} {unit}: it explains {edge.strength:.0%} of "
        f"what the past of {_named(effect)} leaves open (p = {edge.p_value:.2g})."
        for edge in graph.edges
        if edge.effect == effect
    ]
    said += [
        f"It begins with {_named(root.name)}: {' → '.join(map(_named, root.path))}."
        for root in root_causes(graph, effect)
        if len(root.path) > 2  # noqa: PLR2004 - a way of two was said above
    ]
    said += [
        f"{_named(gone.edge.cause)} seems to drive {_named(effect)}, but says nothing more once {_named(gone.by)} is "
        "known."
        for gone in graph.explained
        if gone.edge.effect == effect
    ]
    said += [
        f"{_named(edge.cause)} also seems to drive {_named(effect)}, the weakest part of a circle."
        for edge in graph.cut
        if edge.effect == effect
    ]
    return tuple(said) or (f"Nothing among {len(graph.names)} series drives {_named(effect)}.",)


def _named(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
