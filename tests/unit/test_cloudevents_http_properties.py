"""Whatever is written is read as it was, by us and by the official SDK; whatever comes is read or rejected."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as OfficialEvent
from hypothesis import given
from hypothesis import strategies as st

from functions._adapters.http.cloudevents import (
    BATCHED,
    STRUCTURED,
    _in_order,
    read_events,
    write_batch,
    write_binary,
    write_structured,
)
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
HEADERS = {"ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/test", "ce-type": "a.b"}
ENVELOPE: dict[str, Any] = {"specversion": "1.0", "id": "e-1", "source": "/test", "type": "a.b"}

noncharacters = {chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)}
noncharacters |= {chr(code) for code in range(0xFDD0, 0xFDF0)}
texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=noncharacters), min_size=1, max_size=40
)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", max_size=3), inner, max_size=3),
    max_leaves=8,
)
reserved = {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"}
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in reserved)
milliseconds = st.integers(0, 4_102_444_800_000).map(
    lambda ms: datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
)
events = st.builds(
    CloudEvent,
    id=texts,
    source=texts,
    type=texts,
    time=milliseconds,
    subject=st.none() | texts,
    data=json_values,
    extensions=st.dictionaries(names, texts, max_size=3),
)


def read(headers: dict[str, str], body: bytes = b"") -> CloudEvent:
    [event], batched = read_events(headers, body, received_at=NOW)
    assert not batched
    return event


@given(events)
def test_every_event_survives_the_binary_mode(event: CloudEvent) -> None:
    headers, body = write_binary(event)
    assert read(headers, body) == event


@given(events)
def test_binary_headers_are_printable_ascii_whatever_the_attributes_are(event: CloudEvent) -> None:
    headers, _ = write_binary(event)
    assert all("!" <= char <= "~" for value in headers.values() for char in value)


@given(events)
def test_every_event_survives_the_structured_mode(event: CloudEvent) -> None:
    assert read(*write_structured(event)) == event


@given(st.lists(events, max_size=4))
def test_every_batch_survives_in_order(batch: list[CloudEvent]) -> None:
    assert read_events(*write_batch(batch), received_at=NOW) == (batch, True)


@given(events)
def test_the_official_sdk_reads_what_is_written(event: CloudEvent) -> None:
    binary = from_binary(HTTPMessage(*write_binary(event)), JSONFormat())
    structured = from_structured(HTTPMessage(*write_structured(event)), JSONFormat())
    for read_by_sdk in (binary, structured):
        assert read_by_sdk.get_id() == event.id
        assert read_by_sdk.get_source() == event.source
        assert read_by_sdk.get_subject() == event.subject
        assert read_by_sdk.get_time() == event.time
        assert read_by_sdk.get_data() == event.data
        assert {name: read_by_sdk.get_extension(name) for name in event.extensions} == event.extensions


@given(events, st.dictionaries(st.text("xyz"), json_values, min_size=1, max_size=3))
def test_what_the_official_sdk_writes_is_read(event: CloudEvent, data: dict[str, Any]) -> None:
    attributes = {"id": event.id, "source": event.source, "type": event.type, "time": event.time, **event.extensions}
    official = OfficialEvent({**attributes, "specversion": "1.0", "datacontenttype": "application/json"}, data)
    for message in (to_binary(official, JSONFormat()), to_structured(official, JSONFormat())):
        found = read(message.headers, message.body)
        assert (found.id, found.source, found.time, found.data) == (event.id, event.source, event.time, data)
        assert found.extensions == event.extensions


@given(st.dictionaries(st.text(max_size=8).map(lambda name: f"ce-{name}"), st.text(max_size=8)), st.binary(max_size=40))
def test_whatever_comes_is_an_event_or_rejected(headers: dict[str, str], body: bytes) -> None:
    for kind in ({}, {"content-type": STRUCTURED}, {"content-type": BATCHED}, {"content-type": "application/json"}):
        assert outcome({**HEADERS, **headers, **kind}, body) in {200, 400, 413, 415}


@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "source", "type", "specversion", "time", "subject", "dataschema", "data", "x", "X", "a_b", ""]
        )
        | st.text(max_size=4),
        st.sampled_from(["1.0", "", "2026-03-01T12:00:00Z", "é", "a b", "\x7f"]) | st.text(max_size=4),
    )
)
def test_attributes_that_are_plainly_in_order_are_so_for_the_official_sdk(given_ones: dict[str, str]) -> None:
    attributes = {name[3:]: value for name, value in HEADERS.items()} | given_ones
    if _in_order(attributes):
        OfficialEvent({**attributes, "time": NOW})  # it raises for what it refuses


def outcome(headers: dict[str, str], body: bytes) -> int:
    try:
        read_events(headers, body, received_at=NOW)
    except Rejected as refusal:
        return refusal.status
    return 200
