"""The fields of an object that a manager has applied, as `managedFields` names them (FieldsV1), and their values.

f:spec              a member
k:{"name":"web"}    an item of a list, by the values of its keys
v:"x"               an item of a list, by its value
.                   the member or item itself
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Fields = Mapping[str, Any]


def fields_of(live: Mapping[str, Any], manager: str) -> Fields:
    """Return the fields that a manager has applied."""
    metadata = live.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and (entry.get("manager"), entry.get("operation")) == (manager, "Apply"):
            fields = entry.get("fieldsV1")
            return fields if isinstance(fields, Mapping) else {}
    return {}


def joined(one: Fields, other: Fields) -> Fields:
    """Return the fields that are in one or the other."""
    both = {name: joined(fields, other[name]) if name in other else fields for name, fields in one.items()}
    return {**other, **both}


def values_of(live: Any, fields: Fields) -> Any:  # noqa: ANN401 any JSON
    """Return what an object has in some fields; what it has not is left out."""
    if isinstance(live, Mapping) and _are(fields, "f:"):
        inside = ((name[2:], below) for name, below in fields.items() if name.startswith("f:"))
        return {name: values_of(live[name], below) for name, below in inside if name in live}
    if isinstance(live, list) and _are(fields, "k:", "v:"):
        found = (_item(item, fields) for item in live)
        return [item for item in found if item is not None]
    return live


def _item(item: Any, fields: Fields) -> Any:  # noqa: ANN401 any JSON
    """Return an item of a list with its keys and its fields; None for one that nobody has applied."""
    for name, below in fields.items():
        wanted = _json(name[2:])
        if name.startswith("v:") and item == wanted:
            return item
        if name.startswith("k:") and isinstance(item, Mapping) and isinstance(wanted, Mapping):
            keys = {key: item.get(key) for key in wanted}
            if keys == wanted:
                rest = {key: value for key, value in below.items() if key != "."}
                return {**keys, **(values_of(item, rest) if rest else {})}
    return None


def _are(fields: Fields, *kinds: str) -> bool:
    return any(name.startswith(kinds) for name in fields)


def _json(text: str) -> Any:  # noqa: ANN401 any JSON
    try:
        return json.loads(text)
    except ValueError:
        return None


def without(value: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """Return an object without some members."""
    return {name: inside for name, inside in value.items() if name not in names}
