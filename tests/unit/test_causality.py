"""What drives what: Granger's test beside statsmodels, known graphs recovered, cycles cut, confounders named."""

import random
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf, isfinite, nan, sin
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.insights.causal_graph import (
    MAX_GRAPH_POINTS,
    MAX_NAME,
    MAX_SERIES,
    CausalEdge,
    CausalGraph,
    acyclic,
    causal_graph,
    causal_steps,
    corrected,
    explanation,
    root_causes,
)
from functions._core.insights.causality import causal_effect, detect_confounders, granger
from functions._core.insights.regression import Design
from functions._core.learning.series import UnusableSeries

Series = dict[str, list[float]]


def driven(edges: Mapping[str, Mapping[str, int]], number: int = 400, seed: int = 1) -> Series:
    """Return series of which each follows those that drive it, so many points later, beside noise of its own."""
    draw = random.Random(seed)
    series: Series = {name: [draw.gauss(0, 1) for _ in range(10)] for name in edges}
    for at in range(10, number):
        for name, causes in edges.items():
            pulled = sum(0.8 * series[cause][at - lag] for cause, lag in causes.items())
            series[name].append(pulled + 0.2 * series[name][at - 1] + draw.gauss(0, 0.7))
    return series


PAIR = driven({"x": {}, "y": {"x": 2}})


def test_x_drives_y_and_y_does_not_drive_x() -> None:
    forth, back = granger(PAIR["x"], PAIR["y"]), granger(PAIR["y"], PAIR["x"])
    assert forth.causes
    assert not back.causes
    assert forth.lags[1].p_value < 1e-20 < forth.lags[0].p_value  # it takes two points
    assert forth.best.explained > 0.3


@pytest.mark.parametrize("number", [25, 60, 400])
def test_figures_are_those_of_statsmodels(number: int) -> None:
    import numpy as np
    from statsmodels.tsa.stattools import grangercausalitytests

    for cause, effect in (("x", "y"), ("y", "x")):
        x, y = PAIR[cause][:number], PAIR[effect][:number]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = grangercausalitytests(np.column_stack([y, x]), 5)
        found = granger(x, y)
        assert len(found.lags) == 5
        for one in found.lags:
            f, p, _, _ = expected[one.lag][0]["ssr_ftest"]
            assert one.f == pytest.approx(f, rel=1e-6)
            assert one.p_value == pytest.approx(p, rel=1e-5, abs=1e-200)


def test_least_squares_are_those_of_numpy_and_leave_out_what_is_known() -> None:
    import numpy as np

    columns = [PAIR["x"], [3 * value + 1 for value in PAIR["x"]], PAIR["y"]]
    series = [2 * x - 5 * y + sin(n) for n, (x, y) in enumerate(zip(PAIR["x"], PAIR["y"], strict=True))]
    fit = Design(columns, series).fit(3)
    matrix = np.column_stack([np.ones(len(series)), columns[0], columns[2]])
    slopes, left, _, _ = np.linalg.lstsq(matrix, np.array(series), rcond=None)
    assert fit.rank == 2
    assert fit.slopes == pytest.approx((slopes[1], 0.0, slopes[2]))
    assert fit.left == pytest.approx(left[0] / (np.var(series) * len(series)))


def test_two_series_without_anything_to_do_with_each_other_seldom_seem_to_have() -> None:
    found = 0
    for seed in range(60):
        series = driven({"a": {}, "b": {}}, 80, seed)
        found += granger(series["a"], series["b"]).causes
    assert found <= 8  # 3 are expected at most


def test_the_effect_is_what_the_cause_moves() -> None:
    effect = causal_effect(PAIR["x"], PAIR["y"], 2)
    assert effect.per_unit == pytest.approx(0.8, abs=0.12)
    assert 0.4 < effect.standardised < 1.0
    assert effect.explained > 0.3
    scaled = causal_effect([1000 * value for value in PAIR["x"]], PAIR["y"], 2)
    assert scaled.per_unit == pytest.approx(effect.per_unit / 1000)
    assert scaled.standardised == pytest.approx(effect.standardised)


