"""What a template asks for: the questions of its copier.yml as JSON Schema, and answers checked against it.

A template is data here: what would run programs or load code of its own is refused, and so is a question for a secret,
as answers are shown to everybody who may read a pipeline. Places are named in messages, values never.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from functions._core.errors import Rejected
from functions._core.records.json_text import json_size

MOST_QUESTIONS = 100
MOST_SCHEMA = 64 * 1024
"""Bytes of all questions as JSON Schema, which are part of an output."""

LONGEST = 1_000
"""Characters of a description, a default and a choice."""

KINDS: Mapping[str, str | None] = {
    "str": "string",
    "path": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "json": None,
    "yaml": None,
}
"""The types of copier, and those of JSON Schema; None stands for any value."""

OF_JSON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}

REFUSED = {
    "_tasks": "runs programs",
    "_jinja_extensions": "loads code",
    "_external_data": "reads other files",
}
"""Settings of copier that no template may have here, and why."""

VERSION = "version"
"""The question that the pipeline itself can answer."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
WITHIN = ("{{", "{%", "[[", "[%")
"""What begins a part that is made when the template is rendered."""


def questions_schema(documents: Sequence[object]) -> Mapping[str, Any]:
    """Return the JSON Schema of what a template asks for; `documents` are those of its copier.yml.

    Raises `Rejected`, code `bad_template`.
    """
    settings = _merged(documents)
    for name, why in REFUSED.items():
        if settings.get(name):
            raise _bad(f"has {name}, which {why}: that is not done here")
    asked = {name: value for name, value in settings.items() if not name.startswith("_")}
    if len(asked) > MOST_QUESTIONS:
        raise _bad(f"has more than {MOST_QUESTIONS} questions")
    secret = settings.get("_secret_questions") or ()
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, value in asked.items():
        question = value if isinstance(value, Mapping) else {"default": value}
        if not NAME.fullmatch(name):
            raise _bad(f"has a question whose name is no word: {name[:60]!r}")
        if question.get("secret") or (isinstance(secret, list) and name in secret):
            raise _bad(f"asks for a secret ({name}), and everybody sees the answers")
        if question.get("when", True) is False:
            continue  # it is computed, and never asked
        properties[name] = _schema_of(name, question)
        if "default" not in question and question.get("when", True) is True:
            required.append(name)
    schema = {"type": "object", "properties": properties, "additionalProperties": False, "required": required}
    if json_size(schema) > MOST_SCHEMA:
        raise _bad(f"asks for so much that its questions have more than {MOST_SCHEMA} bytes")
    return schema if required else {name: value for name, value in schema.items() if name != "required"}


