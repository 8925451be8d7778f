"""Whether a resource is what Kubernetes, Knative or the Prometheus operator take, by their own schemas, strictly.

Schemas show a resource's shape. What admission webhooks ask beyond that is not covered; see tests/infra/schemas.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, FormatChecker

SCHEMAS = Path(__file__).parents[1] / "infra" / "schemas"
DEFINITIONS = ("knative-eventing.json", "knative-serving.json", "prometheus-operator.json")
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = {
    "type": "object",
    "required": ["name", "namespace"],
    "properties": {"name": NAME, "namespace": NAME, "labels": TEXTS, "annotations": TEXTS},
    "additionalProperties": False,
}
DURATION = {"type": "string", "pattern": r"^PT(\d+(\.\d+)?[HMS])+$"}


def problems(resource: dict[str, Any]) -> list[str]:
    """Return what is wrong with `resource`; nothing when it is valid."""
    kind = f"{resource['apiVersion']}/{resource['kind']}"
    return [f"{kind} {error.json_path}: {error.message[:200]}" for error in _validator(kind).iter_errors(resource)]


def func_problems(document: object) -> list[str]:
    """Return what is wrong with the document of a `func.yaml`."""
    return [
        f"{error.json_path}: {error.message[:200]}"
        for error in Draft7Validator(_read("func.json")).iter_errors(document)
    ]


@cache
def _validator(kind: str) -> Draft7Validator:
    core = _read("kubernetes.json")
    if kind in core["kinds"]:
        return Draft7Validator({**core["kinds"][kind], "definitions": core["definitions"]})
    for name in DEFINITIONS:
        if kind in (schemas := _read(name)):
            return Draft7Validator(_whole(schemas[kind]), format_checker=FormatChecker())
    raise LookupError(f"no schema of {kind}")


@cache
def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return read


def _whole(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a custom resource, of which its definition leaves out what all resources have."""
    schema: dict[str, Any] = _strict(spec)
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": METADATA}
    schema["required"] = sorted({*schema.get("required", ()), "metadata", "spec"})
    for delivery in _named("delivery", schema):
        delivery["properties"] |= {"backoffDelay": DURATION, "timeout": DURATION}
        delivery["properties"]["backoffPolicy"] = {"enum": ["linear", "exponential"]}
    for attributes in _named("attributes", schema):
        attributes["additionalProperties"] = {"type": "string"}
    return schema


def _strict(schema: Any) -> Any:
    """Return an OpenAPI schema as JSON Schema that allows listed fields only, even where it preserves unknown ones."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        made["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        made.setdefault("additionalProperties", False)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def _named(name: str, schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schemas of all fields called `name`, at any depth."""
    if isinstance(schema, dict):
        for key, value in schema.get("properties", {}).items():
            if key == name:
                yield value
            yield from _named(name, value)
        yield from _named(name, schema.get("items"))
