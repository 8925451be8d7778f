"""The API of a Kubernetes cluster: objects by their paths, lists in pages, server-side apply, logs.

    WORKER_KUBERNETES_URL                          the API server; without it that of the cluster the worker runs in
    WORKER_KUBERNETES_TOKEN, _TOKEN_FILE, _CA_FILE  in a cluster those of the pod's service account

In which namespaces anything is done, the worker's owner says (`WORKER_NAMESPACES`); without it, in none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

from functions._adapters.http.reply import Reply
from functions._core.executors.manifests import OWN
from functions._executors.patterns import admit
from functions._executors.port import CallFailed, ToolCheck
from functions._executors.services import SECONDS, ServiceApi, ServiceConnection, json_of_reply, part
from functions._executors.settings import ExecutorSettings

NAME = "KUBERNETES"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the token of its service account and the certificate of its cluster."""

MANAGER = "flowc"
"""The field manager of what is applied."""

KEY = f"{OWN}key"
"""The label and annotation that has the hash of a job's key: a label's value has 63 characters at most."""

PAGE, PAGES = 250, 40
"""Objects of one answer, and answers of one list."""

LISTINGS = 3
"""How often a list is begun again whose rest the server has forgotten (410)."""

WORDS = 500
"""Characters of what a server says of a refusal."""

