"""What the worker's owner allows of manifests, and where in a cluster the objects are that they are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from functions._core.executors.manifests import (
    Manifest,
    ObjectKind,
    containers_in,
    is_among,
    kind_of,
    manifest_faults,
    pods_in,
)
from functions._core.executors.owned_fields import without
from functions._core.masking import Mask
from functions._executors.cluster import ClusterApi, object_of, parts_of, path_of
from functions._executors.patterns import admit
from functions._executors.port import CallFailed
from functions._executors.services import part
from functions._executors.settings import ExecutorSettings

SECRET = ObjectKind("", "v1", "Secret")
HIDDEN = ("data", "stringData")
"""The members of a Secret that hold secrets."""


@dataclass(frozen=True, slots=True)
class TargetObject:
    """An object that a manifest is about, and its path."""

    path: str
    manifest: Manifest

    def __str__(self) -> str:
        return f"{self.manifest.get('kind')}/{self.path.rpartition('/')[2]}"


class ManifestRules:
    """Admits manifests; it asks the cluster which resource a kind is, once for each version."""

    def __init__(self, settings: ExecutorSettings, api: ClusterApi) -> None:
        self._settings, self._api = settings, api
        self._resources: dict[str, Mapping[str, str]] = {}

    async def target(
        self, manifest: Manifest, namespace: str, secrets: Sequence[str], *, named: bool = False
    ) -> TargetObject:
        """Return the object of a manifest; raise `CallFailed` for one that is not allowed.

        `named`: only which object it is counts, as its content is not applied.
        """
        kind = kind_of(manifest)
        if not is_among(kind, self._settings.kinds):
            raise _refused(f"the worker's owner does not allow the kind {kind.kind[:60]!r} (WORKER_KINDS)")
        for fault in manifest_faults(manifest, namespace):
            raise _refused(fault, "bad_manifest")
        _admit_values(manifest, kind, secrets)
        if not named:
            self._admit_pods(manifest)
        resource = await self._resource(kind, str(manifest["apiVersion"]))
        name = str(manifest["metadata"]["name"])
        return TargetObject(path_of(namespace, resource, name, version=str(manifest["apiVersion"])), manifest)

    def _admit_pods(self, manifest: Manifest) -> None:
        for pod in pods_in(manifest):
            for container in containers_in(pod):
                admit(str(container.get("image", "")), self._settings.images, "an image (WORKER_IMAGES)")
            for name in ("serviceAccountName", "serviceAccount"):
                if (account := pod.get(name)) not in (None, "", "default"):
                    accounts = self._settings.service_accounts
                    admit(str(account), accounts, "a service account (WORKER_SERVICE_ACCOUNTS)")

    async def _resource(self, kind: ObjectKind, version: str) -> str:
        """Return the name of the resource of a kind, as paths have it; a kind without namespaces is refused."""
        if version not in self._resources:
            reply = await self._api.call(
                "GET", "/api/v1" if version == "v1" else "/apis/" + "/".join(part(one) for one in version.split("/"))
            )
            if reply.status == HTTPStatus.NOT_FOUND:
                raise _refused(f"the cluster has no {version}", "bad_manifest")
            self._api.checked(reply, "GET")
            found = parts_of(object_of(reply), "resources")
            self._resources[version] = {
                str(one.get("kind")): str(one.get("name"))
                for one in found
                if one.get("namespaced") is True and "/" not in str(one.get("name"))
            }
        resource = self._resources[version].get(kind.kind)
        if resource is None:
            del self._resources[version]  # it may come
            raise _refused(f"{version} has no kind {kind.kind} within namespaces", "bad_manifest")
        return resource


def _admit_values(manifest: Manifest, kind: ObjectKind, secrets: Sequence[str]) -> None:
    """Refuse a secret in what more people may read than the data of Secrets."""
    shown = without(manifest, HIDDEN) if kind == SECRET else manifest
    if Mask(secrets).is_in(shown):
        raise _refused(f"a secret is in the manifest of a {kind.kind}", "secret_in_manifest")


def _refused(text: str, kind: str = "not_allowed") -> CallFailed:
    return CallFailed(text, transient=False, kind=kind)
