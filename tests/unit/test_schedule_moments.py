"""The moments of schedules: cron in time zones, intervals, lists, exceptions; clocks put forward and back."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.schedules.moments import Timetable, check_cron, check_zone, jitter_of, moments_between, next_moment

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def after(cron: str, zone: str, start: str, number: int) -> list[str]:
    """Return the next moments behind `start` as the clock of the zone shows them."""
    found: list[str]
    timetable, moment, found = (
        Timetable(cron=cron, zone=zone),
        next_moment(Timetable(cron=cron, zone=zone), at(start)),
        [],
    )
    while moment is not None and len(found) < number:
        found.append(moment.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
        moment = next_moment(timetable, moment)
    return found


@pytest.mark.parametrize(
    ("zone", "cron", "start", "expected"),
    [
        # The clock is put forward: a fixed time that is left out comes right after the gap, once.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T12:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T12:00+10:30",
            ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
        ),
        ("UTC", "30 2 * * *", "2026-03-28T12:00+00:00", ["2026-03-29T02:30+00:00", "2026-03-30T02:30+00:00"]),
        # The clock is put back: a fixed time that comes twice runs the first time.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00+02:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-10-31T12:00-04:00",
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
        ),
        # A job whose hour is a wildcard runs whenever the clock shows such a time.
        (
            "Europe/Berlin",
            "30 * * * *",
            "2026-10-25T01:45+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"],
        ),
        ("Europe/Berlin", "30 * * * *", "2026-03-29T01:15+01:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"]),
        (
            "Australia/Lord_Howe",
            "*/20 * * * *",
            "2026-04-05T01:50+11:00",
            ["2026-04-05T01:40+10:30", "2026-04-05T02:00+10:30"],
        ),
    ],
)
def test_clocks_that_are_put_forward_and_back(zone: str, cron: str, start: str, expected: list[str]) -> None:
    assert after(cron, zone, start, len(expected)) == expected


def test_who_asks_within_the_hour_that_comes_twice_gets_a_later_moment() -> None:
    second_time = "2026-10-25T02:40+01:00"
    assert after("50 2 * * *", "Europe/Berlin", second_time, 1) == ["2026-10-26T02:50+01:00"]


@pytest.mark.parametrize(
    ("cron", "names"),
    [
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 32 * *", "day-of-month"),
        ("0 0 30 2 *", "day-of-month"),
        ("* * * JAM *", "month"),
        ("* * * * 9", "day-of-week"),
        ("1-0 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
    ],
)
def test_a_bad_expression_names_its_field(cron: str, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        check_cron(cron)


@given(st.text(alphabet="0123456789*/,-#LW SUNMONJAN²", max_size=60))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    try:
        check_cron(text)
    except ValueError:
        return
    next_moment(Timetable(cron=text), at("2026-11-29T00:00+00:00"))


@pytest.mark.parametrize("zone", ["Europe/Bern", "../../etc/passwd", "/etc/passwd", "Europe", "\0", "", "A" * 300])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        check_zone(zone)


minutes = st.sampled_from(["0", "30", "*/7", "5,35", "59"])
hours = st.sampled_from(["*", "0", "1", "2", "2,3", "*/3", "1-3"])
crons = st.builds(lambda minute, hour: f"{minute} {hour} * * *", minutes, hours)
near_changes = st.sampled_from(
    [f"2026-{day}T00:00+00:00" for day in ("03-08", "03-28", "04-04", "10-03", "10-24", "11-01")]
)


@given(crons, st.sampled_from(ZONES), near_changes, st.integers(-600, 2000), st.sets(st.integers(0, 4), max_size=3))
def test_moments_increase_are_in_no_exception_and_show_what_was_asked_for(
    cron: str, zone: str, start: str, offset: int, excepted: set[int]
) -> None:
    begin = at(start) + timedelta(minutes=offset)
    days = [begin.date() + timedelta(days=number) for number in sorted(excepted)]
    timetable = Timetable(cron=cron, zone=zone, exceptions=tuple((day, day) for day in days))
    moments = list(islice(moments_between(timetable, begin, begin + 5 * DAY), 500))
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert all(moment.second == moment.microsecond == 0 for moment in moments)
    assert not {moment.date() for moment in local} & set(days)
    minute, hour = cron.split()[:2]
    if not minute.startswith("*") and not hour.startswith("*"):
        shown = [moment.replace(tzinfo=None) for moment in local]
        assert len(set(shown)) == len(shown), "one for each time that the clock shows"


@given(st.integers(1, 100_000), st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_intervals_are_counted_from_their_anchor(every: int, anchor: int, start: int) -> None:
    epoch = at("2026-01-01T00:00+00:00")
    timetable = Timetable(every=timedelta(seconds=every), anchor=epoch + timedelta(seconds=anchor))
    begin = epoch + timedelta(seconds=start)
    found = next_moment(timetable, begin)
    assert found is not None
    assert timedelta() < found - begin <= timedelta(seconds=every)
    assert (found - timetable.anchor) % timedelta(seconds=every) == timedelta()


def test_a_list_of_moments_is_over_behind_its_last() -> None:
    moments = (at("2026-01-01T00:00+00:00"), at("2026-02-01T00:00+00:00"))
    timetable = Timetable(moments=moments, ends=at("2026-01-15T00:00+00:00"))
    assert next_moment(timetable, moments[0] - DAY) == moments[0]
    assert next_moment(timetable, moments[0]) is None
    assert next_moment(timetable._replace(ends=None), moments[0]) == moments[1]
    assert next_moment(timetable._replace(ends=None, starts=moments[1]), moments[0] - DAY) == moments[1]
    assert next_moment(timetable._replace(ends=None), moments[1]) is None


def test_a_range_of_exceptions_is_passed_over_in_the_days_of_the_zone() -> None:
    berlin = Timetable(cron="0 0 * * *", zone="Europe/Berlin", exceptions=((date(2026, 12, 24), date(2027, 1, 1)),))
    assert next_moment(berlin, at("2026-12-23T12:00+01:00")) == at("2027-01-02T00:00+01:00")


def test_the_end_of_the_calendar_is_no_moment() -> None:
    late = at("9999-12-31T23:00+00:00")
    assert next_moment(Timetable(every=10_000 * DAY), late) is None
    assert next_moment(Timetable(cron="0 0 * * *"), late) is None
    assert next_moment(Timetable(cron="0 0 * * *", zone="Australia/Lord_Howe"), late) is None


@given(st.integers(0, 10**9), st.integers(1, 86_400))
def test_jitter_is_the_same_for_the_same_moment_and_within_its_bound(seconds: int, most: int) -> None:
    moment, bound = datetime.fromtimestamp(seconds, UTC), timedelta(seconds=most)
    jitter = jitter_of("nightly", moment, bound)
    assert timedelta() <= jitter < bound
    assert jitter == jitter_of("nightly", moment, bound)


def test_jitter_spreads_schedules_of_one_moment() -> None:
    moment, bound = at("2026-01-01T00:00+00:00"), timedelta(hours=1)
    jitters = [jitter_of(f"s{number}", moment, bound) for number in range(400)]
    assert sum(jitter < bound / 2 for jitter in jitters) in range(150, 251)
