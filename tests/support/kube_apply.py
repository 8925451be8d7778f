"""Server-side apply as the Kubernetes documentation describes it: who owns which field, conflicts, and what goes away.

A field is a path such as `("f:spec", "f:replicas")`; an item of a list with keys is `k:{"name":"web"}`.
"""

import copy
import json
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]

KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "protocol"),
}
"""The lists whose items are known by keys; all others are owned as a whole."""

DEFAULTS = {"protocol": "TCP"}
NOT_OWNED = {("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace")}


class ApplyConflict(Exception):
    """Another manager owns a field and has set it otherwise."""


def keys_of(name: str, items: list[Any]) -> tuple[str, ...]:
    keys = KEYS.get(name, ())
    if name == "ports" and items and isinstance(items[0], dict) and "containerPort" not in items[0]:
        return ("port", "protocol")
    return keys


def item_name(item: Object, keys: tuple[str, ...]) -> str:
    return "k:" + json.dumps({key: item.get(key, DEFAULTS.get(key)) for key in keys}, separators=(",", ":"))


def owned(value: Any, path: Path = ()) -> set[Path]:
    """Return the fields that a value has."""
    name = path[-1][2:] if path else ""
    if isinstance(value, dict) and value:
        return {one for key, inside in value.items() for one in owned(inside, (*path, f"f:{key}"))} - NOT_OWNED
    if isinstance(value, list) and (keys := keys_of(name, value)):
        found: set[Path] = set()
        for item in value:
            here = (*path, item_name(item, keys))
            found |= {(*here, "."), *owned(item, here)}
        return found
    return {path}


def tree(fields: set[Path]) -> Object:
    """Return fields as `fieldsV1` has them."""
    root: Object = {}
    for path in sorted(fields):
        node = root
        for step in path:
            node = node.setdefault(step, {})
    return root


def paths(node: Object, path: Path = ()) -> set[Path]:
    """Return the fields of a `fieldsV1`."""
    if not node:
        return {path}
    return {one for step, inside in node.items() for one in paths(inside, (*path, step))}


def value_at(value: Any, path: Path) -> Any:
    for number, step in enumerate(path):
        if step == ".":
            return value
        value = inside(value, step, path[number - 1] if number else "")
        if value is None:
            return None
    return value


def inside(value: Any, step: str, parent: str) -> Any:
    if step.startswith("f:"):
        return value.get(step[2:]) if isinstance(value, dict) else None
    items = value if isinstance(value, list) else []
    return next((item for item in items if item_name(item, keys_of(parent[2:], items)) == step), None)


def remove(value: Any, path: Path) -> None:
    """Take a field out of a value; an item whose keys alone are left goes as a whole."""
    parent = value_at(value, path[:-1]) if path[-1] != "." else value_at(value, path[:-2])
    if path[-1] == ".":
        item = value_at(value, path[:-1])
        if isinstance(parent, list) and item is not None:
            parent.remove(item)
    elif isinstance(parent, dict):
        parent.pop(path[-1][2:], None)


def merged(live: Any, config: Any, name: str = "") -> Any:
    """Return what comes of a live value when a configuration is applied."""
    if isinstance(live, dict) and isinstance(config, dict):
        return {**live, **{key: merged(live.get(key), value, key) for key, value in config.items()}}
    if isinstance(live, list) and isinstance(config, list) and (keys := keys_of(name, config or live)):
        known = {item_name(item, keys): item for item in live}
        for item in config:
            known[item_name(item, keys)] = merged(known.get(item_name(item, keys)), item)
        return list(known.values())
    return copy.deepcopy(config)


def apply(live: Object, config: Object, manager: str, *, force: bool) -> Object:
    """Return the object that a configuration makes of a live one; raise `ApplyConflict`."""
    entries = live.get("metadata", {}).get("managedFields", [])
    mine = next((e for e in entries if (e["manager"], e["operation"]) == (manager, "Apply")), None)
    others = [entry for entry in entries if entry is not mine]
    wanted = owned({key: value for key, value in config.items() if key not in {"apiVersion", "kind"}})
    kept: list[Object] = []
    for entry in others:
        theirs = paths(entry["fieldsV1"])
        fought = {f for f in theirs & wanted if f[-1] != "." and value_at(live, f) != value_at(config, f)}
        if fought and not force:
            names = ", ".join(sorted(".".join(step[2:] for step in field) for field in fought))
            raise ApplyConflict(f'Apply failed with 1 conflict: conflict with "{entry["manager"]}": .{names}')
        if theirs - fought:
            kept.append({**entry, "fieldsV1": tree(theirs - fought)})
    made: Object = merged(live, config)
    still = wanted.union(*(paths(entry["fieldsV1"]) for entry in kept))
    for field in sorted(paths(mine["fieldsV1"]) - still if mine else (), key=len):
        remove(made, field)
    entry = {"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": tree(wanted)}
    made["metadata"]["managedFields"] = [*kept, entry]
    return made
