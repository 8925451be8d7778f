"""The same events as they are delivered: over HTTP in three forms, and on AWS as an SQS batch for a Lambda function.

On AWS the bus carries the whole structured event as `detail`, its type as `detail-type` and its source as `source`;
a queue for each function holds what the bus has routed there.
"""

import json
from collections.abc import Mapping
from hashlib import md5
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from functions._adapters.http.cloudevents import write_batch, write_binary, write_structured
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES
from infra.generate.contract.examples import example
from infra.generate.contract.folder import pretty

Document = dict[str, Any]

ACCOUNT = "123456789012"
REGION = "eu-central-1"
FIRST = ("specversion", "id", "source", "type", "subject", "time")


def structured(event: CloudEvent) -> Document:
    """Return an event as a structured CloudEvent, its attributes in the order in which they are read best."""
    envelope: Document = json.loads(write_structured(event)[1])
    last = {name: envelope.pop(name) for name in ("datacontenttype", "data") if name in envelope}
    return {name: envelope[name] for name in FIRST if name in envelope} | envelope | last


def envelopes() -> Mapping[str, str]:
    """Return the files with envelopes by name."""
    decision, registration = example("decision.consolidated"), example("worker.registered")
    documents = {
        "sqs-lambda.plan.validated.json": lambda_event(example("plan.validated")),
        "sqs-lambda.ticket.reported.json": lambda_event(example("ticket.reported")),
        "sqs-lambda.batch.json": lambda_event(example("tickets.ready"), example("worker.recovered")),
    }
    return {name: pretty(document) + "\n" for name, document in documents.items()} | {
        "http-binary.http": request(*write_binary(decision)),
        "http-structured.http": request(*write_structured(decision)),
        "http-batched.http": request(*write_batch([registration, decision])),
    }


def lambda_event(*events: CloudEvent) -> Document:
    """Return what a Lambda function gets from its queue: a record for each event."""
    return {"Records": [_record(event) for event in events]}


def request(headers: Mapping[str, str], body: bytes) -> str:
    """Return an HTTP request as text, its body laid out to be read."""
    lines = ["POST / HTTP/1.1", "host: 127.0.0.1:8080", *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join((*lines, "", pretty(json.loads(body)), ""))


def _record(event: CloudEvent) -> Document:
    queue = f"flowc-{ROUTES[event.event_type].function.replace('_', '-')}"
    body = json.dumps(_bus_event(event), separators=(",", ":"), ensure_ascii=False)
    sent = str(int(event.time.timestamp() * 1000))
    return {
        "messageId": _id("message", event),
        "receiptHandle": "AQEB-made-up",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": sent,
            "SenderId": "AIDAMADEUP",
            "ApproximateFirstReceiveTimestamp": sent,
        },
        "messageAttributes": {},
        "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "awsRegion": REGION,
    }


def _bus_event(event: CloudEvent) -> Document:
    return {
        "version": "0",
        "id": _id("bus", event),
        "detail-type": event.type,
        "source": event.source,
        "account": ACCOUNT,
        "time": f"{event.time:%Y-%m-%dT%H:%M:%SZ}",
        "region": REGION,
        "resources": [],
        "detail": structured(event),
    }


def _id(kind: str, event: CloudEvent) -> str:
    """Return an id as AWS would give it, the same every time."""
    return str(uuid5(NAMESPACE_URL, f"{kind}/{event.source}/{event.id}"))
