"""The filters of the CloudEvents Subscriptions API: which events a subscription wants, by their attributes.

    exact, prefix, suffix   an object of attribute and text; each of its attributes has to fit
    all, any                an array of filters; all of them, or one of them, has to fit
    not                     a filter that must not fit

A filter has one of these names. An attribute that an event does not have fits nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from functions._core.events.envelope import CloudEvent
from functions._core.records.values import format_time

MAX_FILTERS = 64
"""Filters of one subscription, those within others counted, too, and one that names several attributes as often: each
event is compared with all of them."""

MAX_DEPTH = 5
"""How deep filters may lie within each other."""

MAX_TEXT = 512
"""Characters of a text that an attribute is compared with."""

ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")

COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}
"""How the value of an attribute is compared with a text, by the name of the filter."""

NESTED = frozenset({"all", "any", "not"})
"""The filters that are made of others."""

Filter = Mapping[str, Any]


def check_filters(filters: Sequence[Filter]) -> None:
    """Raise `ValueError`, which names the place, for filters that are not understood or too many."""
    if sum(_checked(one, f"filters[{place}]", 1) for place, one in enumerate(filters)) > MAX_FILTERS:
        raise ValueError(f"a subscription has at most {MAX_FILTERS} filters, with those within others, by attribute")


def _checked(one: object, place: str, depth: int) -> int:
    """Return how many filters a filter is, with those within it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"filters lie at most {MAX_DEPTH} deep within each other")
    if not isinstance(one, Mapping) or len(one) != 1:
        raise ValueError(f"{place} is no object with one of the names {', '.join([*COMPARISONS, *sorted(NESTED)])}")
    ((name, value),) = one.items()
    if name in COMPARISONS:
        return _checked_texts(value, f"{place}.{name}")
    if name == "not":
        return 1 + _checked(value, f"{place}.not", depth + 1)
    if name not in NESTED or not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_FILTERS:
        raise ValueError(f"{place}.{str(name)[:20]} is no filter: all and any are arrays of filters")
    return 1 + sum(_checked(inner, f"{place}.{name}[{at}]", depth + 1) for at, inner in enumerate(value))


def _checked_texts(value: object, place: str) -> int:
    """Return how many attributes a filter compares."""
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_FILTERS:
        raise ValueError(f"{place} is no object of attributes and texts")
    for name, text in value.items():
        if not ATTRIBUTE.fullmatch(name):
            raise ValueError(f"{place} names an attribute that no event has: small letters and digits")
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT:
            raise ValueError(f"{place}.{name} is no text of 1 to {MAX_TEXT} characters")
    return len(value)


def attributes_of(event: CloudEvent) -> Mapping[str, str]:
    """Return the context attributes of an event as texts, as it is sent."""
    attributes = {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.type}
    attributes |= {"time": format_time(event.time), "datacontenttype": "application/json"}
    return {**attributes, **({"subject": event.subject} if event.subject else {}), **event.extensions}


def fits(one: Filter, attributes: Mapping[str, str]) -> bool:
    """Whether an event of these attributes fits a filter that was checked."""
    ((name, value),) = one.items()
    if name in COMPARISONS:
        compare = COMPARISONS[name]
        return all(key in attributes and compare(attributes[key], text) for key, text in value.items())
    if name == "not":
        return not fits(value, attributes)
    return (all if name == "all" else any)(fits(inner, attributes) for inner in value)
