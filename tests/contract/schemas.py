"""What the tests of the contract share: the files as they are, and validators with the formats switched on."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as OfficialEvent
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel

from functions._adapters.http.cloudevents import write_structured
from functions._core.events.catalogue import BY_TYPE, CATALOGUE
from functions._core.events.envelope import TYPE_PREFIX, CloudEvent
from tests.conftest import ROOT

EVENTS = ROOT / "events"
FORMATS = FormatChecker(formats=())
REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
WRITTEN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

INCOMING: Mapping[str, type[BaseModel]] = {
    f"{entry.event_type}.v1": entry.model for entry in CATALOGUE if entry.outside
}
OUTGOING: Mapping[str, type[BaseModel]] = {
    **{f"{entry.event_type}.v1": entry.model for entry in CATALOGUE if not entry.outside},
    **{f"{entry.event_type}.v1.stored": entry.stored for entry in CATALOGUE if entry.stored},
}
MODELS: Mapping[str, type[BaseModel]] = {**INCOMING, **OUTGOING}


STEMS: Mapping[str, str] = {
    json.loads((EVENTS / f"{stem}.schema.json").read_text(encoding="utf-8"))["$id"]: stem for stem in MODELS
}
"""The file of each schema, by its `$id`, which is what `dataschema` names."""


@FORMATS.checks("date-time", raises=ValueError)
def _is_written_like_ours(value: object) -> bool:
    """Tell whether a time has the one form that we write."""
    if not isinstance(value, str):
        return True
    return bool(WRITTEN_TIME.fullmatch(value)) and datetime.fromisoformat(value) is not None


@FORMATS.checks("uri-reference", raises=ValueError)
def _is_a_reference(value: object) -> bool:
    """Tell whether text has the characters of an address (RFC 3986) and can be taken apart as one."""
    return not isinstance(value, str) or (bool(REFERENCE.fullmatch(value)) and urlsplit(value) is not None)


@FORMATS.checks("uri", raises=ValueError)
def _is_an_address(value: object) -> bool:
    """Tell whether text is an address with a scheme."""
    return not isinstance(value, str) or (_is_a_reference(value) and bool(SCHEME.match(value)))


ENVELOPE = Draft202012Validator(
    {
        "type": "object",
        "required": ["id", "source", "specversion", "type"],
        "properties": {
            **{name: {"type": "string", "minLength": 1} for name in ("id", "type")},
            "specversion": {"const": "1.0"},
            "source": {"type": "string", "format": "uri-reference", "minLength": 1},
            "datacontenttype": {"type": ["string", "null"], "minLength": 1},
            "dataschema": {"type": ["string", "null"], "format": "uri", "minLength": 1},
            "dataref": {"type": "string", "format": "uri-reference", "minLength": 1},
            "subject": {"type": ["string", "null"], "minLength": 1},
            "time": {"type": ["string", "null"], "format": "date-time", "minLength": 1},
            "data": {"type": ["object", "string", "number", "array", "boolean", "null"]},
            "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
        },
        # Extensions have short names of small letters and digits, and values that every transport can carry.
        "propertyNames": {"pattern": "^([a-z0-9]{1,20}|data_base64)$"},
        "additionalProperties": {"type": ["string", "boolean", "integer", "null"]},
        "not": {"required": ["data", "data_base64"]},
        # Data of our types are JSON, and say so.
        "dependentRequired": {"data": ["datacontenttype"]},
    },
    format_checker=FORMATS,
)
"""The JSON format of CloudEvents 1.0 as its specification has it, and what else this project promises."""


def envelope_faults(event: Mapping[str, Any], stem: str | None = None) -> list[str]:
    """Return what is wrong with an event in its JSON form, its data included."""
    event_type = str(event.get("type")).removeprefix(TYPE_PREFIX).removesuffix(".v1")
    name, found = _named(event), attribute_faults(event)
    if event_type not in BY_TYPE:
        return [*found, f"{event.get('type')} is not in the catalogue"]
    named = event.get("dataschema", f"urn:neuralhive:{event_type}:v1")
    if stem is None and named not in STEMS:
        return [*found, f"{name}: no schema has the id {named}"]
    stem = stem or STEMS[named]
    return found + [f"{name}: {fault}" for fault in faults(stem, event.get("data"))]


def attribute_faults(event: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an event in its JSON form, whatever its data are; the official SDK is asked, too."""
    found = [f"{_named(event)}: {error.json_path}: {error.message[:300]}" for error in ENVELOPE.iter_errors(event)]
    return found + [f"{_named(event)}: the SDK: {fault}" for fault in sdk_faults(event)]


def sdk_faults(event: Mapping[str, Any]) -> list[str]:
    """Return what the official SDK has to say against an event in its JSON form, or reads otherwise than it is."""
    try:
        read = JSONFormat().read(OfficialEvent, json.dumps(event))
    except (CloudEventValidationError, ValueError, TypeError) as refusal:
        return [str(refusal)[:300]]
    attributes = {name: value for name, value in event.items() if name not in {"data", "data_base64"}}
    written = {**read.get_attributes(), "time": attributes.get("time")}
    found = [] if written == {"time": None, **attributes} else [f"it has read {written}"]
    return found if "data" not in event or read.get_data() == event["data"] else [*found, "it has read other data"]


def _named(event: Mapping[str, Any]) -> str:
    event_type = str(event.get("type")).removeprefix(TYPE_PREFIX).removesuffix(".v1")
    return f"{event_type} from {event.get('source')}"


def document(name: str) -> Any:
    """Return a JSON file of `events/`."""
    return json.loads((EVENTS / name).read_text(encoding="utf-8"))


@cache
def validator(stem: str) -> Draft202012Validator:
    """Return the validator of a checked-in schema, itself valid."""
    schema = document(f"{stem}.schema.json")
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FORMATS)


def faults(stem: str, data: object) -> list[str]:
    """Return what a schema has to say against some data."""
    return [f"{error.json_path}: {error.message[:300]}" for error in validator(stem).iter_errors(data)]


def faults_of(event: CloudEvent) -> list[str]:
    """Return what is wrong with an event as it is on the wire; each line names its type."""
    return envelope_faults(json.loads(write_structured(event)[1]))
