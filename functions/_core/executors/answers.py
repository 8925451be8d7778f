"""Places in JSON answers: JSON Pointers (RFC 6901), and the part of JSONPath (RFC 9535) that names members and entries.

/items/0/id      $.items[0].id      $['items'][0]['id']      one value
                 $.items[*].id                              a list, one for each entry
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from functions._core.decision.references import INDEX, POINTER

STEP = re.compile(
    r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(0|[1-9][0-9]{0,8})\]|\['([^'\\]*)'\]|\[\"([^\"\\]*)\"\]|(\[\*\]|\.\*)"
)
"""One step of a JSONPath."""

EVERY = None
"""The step to every entry of a list, or every value of an object."""

Step = str | int | None


class NoSuchPlace(ValueError):
    """An answer has nothing in the place that was named."""


def place_in(path: str) -> Sequence[Step]:
    """Return the steps of a JSON Pointer or a JSONPath; raise `ValueError` for what is neither."""
    if not path.startswith("$"):
        if not POINTER.fullmatch(path):
            raise ValueError("is neither a JSON Pointer such as /items/0/id nor a JSONPath such as $.items[0].id")
        return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]
    steps: list[Step] = []
    position = 1
    while position < len(path):
        found = STEP.match(path, position)
        if found is None:
            raise ValueError("is a JSONPath with more than names, entries and [*]")
        name, index, quoted, other, every = found.groups()
        steps.append(
            EVERY if every else int(index) if index else next(s for s in (name, quoted, other) if s is not None)
        )
        position = found.end()
    return steps


def value_at(document: object, path: str) -> Any:  # noqa: ANN401 any JSON
    """Return what is in a place of a JSON value; raise `NoSuchPlace`."""
    return _value(document, place_in(path), path)


def value_or_none(document: object, path: str | None) -> Any:  # noqa: ANN401 any JSON
    """Return what is in a place; None where there is none, or no place is named."""
    try:
        return None if path is None else value_at(document, path)
    except NoSuchPlace:
        return None


def _value(value: Any, steps: Sequence[Step], path: str) -> Any:  # noqa: ANN401 any JSON
    for number, step in enumerate(steps):
        if step is EVERY:
            inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
            return [_value(part, steps[number + 1 :], path) for part in inside]
        if isinstance(value, Mapping) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and INDEX.fullmatch(str(step)) and int(step) < len(value):
            value = value[int(step)]
        else:
            raise NoSuchPlace(f"the answer has nothing at {path}")
    return value
