"""Buckets of flows: they add up, whatever the pieces are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.records.models import Flow, Reason
from functions._core.records.values import Outcome
from functions._core.rollups import CODES, OTHER, WINDOWS, FlowBucket, admitted, cell_of, merged, percentile, with_flows
from tests.support.builders import make_flow

HOUR = WINDOWS["1h"]
START = datetime(2025, 3, 1, 12, tzinfo=UTC)
EMPTY = FlowBucket(start=START, since=START)


def flow(outcome: str, took_ms: int, late: bool, code: str, number: int = 1) -> Flow:
    """Return a flow that ended in the first bucket after `START`."""
    end = START + timedelta(seconds=30)
    received = end - timedelta(milliseconds=took_ms)
    ended = "TIMED_OUT" if outcome == "TIMED_OUT" else outcome
    return make_flow(
        number,
        status=ended,
        outcome=outcome,
        received_at=received,
        ended_at=end,
        sla_deadline=end - timedelta(milliseconds=1) if late else end,
        phases=({"status": "VALIDATING", "entered_at": received}, {"status": ended, "entered_at": end}),
        reasons=() if outcome == "COMPLETED" else ({"code": code, "message": "it did not work"},),
        tally={"COMPLETED": 2, "FAILED": int(outcome == "FAILED")},
        next_wakeup_at=None,
    )


FLOWS = st.lists(
    st.builds(
        flow,
        st.sampled_from([one.value for one in Outcome]),
        st.integers(0, 10**9),
        st.booleans(),
        st.sampled_from(["no_worker", "task_failed", "sla"]),
    ),
    max_size=12,
)


@given(st.lists(FLOWS, max_size=4))
def test_the_sum_of_the_parts_is_the_whole(parts: Sequence[list[Flow]]) -> None:
    together = with_flows(EMPTY, [one for part in parts for one in part], HOUR)
    assert merged(EMPTY, *(with_flows(EMPTY, part, HOUR) for part in parts)) == together
    assert reduce(lambda bucket, part: with_flows(bucket, part, HOUR), parts, EMPTY) == together
    everything = sum(map(len, parts))
    assert sum(together.outcomes.values()) == sum(together.durations.values()) == everything
    assert together.met + together.missed <= everything
    assert sum(together.reasons.values()) == everything - together.outcomes.get("COMPLETED", 0)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_at_most_a_tenth_off(spans: list[int], share: float) -> None:
    cells = {str(cell): sum(cell_of(span) == cell for span in spans) for cell in map(cell_of, spans)}
    exact = sorted(spans)[ceil(share * len(spans)) - 1]
    found = percentile(cells, share)
    assert found is not None
    assert abs(found - exact) <= max(1, 0.1 * exact)


def test_of_no_flows_there_is_no_percentile() -> None:
    assert percentile({}, 0.5) is None


@pytest.mark.parametrize("span", [-5, 0, 1, 10**18])
def test_every_duration_has_a_cell(span: int) -> None:
    assert 0 <= cell_of(span) < 130


@pytest.mark.parametrize(("outcome", "late", "met", "missed"), [
    ("COMPLETED", False, 1, 0),
    ("COMPLETED", True, 0, 1),
    ("FAILED", False, 0, 0),
    ("FAILED", True, 0, 1),
    ("TIMED_OUT", False, 0, 1),
])  # fmt: skip
def test_the_sla_is_met_by_what_was_completed_in_time(outcome: str, late: bool, met: int, missed: int) -> None:
    bucket = with_flows(EMPTY, [flow(outcome, 100, late, "x")], HOUR)
    assert (bucket.met, bucket.missed) == (met, missed)


def test_flows_count_as_admitted_where_they_arrived() -> None:
    window, starts = HOUR, HOUR.starts(START)
    old = flow("COMPLETED", 90_000, late=False, code="", number=1)  # arrived in the bucket before
    older = flow("COMPLETED", 10**8, late=False, code="", number=2)  # before the window
    waits = make_flow(3, received_at=START - timedelta(minutes=5))
    counts = admitted([with_flows(EMPTY, [old, older], window)], [waits], window, starts)
    assert [place for place, number in enumerate(counts) if number] == [len(starts) - 6, len(starts) - 2]


@pytest.mark.parametrize("window", WINDOWS.values(), ids=lambda one: one.name)
def test_a_window_has_buckets_side_by_side_and_now_in_the_last(window: object) -> None:
    assert isinstance(window, type(HOUR))
    now = datetime(2026, 2, 28, 23, 59, 59, 999_000, UTC)
    starts = window.starts(now)
    assert len(starts) == window.count
    assert {after - before for before, after in pairwise(starts)} == {window.width}
    assert starts[-1] <= now < starts[-1] + window.width
    assert all(window.start_of(start) == start for start in starts)


def test_codes_beyond_the_bound_count_as_other() -> None:
    many = [
        flow("FAILED", 1, late=False, code="").but(reasons=(Reason(code=f"{number}-" + "x" * 999, message=""),))
        for number in range(CODES + 7)
    ]
    bucket = with_flows(EMPTY, many, HOUR)
    assert bucket.reasons[OTHER] == 7
    assert max(map(len, bucket.reasons)) <= 64
    assert merged(bucket, bucket).reasons[OTHER] >= 14
    assert sum(merged(bucket, bucket).reasons.values()) == 2 * len(many)
