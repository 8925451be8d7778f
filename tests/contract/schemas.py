"""What the tests of the contract share: the files as they are, and validators with the formats switched on."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel

from functions._adapters.cloudevents_http import write_structured
from functions._core.envelope import CloudEvent
from functions._core.events import BY_NOUN, CATALOGUE
from tests.conftest import ROOT

EVENTS = ROOT / "events"
FORMATS = FormatChecker(formats=())
WRITTEN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

INCOMING: Mapping[str, type[BaseModel]] = {f"{entry.noun}.v1": entry.model for entry in CATALOGUE if entry.outside}
OUTGOING: Mapping[str, type[BaseModel]] = {
    **{f"{entry.noun}.v1": entry.model for entry in CATALOGUE if not entry.outside},
    **{f"{entry.noun}.v1.stored": entry.stored for entry in CATALOGUE if entry.stored},
}
MODELS: Mapping[str, type[BaseModel]] = {**INCOMING, **OUTGOING}


@FORMATS.checks("date-time", raises=ValueError)
def _is_written_like_ours(value: object) -> bool:
    """Tell whether a time has the one form that we write."""
    if not isinstance(value, str):
        return True
    return bool(WRITTEN_TIME.fullmatch(value)) and datetime.fromisoformat(value) is not None


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


def stem_of(event: CloudEvent) -> str:
    """Return the start of the name of the schema that an event goes by."""
    stored = BY_NOUN[event.noun].stored is not None and event.source.startswith("/flowc/")
    return f"{event.noun}.v1{'.stored' if stored else ''}"


def faults_of(event: CloudEvent) -> list[str]:
    """Return what is wrong with an event as it is on the wire; each line names its type."""
    if event.noun not in BY_NOUN:
        return [f"{event.type} is not in the catalogue"]
    data = json.loads(write_structured(event)[1])["data"]
    return [f"{event.noun} from {event.source}: {fault}" for fault in faults(stem_of(event), data)]
