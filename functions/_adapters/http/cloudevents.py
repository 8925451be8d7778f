"""CloudEvents 1.0 over HTTP in binary, structured and batched mode: read strictly, written in one form.

Data is JSON, or Avro in the binary mode for the types that have a schema. The official SDK judges the names of
attributes and what may be empty, where they are not plainly in order: it takes as long as all the rest. What it lets
pass is judged here: it would invent a missing id and time, accept specversion 0.3 and lax dates, keep data that is not
JSON as text, and it knows no batches. Writing is done here, because it writes times with microseconds and data that is
not an object as Python text.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from functions._core.errors import Rejected
from functions._core.events.envelope import AVRO_MEDIA, TYPE_PREFIX, CloudEvent
from functions._core.records.json_text import Parse, parse_json
from functions._core.records.values import format_time

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
JSON = "application/json"

BATCH_LIMIT = 1_000
"""Events in one batch: one commit must stay short, and a sender can always send another batch."""

ATTRIBUTE_LIMIT = 4_096
"""Characters in one attribute: room for a signed `dataref` address, yet it fits a header line."""

REQUIRED = ("id", "source", "type", "specversion")
NOT_EXTENSIONS = frozenset({*REQUIRED, "time", "subject"})

_NAME = re.compile(r"[a-z0-9]+")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_JSON_MEDIA = re.compile(r"[^/\s]+/([^/\s]+\+)?json")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NONCHARACTERS = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
_NO_TEXT = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
_HEADER_SAFE = "".join(char for char in map(chr, range(0x21, 0x7F)) if char not in '"%')
_PLAIN = re.compile(f"[{re.escape(_HEADER_SAFE)}]*")
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def read_events(
    headers: Mapping[str, str], body: bytes, *, received_at: datetime, parse: Parse = parse_json
) -> tuple[list[CloudEvent], bool]:
    """Return the events of one HTTP message, and whether it was a batch.

    `headers` have lower-case names. An event without `time` gets `received_at`. `dataschema` is kept among
    the extensions. `parse` reads JSON. Raises `Rejected`: 400 for what is malformed (every missing attribute
    is named; of a batch nothing is taken then), 413 for a batch over `BATCH_LIMIT`, 415 for data that is neither
    JSON in UTF-8 nor Avro with a schema of ours.
    """
    media = _media_type(headers.get("content-type", ""))
    if media == BATCHED:
        return _read_batch(parse(body), received_at, parse), True
    if media == STRUCTURED:
        return [_read_structured(parse(body), received_at, parse)], False
    if media.startswith("application/cloudevents"):
        raise Rejected(f"{media} is not supported", code="unsupported_media_type", status=415)
    if media not in AVRO_MEDIA:
        _require_json(media)
    attributes = {
        name[3:]: _unquote(name, value)
        for name, value in headers.items()
        if name.startswith("ce-") and name != "ce-datacontenttype"  # Content-Type is what says it
    }
    time = _checked_time(attributes, received_at)
    if media in AVRO_MEDIA:
        return [_event(attributes, time, _read_avro(attributes["type"], body))], False
    return [_event(attributes, time, parse(body) if body else None)], False


def write_binary(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the binary mode: attributes in headers, data alone in the body."""
    attributes = _attributes(event)
    headers = {
        f"ce-{name}": value if _PLAIN.fullmatch(value) else quote(value, safe=_HEADER_SAFE)
        for name, value in attributes.items()
    }
    if event.data is None:
        return headers, b""
    headers["content-type"] = JSON
    return headers, _encode(event.data)


def write_structured(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the structured mode: everything in one JSON object."""
    return {"content-type": STRUCTURED}, _encode(_envelope(event))


def write_batch(events: Sequence[CloudEvent]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the batched mode: a JSON array of structured events."""
    return {"content-type": BATCHED}, _encode([_envelope(event) for event in events])


def _read_avro(event_type: str, body: bytes) -> object:
    from functions._adapters.http.avro import SCHEMAS, read_avro  # cold start: hardly any event is Avro

    kind = event_type.removeprefix(TYPE_PREFIX).removesuffix(".v1")
    if kind not in SCHEMAS:
        raise Rejected("events of this type have no Avro schema", code="unsupported_media_type", status=415)
    return read_avro(body, kind)


def _read_batch(batch: object, received_at: datetime, parse: Parse) -> list[CloudEvent]:
    if not isinstance(batch, list):
        raise Rejected("a batch is a JSON array", code="malformed_event")
    if len(batch) > BATCH_LIMIT:
        raise Rejected(f"a batch holds at most {BATCH_LIMIT} events", code="batch_too_large", status=413)
    events = []
    for position, envelope in enumerate(batch):
        try:
            events.append(_read_structured(envelope, received_at, parse))
        except Rejected as error:
            raise Rejected(f"event {position}: {error}", code=error.code, status=error.status) from error
    return events


def _read_structured(envelope: object, received_at: datetime, parse: Parse) -> CloudEvent:
    if not isinstance(envelope, dict):
        raise Rejected("a structured event is a JSON object", code="malformed_event")
    # A JSON null is an attribute that is not set.
    present = {name: value for name, value in envelope.items() if value is not None}
    data, encoded = present.pop("data", None), present.pop("data_base64", None)
    content_type = present.pop("datacontenttype", JSON)
    attributes = {name: _text(name, value) for name, value in present.items()}
    time = _checked_time(attributes, received_at)
    if not isinstance(content_type, str):
        raise Rejected("datacontenttype must be text", code="malformed_event")
    _require_json(_media_type(content_type))
    if encoded is None:
        return _event(attributes, time, data)
    if data is not None:
        raise Rejected("data and data_base64 exclude each other", code="malformed_event")
    try:
        raw = b64decode(encoded, validate=True)
    except (TypeError, ValueError) as error:
        raise Rejected("data_base64 is not base64", code="malformed_event") from error
    return _event(attributes, time, parse(raw) if raw else None)


def _event(attributes: Mapping[str, str], time: datetime, data: object) -> CloudEvent:
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        time=time,
        subject=attributes.get("subject"),
        data=data,
        extensions={name: value for name, value in attributes.items() if name not in NOT_EXTENSIONS},
    )


