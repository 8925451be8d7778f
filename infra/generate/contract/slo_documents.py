"""The schemas of the documents of SLOs and policies, for editors, and as the custom resources of a cluster."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from functions._core.slo.documents import API_VERSION, PolicyDocument, SloDocument
from infra.generate.contract.field_docs import phrase
from infra.generate.contract.schemas import DIALECT, Document, paragraph

MODELS: Mapping[str, type[BaseModel]] = {"slo-definition": SloDocument, "sla-policy": PolicyDocument}
"""The models of the documents by the names under which their schemas are served."""

LEFT_OUT = frozenset({"title", "additionalProperties", "propertyNames", "default"})
"""Words that a structural schema of Kubernetes does not have, or not beside `properties`.

A cluster would write defaults into objects, and what nobody has said would then look as if somebody had.
"""

STATUS: Document = {
    "type": "object",
    "description": "What became of it.",
    "properties": {
        "synced": {"type": "boolean", "description": "Whether what it makes is as it says."},
        "lastSyncTime": {"type": "string", "format": "date-time", "description": "When that was known last."},
        "sloId": {"type": "string", "description": "Id of the SLO that it makes."},
        "policyId": {"type": "string", "description": "Id of the policy that it makes."},
        "budgetRemaining": {"type": "number", "description": "Percent of the error budget that is left."},
        "message": {"type": "string", "description": "Why it is not synced."},
    },
}

TRIGGER_RULE: Document = {
    "rule": "(has(self.triggerThreshold) ? self.triggerThreshold : 20.0)"
    " <= (has(self.unfreezeThreshold) ? self.unfreezeThreshold : 50.0)",
    "message": "triggerThreshold is above unfreezeThreshold: it would never be quiet",
}

SYNCED = {"name": "Synced", "type": "boolean", "jsonPath": ".status.synced"}
AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
COLUMNS: Mapping[str, list[Document]] = {
    "SLODefinition": [
        {"name": "Service", "type": "string", "jsonPath": ".spec.serviceName"},
        {"name": "Target", "type": "number", "jsonPath": ".spec.target"},
        {"name": "Budget", "type": "number", "jsonPath": ".status.budgetRemaining"},
        SYNCED,
        AGE,
    ],
    "SLAPolicy": [
        {"name": "Scope", "type": "string", "jsonPath": ".spec.scope"},
        {"name": "Target", "type": "string", "jsonPath": ".spec.target"},
        {"name": "Freezes at", "type": "number", "jsonPath": ".spec.triggerThreshold"},
        {"name": "Frees at", "type": "number", "jsonPath": ".spec.unfreezeThreshold"},
        SYNCED,
        AGE,
    ],
}


class Written(GenerateJsonSchema):
    """Schemas in the names of documents, with the sentence under every field."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Document:
        """Return the schema of a model."""
        cls: type[BaseModel] = schema["cls"]
        document = super().model_schema(schema)
        document["description"] = paragraph(cls)
        fields = {info.alias or name: name for name, info in cls.model_fields.items()}
        for written, part in document.get("properties", {}).items():
            part["description"] = phrase(cls, fields[written])
        return document

    def enum_schema(self, schema: core_schema.EnumSchema) -> Document:
        """Return the schema of an enumeration."""
        return {**super().enum_schema(schema), "description": paragraph(schema["cls"])}


def document_schemas() -> Mapping[str, Document]:
    """Return the schemas by the names under which they are served."""
    return {name: _schema(name, model) for name, model in MODELS.items()}


def custom_resources() -> Mapping[str, str]:
    """Return the CustomResourceDefinition of each kind as YAML, by its file."""
    plural = {"slo-definition": "slodefinitions", "sla-policy": "slapolicies"}
    return {f"{name}.yaml": _resource(model, plural[name]) for name, model in MODELS.items()}


def _schema(name: str, model: type[BaseModel]) -> Document:
    generated = model.model_json_schema(schema_generator=Written)
    return {"$schema": DIALECT, "$id": f"urn:neuralhive:{name}:v1", **_untitled(generated)}


def _untitled(value: Any) -> Any:  # noqa: ANN401 any JSON
    if isinstance(value, list):
        return [_untitled(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: _untitled(part) for name, part in value.items() if name != "title" or not isinstance(part, str)}


def _resource(model: type[BaseModel], plural: str) -> str:
    generated = model.model_json_schema(schema_generator=Written)
    kind = generated["properties"]["kind"]["const"]
    spec = _structural(generated["properties"]["spec"], generated["$defs"])
    if kind == "SLAPolicy":
        spec["x-kubernetes-validations"] = [TRIGGER_RULE]
    group, _, version = API_VERSION.partition("/")
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": STATUS}}
    one = {
        "name": version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": COLUMNS[kind],
        "schema": {"openAPIV3Schema": {"description": paragraph(model), **schema}},
    }
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    document = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [one]},
    }
    made = "# Made by `make knative` from functions/_core/slo/documents.py; do not edit.\n"
    return made + yaml.safe_dump(document, sort_keys=False, width=110)


def _structural(schema: Document, parts: Mapping[str, Document]) -> Document:
    """Return a schema as Kubernetes takes it: without references, each null a word, limits by flags."""
    if "$ref" in schema:
        schema = {**parts[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if options:
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        return {**_structural({**options[0], **rest}, parts), "nullable": True}
    found = {name: value for name, value in schema.items() if name not in LEFT_OUT}
    for limit, word in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if limit in found:
            found |= {word: found[limit], limit: True}
    if "properties" in found:
        found["properties"] = {name: _structural(part, parts) for name, part in found["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = _structural(schema["additionalProperties"], parts)
    elif found.get("type") == "object":
        found["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in found:
        found["items"] = _structural(found["items"], parts)
    return found
