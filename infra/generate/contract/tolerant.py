"""Schemas of what others send: they accept everything that the code accepts, and say it in words.

Nothing here is a rule of its own. Each method mirrors how a type is read: words in any letter case, times in two
forms, numbers and flags as text too, null for absent, other names in use.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import core_schema

from functions._core.decision.model import PLAN_WRAPPERS, Input
from functions._core.decision.named_plans import PLAN_REFERENCE
from functions._core.decision.vocabulary import COMPENSATION_TYPES, MAX_ID_LENGTH, TASK_TYPES, Id
from functions._core.records.values import MAX_EPOCH_MS, Priority, TaskType
from infra.generate.contract.schemas import DEFINITION, NAMED, SAYS, Described, Document, paragraph

NULL = {"type": "null"}
TEXT = {"type": "string"}

MOMENT = {
    "description": "RFC 3339 text (UTC if it names no offset), or milliseconds since 1970. Other forms of ISO 8601 are "
    "read, not promised.",
    "anyOf": [
        {"type": "string", "pattern": r"^\+?[0-9]"},
        {"type": "number", "minimum": 0, "maximum": MAX_EPOCH_MS},
    ],
    "examples": ["2026-03-01T12:00:00.000Z", 1_772_366_400_000],
}
ID_FORM = TypeAdapter(Id).json_schema()
ID = {"description": f"1 to {MAX_ID_LENGTH} characters, none of them a control character."}
WHOLE_NUMBER = {
    "description": "A whole number. Text of digits is read, and true and false as 1 and 0, but not promised.",
    "anyOf": [
        {"type": ["integer", "boolean"]},
        {"type": "string", "pattern": r"^\s*[+-]?[0-9][0-9_]*(\.0+)?\s*$"},
    ],
}
NUMBER = {
    "description": "A number. Text of digits is read, and true and false as 1 and 0, but not promised.",
    "anyOf": [
        {"type": ["number", "boolean"]},
        {"type": "string", "pattern": r"^\s*[+-]?[0-9.][0-9_.]*([eE][+-]?[0-9]+)?\s*$"},
    ],
}


def any_case(words: Iterable[str]) -> str:
    """Return a pattern for `words` in any letter case: patterns of JSON Schema have no flag for it."""
    spelt = ("".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in word) for word in words)
    return "|".join(spelt)


FLAG = {
    "description": "true or false. Also read, but not promised: 1 and 0, and the words of the pattern.",
    "anyOf": [
        {"type": "boolean"},
        {"enum": [0, 1]},
        {
            "type": "string",
            "pattern": f"^({any_case(('0', 'off', 'f', 'false', 'n', 'no'))}|"
            f"{any_case(('1', 'on', 't', 'true', 'y', 'yes'))})$",
        },
    ],
}


def words(about: str, known: Iterable[str], also: Mapping[str, Any] | None = None) -> Document:
    """Return the schema of a word out of `known`, surrounded by blanks perhaps, or of what is `also` read."""
    known = tuple(known)
    word = {"type": "string", "pattern": rf"^\s*({any_case(known)})\s*$"}
    form: Document = {"anyOf": [word, also]} if also else word
    return {"description": f"{about} In any letter case: {', '.join(known)}.", **form, "examples": list(known)}


PRIORITY_WORD = words(
    f"{paragraph(Priority)} A whole number is read too: up to 2 is LOW, up to 5 NORMAL, up to 8 HIGH, above CRITICAL.",
    (*Priority, "medium"),
    {"type": "integer"},
)
NESTED_PLAN = [
    {
        "description": f"An object that holds the plan under `{wrapper}`.",
        "type": "object",
        "required": [wrapper],
        "properties": {wrapper: {NAMED: "Plan", "type": ["object", "string"]}},
    }
    for wrapper in PLAN_WRAPPERS
]
STORED_PLAN = {
    "description": "A plan that was stored by name: `NAME@VERSION`, or `NAME` for its newest version.",
    "type": "object",
    "required": ["plan"],
    "properties": {"plan": {"description": "Name and version.", "type": "string", "pattern": PLAN_REFERENCE}},
    "additionalProperties": False,
}
JSON_TEXT = {"description": "The JSON text of any of these.", **TEXT, "contentMediaType": "application/json"}


def plan_in_any_form(itself: Document) -> Document:
    """Return the schema of the forms in which a plan is handed on, given that of the plan `itself`."""
    text = "The cognitive plan in any of the forms in which it is handed on."
    return {"description": text, "anyOf": [itself, STORED_PLAN, JSON_TEXT, *NESTED_PLAN]}


def named(name: str, definition: Document, **beside: Any) -> Document:  # noqa: ANN401 any JSON value
    """Return a place that refers to a definition."""
    return {NAMED: name, DEFINITION: definition, **beside}


def nullable(schema: Document) -> Document:
    """Return `schema` or null; what annotates it stays outside."""
    if "anyOf" in schema and NULL in schema["anyOf"]:
        return schema
    outside: Document = {key: schema[key] for key in ("description", "default") if key in schema}
    inside = {key: value for key, value in schema.items() if key not in outside}
    return {**outside, "anyOf": [inside, NULL]}


class Tolerant(Described):
    """Schemas of what is read, as it is read."""

    def str_schema(self, schema: core_schema.StringSchema) -> Document:
        """Return the schema of a text, or of an id."""
        text = super().str_schema(schema)
        return named("Id", {**ID, **text}) if text == ID_FORM else text

    def int_schema(self, schema: core_schema.IntSchema) -> Document:
        """Return the schema of a whole number with its limits."""
        return named("WholeNumber", WHOLE_NUMBER, **_limits(super().int_schema(schema)))

    def float_schema(self, schema: core_schema.FloatSchema) -> Document:
        """Return the schema of a number with its limits."""
        return named("Number", NUMBER, **_limits(super().float_schema(schema)))

    def bool_schema(self, _schema: core_schema.BoolSchema) -> Document:
        """Return the schema of true or false."""
        return named("Flag", FLAG)

    def datetime_schema(self, _schema: core_schema.DatetimeSchema) -> Document:
        """Return the schema of a time."""
        return named("Moment", MOMENT)

    def enum_schema(self, schema: core_schema.EnumSchema) -> Document:
        """Return the schema of a word."""
        cls: type[Enum] = schema["cls"]
        about = paragraph(cls).partition(";")[0].rstrip(".")
        schema_of_word = words(f"{about}.", (member.value for member in cls))
        return {SAYS: schema_of_word["description"], **schema_of_word}

    def dict_schema(self, schema: core_schema.DictSchema) -> Document:
        """Return the schema of an object whose names have a form: other names are refused, not only other values."""
        document = super().dict_schema(schema)
        for pattern, value in document.pop("patternProperties", {}).items():
            names = {"type": "string", **document.get("propertyNames", {}), "pattern": pattern}
            document |= {"propertyNames": names, "additionalProperties": value}
        return document

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Document:
        """Return the schema of what a validator reads before the type itself does."""
        inner = super().function_before_schema(schema)
        form = inner
        match schema["function"]["function"].__name__:
            case "read_task_type":
                form = named("TaskWord", words(paragraph(TaskType), TASK_TYPES))
            case "read_compensation_type":
                form = named("CompensationWord", words("The kinds of work that undo work.", COMPENSATION_TYPES))
            case "read_priority":
                form = named("PriorityWord", PRIORITY_WORD)
            case "_plan_itself":
                form = named("Plan", plan_in_any_form(inner))
            case "a_number":
                kind = "integer" if inner[NAMED] == "WholeNumber" else "number"
                form = {**{key: inner[key] for key in inner.keys() - {NAMED, DEFINITION}}, "type": kind}
            case "_undo_by_type":
                form = {"anyOf": [*inner["anyOf"], {"type": "boolean"}]}
            case "_text_is_a_message":
                form = {"anyOf": [*inner["anyOf"][:-1], TEXT, NULL]}
        return form

    def model_schema(self, schema: core_schema.ModelSchema) -> Document:
        """Return the schema of a model; in decisions null counts as absent, and some fields have two names."""
        document = super().model_schema(schema)
        cls = schema["cls"]
        if issubclass(cls, Input):
            forms = dict(document["properties"])
            needed = set(document.get("required", ()))
            document["properties"] = {name: form if name in needed else nullable(form) for name, form in forms.items()}
            for other, name in cls.synonyms.items():
                _either(document, other, name, forms[name])
        return document


def _limits(schema: Document) -> Document:
    """Return the limits of a number, if it has any, with the types in which it may be written."""
    limits = {key: value for key, value in schema.items() if key != "type"}
    return {"type": [schema["type"], "boolean", "string"], **limits} if limits else {}


def _either(document: Document, other: str, name: str, form: Document) -> None:
    """Let the field `other` stand for `name`, of that `form`, where `name` is absent."""
    form = {key: value for key, value in form.items() if key not in {"description", "default"}}
    instead: Document = {"properties": {other: nullable(form)}}
    if name in document.get("required", ()):
        document["required"].remove(name)
        document["properties"][name] = nullable(document["properties"][name])
        instead = {"properties": {other: form}, "required": [other]}
    document["properties"][other] = {"description": f"Another name of {name}; counts where that is absent."}
    given = {"properties": {name: {"not": NULL}}, "required": [name]}
    document.setdefault("allOf", []).append({"anyOf": [given, instead]})