def _checked_time(attributes: Mapping[str, str], received_at: datetime) -> datetime:
    """Return the time of an event; raise `Rejected` for any fault of its attributes."""
    in_order = _in_order(attributes)
    if not in_order:
        _refuse_faults(attributes)
    time = _time(attributes["time"]) if "time" in attributes else received_at
    if not in_order:
        _ask_the_sdk({**attributes, "time": time})
    return time


def _in_order(attributes: Mapping[str, str]) -> bool:
    """Whether there is plainly nothing to refuse; nearly every event is so."""
    values = "".join(attributes.values())
    return (
        all(map(attributes.get, REQUIRED))
        and attributes["specversion"] == "1.0"
        and all(attributes.values())
        and all(map(_NAME.fullmatch, attributes))
        and "data" not in attributes
        and len(values) <= ATTRIBUTE_LIMIT
        and values.isascii()
        and values.isprintable()
    )


def _refuse_faults(attributes: Mapping[str, str]) -> None:
    problems = []
    if missing := [name for name in REQUIRED if not attributes.get(name)]:
        problems.append(f"missing attributes: {', '.join(missing)}")
    if attributes.get("specversion", "1.0") not in {"", "1.0"}:
        problems.append("specversion must be 1.0")
    problems += [
        f"attribute {name!r} is longer than {ATTRIBUTE_LIMIT} characters or has characters that no text has"
        for name, value in attributes.items()
        if len(value) > ATTRIBUTE_LIMIT or _NO_TEXT.search(name + value)
    ]
    if problems:
        raise Rejected("; ".join(problems), code="malformed_event")


def _ask_the_sdk(attributes: dict[str, Any]) -> None:
    from cloudevents.core.exceptions import CloudEventValidationError  # cold start: hardly any event needs it
    from cloudevents.core.v1.event import CloudEvent as OfficialEvent

    try:
        OfficialEvent(attributes)
    except CloudEventValidationError as error:
        faults = sorted({str(fault) for faults in error.errors.values() for fault in faults})
        raise Rejected("; ".join(faults), code="malformed_event") from error


def _time(text: str) -> datetime:
    if not _RFC_3339.fullmatch(text):
        raise Rejected("time is not RFC 3339", code="malformed_event")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Rejected("time is no moment of the calendar", code="malformed_event") from error


def _text(name: str, value: object) -> str:
    """Return an attribute of a JSON event as text; it can be a string, a boolean or a 32-bit integer."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return str(value)
    raise Rejected(f"attribute {name!r} must be text, a boolean or a 32-bit integer", code="malformed_event")


def _unquote(name: str, value: str) -> str:
    """Decode a header value: a quoted string of older senders, then one round of percent-decoding as UTF-8.

    Servers hand header bytes on as Latin-1. Several SDKs do not encode what is beyond ASCII: they send it raw, as
    UTF-8 or, the older form of HTTP, as Latin-1. What can be UTF-8 is read as that, because it hardly ever is chance.
    """
    if value.isascii() and "%" not in value and value[:1] != '"':
        return value
    if quoted := _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeError as error:
        text = f"attribute {name.removeprefix('ce-')!r} is not UTF-8 in percent-encoding"
        raise Rejected(text, code="malformed_event") from error


def _media_type(content_type: str) -> str:
    charset = _CHARSET.search(content_type)
    if charset and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise Rejected("only UTF-8 is supported", code="unsupported_media_type", status=415)
    return content_type.partition(";")[0].strip().lower()


def _require_json(media: str) -> None:
    if media and not _JSON_MEDIA.fullmatch(media):
        raise Rejected(f"data of type {media} is not JSON", code="unsupported_media_type", status=415)


def _attributes(event: CloudEvent) -> dict[str, str]:
    attributes = {
        **event.extensions,
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": format_time(event.time),
    }
    return attributes if event.subject is None else {**attributes, "subject": event.subject}


def _envelope(event: CloudEvent) -> dict[str, Any]:
    if event.data is None:
        return _attributes(event)
    return {**_attributes(event), "datacontenttype": JSON, "data": event.data}


def _encode(value: object) -> bytes:
    return _to_json(value).encode()
