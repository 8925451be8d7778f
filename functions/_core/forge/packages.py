"""Packages of the code forge: what they are called in registries, and what their bytes are.

Names and media types are those of the OCI image and distribution specifications 1.1, of Helm and of ORAS.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from functions._core.records.values import Model

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
"""The configuration of what is no image: `{}`."""

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYERS: Mapping[str, str] = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
}
"""Layers whose bytes are those of OCI under another name."""

LAYERS = frozenset({LAYER, "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+zstd"})
"""Layers that may be handed on."""

CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
PACKAGE = "application/vnd.neuralhive.flowc.package.v1"
"""The type of an artifact that is one file: a wheel, a source distribution, a function or an archive."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*")
"""The name of a repository, as the distribution specification has it."""

LONGEST_REPOSITORY = 200
"""Characters of the name of a repository: registries take 255, the host included."""

SEMVER = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}(?:-[0-9A-Za-z.-]{1,40})?(?:\+[0-9A-Za-z.-]{1,40})?")
"""The versions that Helm takes."""


class RemovedPackages(Model):
    """The output of the compensation of package."""

    removed: tuple[str, ...] = ()
    """What was taken out of the registry, by digest."""
    absent: tuple[str, ...] = ()
    """What was not there any more."""


def repository_of(*parts: str) -> str:
    """Return the name of a repository in lower case; raise `ValueError` for what is none."""
    name = "/".join(part for part in parts if part).lower()
    if len(name) > LONGEST_REPOSITORY or not REPOSITORY.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is no name of a repository")
    return name


def tag_of(version: str) -> str:
    """Return the tag of a version: a registry has `_` for `+`, as Helm says."""
    return version.replace("+", "_")


def split_reference(reference: str) -> tuple[str, str, str]:
    """Return host, repository and digest of `HOST/REPOSITORY@sha256:…`; raise `ValueError` for anything else."""
    place, _, digest = reference.partition("@")
    host, _, repository = place.partition("/")
    if not host or not DIGEST.fullmatch(digest) or not REPOSITORY.fullmatch(repository):
        raise ValueError("is not HOST/REPOSITORY@sha256:DIGEST")
    return host, repository, digest


def descriptor(media_type: str, digest: str, size: int, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return how a manifest names a blob."""
    named: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
    return named | ({"annotations": dict(annotations)} if annotations else {})


def digest_of(data: bytes) -> str:
    """Return the digest of a blob."""
    return f"sha256:{sha256(data).hexdigest()}"


def canonical(value: object) -> bytes:
    """Return JSON whose bytes depend on the value alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
