import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from functions._adapters.http.cloudevents import (
    ATTRIBUTE_LIMIT,
    BATCH_LIMIT,
    BATCHED,
    STRUCTURED,
    read_events,
    write_binary,
    write_structured,
)
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
HEADERS = {"ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/test", "ce-type": "a.b"}
ENVELOPE: dict[str, Any] = {"specversion": "1.0", "id": "e-1", "source": "/test", "type": "a.b"}


def read(headers: dict[str, str], body: bytes = b"") -> CloudEvent:
    [event], batched = read_events(headers, body, received_at=NOW)
    assert not batched
    return event


def read_structured(envelope: object) -> CloudEvent:
    return read({"content-type": STRUCTURED}, json.dumps(envelope).encode())


def without(mapping: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"ce-source": "", "content-type": "application/json"}, b"{}"),
        ({"content-type": STRUCTURED}, b'{"source": "", "id": null}'),
        ({}, b""),
    ],
)
def test_every_missing_or_empty_attribute_is_named(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Rejected) as refusal:
        read(headers, body)
    assert str(refusal.value) == "missing attributes: id, source, type, specversion"
    assert (refusal.value.code, refusal.value.status) == ("malformed_event", 400)


@pytest.mark.parametrize("version", ["0.3", "1.1", "2"])
def test_no_other_version_is_taken(version: str) -> None:
    with pytest.raises(Rejected, match=r"missing attributes: id; specversion must be 1\.0"):
        read({**without(HEADERS, "ce-id"), "ce-specversion": version})


def test_an_event_without_time_gets_the_time_of_its_arrival() -> None:
    assert read(HEADERS).time == NOW


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01t12:00:00.5z", datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-03-01T12:00:00.123456789Z", datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-03-01T09:00:00-03:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_rfc_3339(text: str, time: datetime) -> None:
    assert read({**HEADERS, "ce-time": text}).time == time
    assert read_structured({**ENVELOPE, "time": text}).time == time


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-03-01", "2026-03-01T12:00:00", "20260301T120000Z", "2026-02-30T12:00:00Z", "1772366400000",
     "0001-01-01T00:00:00+10:00", "2026-03-01T12:00:00Z\n", "٢026-03-01T12:00:00Z"],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(Rejected):
        read_structured({**ENVELOPE, "time": text})


def test_header_values_are_percent_decoded_once() -> None:
    event = read({**HEADERS, "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80", "ce-a": "100%25", "ce-b": "%2541"})
    assert event.subject == "Euro € 😀"
    assert event.extensions == {"a": "100%", "b": "%41"}


def test_quoted_header_values_of_older_senders_are_read() -> None:
    assert read({**HEADERS, "ce-subject": r'"a \"b\" c"'}).subject == 'a "b" c'


def test_unencoded_utf_8_in_a_header_is_understood() -> None:
    assert read({**HEADERS, "ce-subject": "€".encode().decode("latin-1")}).subject == "€"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"M\xfcller", "Müller"),
        ("Müller".encode(), "Müller"),
        (b'"M\xfcller \\"x\\""', 'Müller "x"'),
        (b"M\xfcller %C3%BC 100%25", "Müller ü 100%"),
        ("ü %C3%BC".encode(), "ü ü"),
        (b"\xff", "ÿ"),
    ],
)
def test_what_sdks_send_raw_is_read_as_utf_8_or_else_as_latin_1(raw: bytes, text: str) -> None:
    event = read({**HEADERS, "ce-subject": raw.decode("latin-1"), "ce-a": raw.decode("latin-1")})
    assert (event.subject, event.extensions) == (text, {"a": text})


@pytest.mark.parametrize("value", ["%FF", "%C3%28", "\xfc%E9", "\x85"])
def test_a_header_value_that_cannot_be_read_is_refused_by_the_name_of_its_attribute(value: str) -> None:
    with pytest.raises(Rejected, match="attribute 'subject'"):
        read({**HEADERS, "ce-subject": value})


@pytest.mark.parametrize("name", ["foo-bar", "foo_bar", "", "data", "ext.one"])
def test_bad_extension_names_are_refused(name: str) -> None:
    with pytest.raises(Rejected):
        read({**HEADERS, f"ce-{name}": "x"})


@pytest.mark.parametrize("name", ["Foo", "a b", "é", "abc\n", ""])
def test_bad_extension_names_are_refused_in_json_too(name: str) -> None:
    with pytest.raises(Rejected):
        read_structured({**ENVELOPE, name: "x"})


@pytest.mark.parametrize("value", [1.5, 2**31, [], {"a": 1}])
def test_extension_values_that_are_no_attribute_are_refused(value: object) -> None:
    with pytest.raises(Rejected, match="'ext' must be text"):
        read_structured({**ENVELOPE, "ext": value})


@pytest.mark.parametrize("value", ["a\nb", "\x7f", "\ufdd0", "\U0001ffff", "x" * (ATTRIBUTE_LIMIT + 1)])
def test_attributes_are_printable_and_bounded(value: str) -> None:
    with pytest.raises(Rejected, match="'id'"):
        read_structured({**ENVELOPE, "id": value})


