"""What a plan may say of objects of a cluster: which ones they are, and that no pod of theirs gets more than it needs.

The rules for pods are the Baseline of the Kubernetes Pod Security Standards. A pod is found wherever it stands: any
object with `containers` is taken for one, so also those in the templates of kinds that nobody here knows.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from functions._core.decision.references import MARKS
from functions._core.executors.cluster import SUBDOMAIN

OWN = "flowc.neuralhive.io/"
"""The beginning of the labels and annotations that are ours."""

VERSION = re.compile(r"(?:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?v[0-9][a-z0-9]{0,30}")
KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
NAME = re.compile(SUBDOMAIN)
LONGEST_NAME = 253

SAID_OF = frozenset({"name", "namespace", "labels", "annotations"})
"""What a manifest may say in its metadata; who owns an object, and what keeps it, is not a plan's to say."""

GROUPS: Mapping[str, str] = {
    "Deployment": "apps",
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "Service": "",
    "ConfigMap": "",
    "Secret": "",
    "ServiceAccount": "",
    "PersistentVolumeClaim": "",
    "HorizontalPodAutoscaler": "autoscaling",
    "PodDisruptionBudget": "policy",
    "Ingress": "networking.k8s.io",
    "NetworkPolicy": "networking.k8s.io",
    "Job": "batch",
    "CronJob": "batch",
    "Role": "rbac.authorization.k8s.io",
    "RoleBinding": "rbac.authorization.k8s.io",
}
"""The groups of the kinds that may be named without one; others are named as `Certificate.cert-manager.io`."""

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
SHARED = ("hostNetwork", "hostPID", "hostIPC")
CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""The capabilities that a container may add."""

Manifest = Mapping[str, Any]
NONE: frozenset[str] = frozenset()


class ObjectKind(NamedTuple):
    """A kind of objects: its group, `apps`, its version, `v1`, and its name, `Deployment`."""

    group: str
    version: str
    kind: str


def kind_of(manifest: Manifest) -> ObjectKind:
    """Return the kind of an object."""
    group, _, version = str(manifest.get("apiVersion", "")).rpartition("/")
    return ObjectKind(group, version, str(manifest.get("kind", "")))


def is_among(kind: ObjectKind, allowed: Sequence[str]) -> bool:
    """Whether a kind is one of those that are named: `Deployment`, or `Certificate.cert-manager.io`."""
    plain = kind.kind in allowed and GROUPS.get(kind.kind) == kind.group
    return plain or bool(kind.group and f"{kind.kind}.{kind.group}" in allowed)


def manifest_faults(manifest: Manifest, namespace: str, marks: frozenset[str] = NONE) -> Iterator[str]:
    """Yield what is wrong with a manifest; a value with one of `marks` is a reference, about which nothing is known."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        yield "has no metadata with a name"
        return
    yield from _identity_faults(manifest, metadata, namespace, marks)
    if "status" in manifest:
        yield "status is not a plan's to say"
    if _has(_part(manifest, "spec").get("externalIPs"), marks):
        yield "spec.externalIPs would take the traffic of others"
    for pod in pods_in(manifest):
        yield from _pod_faults(pod, marks)


def _identity_faults(manifest: Manifest, metadata: Manifest, namespace: str, marks: frozenset[str]) -> Iterator[str]:
    for what, value, pattern in (
        ("apiVersion", manifest.get("apiVersion"), VERSION),
        ("kind", manifest.get("kind"), KIND),
        ("metadata.name", metadata.get("name"), NAME),
    ):
        good = isinstance(value, str) and pattern.fullmatch(value) is not None and len(value) <= LONGEST_NAME
        if not good and not _refers(value, marks):
            yield f"{what} is missing, or none"
    if metadata.get("namespace", namespace) != namespace and not _refers(metadata["namespace"], marks):
        yield "metadata.namespace is another one than the task's"
    if more := sorted(metadata.keys() - SAID_OF):
        yield f"metadata may have {', '.join(sorted(SAID_OF))}; not {more[0][:60]}"
    for part in ("labels", "annotations"):
        if any(name.startswith(OWN) for name in _part(metadata, part)):
            yield f"metadata.{part} has a name that begins with {OWN}"


def pods_in(value: object) -> Iterator[Manifest]:
    """Yield the specifications of pods that stand anywhere in a manifest."""
    if isinstance(value, Mapping):
        if any(isinstance(value.get(name), list | tuple) for name in CONTAINERS):
            yield value
        for inside in value.values():
            yield from pods_in(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from pods_in(inside)


def containers_in(pod: Manifest) -> Iterator[Manifest]:
    """Yield the containers of a pod, of whatever sort."""
    for name in CONTAINERS:
        yield from _each(pod.get(name))


def size_of(manifests: Sequence[Manifest]) -> int:
    """Return how many characters manifests have as JSON."""
    return sum(len(json.dumps(manifest, default=str)) for manifest in manifests)


def _pod_faults(pod: Manifest, marks: frozenset[str]) -> Iterator[str]:
    for name in SHARED:
        if _has(pod.get(name), marks):
            yield f"a pod asks for {name}"
    for volume in _each(pod.get("volumes")):
        if "hostPath" in volume:
            yield "a pod asks for a hostPath"
    yield from _context_faults(pod.get("securityContext"), marks)
    for container in containers_in(pod):
        yield from _context_faults(container.get("securityContext"), marks)
        for port in _each(container.get("ports")):
            if _has(port.get("hostPort"), marks):
                yield "a container asks for a hostPort"


def _context_faults(context: object, marks: frozenset[str]) -> Iterator[str]:
    if not isinstance(context, Mapping):
        return
    if _has(context.get("privileged"), marks):
        yield "a container asks to be privileged"
    added = _part(context, "capabilities").get("add")
    if isinstance(added, list | tuple) and not CAPABILITIES.issuperset(str(one) for one in added):
        yield "a container adds a capability that is none of the usual ones"
    if context.get("procMount", "Default") != "Default":
        yield "a container asks for another procMount"
    for profile in ("seccompProfile", "appArmorProfile"):
        if _part(context, profile).get("type") == "Unconfined":
            yield f"{profile} is Unconfined"
    if _has(_part(context, "windowsOptions").get("hostProcess"), marks):
        yield "a container asks to be a process of the host"
    if _has(context.get("sysctls"), marks):
        yield "a pod asks for sysctls"
    if {"user", "role"} & {name for name, value in _part(context, "seLinuxOptions").items() if value}:
        yield "seLinuxOptions have a user or a role"


def _part(value: Manifest, name: str) -> Manifest:
    inside = value.get(name)
    return inside if isinstance(inside, Mapping) else {}


def _each(value: object) -> Iterator[Manifest]:
    yield from (one for one in (value if isinstance(value, list | tuple) else ()) if isinstance(one, Mapping))


def _refers(value: object, marks: frozenset[str]) -> bool:
    return isinstance(value, Mapping) and not marks.isdisjoint(value)


def _has(value: object, marks: frozenset[str]) -> bool:
    """Whether a value is there and says more than no."""
    return bool(value) and not _refers(value, marks)


PLANNED = MARKS
"""What marks a reference in a plan, before it has its value."""
