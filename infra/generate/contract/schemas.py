"""JSON Schemas of the events' data: strict about what we send, tolerant about what others send."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from functions._core.events.catalogue import CATALOGUE, EventType
from functions._core.events.envelope import type_of
from functions._core.records.record import Record
from functions._core.records.values import format_time
from infra.generate.contract.field_docs import phrase

Document = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMED, DEFINITION = "x-named", "x-definition"
"""Marks of a generator: this place refers to `$defs/<name>`, whose content may stand beside the name."""

SAYS = "x-description"
"""Mark of a generator: the description to use, whatever else the type says about itself."""

LEFT_OUT = frozenset({"title", NAMED, DEFINITION, SAYS})
FIRST = ("description", "$ref", "type", "format", "enum", "const")
LAST = (
    "items",
    "properties",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "then",
    "else",
    "not",
    "additionalProperties",
    "default",
    "examples",
)

UNKNOWN_ALLOWED = "Fields that are not named here are allowed and ignored."


class Described(GenerateJsonSchema):
    """Schemas with the docstrings of models and the sentence under every field."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Document:
        """Return the schema of a model."""
        cls: type[BaseModel] = schema["cls"]
        document = super().model_schema(schema)
        document["description"] = paragraph(cls)
        for name, field in document.get("properties", {}).items():
            field["description"] = phrase(cls, name)
        return document

    def enum_schema(self, schema: core_schema.EnumSchema) -> Document:
        """Return the schema of an enumeration."""
        return {**super().enum_schema(schema), "description": paragraph(schema["cls"])}


class Strict(Described):
    """Schemas of what we send: no field but the named ones, times in the one form that is written."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Document:
        """Return the schema of a model."""
        return {**super().model_schema(schema), "additionalProperties": False}

    def ser_schema(self, schema: Any) -> Document | None:  # noqa: ANN401 a union of schemas that has no public name
        """Return the schema of what a serialiser writes."""
        if schema.get("function") is format_time:
            return {"type": "string", "format": "date-time"}
        return super().ser_schema(schema)


def outgoing_schema(entry: EventType, model: type[BaseModel]) -> Document:
    """Return the strict schema of the data of an event that we send."""
    return _document(entry, model, model.model_json_schema(schema_generator=Strict, mode="serialization"))


def incoming_schema(entry: EventType, generator: type[GenerateJsonSchema]) -> Document:
    """Return the schema, as `generator` makes it, of the data of an event that comes from outside."""
    document = _document(entry, entry.model, entry.model.model_json_schema(schema_generator=generator))
    document["description"] += f" {UNKNOWN_ALLOWED}"
    return document


def record_schema(model: type[Record], name: str) -> Document:
    """Return the strict schema of a record that is no event, under the `name` in its id."""
    generated = TypeAdapter(model).json_schema(schema_generator=Strict, mode="serialization")
    return _of_record(model, name, generated)


def input_schema(model: type[BaseModel], name: str, generator: type[GenerateJsonSchema]) -> Document:
    """Return the schema, as `generator` makes it, of what others write and is no event, under the `name` in its id."""
    return _of_record(model, name, model.model_json_schema(schema_generator=generator))


def _of_record(model: type, name: str, generated: Document) -> Document:
    definitions: Document = {}
    for part, schema in generated.pop("$defs", {}).items():
        definitions[part] = _tidy(schema, definitions)
    body = _tidy(generated, definitions)
    return {
        "$schema": DIALECT,
        "$id": f"urn:neuralhive:{name}:v1",
        "title": model.__name__,
        **body,
        "description": paragraph(model),
        "$defs": {part: definitions[part] for part in sorted(_reached(body, definitions))},
    }


def paragraph(documented: object) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((documented.__doc__ or "").strip().split("\n\n")[0].split())


def _document(entry: EventType, model: type[BaseModel], generated: Document) -> Document:
    definitions: Document = {}
    parts = generated.pop("$defs", {})
    body = _tidy(generated, definitions)
    for name, part in parts.items():
        definitions[name] = _tidy(part, definitions)
    # What nothing refers to any more would only puzzle.
    used = {name: definitions[name] for name in sorted(_reached(body, definitions))}
    shared = sum(model is other.model for other in CATALOGUE) > 1
    return {
        "$schema": DIALECT,
        "$id": f"urn:neuralhive:{entry.event_type}:v1{':stored' if model is entry.stored else ''}",
        "title": type_of(entry.event_type),
        **body,
        "description": f"{entry.text} {paragraph(model)}" if shared else paragraph(model),
        **({"$defs": used} if used else {}),
    }


def _tidy(schema: Any, definitions: Document) -> Any:  # noqa: ANN401 true and false are schemas too
    """Return a schema in reading order, with marks turned into references and nullable types in their short form."""
    if not isinstance(schema, dict):
        return schema
    name = schema.get(NAMED)
    if name is not None:
        if name not in definitions and DEFINITION in schema:
            definitions[name] = {}  # a definition may refer to itself
            definitions[name] = _tidy(schema[DEFINITION], definitions)
        schema = {"$ref": f"#/$defs/{name}", **schema}
    if SAYS in schema:
        schema = {**schema, "description": schema[SAYS]}
    tidy: Document = {}
    for key in sorted(schema.keys() - LEFT_OUT, key=_place):
        value = schema[key]
        if key == "properties":
            tidy[key] = {field: _tidy(part, definitions) for field, part in value.items()}
        elif key in {"allOf", "anyOf", "oneOf"}:
            tidy[key] = [_tidy(part, definitions) for part in value]
        elif key in {"items", "additionalProperties", "propertyNames", "not", "if", "then", "else"}:
            tidy[key] = _tidy(value, definitions)
        elif (key, value) != ("default", None):
            tidy[key] = value
    return _short(tidy)


def _place(key: str) -> tuple[bool, int, str]:
    """Return where a key of a schema is read best: what it is first, then the limits, then the parts."""
    return key in LAST, (FIRST.index(key) if key in FIRST else LAST.index(key) if key in LAST else len(FIRST)), key


def _short(schema: Document) -> Document:
    """Return `anyOf` of one plain type and null as a list of types."""
    options = schema.get("anyOf", ())
    plain: Document = next((option for option in options if isinstance(option.get("type"), str)), {})
    if "enum" in plain or options != [plain, {"type": "null"}]:
        return schema
    short: Document = {**schema, **plain, "type": [plain["type"], "null"]}
    return {key: short[key] for key in sorted(short, key=_place) if key != "anyOf"}


def _reached(schema: Document, definitions: Mapping[str, Document]) -> set[str]:
    found: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in found:
                found.add(name)
                waiting.append(definitions[name])
            waiting.extend(value.values())
    return found
