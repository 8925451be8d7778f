"""Reads documents of any kind, one or many, from YAML or JSON that strangers may have written."""

from collections.abc import Mapping, Sequence
from typing import Any

from functions._core.errors import Rejected
from functions._core.records.json_text import BYTE_ORDER_MARK
from functions._core.records.models import Reason
from functions._core.records.yaml_text import parse_documents
from functions._core.slo.definition import SloForm
from functions._core.slo.documents import (
    API_VERSION,
    OPENSLO_KIND,
    POLICY_KIND,
    SLO_KIND,
    InvalidDocument,
    PolicyDocument,
    SloDocument,
    SloResource,
    labels_of,
    made_id,
    read_as,
)
from functions._core.slo.freezing import FreezePolicyForm, FreezeScope
from functions._core.slo.openslo import OPENSLO_VERSION, read_openslo

MAX_TEXT = 1024 * 1024
"""Bytes of a stream of documents."""

MAX_DOCUMENTS, MAX_VALUES = 1000, 100_000
"""Documents of a stream, and values of all of them together, as often as an alias stands for them."""

BY_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
"""What a cluster writes into the metadata of an object; it says nothing about the SLO, and is left out."""


def read_documents(text: bytes, namespace: str | None = None) -> Sequence[SloResource]:
    """Return the documents of a YAML or JSON text, in order; see `read_document`. Empty ones count as none."""
    if len(text) > MAX_TEXT:
        raise Rejected(f"the documents are larger than {MAX_TEXT} bytes", code="too_large", status=413)
    found = parse_documents(text.removeprefix(BYTE_ORDER_MARK), at_most=MAX_DOCUMENTS, parts=MAX_VALUES)
    return [
        read_document(one, namespace, f"document {number}: " if len(found) > 1 else "")
        for number, one in enumerate(found, 1)
        if one is not None
    ]


def read_document(value: object, namespace: str | None = None, where: str = "") -> SloResource:
    """Return what a document makes; raise `InvalidDocument` with every fault, `where` naming it among others.

    Of a document that names no namespace it is `namespace`.
    """
    if not isinstance(value, Mapping):
        raise InvalidDocument([Reason(code="wrong", message="a document is a mapping", where="document")], where)
    document = in_namespace(value, namespace)
    version, kind = document.get("apiVersion"), document.get("kind")
    if version == OPENSLO_VERSION and kind == OPENSLO_KIND:
        return read_openslo(document, where)
    if version != API_VERSION or kind not in {SLO_KIND, POLICY_KIND}:
        text = f"read are {API_VERSION} {SLO_KIND} and {POLICY_KIND}, and {OPENSLO_VERSION} {OPENSLO_KIND}"
        raise InvalidDocument([Reason(code="unknown_kind", message=text, where="kind")], where)
    if kind == SLO_KIND:
        slo = read_as(SloDocument, document, where)
        return SloResource(SLO_KIND, slo.metadata.name, _slo_form(slo, where), document)
    policy = read_as(PolicyDocument, _with_target(document), where)
    return SloResource(POLICY_KIND, policy.metadata.name, _policy_form(policy, where), document)


def in_namespace(value: Mapping[str, Any], namespace: str | None) -> dict[str, Any]:
    """Return a document without what a cluster has written, and in `namespace` if it names none."""
    document = {name: part for name, part in value.items() if name != "status"}
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping):
        kept = {name: part for name, part in metadata.items() if name not in BY_SERVER}
        document["metadata"] = {"namespace": namespace, **kept} if namespace and "namespace" not in kept else kept
    return document


def _slo_form(document: SloDocument, where: str) -> SloForm:
    spec = document.spec.model_dump()
    spec["name"] = spec["name"] or document.metadata.name
    spec["labels"] = labels_of(document.metadata, spec["labels"])
    return read_as(SloForm, spec, where, ("spec",))


def _policy_form(document: PolicyDocument, where: str) -> FreezePolicyForm:
    spec = document.spec.model_dump()
    spec["name"] = spec["name"] or document.metadata.name
    spec["labels"] = labels_of(document.metadata, spec["labels"])
    selector = spec["slo_selector"]
    named = [made_id(SLO_KIND, name) for name in selector.pop("slo_names")]
    selector["slo_ids"] = [*selector["slo_ids"], *named]
    return read_as(FreezePolicyForm, spec, where, ("spec",))


def _with_target(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a policy; one for a namespace is for its own if it names no other."""
    spec, metadata = document.get("spec"), document.get("metadata")
    if not isinstance(spec, Mapping) or not isinstance(metadata, Mapping) or "target" in spec:
        return document
    if str(spec.get("scope", "")).upper() != FreezeScope.NAMESPACE or "namespace" not in metadata:
        return document
    return {**document, "spec": {**spec, "target": metadata["namespace"]}}
