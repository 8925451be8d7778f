"""The published schemas of documents: they take the examples, and say of a cluster's objects what the reader says."""

import json
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from functions._core.slo.documents import InvalidDocument
from functions._core.slo.reading import read_document
from infra.generate.contract.slo_documents import custom_resources
from tests.conftest import ROOT
from tests.unit.test_slo_documents import policy, slo

NAMES = {"SLODefinition": "slo-definition", "SLAPolicy": "sla-policy"}
EXAMPLES = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "examples" / "slo").glob("*.yaml")]
OURS = [one for one in EXAMPLES if one["kind"] in NAMES]
NOT_STRUCTURAL = {"$ref", "anyOf", "allOf", "oneOf", "const", "title", "default", "propertyNames", "$defs"}


@cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "functions" / "api" / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("document", OURS, ids=lambda document: document["metadata"]["name"])
def test_the_examples_fit_the_published_schemas(document: dict[str, Any]) -> None:
    assert [error.message for error in validator(NAMES[document["kind"]]).iter_errors(document)] == []


WRONG = [
    slo(windowDays=0),
    slo(windowDays=91),
    slo(target=0),
    slo(unknown=1),
    slo(sliQuery={"query": ""}),
    slo({"name": "Not A Name"}),
    {**slo(), "kind": "Pod"},
    policy(triggerThreshold=101),
    policy(actions=[]),
    policy(sloSelector={"names": []}),
]


@pytest.mark.parametrize("document", WRONG)
def test_what_the_schemas_refuse_the_reader_refuses(document: dict[str, Any]) -> None:
    name = NAMES.get(document["kind"], "slo-definition")
    assert not validator(name).is_valid(document)
    with pytest.raises(InvalidDocument):
        read_document(document)


def test_the_examples_fit_the_schemas_of_a_cluster_whose_rule_is_the_readers() -> None:
    for text in custom_resources().values():
        resource = yaml.safe_load(text)
        names, (version,) = resource["spec"]["names"], resource["spec"]["versions"]
        assert resource["metadata"]["name"] == f"{names['plural']}.neural-hive.io"
        schema = version["schema"]["openAPIV3Schema"]
        _check_structural(schema)
        for example in (one for one in OURS if one["kind"] == names["kind"]):
            assert [error.message for error in Draft202012Validator(_as_json_schema(schema)).iter_errors(example)] == []
        paths = {column["jsonPath"].split(".")[2] for column in version["additionalPrinterColumns"]}
        parts = schema["properties"]
        assert paths <= {"creationTimestamp", *parts["spec"]["properties"], *parts["status"]["properties"]}
    (rule,) = schema["properties"]["spec"]["x-kubernetes-validations"]  # that of the policy, which comes last
    assert "self.triggerThreshold : 20.0" in rule["rule"]
    with pytest.raises(InvalidDocument, match=rule["message"]):
        read_document(policy(triggerThreshold=51))


def _check_structural(schema: dict[str, Any]) -> None:
    """Check what Kubernetes asks of a schema: a type each, no word of those that it does not take."""
    assert schema.keys() & NOT_STRUCTURAL == set(), schema
    assert isinstance(schema["type"], str)
    assert not ("properties" in schema and "additionalProperties" in schema)
    for part in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        _check_structural(part)
    if isinstance(schema.get("additionalProperties"), dict):
        _check_structural(schema["additionalProperties"])


def _as_json_schema(value: Any) -> Any:
    """Return a schema of Kubernetes in the words of JSON Schema, as far as the documents need it."""
    if isinstance(value, list):
        return [_as_json_schema(part) for part in value]
    if not isinstance(value, dict):
        return value
    flags = {"exclusiveMinimum", "exclusiveMaximum"}
    return {name: _as_json_schema(part) for name, part in value.items() if not (name in flags and part is True)}
