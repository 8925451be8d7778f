"""What is pushed to a registry, once for each pipeline, and taken out of it again.

A manifest gets its pipeline's own tag first (`flowc-…`), in the call that puts it there: whoever comes after a worker
that was killed sees by it what is the pipeline's, and what was there before. What was there before is no business of a
compensation. A version stays what it is: one that is in the registry with another content is refused.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from functions._core.forge.packages import (
    CHART_CONFIG,
    EMPTY,
    MANIFEST,
    PACKAGE,
    RemovedPackages,
    canonical,
    descriptor,
    digest_of,
    split_reference,
)
from functions._executors.forge.registry import RegistryApi, RegistryManifest
from functions._executors.port import CallFailed, JobContext
from functions._executors.scanners.patience import Patience

T = TypeVar("T")

TITLE = "org.opencontainers.image.title"
"""The annotation by which ORAS names a file."""


class RegistryPush(NamedTuple):
    """A manifest with its blobs, and where it goes."""

    repository: str
    tag: str
    manifest: bytes
    blobs: Mapping[str, bytes | Path]
    media_type: str = MANIFEST
    settled: bool = True
    """Whether the tag is that of a version, which does not change."""

    @property
    def digest(self) -> str:
        """That of the manifest."""
        return digest_of(self.manifest)


class PackagePusher:
    """Pushes for one job; its methods raise `CallFailed`."""

    def __init__(self, api: RegistryApi, context: JobContext[Any], patience: Patience) -> None:
        """Call nothing yet."""
        self._api = api
        self._context = context
        self._patience = patience
        owner = f"{context.flow_id or context.idempotency_key}/{context.parameters.artifact_id}"
        self._own = f"flowc-{sha256(owner.encode()).hexdigest()[:24]}"
        self._own_signature = f"{self._own}.sig"
        self.pushed: list[str] = []
        """What is in the registry through this pipeline, by digest."""

    def reference(self, repository: str, digest: str) -> str:
        """Return how the registry is asked for something by its digest."""
        return f"{self._api.host}/{repository}@{digest}"

    async def push(self, one: RegistryPush) -> str:
        """Push something unless it is there, and return its reference by digest."""
        there = await self._held(one.repository, one.digest)
        tagged = await self._held(one.repository, one.tag)
        own = await self._held(one.repository, self._tag(one))
        if one.settled and tagged is not None and tagged.digest != one.digest:
            text = f"{self._api.host}/{one.repository}:{one.tag} is there with another content; give another version"
            raise CallFailed(text, transient=False, kind="version_taken")
        if not one.settled and (held := own or tagged) is not None:
            return await self._left(one, held, mine=own is not None, tagged=tagged is not None)
        reference = self.reference(one.repository, one.digest)
        if there is None:
            for digest, blob in sorted(one.blobs.items()):
                await self._called(partial(self._api.put_blob, one.repository, digest, blob))
            await self._put(one, self._tag(one), one.manifest)
        if there is None or (own is not None and own.digest == one.digest):
            self.pushed.append(reference)
        if tagged is None:
            await self._put(one, one.tag, one.manifest)
        held = await self._held(one.repository, one.digest)
        if held is None or held.data != one.manifest:
            raise CallFailed(f"the registry does not have {reference}", transient=False, kind="digest_mismatch")
        self._context.log(f"{reference} {'pushed' if there is None else 'is there'}")
        return reference

    async def remove(self, references: Sequence[str]) -> RemovedPackages:
        """Take things out of the registry, the last first; what is not there any more is no error.

        A plan says what they are, so each has to have the tag of this pipeline: others' packages are not taken out.
        """
        removed: list[str] = []
        absent: list[str] = []
        for reference in reversed(references):
            repository, digest = self._own_place(reference)
            gone = await self._is_own(repository, digest) and await self._called(
                partial(self._api.delete_manifest, repository, digest)
            )
            (removed if gone else absent).append(reference)
            self._context.log(f"{reference} {'removed' if gone else 'was not there'}")
        return RemovedPackages(removed=tuple(removed), absent=tuple(absent))

    async def _is_own(self, repository: str, digest: str) -> bool:
        """Whether this pipeline has pushed something; False for what is not there. Raises for what others have."""
        for tag in (self._own, self._own_signature):
            if (held := await self._held(repository, tag)) is not None and held.digest == digest:
                return True
        if await self._held(repository, digest) is None:
            return False
        text = f"{self.reference(repository, digest)[:300]} was not pushed by this pipeline"
        raise CallFailed(text, transient=False, kind="not_allowed")

    async def take_back(self) -> None:
        """Remove what this job has pushed before it failed; what cannot be removed is named in the log."""
        try:
            await self.remove(self.pushed)
        except CallFailed as failure:
            self._context.log(f"not removed: {', '.join(self.pushed)}: {failure}")

    async def _left(self, one: RegistryPush, held: RegistryManifest, *, mine: bool, tagged: bool) -> str:
        """Leave the signature that is there: another one of the same key would say the same."""
        if not tagged:
            await self._put(one, one.tag, held.data)
        reference = self.reference(one.repository, held.digest)
        if mine:
            self.pushed.append(reference)
        return reference

    async def _held(self, repository: str, reference: str) -> RegistryManifest | None:
        return await self._called(partial(self._api.manifest, repository, reference))

    async def _put(self, one: RegistryPush, tag: str, data: bytes) -> None:
        await self._called(partial(self._api.put_manifest, one.repository, tag, data, one.media_type))

    async def _called(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._patience.of(call, self._context)

    def _tag(self, one: RegistryPush) -> str:
        """Return the pipeline's own tag; of a signature another one than of its image, in the same repository."""
        return self._own if one.settled else self._own_signature

    def _own_place(self, reference: str) -> tuple[str, str]:
        """Return repository and digest of a reference below the owner's address; raise `CallFailed` for another."""
        try:
            host, repository, digest = split_reference(reference)
        except ValueError as error:
            raise CallFailed(f"a package {error}", transient=False, kind="bad_parameters") from error
        below = f"{self._api.prefix}/" if self._api.prefix else ""
        if host != self._api.host or not repository.startswith(below):
            text = f"{reference[:200]} is not in the registry of the worker's owner (WORKER_FORGE_REGISTRY_URL)"
            raise CallFailed(text, transient=False, kind="not_allowed")
        return repository, digest


def file_push(repository: str, tag: str, path: Path, media_type: str, kind: str) -> RegistryPush:
    """Return how one file goes to a registry, as ORAS has it; it blocks."""
    data = path.read_bytes()
    empty = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": PACKAGE,
        "config": descriptor(EMPTY, digest_of(empty), len(empty)),
        "layers": [descriptor(media_type, digest_of(data), len(data), {TITLE: path.name})],
        "annotations": {TITLE: path.name, "io.neuralhive.flowc.kind": kind},
    }
    return RegistryPush(repository, tag, canonical(manifest), {digest_of(empty): empty, digest_of(data): path})


def chart_push(repository: str, tag: str, path: Path, media_type: str, head: Mapping[str, Any]) -> RegistryPush:
    """Return how a chart goes to a registry, as Helm has it; it blocks."""
    data, config = path.read_bytes(), canonical(head)
    about = {TITLE: head["name"], "org.opencontainers.image.version": head["version"]}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CHART_CONFIG, digest_of(config), len(config)),
        "layers": [descriptor(media_type, digest_of(data), len(data))],
        "annotations": about,
    }
    return RegistryPush(repository, tag, canonical(manifest), {digest_of(config): config, digest_of(data): path})
