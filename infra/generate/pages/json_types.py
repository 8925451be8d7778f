"""JSON Schema in words: the type of a value, and a line of a list for each field."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from infra.generate.pages.markdown import code, sentence

Schema = Mapping[str, Any]
Link = Callable[[str], str]
"""Returns what stands for a reference: mostly a link to the place where its schema is described."""

WORDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "whole number",
    "object": "JSON object",
    "null": "null",
}


def type_in_words(schema: Schema | bool, link: Link) -> str:  # noqa: FBT001 JSON Schema has true for everything
    """Return the type of a value."""
    if isinstance(schema, bool) or not schema:
        return "any JSON"
    if "$ref" in schema:
        return link(str(schema["$ref"]).rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(type_in_words(part, link) for part in schema[several]))
    if "enum" in schema:
        return f"one of {', '.join(map(code, schema['enum']))}"
    if "const" in schema:
        return code(schema["const"])
    kinds = schema.get("type", "any JSON")
    return " or ".join(_kind(kind, schema, link) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _kind(kind: str, schema: Schema, link: Link) -> str:
    if kind == "array":
        return f"list of {type_in_words(schema.get('items', {}), link)}"
    if kind == "string" and schema.get("format") == "date-time":
        return "time"
    return WORDS.get(kind, kind)


def default_of(schema: Schema) -> str:
    """Return the default of a value, if there is one worth a word."""
    value = schema.get("default")
    if value is None or value in ([], {}):
        return ""
    return f"default {code(str(value).lower() if isinstance(value, bool) else value)}"


def field(name: str, facts: list[str], says: str | None) -> str:
    """Return a line about a field or a parameter."""
    start = f"{code(name)} ({', '.join(filter(None, facts))})"
    return f"{start}: {sentence(says)}" if says else start


def fields(schema: Schema, link: Link) -> Iterator[str]:
    """Yield a line for each field of an object."""
    needed = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        facts = [type_in_words(part, link), "required" if name in needed else default_of(part)]
        yield field(name, facts, part.get("description"))


def values(schema: Schema) -> str:
    """Return what a value may be, where that is a list of words; else no text."""
    return f"One of {', '.join(map(code, schema['enum']))}." if "enum" in schema else ""
