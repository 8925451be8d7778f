"""A Kubernetes API server over real HTTP, as far as freezes need it: written after its published API, not recorded.

It has lists of metadata in pages, selectors by equality, merge patches (RFC 7396) with `resourceVersion` as a
precondition, bearer tokens, and rights by verb and resource: the rules of the ClusterRole in infra/knative.
"""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

LISTS = {
    "/api/v1/namespaces": "namespaces",
    "/apis/apps/v1/deployments": "deployments",
    "/apis/apps/v1/statefulsets": "statefulsets",
}
RIGHTS = {(verb, resource) for verb in ("list", "patch") for resource in LISTS.values()}

Object = dict[str, Any]


class ClusterApi(Loopback):
    """The server; `objects` are by path."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Object] = {}
        self.token, self.rights = "token-1", {*RIGHTS}
        self.page = 1000
        self.answer = self.api
        self._version = 0

    def add(self, path: str, **labels: str) -> None:
        """Add an object: `/api/v1/namespaces/a`, `/apis/apps/v1/namespaces/a/deployments/b`."""
        parts = path.strip("/").split("/")
        metadata: Object = {"name": parts[-1], "labels": labels, "annotations": {"mine": "1"}, "uid": path}
        if len(parts) > 4:
            metadata["namespace"] = parts[-3]
        self.objects[path] = {"metadata": metadata, "spec": {"large": "x" * 1000}}
        self.changed(path)

    def changed(self, path: str) -> None:
        """Let an object have another version."""
        self._version += 1
        self.objects[path]["metadata"]["resourceVersion"] = str(self._version)

    def metadata(self, path: str) -> Object:
        """Return the metadata of an object."""
        found: Object = self.objects[path]["metadata"]
        return found

    def annotations(self) -> Mapping[str, Any]:
        """Return what each frozen object says, by its name."""
        texts = {one["metadata"]["name"]: one["metadata"].get("annotations", {}) for one in self.objects.values()}
        return {
            name: json.loads(text["neural-hive.io/sla-freeze"])
            for name, text in texts.items()
            if "neural-hive.io/sla-freeze" in text
        }

    def made(self, method: str) -> list[str]:
        """Return the paths of the requests of a method."""
        return [request.path for request in self.requests if request.method == method]

    async def api(self, request: Request) -> Answer:
        """Answer a request."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401)
        if request.method == "GET" and request.path in LISTS:
            return self._list(request) if ("list", LISTS[request.path]) in self.rights else _status(403)
        kind = request.path.split("/")[-2]
        if request.method == "PATCH" and request.headers["content-type"] == "application/merge-patch+json":
            return self._patch(request) if ("patch", kind) in self.rights else _status(403)
        return _status(405)

    def _list(self, request: Request) -> Answer:
        kind = LISTS[request.path]
        every = [one for path, one in sorted(self.objects.items()) if path.split("/")[-2] == kind]
        labels = [part.split("=") for part in request.query.get("labelSelector", "").split(",") if part]
        if any(len(part) != 2 for part in labels):
            return _status(400)
        named = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        chosen = [one["metadata"] for one in every if not named or one["metadata"]["name"] == named]
        chosen = [one for one in chosen if all(one["labels"].get(name) == value for name, value in labels)]
        first, size = int(request.query.get("continue", "0")), min(self.page, int(request.query["limit"]))
        following = str(first + size) if first + size < len(chosen) else ""
        items = [{"metadata": one} for one in chosen[first : first + size]]
        kind_of_answer = (
            "PartialObjectMetadataList" if "PartialObjectMetadataList" in request.headers["accept"] else "?"
        )
        answer = {"kind": kind_of_answer, "metadata": {"continue": following}, "items": items}
        return Answer(200, json.dumps(answer).encode())

    def _patch(self, request: Request) -> Answer:
        if request.path not in self.objects:
            return _status(404)
        patch = request.json
        known = self.metadata(request.path)
        if patch["metadata"].get("resourceVersion", known["resourceVersion"]) != known["resourceVersion"]:
            return _status(409)
        self.objects[request.path] = merge_patch(self.objects[request.path], patch)
        self.changed(request.path)
        return Answer(200, json.dumps(self.objects[request.path]).encode())


def merge_patch(target: Any, patch: Any) -> Any:
    """Return what a merge patch makes of a value, as RFC 7396 has it."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _status(status: int) -> Answer:
    return Answer(status, json.dumps({"kind": "Status", "status": "Failure", "code": status}).encode())
