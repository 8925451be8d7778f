"""A ticket in two documents: what never changes, written once for up to 50 tickets together, and its narrow state.

A part holds the constant fields of tickets of one plan in the order of the plan, as compressed JSON. The state holds
the other fields, without those that are as in a new ticket; records within it are arrays of their fields. Both
together are the document of the ticket.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from functions._adapters.documents import document
from functions._core.records.models import Ticket
from functions._core.records.policies import Sla
from functions._core.records.record import Record, decode, defaults_of, from_json
from functions._core.records.worker import Candidate

TICKETS = 50
"""Tickets of a part at most: one that is read alone costs the reading of no more than these."""

CONSTANT = (
    "ticket_id",
    "flow_id",
    "plan_id",
    "intent_id",
    "decision_id",
    "correlation_id",
    "trace_id",
    "span_id",
    "task_id",
    "task_type",
    "description",
    "dependencies",
    "priority",
    "priority_score",
    "risk_band",
    "qos",
    "parameters",
    "required_capabilities",
    "security_level",
    "template_id",
    "idempotent",
    "created_at",
    "estimated_duration_ms",
    "metadata",
    "domain",
    "schema_version",
    "hash",
    "retry",
    "schedule_to_start_ms",
    "heartbeat_timeout_ms",
    "undo",
    "compensates",
    "level",
    "critical",
    "dependants",
    "control",
    "parent",
    "scope",
    "index",
    "item",
    "labels",
    "prediction",
)
"""The fields of a ticket that no change set changes after the first; an invariant of the simulator."""

CHANGING = tuple(name for name in Ticket.__struct_fields__ if name not in CONSTANT)

ALWAYS = ("status", "version")
"""Fields that every state has, for people who look into a database."""

NEW = {name: value for name, value in defaults_of(Ticket).items() if name not in {*CONSTANT, *ALWAYS}}
"""A field that is absent from a state has this value; these defaults never change, as stored states rely on them."""


COMPACT: Mapping[str, type[Record]] = {"sla": Sla, "candidates": Candidate}
"""Fields whose records are stored as arrays, in the order of their fields; new fields of them may only follow."""

Constant = Mapping[str, Any]
"""The constant fields of one ticket, as JSON values."""


def part_of(tickets: Sequence[Ticket]) -> bytes:
    """Return the part of these tickets; the place of each is its index."""
    return zlib.compress(f"[{','.join(document(ticket, CONSTANT) for ticket in tickets)}]".encode())


def state_of(ticket: Ticket) -> str:
    """Return the state of a ticket. It is never empty, as some fields have no default."""
    return document(ticket, CHANGING, without=NEW, compact=COMPACT)


def unpacked(part: bytes) -> bytes:
    """Return the JSON text of a part; raise anything for what is none."""
    return zlib.decompress(part)


def read_part(text: bytes) -> Sequence[Constant]:
    """Return the constant fields of the tickets of an unpacked part; raise anything for what is none."""
    return decode(list[dict[str, Any]], text)


def read_ticket(constant: Constant, state: str) -> Ticket:
    """Return the ticket of its two documents; raise anything when they are none."""
    fields = decode(dict[str, Any], state)
    for name, model in COMPACT.items():
        if name in fields:
            fields[name] = _unpacked(model, fields[name])
    return from_json(Ticket, {**constant, **fields})


def _unpacked(model: type[Record], values: Sequence[Any]) -> object:
    """Return the object of an array, or the objects of an array of arrays."""
    if values and not isinstance(values[0], list):
        return dict(zip(model.__struct_fields__, values, strict=False))
    return [_unpacked(model, one) for one in values]
