"""Vectors of texts: the same text the same vector, similar ones close, and clusters as scikit-learn finds them."""

from math import dist, hypot

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.errors import Rejected
from functions._core.insights.error_texts import error_patterns, error_texts, pattern_of
from functions._core.insights.semantics import (
    DIMENSIONS,
    HashedEmbeddings,
    centroid,
    check_work,
    clusters,
    drift,
    embedded,
    nearest,
    outliers,
    similarity,
    unit,
)
from functions._core.learning.series import quantile
from functions._core.ports import at_once
from tests.support.histories import history
from tests.support.insights import insight

REFUSED = [f"connection to db-{n}.internal refused after {n} ms" for n in range(8)]
MEMORY = [f"worker {n} was killed: out of memory at {n} MiB" for n in range(8)]
STRAY = "la facture de juillet n'a pas été trouvée"


def alike(one: str, other: str) -> float:
    return similarity(embedded(one), embedded(other))


def test_the_same_text_has_the_same_vector_in_every_process() -> None:
    vector = embedded("connection refused")
    assert len(vector) == DIMENSIONS
    assert hypot(*vector) == pytest.approx(1)
    assert vector == embedded("  Connection\n refused ")
    # The first numbers that are there: another hash would make what is stored elsewhere useless.
    assert [(index, round(value, 4)) for index, value in enumerate(vector) if value][:3] == FIRST


FIRST = [(1, 0.14), (10, 0.14), (26, -0.14)]


def test_similar_texts_are_closer_than_others() -> None:
    assert alike("connection refused", "connection refused") == pytest.approx(1)
    assert alike(REFUSED[0], REFUSED[5]) > 0.7
    assert abs(alike(REFUSED[0], MEMORY[0])) < 0.3
    assert alike("time out", "timeout") > alike("time out", "no such file")


@settings(max_examples=60)
@given(st.text(max_size=300))
def test_every_text_has_a_vector_of_length_one(text: str) -> None:
    vector = embedded(text)
    assert hypot(*vector) == pytest.approx(1)
    assert similarity(vector, vector) == 1


@settings(max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_similarity_is_the_cosine(one: list[float], other: list[float]) -> None:
    first, second = unit(one), unit(other)
    cosine = sum(a * b for a, b in zip(first, second, strict=True))
    assert similarity(first, second) == pytest.approx(cosine, abs=1e-9)
    assert similarity(first, second) == similarity(second, first)


async def test_the_port_gives_the_same_vectors() -> None:
    made = HashedEmbeddings(at_once)
    assert list(await made.vectors(["a", "b"])) == [embedded("a"), embedded("b")]
    assert made.space == "hashed-ngrams-384"


def test_the_best_neighbour_is_first_and_those_that_are_too_far_are_none() -> None:
    among = [embedded(text) for text in [*MEMORY, *REFUSED]]
    found = nearest(embedded(REFUSED[3]), among, 5)
    assert found[0].index == len(MEMORY) + 3
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
    assert {one.index for one in found} <= set(range(8, 16))
    assert nearest(embedded(STRAY), among, 5, threshold=0.7) == []


class TestClusters:
    def test_two_groups_and_a_stray_text(self) -> None:
        found = clusters([embedded(text) for text in [*REFUSED, *MEMORY, STRAY]], 0.5, 2)
        assert (found.count, list(found.labels)) == (2, [0] * 8 + [1] * 8 + [-1])

    def test_they_are_those_of_scikit_learn(self) -> None:
        from random import Random

        from sklearn.cluster import DBSCAN

        chance = Random(7)
        for number in range(30):
            middles = [[chance.gauss(0, 1) for _ in range(6)] for _ in range(4)]
            points = [unit([chance.gauss(one, 0.3) for one in chance.choice(middles)]) for _ in range(80)]
            eps, least = chance.choice([0.02, 0.05, 0.1, 0.3]), chance.choice([1, 2, 4, 8])
            found = clusters(points, eps, least)
            theirs = DBSCAN(eps=eps, min_samples=least, metric="cosine").fit_predict(points)
            assert list(found.labels) == list(theirs), (number, eps, least)
            assert found.count == max(theirs) + 1

    def test_what_takes_too_long_to_compare_is_refused(self) -> None:
        vector = tuple([1.0] + [0.0] * 4095)
        check_work([vector] * 600)
        with pytest.raises(Rejected, match=r"at most 6\d\d texts") as refused:
            clusters([vector] * 700, 0.5, 2)
        assert (refused.value.status, refused.value.code) == (422, "too_many_texts")


class TestDriftAndOutliers:
    def test_a_shift_is_seen_and_none_is_not(self) -> None:
        before = [embedded(text) for text in REFUSED]
        assert drift(before, before) == 0
        assert drift(before[:4], before[4:]) < 0.3 < drift(before, [embedded(text) for text in MEMORY])

    def test_a_stray_text_is_an_outlier_and_texts_that_are_the_same_have_none(self) -> None:
        found = outliers([embedded(text) for text in [*REFUSED, STRAY, *REFUSED]], 95)
        assert list(found.indices) == [8]
        assert found.distances[8] > found.limit > max(found.distances[:8])
        assert outliers([embedded("same")] * 5, 95).indices == []

    def test_the_percentile_is_that_of_numpy(self) -> None:
        import numpy as np

        values = [3.0, 1.0, 2.5, 9.0, 4.0, 4.0]
        for share in (0.0, 0.5, 0.9, 0.95, 0.999, 1.0):
            assert quantile(sorted(values), share) == pytest.approx(float(np.percentile(values, share * 100)))
        assert quantile([5.0], 0.95) == 5

    def test_the_middle_of_one_is_itself(self) -> None:
        vector = embedded(STRAY)
        assert dist(centroid([vector]), vector) < 1e-12


class TestErrorTexts:
    def test_numbers_and_ids_do_not_make_another_text(self) -> None:
        assert len({pattern_of(text) for text in REFUSED}) == 1
        assert pattern_of("flow 5f0c1e8e-58a5-5d0c-9a51-1f2b7c0d4e11 at 12:30") == "flow # at #"

    def test_errors_are_counted_and_name_their_flows(self) -> None:
        rows = [row for _, some in history(3, 60) for row in some]
        bad = [row for row in rows if row.error or row.reason_code]
        assert bad, "the history has failures"
        found = error_patterns(rows)
        assert sum(one.count for one in found) == len(bad)
        assert [one.count for one in found] == sorted((one.count for one in found), reverse=True)
        assert set(found[0].flows) <= {row.flow_id for row in bad}
        assert max(len(one.flows) for one in found) <= 20

    def test_insights_are_looked_through_beside_them(self) -> None:
        found = error_texts([], [insight("a"), insight("b", flow_id="f-1")])
        assert [one.kind for one in found] == ["insight", "insight"]
        assert {one.flows for one in found} == {(), ("f-1",)}
