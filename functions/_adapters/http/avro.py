"""Avro over HTTP: one object in the single-object encoding, read by our own schema and no other.

A body is `C3 01`, the fingerprint of the schema (CRC-64-AVRO, 8 bytes, little-endian) and the object. A container file
is refused: it brings its own schema, and may be compressed. Whoever needs this imports it then: few bodies are Avro.
"""

from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from functions._core.errors import Rejected
from functions._core.events.avro import Schema, bare, decision_schema, ticket_schema
from functions._core.events.execution_ticket import from_avro_dict
from functions._core.records.record import as_json

LIMIT = 1024 * 1024
"""Bytes of a body: a small value takes one of them, and sixty of memory."""

MARKER = b"\xc3\x01"
"""How the single-object encoding begins."""

HEAD = len(MARKER) + 8
CONTAINER = b"Obj\x01"

SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "decision.consolidated": decision_schema,
    "execution_ticket": ticket_schema,
}
"""The schemas of what may arrive as Avro."""


class Reader(NamedTuple):
    """A schema that is ready to read and to write, and its fingerprint."""

    parsed: Schema
    fingerprint: bytes


@cache
def reader_of(kind: str) -> Reader:
    """Return the reader of one of `SCHEMAS`."""
    schema = bare(SCHEMAS[kind]())
    return Reader(parse_schema(schema), bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")))


def read_avro(body: bytes, kind: str) -> dict[str, Any]:
    """Return the JSON object that an Avro body stands for; `kind` is a key of `SCHEMAS`.

    Raises `Rejected`: 413 for a body over `LIMIT`, 422 (code `unknown_avro_schema`) for one of another schema, 400
    (code `malformed_avro`) for what is no Avro.
    """
    if len(body) > LIMIT:
        raise Rejected(f"an Avro body has at most {LIMIT} bytes", code="too_large", status=413)
    reader = reader_of(kind)
    if body[:HEAD] != MARKER + reader.fingerprint:
        given = "a container file" if body.startswith(CONTAINER) else body[:HEAD].hex() or "nothing"
        message = (
            f"the body begins with {given}, not with {(MARKER + reader.fingerprint).hex()}: see events/{kind}.v1.avsc"
        )
        raise Rejected(message, code="unknown_avro_schema", status=422)
    values = _read(body[HEAD:], reader)
    return values if kind != "execution_ticket" else _ticket_json(values)


def write_avro(values: Mapping[str, Any], kind: str) -> bytes:
    """Return the Avro body of an object; `values` are as the schema has them, see `to_avro_dict`."""
    reader, body = reader_of(kind), BytesIO()
    schemaless_writer(body, reader.parsed, values)
    return MARKER + reader.fingerprint + body.getvalue()


def _read(body: bytes, reader: Reader) -> dict[str, Any]:
    stream = BytesIO(body)
    try:
        values: dict[str, Any] = schemaless_reader(stream, reader.parsed, None)  # type: ignore[assignment]
    except Exception as error:  # the library raises whatever its parts do
        raise Rejected("the body is no Avro of this schema", code="malformed_avro") from error
    if stream.tell() != len(body):
        raise Rejected("the body goes on behind the object", code="malformed_avro")
    return {name: value for name, value in values.items() if value is not None}


def _ticket_json(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a ticket as JSON values; an empty text, where Avro needs one, says nothing."""
    nothing = dict.fromkeys(("assigned_at", "started_at", "completed_at"))
    fields = as_json(from_avro_dict({**nothing, **values}))
    return {name: value for name, value in fields.items() if value not in ("", None)}
