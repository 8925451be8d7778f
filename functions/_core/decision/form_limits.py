"""The limits of a form: a JSON Schema (2020-12) by which the data of a decision about a ticket is checked.

The schema comes from the plan and the data from a person, so neither may make the check expensive. References within
the schema are followed while its values are counted: what refers to itself, or grows by references, is too large.
Patterns are those of an engine that reads each text once (no look-around, no back references).
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

from functions._core.records.json_text import json_size

FORM_BYTES = DATA_BYTES = 32 * 1024
"""Bytes of a form, and of the data given for one, as JSON."""

FORM_VALUES, DATA_VALUES = 500, 1_000
"""JSON values in a form, its references followed, and in data."""

CHECKED = 25_000
"""Values of the form times values of the data: as many checks there are at most."""

MAX_DEPTH = 16
"""Levels of a form, its references followed, and of data."""

MAX_PATTERN, MAX_REPEATED = 128, 100
"""Characters of a pattern, and how often it may repeat a part by numbers: both make its automaton large."""

MAX_PATTERNS = 8
"""Different patterns in a form: each is compiled once in a process, the largest in 100 ms."""

REPEATED = re.compile(r"\{\s*([0-9]*)\s*(?:,\s*([0-9]*)\s*)?\}")
"""A number of repetitions in a pattern."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""The one dialect that is read; a form need not name it."""

OTHER_BASES = ("$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$dynamicRef", "$recursiveRef", "$vocabulary")
EXPENSIVE = ("patternProperties", "unevaluatedItems", "unevaluatedProperties")
REFUSED = frozenset((*OTHER_BASES, *EXPENSIVE))
"""Keywords that a form may not have: with the first ones `#` means different places, the others repeat work."""

LOCAL = re.compile(r"#(?:/[A-Za-z0-9_$. -]+)*")
"""A reference into the form itself; nothing is ever fetched."""


def form_fault(form: Mapping[str, Any]) -> str | None:
    """Return the first reason why a form is not taken, in words; None for one within the limits."""
    if json_size(form) > FORM_BYTES:
        return f"the form has more than {FORM_BYTES} bytes"
    if form.get("$schema", DIALECT) not in {DIALECT, f"{DIALECT}#"}:
        return f"the form is of another dialect than {DIALECT}"
    return _followed(form)[1]


def _followed(form: Mapping[str, Any]) -> tuple[int, str | None]:
    """Return how many values a form has, its references followed, and the first fault; the count ends with that."""
    level: list[Any] = [form]
    values, patterns = 0, set[str]()
    for _ in range(MAX_DEPTH + 1):
        values += len(level)
        if values > FORM_VALUES:
            return values, f"the form has more than {FORM_VALUES} values, its references followed"
        below: list[Any] = []
        for value in level:
            below += _within(value)
            if isinstance(value, Mapping):
                fault = next(_faults(form, value, patterns), None)
                if fault is not None:
                    return values, fault
                below += [_target(form, value["$ref"])] if isinstance(value.get("$ref"), str) else []
        level = below
        if not level:
            return values, None
    return values, f"the form is deeper than {MAX_DEPTH} levels, its references followed"


def data_fault(form: Mapping[str, Any], data: object) -> str | None:
    """Return why data is too large to be checked by a form that is within the limits; None when it is not."""
    if json_size(data) > DATA_BYTES:
        return f"the data has more than {DATA_BYTES} bytes"
    values, depth = size_of(data)
    if values > DATA_VALUES or values * _followed(form)[0] > CHECKED:
        return f"the data has {values} values, too many for this form"
    return f"the data is deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else None


def size_of(value: object) -> tuple[int, int]:
    """Return how many values a JSON value holds, itself included, and how many levels it has."""
    values, depth, level = 0, 0, [value]
    while level:
        values += len(level)
        depth += 1
        level = [inner for one in level for inner in _within(one)]
    return values, depth


@lru_cache(maxsize=64)
def fits_pattern(pattern: str) -> SchemaValidator:
    """Return the check of a text by a pattern, found anywhere in it; raise `SchemaError` for one that is not read."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _faults(form: Mapping[str, Any], value: Mapping[str, Any], patterns: set[str]) -> Iterator[str]:
    """Yield what is wrong with one object of a form; `patterns` are those that were met so far."""
    for name in REFUSED & value.keys():
        yield f"the form has the keyword {name!r}, which is not taken"
    target, pattern = value.get("$ref"), value.get("pattern")
    if isinstance(target, str) and (LOCAL.fullmatch(target) is None or _target(form, target) is None):
        yield f"the form refers to {target[:100]!r}; only places within it, such as '#/$defs/name', can be referred to"
    if isinstance(pattern, str) and pattern not in patterns:
        patterns.add(pattern)
        if len(patterns) > MAX_PATTERNS:
            yield f"the form has more than {MAX_PATTERNS} patterns"
        if len(pattern) > MAX_PATTERN or _repetitions(pattern) > MAX_REPEATED:
            most = f"{MAX_PATTERN} characters or {MAX_REPEATED} repetitions"
            yield f"the form has a pattern of more than {most}: {pattern[:100]!r}"
            return
        try:
            fits_pattern(pattern)
        except SchemaError:
            yield f"the form has the pattern {pattern[:100]!r}, which is not read: no look-around, no back references"


def _repetitions(pattern: str) -> int:
    """Return the product of the numbers of repetitions in a pattern: as often a part of it may be repeated."""
    counts = (max(map(int, filter(None, found.groups(""))), default=1) for found in REPEATED.finditer(pattern))
    return prod(max(count, 1) for count in counts)


def _target(form: Mapping[str, Any], reference: str) -> object:
    """Return the place that a reference names; None when there is none."""
    value: Any = form
    for part in reference.split("/")[1:]:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _within(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
