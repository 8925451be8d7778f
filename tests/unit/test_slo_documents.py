"""Documents of SLOs and policies: what they make, and that nothing that they say is silently dropped."""

from collections.abc import Mapping
from typing import Any

import pytest

from functions._core.errors import Rejected
from functions._core.slo import reading
from functions._core.slo.definition import Aggregation, HistoryQuery, Measure, SloForm, SloType
from functions._core.slo.documents import InvalidDocument, SloResource, made_id
from functions._core.slo.freezing import FreezeAction, FreezePolicyForm, FreezeScope, SloSelector
from functions._core.slo.reading import read_document, read_documents

HISTORY = {"history": {"measure": "completion_time", "withinMs": 200}}


def slo(names: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "neural-hive.io/v1",
        "kind": "SLODefinition",
        "metadata": {"name": "latency", **(names or {})},
        "spec": {"serviceName": "orchestrator", "target": 0.99, "sliQuery": HISTORY, **spec},
    }


def policy(names: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "neural-hive.io/v1",
        "kind": "SLAPolicy",
        "metadata": {"name": "gate", **(names or {})},
        "spec": {"scope": "SERVICE", "target": "orchestrator", **spec},
    }


def faults(document: object) -> dict[str | None, str]:
    with pytest.raises(InvalidDocument) as refused:
        read_document(document)
    assert refused.value.status == 422
    return {fault.where: fault.message for fault in refused.value.faults}


def test_an_slo_definition_has_every_field_of_the_form_in_camel_case() -> None:
    query: dict[str, Any] = {"metricName": "m", "query": "rate(x[{{window}}])", "aggregation": "min"}
    more: dict[str, Any] = {
        "description": "d",
        "sloType": "latency",
        "component": "c",
        "layer": "l",
        "windowDays": 7,
        "enabled": False,
    }
    read = read_document(slo(name="p95", sliQuery=query, labels={"team": "a"}, metadata={"owner": "b"}, **more))
    form = read.form
    assert isinstance(form, SloForm)
    assert (form.name, form.slo_type, form.window_days, form.enabled) == ("p95", SloType.LATENCY, 7, False)
    assert (form.component, form.layer, form.description, form.target) == ("c", "l", "d", 0.99)
    assert (form.sli_query.metric_name, form.sli_query.aggregation) == ("m", Aggregation.MIN)
    assert (form.labels, form.metadata) == ({"team": "a"}, {"owner": "b"})
    assert (read.key, read.made_id) == ("SLODefinition/latency", made_id("SLODefinition", "latency"))


def test_names_labels_and_the_namespace_of_the_metadata_are_those_of_what_is_made() -> None:
    form = read_document(slo({"namespace": "prod", "labels": {"team": "a", "tier": "1"}}, labels={"team": "b"})).form
    assert (form.name, form.labels) == ("latency", {"namespace": "prod", "team": "b", "tier": "1"})
    assert isinstance(form, SloForm)
    assert form.namespace == "prod"
    assert form.sli_query.history == HistoryQuery(measure=Measure.COMPLETION_TIME, within_ms=200)
    assert read_document(slo(), "staging").form.labels == {"namespace": "staging"}
    assert read_document(slo({"namespace": "prod"}), "staging").form.labels == {"namespace": "prod"}


def test_a_policy_names_slos_by_their_documents_and_a_namespace_by_its_own() -> None:
    selected = {"sloNames": ["latency"], "sloIds": ["x"], "labels": {"team": "a"}}
    thresholds: dict[str, Any] = {
        "triggerThreshold": 10,
        "unfreezeThreshold": 30,
        "autoUnfreeze": False,
        "minDurationSeconds": 60,
    }
    form = read_document(policy(actions=["block_scale"], sloSelector=selected, **thresholds)).form
    assert isinstance(form, FreezePolicyForm)
    assert form.slo_selector == SloSelector(labels={"team": "a"}, slo_ids=("x", made_id("SLODefinition", "latency")))
    assert (form.actions, form.auto_unfreeze) == ((FreezeAction.BLOCK_SCALE,), False)
    assert (form.trigger_threshold_percent, form.unfreeze_threshold_percent, form.min_duration_seconds) == (10, 30, 60)
    alone = {**policy({"namespace": "prod"}), "spec": {"scope": "namespace"}}
    of_namespace = read_document(alone).form
    assert isinstance(of_namespace, FreezePolicyForm)
    assert (of_namespace.scope, of_namespace.target, of_namespace.name) == (FreezeScope.NAMESPACE, "prod", "gate")


