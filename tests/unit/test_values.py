"""Ids and times: the same for everybody who computes them."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.records.values import EARLIEST, LATEST, format_time, name_uuid, parse_time

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(namespace=st.uuids(), name=TEXT)
def test_ids_are_version_five_uuids_that_any_client_can_compute(namespace: UUID, name: str) -> None:
    assert name_uuid(str(namespace), name) == str(uuid5(namespace, name))


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_that_was_written_is_read_back_to_the_millisecond(moment: datetime) -> None:
    read = parse_time(format_time(moment))
    assert isinstance(read, datetime)
    assert timedelta() <= moment - read < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0001-01-01T00:00:00Z", EARLIEST),
        ("0001-01-01T09:00:00+09:00", EARLIEST),
        ("9999-12-31T23:59:59.999999Z", LATEST),
        ("9999-12-31T14:59:59.999999-09:00", LATEST),
    ],
)
def test_a_time_at_an_end_of_the_calendar_is_one_that_every_store_takes(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


def test_times_are_written_in_utc_whatever_zone_they_are_in() -> None:
    there = datetime(2030, 1, 1, 2, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(there) == format_time(there.astimezone(UTC)) == "2030-01-01T00:00:00.123Z"


@pytest.mark.parametrize("value", [0, 1_893_456_000_123, 1_893_456_000_123.0])
def test_epoch_milliseconds_are_read_as_times(value: float) -> None:
    read = parse_time(value)
    assert isinstance(read, datetime)
    assert read.timestamp() * 1000 == pytest.approx(value)


@pytest.mark.parametrize("value", [0, 1_735_689_600, 20_250_101, 1_893_456_000_123, 1_893_456_000_123.5])
def test_a_number_as_text_is_the_time_that_the_number_is(value: float) -> None:
    for text in (str(value), f"+{value}"):
        assert parse_time(text) == parse_time(value)
    with pytest.raises(ValueError, match="1970 and 9999"):
        parse_time(f"-{value + 1}")


def test_a_date_with_hyphens_is_no_number() -> None:
    assert parse_time("2025-01-01") == datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", [-1, 10**15, float("inf")])
def test_numbers_that_are_no_time_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="1970 and 9999"):
        parse_time(value)
