"""How far a rollout is, by what objects say of themselves, and which of their fields are ours."""

from typing import Any

import pytest

from functions._core.executors.owned_fields import fields_of, joined, values_of
from functions._core.executors.rollout import Rollout, address_of, rollout_of


def live(kind: str, spec: Any = None, status: Any = None, generation: int = 2) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": generation}, "spec": spec or {}, "status": status or {}}


def seen(**status: Any) -> dict[str, Any]:
    return {"observedGeneration": 2, **status}


def condition(kind: str, status: str, reason: str = "Because", message: str = "so") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}


ALL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
SAME = {"currentRevision": "a", "updateRevision": "a"}
OTHER = {"currentRevision": "a", "updateRevision": "b"}
LATE = condition("Progressing", "False", "ProgressDeadlineExceeded")


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (live("Deployment", {"replicas": 2}, seen(**ALL)), "healthy"),
        (live("Deployment", {"replicas": 2}, {**ALL, "observedGeneration": 1}), "progressing"),
        (live("Deployment", {"replicas": 2}, ALL), "progressing"),
        (live("Deployment", {"replicas": 2}), "progressing"),
        (live("Deployment", {"replicas": 2}, seen(**{**ALL, "replicas": 3})), "progressing"),
        (live("Deployment", {"replicas": 2}, seen(**{**ALL, "updatedReplicas": 1})), "progressing"),
        (live("Deployment", {"replicas": 2}, seen(**{**ALL, "availableReplicas": 1})), "progressing"),
        (live("Deployment", {"replicas": 0}, seen()), "healthy"),
        (live("Deployment", {"replicas": 2}, seen(**ALL, **LATE)), "failed"),
        (live("Deployment", {"replicas": 2}, {**LATE, "observedGeneration": 1}), "progressing"),
        (live("StatefulSet", {"replicas": 2}, seen(**ALL, **SAME)), "healthy"),
        (live("StatefulSet", {"replicas": 2}, seen(**ALL, **OTHER)), "progressing"),
        (
            live(
                "StatefulSet",
                {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
                seen(**{**ALL, "updatedReplicas": 1}, **OTHER),
            ),
            "healthy",
        ),
        (live("StatefulSet", {"replicas": 2, "updateStrategy": {"type": "OnDelete"}}, seen(**ALL, **OTHER)), "healthy"),
        (
            live("DaemonSet", {}, seen(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2)),
            "healthy",
        ),
        (
            live("DaemonSet", {}, seen(desiredNumberScheduled=2, updatedNumberScheduled=1, numberAvailable=2)),
            "progressing",
        ),
        (live("ConfigMap"), "healthy"),
        (live("Service", {}, {"loadBalancer": {}}), "healthy"),
        (live("Job", {}, condition("Complete", "True")), "healthy"),
        (live("Job", {}, {"active": 1}), "progressing"),
        (live("Job", {}, condition("Failed", "True")), "failed"),
        (live("Certificate", {}, seen(**condition("Ready", "False"))), "progressing"),
        (live("Certificate", {}, seen(**condition("Ready", "True"))), "healthy"),
        (live("Certificate", {}, {**condition("Ready", "True"), "observedGeneration": 1}), "progressing"),
        (live("Thing", {}, condition("Stalled", "True")), "failed"),
        ({"kind": "Deployment", "metadata": [], "spec": 7, "status": "x"}, "progressing"),
        (live("Deployment", {"replicas": "2"}, seen(conditions="x", replicas=None)), "healthy"),
    ],
)
def test_an_object_is_healthy_when_its_status_is_about_what_was_applied(one: dict[str, Any], state: str) -> None:
    assert rollout_of(one).state == state


def test_it_is_said_why() -> None:
    trouble = condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")
    found = rollout_of(live("Deployment", {"replicas": 2}, seen(**trouble)))
    assert found == Rollout("progressing", "0 of 2 new replicas are available; FailedCreate: exceeded quota")


@pytest.mark.parametrize(
    ("one", "url"),
    [
        (live("Ingress", {"rules": [{"host": "*.x.test"}, {"host": "a.test"}], "tls": [{}]}), "https://a.test/"),
        (live("Ingress", {"rules": [{}]}), ""),
        (live("Service", {}, {"loadBalancer": {"ingress": [{"ip": "fd00::1"}]}}), "http://[fd00::1]/"),
        (live("Service", {}, {"loadBalancer": {"ingress": [{"hostname": "lb.test"}]}}), "http://lb.test/"),
        (live("Deployment"), ""),
    ],
)
def test_where_people_reach_it(one: dict[str, Any], url: str) -> None:
    assert address_of(one) == url


CONTAINERS: dict[str, Any] = {
    'k:{"name":"web"}': {".": {}, "f:name": {}, "f:image": {}},
    'k:{"name":"gone"}': {".": {}, "f:name": {}},
}
FIELDS: dict[str, Any] = {"f:spec": {"f:containers": CONTAINERS, "f:args": {}, "f:finalizers": {'v:"a"': {}}}}


def test_what_a_manager_has_applied_is_taken_out_of_an_object_and_nothing_else() -> None:
    spec = {
        "replicas": 7,
        "containers": [{"name": "sidecar", "image": "x"}, {"name": "web", "image": "i", "env": []}],
        "args": ["a", "b"],
        "finalizers": ["a", "b"],
    }
    entries = [{"manager": "flowc", "operation": "Apply", "fieldsV1": FIELDS}]
    one = {"metadata": {"managedFields": entries}, "spec": spec}
    assert values_of(one, fields_of(one, "flowc")) == {
        "spec": {"containers": [{"name": "web", "image": "i"}], "args": ["a", "b"], "finalizers": ["a"]}
    }
    assert fields_of(one, "kubectl") == {}


def test_fields_of_two_are_those_of_either() -> None:
    replicas: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
    assert joined(FIELDS, replicas) == {"f:spec": {**FIELDS["f:spec"], "f:replicas": {}}}


def test_an_item_is_known_by_its_keys_though_nobody_has_applied_them() -> None:
    fields: dict[str, Any] = {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}
    found = values_of({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 3}]}, fields)
    assert found == {"ports": [{"port": 80, "protocol": "TCP"}]}


@pytest.mark.parametrize("broken", ["k:{", "k:7", "v:", "x"])
def test_a_field_that_cannot_be_read_takes_nothing(broken: str) -> None:
    assert values_of({"a": [{"b": 1}]}, {"f:a": {broken: {}, 'k:{"b":2}': {}}}) == {"a": []}
