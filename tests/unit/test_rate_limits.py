"""Token buckets and quotas, as calculations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.rate_limits import (
    DAY_SECONDS,
    SKEW_SECONDS,
    Bucket,
    Limit,
    block_of,
    filled,
    full_in,
    read_limits,
    wait,
)

READ = Limit("read", 200, 2.0)
DAY = Limit("day", 1000, DAY_SECONDS, at_once=True)
NOW = 1_000_000_000.0
MIDNIGHT = NOW - NOW % DAY_SECONDS


def test_a_bucket_that_nobody_knows_is_full() -> None:
    assert filled(READ, None, NOW) == Bucket(200, NOW)
    assert filled(DAY, None, NOW) == Bucket(1000, NOW)


def test_a_bucket_refills_evenly_and_never_beyond_its_size() -> None:
    assert filled(READ, Bucket(0, NOW), NOW + 0.5) == Bucket(50, NOW + 0.5)
    assert filled(READ, Bucket(190, NOW), NOW + 60) == Bucket(200, NOW + 60)


def test_a_quota_is_full_again_when_the_next_day_begins_and_not_before() -> None:
    used = Bucket(3, MIDNIGHT + 5)
    assert filled(DAY, used, MIDNIGHT + DAY_SECONDS - 0.001).tokens == 3
    assert filled(DAY, used, MIDNIGHT + DAY_SECONDS).tokens == 1000
    assert full_in(DAY, used) == DAY_SECONDS - 5
    assert (wait(DAY, used, 100), wait(DAY, Bucket(0, MIDNIGHT + 5), 100)) == (0, DAY_SECONDS - 5)


def test_a_limit_that_was_lowered_holds_at_once() -> None:
    assert filled(READ, Bucket(5000, NOW), NOW).tokens == 200
    assert filled(DAY, Bucket(5000, NOW), NOW).tokens == 1000


@pytest.mark.parametrize("limit", [READ, DAY])
def test_a_clock_that_goes_back_neither_fills_nor_locks_a_bucket(limit: Limit) -> None:
    empty = Bucket(0, NOW)
    assert filled(limit, empty, NOW - SKEW_SECONDS) == empty
    back = filled(limit, empty, NOW - 10 * DAY_SECONDS)
    assert back == Bucket(0, NOW - 10 * DAY_SECONDS)
    assert filled(limit, back, back.at + limit.seconds).tokens == limit.size


def test_two_clocks_that_differ_fill_a_bucket_no_faster_than_the_faster_one() -> None:
    bucket = Bucket(0, NOW)
    for step in range(1, 11):
        bucket = filled(READ, bucket, NOW + step / 100 + 3)
        bucket = filled(READ, bucket, NOW + step / 100)
    assert bucket.tokens == 200
    bucket = Bucket(0, NOW + 3)
    for step in range(1, 11):
        for ahead in (3, 0):
            bucket = filled(READ, bucket, NOW + step / 100 + ahead)
    assert bucket.tokens == pytest.approx(10)


def test_a_process_that_is_alone_takes_all_and_one_of_several_a_part() -> None:
    def blocks(limit: Limit, tokens: float) -> tuple[int, int]:
        bucket = Bucket(tokens, NOW)
        return block_of(limit, bucket, alone=True), block_of(limit, bucket, alone=False)

    assert [blocks(READ, tokens) for tokens in (200, 100.9, 5.9, 0.9, 0)] == [
        (200, 25),
        (100, 12),
        (5, 5),
        (0, 0),
        (0, 0),
    ]
    assert [blocks(DAY, tokens) for tokens in (1000, 10, 3, 0)] == [(10, 10), (10, 10), (3, 3), (0, 0)]
    assert blocks(Limit("write", 1, 1), 1) == (1, 1)
    assert blocks(Limit("day", 10**9, DAY_SECONDS, at_once=True), 10**9) == (100, 100)


def test_an_empty_bucket_is_looked_at_again_when_a_quarter_is_back() -> None:
    assert wait(READ, Bucket(40, NOW), READ.refill) == pytest.approx(0.1)
    assert wait(READ, Bucket(60, NOW), READ.refill) == 0
    assert Limit("write", 1, 1).refill == 1


times = st.floats(0, 4e9)


@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 50)), max_size=50), st.booleans(), times)
def test_never_more_is_taken_than_was_there_and_came_back(
    steps: list[tuple[float, int]], at_once: bool, start: float
) -> None:
    limit = Limit("any", 50, 25.0, at_once)
    bucket, now, sum_of_taken, ahead = filled(limit, None, start), start, 0, 0.0
    for seconds, number in steps:
        now += seconds
        ahead += max(0.0, seconds)
        bucket = filled(limit, bucket, now)
        count = min(number, int(bucket.tokens))
        bucket = Bucket(bucket.tokens - count, bucket.at)
        sum_of_taken += count
        assert 0 <= bucket.tokens <= limit.size
    # A quota comes back at each end of a period that the clock has gone over.
    back = (ahead // limit.seconds + len(steps) + 1) * limit.size if at_once else ahead * limit.size / limit.seconds
    assert sum_of_taken <= limit.size + back + 0.001


def test_limits_are_read_with_the_defaults_beside_them() -> None:
    assert {name: (limit.size, limit.seconds) for name, limit in read_limits("").items()} == {
        "read": (200, 2),
        "write": (40, 2),
        "worker": (400, 2),
        "stranger": (40, 2),
    }
    chosen = read_limits("  write=5/1  day=1000 ")
    assert (chosen["write"], chosen["day"]) == (Limit("write", 1, 0.2), DAY)
    assert chosen["read"].size == 200
    assert read_limits("off") == {}


@pytest.mark.parametrize(
    "text", ["on", "read", "read=", "read=10", "read=0/1", "read=1/0", "read=-1/1", "read=1.5/2", "day=0", "day=1/2",
             "write=1/2,read=3/4", "off day=3", "hour=3", "read=1/9999999999", "read=\u0661/\u0662"]
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate/burst"):
        read_limits(text)