COMMON = driven({"load": {}, "waits": {"load": 1}, "failures": {"load": 2}, "rain": {}})
"""The load drives two series, the one earlier than the other: so that the one seems to drive the other."""


def test_a_confounder_is_named_and_what_has_nothing_to_do_with_it_is_not() -> None:
    assert granger(COMMON["waits"], COMMON["failures"]).causes
    others = {"rain": COMMON["rain"], "load": COMMON["load"]}
    (found,) = detect_confounders(COMMON["waits"], COMMON["failures"], others)
    assert found.name == "load"
    assert found.explains
    assert min(abs(found.with_cause), abs(found.with_effect)) > 0.5


def edges_of(graph: CausalGraph) -> set[tuple[str, str]]:
    return {(edge.cause, edge.effect) for edge in graph.edges}


def test_a_known_graph_is_recovered_with_its_root() -> None:
    graph = causal_graph(COMMON)
    assert edges_of(graph) == {("load", "waits"), ("load", "failures")}
    assert [(gone.edge.cause, gone.edge.effect, gone.by) for gone in graph.explained] == [("waits", "failures", "load")]
    (root,) = root_causes(graph, "failures")
    assert (root.name, root.path) == ("load", ("load", "failures"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_chain_is_recovered_without_its_shortcuts(seed: int) -> None:
    series = driven({"a": {}, "b": {"a": 1}, "c": {"b": 1}, "d": {"c": 1, "e": 2}, "e": {}}, 500, seed)
    graph = causal_graph(series)
    assert edges_of(graph) == {("a", "b"), ("b", "c"), ("c", "d"), ("e", "d")}
    assert {root.name: root.path for root in root_causes(graph, "d")} == {
        "a": ("a", "b", "c", "d"),
        "e": ("e", "d"),
    }
    said = explanation(graph, "d", "minutes")
    assert any("c drives d within" in sentence and "minutes" in sentence for sentence in said)
    assert "It begins with a: a → b → c → d." in said


def test_of_a_circle_the_weakest_edge_is_cut() -> None:
    import networkx as nx

    draw = random.Random(5)
    names = "abcdefg"
    edges = [
        CausalEdge(one, other, 1, 0.001, draw.random())
        for one in names
        for other in names
        if one != other and draw.random() < 0.5
    ]
    kept, cut = acyclic(edges)
    assert {*kept, *cut} == set(edges)
    assert cut
    graph = nx.DiGraph([(edge.cause, edge.effect) for edge in kept])
    assert nx.is_directed_acyclic_graph(graph)
    strengths = {(edge.cause, edge.effect): edge.strength for edge in kept}
    for edge in cut:
        ways = nx.all_simple_paths(graph, edge.effect, edge.cause)
        assert any(all(strengths[step] >= edge.strength for step in pairwise(way)) for way in ways)
    for effect in names:
        found = root_causes(CausalGraph(tuple(names), kept), effect)
        ancestors = nx.ancestors(graph, effect)
        assert {one.name for one in found} == {one for one in ancestors if graph.in_degree(one) == 0}
        for one in found:
            ways = [[strengths[step] for step in pairwise(way)] for way in nx.all_simple_paths(graph, one.name, effect)]
            products = [1.0] * len(ways)
            for place, way in enumerate(ways):
                for strength in way:
                    products[place] *= strength
            assert one.strength == pytest.approx(max(products))


def test_p_values_are_corrected_as_scipy_does() -> None:
    from scipy import stats

    values = [0.001, 0.2, 0.012, 0.03, 0.9, 0.0004, 0.04]
    edges = [CausalEdge(str(n), "y", 1, value, 1 - value) for n, value in enumerate(values)]
    expected = stats.false_discovery_control(values)
    assert {edge.cause: edge.p_value for edge in corrected(edges)} == pytest.approx(
        {str(n): value for n, value in enumerate(expected) if value < 0.05}
    )


def test_series_that_are_alike_do_not_explain_each_other_away() -> None:
    series = driven({"x": {}, "y": {"x": 1}})
    draw = random.Random(9)
    series["copy"] = [value + draw.gauss(0, 0.01) for value in series["x"]]
    graph = causal_graph(series)
    assert {cause for cause, effect in edges_of(graph) if effect == "y"} & {"x", "copy"}


def test_nothing_is_said_to_drive_what_nothing_drives_and_names_are_cut() -> None:
    name = "<b>" * 100
    series = driven({name: {}, "b": {}})
    (said,) = explanation(causal_graph(series), name)
    assert said.startswith("Nothing among 2 series drives <b>")
    assert len(said) < MAX_NAME + 60
    assert causal_graph({}) == CausalGraph((), ())
    assert causal_graph({"flat": [1.0] * 20, "other": [2.0] * 20}).edges == ()


def test_a_graph_is_made_in_steps_that_are_short() -> None:
    series = driven({"a": {}, "b": {"a": 1}, "c": {"a": 1}}, MAX_GRAPH_POINTS)
    steps, longest, number, begin = causal_steps(series), 0.0, 0, perf_counter()
    for number, (done, of) in enumerate(steps, 1):  # noqa: B007 - counted
        assert done < of
        longest, begin = max(longest, perf_counter() - begin), perf_counter()
    assert number >= 6
    assert longest < 1  # a loaded machine; some tens of milliseconds on a free one


@pytest.mark.parametrize(
    ("series", "why"),
    [
        ({str(n): [0.0] * 20 for n in range(MAX_SERIES + 1)}, "at most"),
        ({"a": [0.0] * 20, "b": [0.0] * 21}, "as many points"),
        ({"a": [0.0] * (MAX_GRAPH_POINTS + 1)}, "points"),
        ({"a": [1.0] * 11}, "points"),
        ({"a": [nan] * 20}, "no finite number"),
        ({"a": [inf] * 20}, "no finite number"),
    ],
)
def test_a_graph_is_bounded_and_made_of_numbers(series: Series, why: str) -> None:
    with pytest.raises(UnusableSeries, match=why):
        causal_graph(series)


@pytest.mark.parametrize("lags", [0, 6])
def test_lags_are_bounded(lags: int) -> None:
    with pytest.raises(UnusableSeries):
        granger(PAIR["x"], PAIR["y"], max_lag=lags)
    with pytest.raises(UnusableSeries):
        causal_effect(PAIR["x"], PAIR["y"], lags)


def test_what_is_known_and_what_may_confound_is_bounded() -> None:
    other = PAIR["x"][::-1]
    with pytest.raises(UnusableSeries, match="3 other series"):
        granger(PAIR["x"], PAIR["y"], [other] * 4)
    with pytest.raises(UnusableSeries, match="20 series"):
        detect_confounders(PAIR["x"], PAIR["y"], {str(n): other for n in range(21)})
    with pytest.raises(UnusableSeries, match="too short"):
        granger(PAIR["x"][:12], PAIR["y"][:12], [other[:12]] * 3)


@pytest.mark.parametrize(
    "effect",
    [[1.0] * 40, [float(n) for n in range(40)], [float(n % 2) for n in range(40)], [0.0] * 39 + [1e15]],
    ids=["constant", "line", "alternating", "step"],
)
def test_series_that_explain_themselves_need_no_cause(effect: Sequence[float]) -> None:
    assert not granger([sin(n * n) for n in range(40)], effect).causes


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-1e15, 1e15), st.floats(-1e15, 1e15)), min_size=12, max_size=40))
def test_whatever_series_hold_figures_are_finite(pairs: list[tuple[float, float]]) -> None:
    x, y = [one for one, _ in pairs], [other for _, other in pairs]
    found = granger(x, y)
    for one in found.lags:
        assert isfinite(one.f)
        assert 0 <= one.p_value <= 1
        assert 0 <= one.explained <= 1
    assert all(map(isfinite, causal_effect(x, y, 1)))
    assert all(isfinite(one.with_cause) for one in detect_confounders(x, y, {"z": x[::-1]}))