def checked_answers(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Raise `Rejected`, code `bad_inputs`, with all that is wrong with the answers to a template's questions."""
    faults = [*_faults(schema, inputs)]
    if faults:
        raise Rejected("; ".join(faults[:20]), code="bad_inputs", status=422)


def with_version(schema: Mapping[str, Any], inputs: Mapping[str, Any], version: str | None) -> Mapping[str, Any]:
    """Return answers, to a question `version` that takes the version of what is made and has no other this one."""
    question = schema.get("properties", {}).get(VERSION)
    fits = question is not None and question.get("type") == "string" and not _fault(question, version)
    return {**inputs, VERSION: version} if fits and version is not None and VERSION not in inputs else inputs


def share_answered(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> float:
    """Return the share of the questions that were answered, 0 to 1; one that its default answers counts half.

    A template that asks nothing has all answers.
    """
    asked = schema.get("properties", {})
    if not asked:
        return 1.0
    answered = sum(1 for name in asked if name in inputs)
    return (answered + 0.5 * (len(asked) - answered)) / len(asked)


def for_copier(schema: Mapping[str, Any], inputs: Mapping[str, Any], encode: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Return answers as copier takes them: to a question for any value the value as JSON text, by `encode`."""
    asked = schema.get("properties", {})
    return {name: encode(value) if _is_any(asked[name]) else value for name, value in inputs.items()}


def _merged(documents: Sequence[object]) -> Mapping[str, Any]:
    settings: dict[str, Any] = {}
    for one in documents:
        if one is None:
            continue
        if not isinstance(one, Mapping):
            raise _bad("has a copier.yml that is no mapping")
        settings.update(one)
    return settings


def _schema_of(name: str, question: Mapping[str, Any]) -> dict[str, Any]:
    kind = question.get("type", "")
    default = question.get("default")
    if not isinstance(kind, str) or (kind and kind not in KINDS and not _rendered(kind)):
        raise _bad(f"has a question of a type that copier does not know ({name})")
    one: dict[str, Any] = {}
    json_type = None if _rendered(kind) else KINDS[kind or _kind_of(default)]
    if json_type is not None:
        one["type"] = json_type
    choices = _choices(name, question.get("choices"))
    if choices:
        one["enum"] = [str(value) for value in choices] if json_type == "string" else choices
    if question.get("multiselect"):
        one = {"type": "array", "items": one}
    if "default" in question and not _rendered(default) and default is not None:
        one["default"] = default
    if said := "\n".join(_said(question)):
        one["description"] = said
    return one


def _said(question: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the description of a question has."""
    if isinstance(text := question.get("help"), str) and text.strip():
        yield text.strip()[:LONGEST]
    if _rendered(text := question.get("default")):
        yield f"Default: {text}"[:LONGEST]
    if isinstance(text := question.get("validator"), str) and text.strip():
        yield f"Checked by: {text.strip()}"[:LONGEST]
    if isinstance(text := question.get("when"), str):
        yield f"Asked when: {text}"[:LONGEST]


def _choices(name: str, given: object) -> Sequence[Any]:
    """Return the values of choices; none where they are made when the template is rendered."""
    if given is None or isinstance(given, str):
        return ()
    values: list[Any] = []
    if not isinstance(given, Mapping | list):
        raise _bad(f"has choices that are no list ({name})")
    labelled = [*given.items()] if isinstance(given, Mapping) else given
    for one in labelled:
        value = one[1] if isinstance(one, list | tuple) and len(one) == 2 else one  # noqa: PLR2004 - name and value
        value = value.get("value") if isinstance(value, Mapping) else value
        if _rendered(value):
            return ()
        if isinstance(value, Mapping | list) or value is None or len(str(value)) > LONGEST:
            raise _bad(f"has a choice that is no word ({name})")
        values.append(value)
    return values


def _kind_of(default: object) -> str:
    """Return the type of a question that names none, as copier has it."""
    name = type(default).__name__
    return name if name in KINDS else "yaml"


def _rendered(value: object) -> bool:
    return isinstance(value, str) and any(mark in value for mark in WITHIN)


def _is_any(question: Mapping[str, Any]) -> bool:
    return "type" not in question and "enum" not in question


def _faults(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    asked = schema.get("properties", {})
    for name in inputs:
        if name not in asked:
            known = ", ".join([*asked][:20]) or "nothing"
            yield f"{name} is nothing that the template asks for, which is {known}"
    for name in schema.get("required", ()):
        if name not in inputs:
            yield f"{name} is missing"
    for name, question in asked.items():
        if name in inputs and (fault := _fault(question, inputs[name])):
            yield f"{name} {fault}"


def _fault(question: Mapping[str, Any], value: object) -> str:
    """Return what is wrong with an answer; empty where nothing is."""
    if question.get("type") == "array":
        if not isinstance(value, list):
            return "has to be a list"
        return next(filter(None, (_fault(question["items"], one) for one in value)), "")
    kind = question.get("type")
    if kind is not None:
        wanted = OF_JSON[kind]
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean"):
            return f"has to be of the type {kind}"
    if "enum" in question and not any(value == one and type(value) is type(one) for one in question["enum"]):
        return f"has to be one of {', '.join(map(str, question['enum']))}"[:LONGEST]
    return ""


def _bad(text: str) -> Rejected:
    return Rejected(f"the template {text}", code="bad_template", status=422)
