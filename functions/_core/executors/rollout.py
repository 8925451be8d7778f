"""How far the rollout of an object of a cluster is, as its status says it. A status may be older than what it is about.

Every workload says by `observedGeneration` which specification its status is about; until that is the present one, the
status is that of the one before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Object = Mapping[str, Any]

WORDS = 500
"""Characters of what a cluster says."""


class Rollout(NamedTuple):
    """How an object stands, and what there is to say of it."""

    state: Literal["healthy", "progressing", "failed"]
    words: str = ""


HEALTHY = Rollout("healthy")


def rollout_of(live: Object) -> Rollout:
    """Return how the rollout of an object stands; one of a kind without a status is healthy when it is there."""
    spec, status = _part(live, "spec"), _part(live, "status")
    generation, observed = _part(live, "metadata").get("generation"), status.get("observedGeneration")
    kind = live.get("kind")
    looked_at = {"Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set}.get(str(kind))
    if (looked_at is not None and observed is None) or (observed is not None and observed != generation):
        return Rollout("progressing", "its controller has not seen the change yet")
    if looked_at is not None:
        return looked_at(spec, status)
    for found in (_condition(status, "Failed"), _condition(status, "Stalled")):
        if found.get("status") == "True":
            return Rollout("failed", _words(found))
    waited = _condition(status, "Complete" if kind == "Job" else "Ready")
    if kind == "Job" and not waited:
        return Rollout("progressing", "the Job runs")
    return Rollout("progressing", _words(waited)) if waited and waited.get("status") != "True" else HEALTHY


def address_of(live: Object) -> str:
    """Return where people reach what an Ingress or a Service is in front of; empty where it does not say."""
    spec = _part(live, "spec")
    if live.get("kind") == "Ingress":
        hosts = [str(rule.get("host") or "") for rule in _list(spec, "rules")]
        host = next((one for one in hosts if one and "*" not in one), "")
        return f"{'https' if spec.get('tls') else 'http'}://{host}/" if host else ""
    if live.get("kind") == "Service":
        points = _list(_part(_part(live, "status"), "loadBalancer"), "ingress")
        places = [str(point.get("hostname") or point.get("ip") or "") for point in points]
        place = next(filter(None, places), "")
        return (f"http://[{place}]/" if ":" in place else f"http://{place}/") if place else ""
    return ""


def _deployment(spec: Object, status: Object) -> Rollout:
    progressing = _condition(status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Rollout("failed", _words(progressing))
    wanted = _number(spec.get("replicas", 1))
    updated, every, ready = (_number(status.get(name)) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated >= wanted and every <= updated and ready >= updated:
        return HEALTHY
    trouble = _condition(status, "ReplicaFailure")
    more = f"; {_words(trouble)}" if trouble.get("status") == "True" else ""
    return Rollout("progressing", f"{min(updated, ready)} of {wanted} new replicas are available{more}")


def _stateful_set(spec: Object, status: Object) -> Rollout:
    strategy = _part(spec, "updateStrategy")
    wanted = _number(spec.get("replicas", 1))
    ready = _number(status.get("readyReplicas"))
    if strategy.get("type") == "OnDelete":
        return HEALTHY if ready >= wanted else Rollout("progressing", f"{ready} of {wanted} replicas are ready")
    first = _number(_part(strategy, "rollingUpdate").get("partition"))
    updated = _number(status.get("updatedReplicas"))
    same = status.get("currentRevision") == status.get("updateRevision")
    if ready >= wanted and (same or (first and updated >= wanted - first)):
        return HEALTHY
    return Rollout("progressing", f"{min(updated, ready)} of {max(0, wanted - first)} new replicas are ready")


def _daemon_set(spec: Object, status: Object) -> Rollout:
    wanted = _number(status.get("desiredNumberScheduled"))
    updated, ready = (_number(status.get(name)) for name in ("updatedNumberScheduled", "numberAvailable"))
    if (updated >= wanted or _part(spec, "updateStrategy").get("type") == "OnDelete") and ready >= wanted:
        return HEALTHY
    return Rollout("progressing", f"{min(updated, ready)} of {wanted} new pods are available")


def _condition(status: Object, kind: str) -> Object:
    return next((one for one in _list(status, "conditions") if one.get("type") == kind), {})


def _words(condition: Object) -> str:
    return f"{condition.get('reason', '')}: {condition.get('message', '')}"[:WORDS]


def _part(value: Object, name: str) -> Object:
    inside = value.get(name)
    return inside if isinstance(inside, Mapping) else {}


def _list(value: Object, name: str) -> Sequence[Object]:
    inside = value.get(name)
    return [one for one in inside if isinstance(one, Mapping)] if isinstance(inside, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