MERGE = {"content-type": "application/merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}
"""JSON is YAML."""

ClusterObject = Mapping[str, Any]


class ClusterApi(ServiceApi):
    """Calls one API server."""

    def __init__(self, settings: ExecutorSettings) -> None:
        """Open nothing yet; raises `ValueError` for what is no address."""
        super().__init__(cluster_connection(settings))

    async def get(self, path: str) -> ClusterObject | None:
        """Return an object; None where there is none. Raises `CallFailed`, as all of these do."""
        reply = await self.call("GET", path)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        self.checked(reply, "GET")
        return object_of(reply)

    async def objects(self, path: str, selector: str) -> Sequence[ClusterObject]:
        """Return the objects whose labels fit a selector."""
        for _ in range(LISTINGS):
            found = await self._listed(path, selector)
            if found is not None:
                return found
        raise CallFailed("the list changed while it was read")

    async def create(self, path: str, body: ClusterObject) -> ClusterObject | None:
        """Create an object and return it; None where one of its name is there."""
        reply = await self.call("POST", path, query={"fieldManager": MANAGER}, body=body)
        if reply.status == HTTPStatus.CONFLICT and reason_of(reply) == "AlreadyExists":
            return None
        self.checked(reply, "POST")
        return object_of(reply)

    async def merge(self, path: str, patch: ClusterObject) -> ClusterObject:
        """Change an object by a merge patch (RFC 7396) and return it; a `resourceVersion` in it is a precondition."""
        query = {"fieldManager": MANAGER}
        return object_of(await self.good("PATCH", path, query=query, body=patch, headers=MERGE))

    async def apply(self, path: str, body: ClusterObject, *, force: bool, dry_run: bool = False) -> ClusterObject:
        """Apply what is wanted of an object (server-side apply), and return the object as it is then.

        A field that another manager has set otherwise is a `conflict`, unless `force` takes it over.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": str(force).lower()}
        query |= {"dryRun": "All"} if dry_run else {}
        return object_of(await self.good("PATCH", path, query=query, body=body, headers=APPLY))

    async def delete(self, path: str, uid: str = "") -> None:
        """Delete an object and what it owns; one that is gone, or is another one than `uid`, is no error."""
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        reply = await self.call("DELETE", path, body=body)
        if not reply.ok and reply.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE}:
            raise self.refused(reply, "DELETE")

    async def may(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        """Return whether the worker's account may do something, as the server says."""
        wanted = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(part_of(object_of(await self.good("POST", path, body=body)), "status").get("allowed"))

    async def checks(self, settings: ExecutorSettings, rights: Sequence[tuple[str, str, str]]) -> tuple[ToolCheck, ...]:
        """Return what `flowc doctor executor` says: reach, namespaces, and rights (verb, group, resource) there."""
        reached = await self.reached("/version", "cluster")
        named = [one for one in settings.namespaces if "*" not in one and "?" not in one]
        said = f"WORKER_NAMESPACES allows {', '.join(settings.namespaces) or 'none'}"
        checks = [reached, ToolCheck("namespaces", bool(settings.namespaces), said)]
        try:
            for namespace in named if reached.ok else ():
                lacks = [
                    f"{verb} {resource}"
                    for verb, group, resource in rights
                    if not await self.may(verb, group, resource, namespace)
                ]
                checks.append(ToolCheck(namespace, not lacks, f"may not {', '.join(lacks)}" if lacks else "rights"))
        except CallFailed as failure:
            checks.append(ToolCheck("rights", False, str(failure), required=False))
        return tuple(checks)

    def refused(self, reply: Reply, method: str, *, repeatable: bool = True) -> CallFailed:
        """Return what an answer without success means, with the server's words, which repeat what it was sent."""
        failure = super().refused(reply, method, repeatable=repeatable)
        said = status_of(reply).get("message")
        if failure.transient or not isinstance(said, str):
            return failure
        kinds = {HTTPStatus.FORBIDDEN: "forbidden", HTTPStatus.CONFLICT: "conflict"}
        kind = kinds.get(HTTPStatus(reply.status), failure.kind) if reply.status in [*HTTPStatus] else failure.kind
        return CallFailed(f"{failure}: {said[:WORDS]}", transient=False, kind=kind)

    async def _listed(self, path: str, selector: str) -> Sequence[ClusterObject] | None:
        """Return the objects of a list; None where the server has forgotten its rest."""
        found: list[ClusterObject] = []
        query = {"labelSelector": selector, "limit": str(PAGE)}
        for _ in range(PAGES):
            reply = await self.call("GET", path, query=query)
            if reply.status == HTTPStatus.GONE:
                return None
            self.checked(reply, "GET")
            answer = object_of(reply)
            items = answer.get("items")
            found += [one for one in items if isinstance(one, Mapping)] if isinstance(items, list) else []
            rest = part_of(answer, "metadata").get("continue")
            if not rest:
                return found
            query["continue"] = str(rest)
        raise CallFailed(f"the list has more than {PAGE * PAGES} objects", transient=False)

    async def text(self, path: str, query: Mapping[str, str], seconds: float = SECONDS) -> Reply:
        """Return an answer that is text, whatever its status."""
        return await self.call("GET", path, query=query, headers={"accept": "*/*"}, seconds=seconds)


def cluster_connection(settings: ExecutorSettings) -> ServiceConnection:
    """Return where the API server is: as the settings say, or that of the cluster in which the worker runs."""
    host, port = (settings.environment.get(f"KUBERNETES_SERVICE_{one}", "") for one in ("HOST", "PORT"))
    inside = f"https://{f'[{host}]' if ':' in host else host}:{port or 443}" if host else ""
    found = ServiceConnection.from_settings(settings, NAME, inside)
    if found.url != inside or not inside:
        return found
    token = found.token_file or (None if found.token else ACCOUNT / "token")
    return replace(found, token_file=token, ca_file=found.ca_file or str(ACCOUNT / "ca.crt"))


def path_of(namespace: str, resource: str, name: str = "", *, version: str = "v1", below: str = "") -> str:
    """Return the path of a kind of objects in a namespace, or of one of them; `version` is an apiVersion."""
    root = "/api/v1" if version == "v1" else "/apis/" + "/".join(part(one) for one in version.split("/"))
    path = f"{root}/namespaces/{part(namespace)}/{part(resource)}"
    return path + (f"/{part(name)}" if name else "") + (f"/{below}" if below else "")


def admit_namespace(settings: ExecutorSettings, namespace: str) -> None:
    """Raise `CallFailed` for a namespace that the worker's owner does not allow."""
    admit(namespace, settings.namespaces, "this namespace (WORKER_NAMESPACES)")


def key_hash(key: str) -> str:
    """Return the key of a job as a label can have it."""
    return sha256(key.encode()).hexdigest()[:40]


def object_of(reply: Reply) -> ClusterObject:
    """Return the JSON object of an answer; raise `CallFailed` for anything else."""
    value = json_of_reply(reply)
    if not isinstance(value, Mapping):
        raise CallFailed("the answer is no object", kind="not_json")
    return value


def part_of(value: ClusterObject, *names: str) -> Mapping[str, Any]:
    """Return an object within an object, or an empty one."""
    for name in names:
        inside = value.get(name)
        value = inside if isinstance(inside, Mapping) else {}
    return value


def parts_of(value: ClusterObject, *names: str) -> Sequence[Mapping[str, Any]]:
    """Return a list of objects within an object, or an empty one."""
    inside = part_of(value, *names[:-1]).get(names[-1])
    return [one for one in inside if isinstance(one, Mapping)] if isinstance(inside, list) else []


def condition_of(value: ClusterObject, kind: str) -> Mapping[str, Any]:
    """Return a condition of an object's status, or an empty object."""
    return next((one for one in parts_of(value, "status", "conditions") if one.get("type") == kind), {})


def holds(value: ClusterObject, kind: str, status: str = "True") -> bool:
    """Whether a condition of an object's status has a status."""
    return condition_of(value, kind).get("status") == status


def status_of(reply: Reply) -> ClusterObject:
    """Return the Status that an answer is, or an empty object."""
    try:
        return object_of(reply)
    except CallFailed:
        return {}


def reason_of(reply: Reply) -> str:
    """Return the reason of a refusal in one word."""
    return str(status_of(reply).get("reason", ""))
