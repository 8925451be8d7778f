"""The AsyncAPI document: who may be sent what, and who gets what, with the schemas beside it."""

from collections.abc import Iterable

from functions._core.events.catalogue import CATALOGUE, HOLDER, SINK, SUBSCRIBERS, WEBHOOK, EventType
from functions._core.events.envelope import type_of
from functions._engine.version import __version__
from infra.generate.contract.schemas import Document

NAME = "asyncapi.json"
VERSION = "3.0.0"

TEXT = """\
Flow C turns decisions into done work. Every message is a CloudEvent 1.0 over HTTP, in binary, structured or batched \
mode; the README beside this document says what no schema can say. Events that functions send only each other are \
not listed."""

ADDRESSES = {
    "ingress": ("/", "What users and workers may send. Reports of workers need the token of their assignment."),
    "worker": ("{endpoint}", "What a worker gets at the endpoint of its registration."),
    "subscriber": ("{url}", "What goes to `FLOWC_SUBSCRIBER_URL`, or is on the bus: every transition."),
    "webhook": ("{sink}", "What the webhook of a subscription gets when it is tried; else it gets transitions."),
    "sink": ("{url}", "What goes to `FLOWC_TELEMETRY_URL`: steps and frames, in batches."),
}
"""Each channel with its address and what it is for; the platform receives from the first, and sends to the others."""

TOLD_TOO = {"decision.consolidated", "plan.validated", "flow.consolidated"}
"""Transitions that are named like an event between functions."""

ATTRIBUTES: Document = {
    "type": "object",
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type"],
    "properties": {
        "ce-specversion": {"type": "string", "const": "1.0"},
        "ce-id": {"type": "string", "description": "A repeated event has the same source and id."},
        "ce-source": {"type": "string", "format": "uri-reference", "description": "Who sends it."},
        "ce-type": {"type": "string"},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-subject": {"type": "string", "description": "Id of the flow, ticket or worker that it is about."},
        "ce-partitionkey": {"type": "string", "description": "Id of the flow."},
        "ce-correlationid": {"type": "string", "description": "What ties it to other work."},
        "ce-causationid": {"type": "string", "description": "Id of the event that led to it."},
        "ce-traceparent": {"type": "string", "description": "The trace in which the decision arrived."},
        "ce-expirytime": {"type": "string", "format": "date-time", "description": "Later it is of no use."},
        "ce-dataref": {"type": "string", "format": "uri-reference", "description": "Where the data is."},
        "ce-dataschema": {"type": "string", "format": "uri", "description": "Id of the schema, if not its type's."},
    },
}
"""The attributes in binary mode. Of messages that Flow C gets, the four that are required are enough."""


def document() -> Document:
    """Return the document."""
    channels = {channel: tuple(_of(channel)) for channel in ADDRESSES}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Flow C",
            "version": __version__,
            "description": TEXT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel: _channel(channel, entries) for channel, entries in channels.items()},
        "operations": {_operation_name(channel): _operation(channel, channels[channel]) for channel in ADDRESSES},
        "components": {
            "messages": {
                _key(channel, entry): _message(channel, entry) for channel in channels for entry in channels[channel]
            },
            "messageTraits": {
                "cloudevent": {"headers": ATTRIBUTES, "contentType": "application/json"},
            },
        },
    }


def _of(channel: str) -> Iterable[EventType]:
    """Yield the events of a channel."""
    for entry in CATALOGUE:
        handlers = set(entry.handled_by.split(", "))
        told = {
            "ingress": entry.outside,
            "worker": entry.handled_by == HOLDER,
            "subscriber": SUBSCRIBERS in handlers or entry.event_type in TOLD_TOO,
            "webhook": entry.handled_by == WEBHOOK,
            "sink": SINK in handlers,
        }
        if told[channel]:
            yield entry


def _channel(channel: str, entries: Iterable[EventType]) -> Document:
    address, text = ADDRESSES[channel]
    found: Document = {"address": address, "description": text}
    if "{" in address:
        name = address.strip("{}")
        found["parameters"] = {name: {"description": "An address that the setting or the registration names."}}
    keys = [_key(channel, entry) for entry in entries]
    return {**found, "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in keys}}


def _operation_name(channel: str) -> str:
    return "receive" if channel == "ingress" else f"tell_{channel}"


def _operation(channel: str, entries: Iterable[EventType]) -> Document:
    return {
        "action": "receive" if channel == "ingress" else "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": ADDRESSES[channel][1],
        "bindings": {"http": {"method": "POST"}},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{_key(channel, entry)}"} for entry in entries],
    }


def _message(channel: str, entry: EventType) -> Document:
    payload: Document = {"$ref": f"./{entry.event_type}.v1.schema.json"}
    if _told_in_two_forms(channel, entry):
        payload = {"anyOf": [payload, {"$ref": f"./{entry.event_type}.v1.stored.schema.json"}]}
    return {
        "name": type_of(entry.event_type),
        "title": entry.event_type,
        "summary": entry.text,
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": payload,
    }


def _key(channel: str, entry: EventType) -> str:
    """Return the name of a message within the document, where dots would mean something else."""
    return entry.event_type.replace(".", "_") + ("_told" if _told_in_two_forms(channel, entry) else "")


def _told_in_two_forms(channel: str, entry: EventType) -> bool:
    return entry.stored is not None and channel == "subscriber"