def test_what_a_cluster_has_written_says_nothing() -> None:
    by_cluster = {"uid": "u", "generation": 3, "managedFields": [], "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert read_document({**slo(by_cluster), "status": {"synced": True}}).document == slo()


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        (slo(windowDays=91), "spec.windowDays", "90"),
        (slo(target=1), "spec.target", "less than 1"),
        (slo(window_days=7), "spec.window_days", "not known"),
        (slo(sliQuery={"query": "sum(x"}), "spec.sliQuery.query", "not closed"),
        (slo(sliQuery={"history": {"measure": "queue_wait"}}), "spec.sliQuery.history", "needs withinMs"),
        (slo({"name": "Not A Name"}), "metadata.name", "pattern"),
        (slo({"finalizers": ["x"]}), "metadata.finalizers", "not known"),
        (slo({"labels": {"n": 1}}), "metadata.labels.n", "string"),
        (slo({"labels": {f"a{n}": "" for n in range(9)}}, labels={f"b{n}": "" for n in range(9)}), "spec.labels", "16"),
        (policy(triggerThreshold=60), "spec", "triggerThreshold is above unfreezeThreshold"),
        (policy(scope="GLOBAL"), "spec", "target is '*' for GLOBAL"),
        (policy(sloSelector={"slo_ids": ["x"]}), "spec.sloSelector.slo_ids", "not known"),
        ({**slo(), "kind": "Deployment"}, "kind", "SLAPolicy"),
        ({**slo(), "apiVersion": "v1"}, "kind", "neural-hive.io/v1"),
        ({**slo(), "data": {}}, "data", "not known"),
        ({"apiVersion": "neural-hive.io/v1", "kind": "SLAPolicy"}, "metadata", "required"),
        ({**policy(), "spec": "x"}, "spec", "dictionary"),
        ({**slo(), "metadata": None}, "metadata", "dictionary"),
        (["x"], "document", "mapping"),
    ],
)
def test_whatever_cannot_be_kept_is_refused_with_its_place(document: object, where: str, said: str) -> None:
    found = faults(document)
    assert said in found[where], found


def test_several_documents_are_read_from_one_stream_and_a_fault_names_its_own() -> None:
    text = b"kind: SLAPolicy\napiVersion: neural-hive.io/v1\nmetadata: {name: %s}\nspec: {scope: GLOBAL}\n"
    both = read_documents(b"---\n" + text % b"a" + b"---\n\n---\n" + text % b"b")
    assert [one.key for one in both] == ["SLAPolicy/a", "SLAPolicy/b"]
    as_json = b'{"kind": "SLAPolicy", "apiVersion": "neural-hive.io/v1", "metadata": {"name": "a"}'
    assert [one.key for one in read_documents(as_json + b', "spec": {"scope": "GLOBAL"}}')] == ["SLAPolicy/a"]
    with pytest.raises(InvalidDocument, match=r"document 2: metadata\.name"):
        read_documents(text % b"a" + b"---\n" + text % b"'B B'")


ALIASES = b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
    b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (c + 1, c + 1, *[c] * 10) for c in range(97, 106)
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"#" * (reading.MAX_TEXT + 1), "too_large"),
        (ALIASES, "too_complex"),
        (b"[" * 100_000, "too_deep"),
        (b"--- 1\n" * (reading.MAX_DOCUMENTS + 1), "malformed_yaml"),
        (b"!!python/object/apply:os.system [x]", "malformed_yaml"),
        (b"a: 1\na: 2", "malformed_yaml"),
        (b"\xff", "malformed_yaml"),
    ],
)
def test_a_text_of_a_stranger_costs_little(text: bytes, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_documents(text)
    assert refused.value.code == code


def test_faults_are_named_up_to_a_number() -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_document({**slo(), "spec": {f"f{number}": 1 for number in range(500)}})
    assert len(refused.value.members["errors"]) == 100
    assert isinstance(read_document(slo()), SloResource)