def test_json_attributes_become_text_and_null_is_absent() -> None:
    event = read_structured({**ENVELOPE, "yes": True, "count": -7, "none": None, "subject": None, "time": None})
    assert event.extensions == {"yes": "true", "count": "-7"}
    assert event.subject is None
    assert event.time == NOW


def test_an_empty_subject_is_refused() -> None:
    with pytest.raises(Rejected, match="subject"):
        read_structured({**ENVELOPE, "subject": ""})


def test_dataschema_is_kept_as_it_is() -> None:
    event = read({**HEADERS, "ce-dataschema": "https://schemas.test/a"})
    assert read(*write_structured(event)).extensions == {"dataschema": "https://schemas.test/a"}


def test_an_absent_body_is_no_data() -> None:
    assert read(HEADERS).data is None
    assert write_binary(read(HEADERS))[1] == b""


@pytest.mark.parametrize("content_type", ["application/json", "text/json; charset=UTF-8", "application/x+json", ""])
def test_json_by_any_name_is_data(content_type: str) -> None:
    assert read({**HEADERS, "content-type": content_type}, b'{"a": [1]}').data == {"a": [1]}


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/json; charset=latin-1", "application/cloudevents+avro",
     "application/cloudevents", "multipart/form-data", "application/cloudevents+json; charset=utf-16"],
)  # fmt: skip
def test_other_content_is_an_unsupported_media_type(content_type: str) -> None:
    with pytest.raises(Rejected) as refusal:
        read({**HEADERS, "content-type": content_type}, b"{}")
    assert refusal.value.status == 415


def test_data_of_another_type_in_json_is_an_unsupported_media_type() -> None:
    with pytest.raises(Rejected) as refusal:
        read_structured({**ENVELOPE, "datacontenttype": "text/xml", "data": "<a/>"})
    assert refusal.value.status == 415
    with pytest.raises(Rejected, match="datacontenttype must be text"):
        read_structured({**ENVELOPE, "datacontenttype": 7})


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b" "])
def test_data_that_is_not_json_in_utf_8_is_refused(body: bytes) -> None:
    with pytest.raises(Rejected):
        read({**HEADERS, "content-type": "application/json"}, body)
    with pytest.raises(Rejected):
        read({"content-type": STRUCTURED}, body)


def test_base64_data_is_decoded_and_read_as_json() -> None:
    assert read_structured({**ENVELOPE, "data_base64": b64encode(b'{"a": 1}').decode()}).data == {"a": 1}
    assert read_structured({**ENVELOPE, "data_base64": ""}).data is None


@pytest.mark.parametrize("encoded", ["a", "!!!!", "é", 7, {}, b64encode(b"no json").decode()])
def test_bad_base64_data_is_refused(encoded: object) -> None:
    with pytest.raises(Rejected):
        read_structured({**ENVELOPE, "data_base64": encoded})


def test_data_and_base64_data_exclude_each_other() -> None:
    with pytest.raises(Rejected, match="exclude"):
        read_structured({**ENVELOPE, "data": {}, "data_base64": ""})


@pytest.mark.parametrize("envelope", [[], "text", 7, None])
def test_a_structured_event_is_an_object(envelope: object) -> None:
    with pytest.raises(Rejected, match="object"):
        read_structured(envelope)


def test_a_batch_may_be_empty_and_is_bounded() -> None:
    headers = {"content-type": f"{BATCHED}; charset=utf-8"}
    assert read_events(headers, b"[]", received_at=NOW) == ([], True)
    full = [ENVELOPE] * BATCH_LIMIT
    assert len(read_events(headers, json.dumps(full).encode(), received_at=NOW)[0]) == BATCH_LIMIT
    with pytest.raises(Rejected) as refusal:
        read_events(headers, json.dumps([*full, ENVELOPE]).encode(), received_at=NOW)
    assert refusal.value.status == 413


@pytest.mark.parametrize("body", [b"{}", b"7", b"["])
def test_a_batch_is_an_array(body: bytes) -> None:
    with pytest.raises(Rejected):
        read_events({"content-type": BATCHED}, body, received_at=NOW)


def test_of_a_batch_with_a_bad_event_nothing_is_taken_and_its_position_is_named() -> None:
    body = json.dumps([ENVELOPE, without(ENVELOPE, "type", "id")]).encode()
    with pytest.raises(Rejected, match="event 1: missing attributes: id, type"):
        read_events({"content-type": BATCHED}, body, received_at=NOW)


def test_times_are_written_with_milliseconds_and_z() -> None:
    headers, _ = write_binary(read({**HEADERS, "ce-time": "2026-03-01T12:00:00+00:00"}))
    assert headers["ce-time"] == "2026-03-01T12:00:00.000Z"


def test_headers_that_are_not_of_the_event_are_ignored() -> None:
    noise = {"authorization": "Bearer x", "x-ce-id": "no", "ce-datacontenttype": "text/plain", "ceid": "no"}
    assert read({**HEADERS, **noise}) == read(HEADERS)
