"""A Kubernetes API server over real HTTP, written after the published API of Kubernetes 1.30; it was never recorded.

It has bearer tokens, rights by verb and resource (403), admission of names (422), `resourceVersion`, `uid` and
`generation`, lists in pages whose rest is forgotten (410), merge patches, server-side apply with field managers,
deletion with preconditions and owners, rate limits (429), the logs of pods, and access reviews. What controllers do,
which comes later than the call, is in `kube_controllers.py`.
"""

import asyncio
import copy
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from tests.support.cluster_api import merge_patch
from tests.support.kube_apply import ApplyConflict, apply
from tests.support.loopback import Answer, Loopback, Request

Object = dict[str, Any]

KINDS = {
    ("v1", "pods"): "Pod",
    ("v1", "secrets"): "Secret",
    ("v1", "configmaps"): "ConfigMap",
    ("v1", "services"): "Service",
    ("v1", "serviceaccounts"): "ServiceAccount",
    ("batch/v1", "jobs"): "Job",
    ("apps/v1", "deployments"): "Deployment",
    ("apps/v1", "statefulsets"): "StatefulSet",
    ("apps/v1", "daemonsets"): "DaemonSet",
    ("autoscaling/v2", "horizontalpodautoscalers"): "HorizontalPodAutoscaler",
    ("policy/v1", "poddisruptionbudgets"): "PodDisruptionBudget",
    ("networking.k8s.io/v1", "ingresses"): "Ingress",
    ("rbac.authorization.k8s.io/v1", "roles"): "Role",
    ("rbac.authorization.k8s.io/v1", "rolebindings"): "RoleBinding",
    ("rbac.authorization.k8s.io/v1", "clusterroles"): "ClusterRole",
    ("source.toolkit.fluxcd.io/v1", "gitrepositories"): "GitRepository",
    ("source.toolkit.fluxcd.io/v1", "buckets"): "Bucket",
    ("source.toolkit.fluxcd.io/v1", "ocirepositories"): "OCIRepository",
    ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"): "Kustomization",
    ("helm.toolkit.fluxcd.io/v2", "helmreleases"): "HelmRelease",
}
"""The resources that there are: their kinds by version and name."""

CLUSTER_WIDE = {"clusterroles"}
DATA = {"Secret", "ConfigMap"}
"""Kinds without a specification: they have no generation."""

PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))/namespaces/(?P<namespace>[^/]+)/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<below>[^/]+))?"
)
DISCOVERY = re.compile(r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


class Refusal(Exception):
    """An answer without success."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class KubeApi(Loopback):
    """The server. `faults` are answered first; `denied` are verbs with resources that the account may not do."""

    def reset(self) -> None:
        super().reset()
        self.answer = self._api
        self.objects: dict[str, Object] = {}
        self.namespaces = {"jobs", "web", "other"}
        self.token = "token-1"
        self.denied: set[tuple[str, str]] = set()
        self.faults: deque[Answer] = deque()
        self.pages_forgotten = 0
        self.logs: Callable[[str, dict[str, str]], bytes] = lambda _path, _query: b""
        self.watching: list[Callable[[str], None]] = []
        self._version = 100

    def made(self, method: str, part: str = "") -> list[str]:
        """Return the paths of the requests of a method that have a part."""
        return [request.path for request in self.requests if request.method == method and part in request.path]

    def of(self, resource: str) -> list[Object]:
        """Return all objects of a resource."""
        return [one for path, one in self.objects.items() if path.split("/")[-2] == resource]

    def one(self, resource: str) -> Object:
        """Return the one object of a resource."""
        [found] = self.of(resource)
        return found

    def path(self, found: Object) -> str:
        """Return where an object is."""
        return next(path for path, one in self.objects.items() if one is found)

    async def _api(self, request: Request) -> Answer:
        if self.faults:
            return self.faults.popleft()
        try:
            return self._answer(request)
        except Refusal as refusal:
            return status_answer(refusal)

    def _answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Unauthorized", "Unauthorized")
        if request.path == "/version":
            return answer(200, {"major": "1", "minor": "30"})
        if request.path.endswith("/selfsubjectaccessreviews"):
            wanted = request.json["spec"]["resourceAttributes"]
            allowed = (wanted["verb"], wanted["resource"]) not in self.denied
            return answer(201, {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}})
        if found := DISCOVERY.fullmatch(request.path):
            return self._resources(found["core"] or found["group"])
        parts = PATH.fullmatch(request.path)
        if parts is None or ((parts["core"] or parts["group"]), parts["resource"]) not in KINDS:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        verb = "list" if request.method == "GET" and not parts["name"] else VERBS[request.method]
        resource = f"{parts['resource']}/{parts['below']}" if parts["below"] else parts["resource"]
        creates = verb == "patch" and "apply" in request.headers["content-type"] and request.path not in self.objects
        if (verb, resource) in self.denied or (creates and ("create", resource) in self.denied):
            who = 'User "system:serviceaccount:flowc:worker"'
            text = f'{resource} is forbidden: {who} cannot {verb} resource "{resource}" in the namespace'
            raise Refusal(403, "Forbidden", text)
        if parts["below"] == "log":
            return Answer(200, self.logs(request.path.removesuffix("/log"), request.query))
        return getattr(self, f"_{verb}")(request, parts)  # type: ignore[no-any-return]

    def _resources(self, version: str) -> Answer:
        found = [
            {"name": name, "kind": kind, "namespaced": name not in CLUSTER_WIDE}
            for (of, name), kind in KINDS.items()
            if of == version
        ]
        if not found:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        status = [{"name": f"{one['name']}/status", "kind": one["kind"], "namespaced": True} for one in found]
        return answer(200, {"kind": "APIResourceList", "groupVersion": version, "resources": [*status, *found]})

    def _get(self, request: Request, _: re.Match[str]) -> Answer:
        return answer(200, self._known(request.path))

    def _list(self, request: Request, parts: re.Match[str]) -> Answer:
        labels = [one.split("=") for one in request.query.get("labelSelector", "").split(",") if one]
        chosen = [
            one
            for path, one in sorted(self.objects.items())
            if path.rpartition("/")[0] == request.path
            and all(one["metadata"].get("labels", {}).get(name) == value for name, value in labels)
        ]
        if "continue" in request.query and self.pages_forgotten:
            self.pages_forgotten -= 1
            raise Refusal(410, "Expired", "The provided continue parameter is too old")
        first, size = int(request.query.get("continue", "0")), int(request.query["limit"])
        rest = {"continue": str(first + size)} if first + size < len(chosen) else {}
        kind = KINDS[parts["core"] or parts["group"], parts["resource"]]
        return answer(200, {"kind": f"{kind}List", "metadata": rest, "items": chosen[first : first + size]})

    def _create(self, request: Request, parts: re.Match[str]) -> Answer:
        made = self._admitted(request.json, parts)
        path = f"{request.path}/{made['metadata']['name']}"
        if path in self.objects:
            raise Refusal(409, "AlreadyExists", f'{parts["resource"]} "{made["metadata"]["name"]}" already exists')
        return answer(201, self.put(path, made))

    def _patch(self, request: Request, parts: re.Match[str]) -> Answer:
        kind = request.headers["content-type"]
        if kind == "application/apply-patch+yaml":
            return self._apply(request, parts)
        known = self._known(request.path)
        if kind != "application/merge-patch+json":
            raise Refusal(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        version = request.json.get("metadata", {}).get("resourceVersion", known["metadata"]["resourceVersion"])
        if version != known["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        return answer(200, self.put(request.path, merge_patch(known, request.json)))

    def _apply(self, request: Request, parts: re.Match[str]) -> Answer:
        config = self._admitted(request.json, parts)
        if config["metadata"]["name"] != parts["name"]:
            raise Refusal(400, "BadRequest", "the name of the object does not match the name on the URL")
        if "managedFields" in config["metadata"]:
            raise Refusal(400, "BadRequest", "metadata.managedFields must be nil")
        known = self.objects.get(request.path, {"metadata": {}})
        force = request.query.get("force") == "true"
        try:
            made = apply(copy.deepcopy(known), config, request.query["fieldManager"], force=force)
        except ApplyConflict as conflict:
            raise Refusal(409, "Conflict", str(conflict)) from conflict
        if request.query.get("dryRun") == "All":
            return answer(200, made)
        return answer(200, self.put(request.path, made))

    def _delete(self, request: Request, parts: re.Match[str]) -> Answer:
        known = self._known(request.path)
        uid = json.loads(request.body or b"{}").get("preconditions", {}).get("uid", known["metadata"]["uid"])
        if uid != known["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "the UID in the precondition does not match the UID in record")
        self.remove(request.path)
        return answer(200, {"kind": "Status", "status": "Success", "details": {"name": parts["name"]}})

    def remove(self, path: str) -> None:
        """Remove an object, and what it owns."""
        gone = self.objects.pop(path)
        for other, one in [*self.objects.items()]:
            if gone["metadata"]["uid"] in {owner["uid"] for owner in one["metadata"].get("ownerReferences", [])}:
                self.remove(other)
        self._tell(path)

    def put(self, path: str, made: Object, *, by_controller: bool = False) -> Object:
        """Keep an object as it is now; a change of its specification is another generation."""
        known = self.objects.get(path)
        metadata = made["metadata"]
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", now())
        if made.get("kind") not in DATA:
            same = known is not None and known.get("spec") == made.get("spec")
            metadata["generation"] = metadata.get("generation", 0) + (0 if same else 1)
        _default(made)
        if "stringData" in made:
            made["data"] = made.pop("stringData")
        self.objects[path] = made
        if not by_controller:
            self._tell(path)
        return made

    def change(self, path: str, **parts: Any) -> None:
        """Change parts of an object, as its controller does."""
        if path in self.objects:
            self.put(path, {**copy.deepcopy(self.objects[path]), **parts}, by_controller=True)

    def _tell(self, path: str) -> None:
        for watcher in self.watching:
            asyncio.get_running_loop().call_soon(watcher, path)

    def _known(self, path: str) -> Object:
        if path not in self.objects:
            raise Refusal(404, "NotFound", f"{path} not found")
        return self.objects[path]

    def _admitted(self, body: Any, parts: re.Match[str]) -> Object:
        version = parts["core"] or parts["group"]
        kind = KINDS[version, parts["resource"]]
        if (body.get("apiVersion"), body.get("kind")) != (version, kind):
            raise Refusal(400, "BadRequest", f"the object is no {kind} in version {version}")
        metadata = body["metadata"]
        if metadata.setdefault("namespace", parts["namespace"]) != parts["namespace"]:
            raise Refusal(400, "BadRequest", "the namespace of the object does not match the namespace on the request")
        if parts["namespace"] not in self.namespaces:
            raise Refusal(404, "NotFound", f'namespaces "{parts["namespace"]}" not found')
        faults = list(_faults(metadata))
        if faults:
            raise Refusal(422, "Invalid", f'{kind} "{metadata.get("name")}" is invalid: {", ".join(faults)}')
        return body  # type: ignore[no-any-return]


def _faults(metadata: Object) -> Iterator[str]:
    name = str(metadata.get("name", ""))
    if not SUBDOMAIN.fullmatch(name) or len(name) > 253:
        yield "metadata.name: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"
    for value in metadata.get("labels", {}).values():
        if len(value) > 63 or not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value):
            yield "metadata.labels: Invalid value"
    if sum(len(name) + len(value) for name, value in metadata.get("annotations", {}).items()) > 256 * 1024:
        yield "metadata.annotations: Too long: must have at most 262144 bytes"


def _default(value: Any) -> None:
    """Fill in the protocol of ports, as the server does."""
    if isinstance(value, dict):
        for port in value.get("ports", []) if isinstance(value.get("ports"), list) else []:
            port.setdefault("protocol", "TCP")
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        _default(inside)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def answer(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"content-type": "application/json"})


def status_answer(refusal: Refusal, headers: dict[str, str] | None = None) -> Answer:
    """Return a refusal as the server words it."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": refusal.reason, "code": refusal.status}
    return Answer(refusal.status, json.dumps({**said, "message": refusal.message}).encode(), headers or {})


def too_many(seconds: int = 0) -> Answer:
    """Return what a server says that has too much to do."""
    refusal = Refusal(429, "TooManyRequests", "The server has received too many requests")
    return status_answer(refusal, {"retry-after": str(seconds)})
