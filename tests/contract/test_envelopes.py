"""The envelopes of `events/` hold the very examples, and the platform reads them back to the same events."""

import json
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

import pytest

from functions._adapters.http.cloudevents import read_events
from functions._core.events.catalogue import ROUTES
from functions._core.events.envelope import CloudEvent
from infra.generate.contract.examples import example
from tests.contract.schemas import EVENTS, document

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
