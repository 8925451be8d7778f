"""The envelopes of `events/` hold the very examples, and the platform reads them back to the same events."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

import pytest

from functions._adapters.http.cloudevents import read_events
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES
from infra.generate.contract.examples import example
from tests.contract.schemas import ENVELOPE, EVENTS, document, envelope_faults, sdk_faults

ENVELOPES = EVENTS / "envelopes"
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def sent(name: str) -> tuple[list[CloudEvent], bool]:
    """Read a request file as the platform reads the request."""
    head, _, body = (ENVELOPES / name).read_text(encoding="utf-8").partition("\n\n")
    first, *lines = head.splitlines()
    assert first == "POST / HTTP/1.1"
    return read_events(dict(line.split(": ", 1) for line in lines), body.encode(), received_at=LATER)


@pytest.mark.parametrize("form", ["binary", "structured"])
def test_a_request_is_read_to_the_decision_of_the_examples(form: str) -> None:
    assert sent(f"http-{form}.http") == ([example("decision.consolidated")], False)


def test_a_batch_is_read_to_the_events_of_the_examples() -> None:
    assert sent("http-batched.http") == ([example("worker.registered"), example("decision.consolidated")], True)


def records(name: str) -> list[Any]:
    """Return the records of a Lambda invocation."""
    found: list[Any] = document(f"envelopes/{name}")["Records"]
    return found


@pytest.mark.parametrize(
    ("name", "event_types"),
    [
        ("sqs-lambda.plan.validated.json", ["plan.validated"]),
        ("sqs-lambda.ticket.reported.json", ["ticket.reported"]),
        ("sqs-lambda.batch.json", ["tickets.ready", "worker.recovered"]),
    ],
)
def test_a_record_holds_an_example_as_the_bus_delivers_it(name: str, event_types: list[str]) -> None:
    found = records(name)
    assert len({record["messageId"] for record in found}) == len(event_types)
    for record, event_type in zip(found, event_types, strict=True):
        bus = json.loads(record["body"])
        assert bus["detail"] == document(f"{event_type}.v1.example.json")
        assert (bus["detail-type"], bus["source"]) == (bus["detail"]["type"], bus["detail"]["source"])
        assert record["md5OfBody"] == md5(record["body"].encode(), usedforsecurity=False).hexdigest()
        assert record["eventSource"] == "aws:sqs"
        queue = record["eventSourceARN"].rpartition(":")[2]
        assert queue == f"flowc-{ROUTES[event_type].function.replace('_', '-')}"


def test_a_structured_example_is_read_to_the_event_it_was_made_of() -> None:
    for record in [*records("sqs-lambda.batch.json"), *records("sqs-lambda.ticket.reported.json")]:
        detail = json.loads(record["body"])["detail"]
        headers = {"content-type": "application/cloudevents+json"}
        [event], _ = read_events(headers, json.dumps(detail).encode(), received_at=LATER)
        assert event == example(event.event_type)


WITHOUT: object = object()
AGAINST: Mapping[str, Mapping[str, object]] = {
    **{f"no {name}": {name: WITHOUT} for name in ("id", "source", "specversion", "type")},
    **{f"empty {name}": {name: ""} for name in ("id", "source", "type", "subject", "datacontenttype", "dataschema")},
    **{f"{name} is no text": {name: 7} for name in ("id", "source", "type", "subject", "datacontenttype", "time")},
    "another version": {"specversion": "0.3"},
    "a source with a space": {"source": "/flowc api"},
    "a schema without a scheme": {"dataschema": "schemas/a"},
    "a time of another form": {"time": "2026-03-01 12:00"},
    "a time without a zone": {"time": "2026-03-01T12:00:00.000"},
    "an empty time": {"time": ""},
    "data twice": {"data_base64": "e30="},
    "data_base64 that is no text": {"data": WITHOUT, "data_base64": 7},
    "a name with a capital": {"partitionKey": "x"},
    "a name with an underscore": {"partition_key": "x"},
    "a name that is no ASCII": {"über": "x"},
    "a name of 21 characters": {"a" * 21: "x"},
    "an extension that is an object": {"extra": {"a": 1}},
    "JSON that does not say so": {"datacontenttype": WITHOUT},
}
"""What the JSON schema of CloudEvents 1.0 and its specification refuse; and what only this project does."""


def test_an_envelope_that_is_one_is_taken_by_us_and_by_the_official_sdk() -> None:
    event = document("plan.validated.v1.example.json")
    assert envelope_faults(event) == sdk_faults(event) == []
    assert envelope_faults({**event, "data": {}})


@pytest.mark.parametrize("what", AGAINST)
def test_the_constraints_on_envelopes_refuse_what_is_none(what: str) -> None:
    changed = {**document("plan.validated.v1.example.json"), **AGAINST[what]}
    event = {name: value for name, value in changed.items() if value is not WITHOUT}
    assert list(ENVELOPE.iter_errors(event))
    assert envelope_faults(event)


@pytest.mark.parametrize(
    "change", [{"id": ""}, {"source": ""}, {"type": ""}, {"specversion": "0.3"}, {"time": "x"}, {"subject": ""}]
)
def test_the_official_sdk_is_asked(change: Mapping[str, str]) -> None:
    assert sdk_faults({**document("plan.validated.v1.example.json"), **change})
