"""What vouches for a build: lists of components, provenance, links of in-toto, signatures, an entry of the log.

`attest` is called by the stage package once all files and images are made, and before anything is pushed. It blocks: call
it from a thread. Without a key (WORKER_FORGE_KEY_FILE) nothing is signed, and no log is written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from functions._core.executors.execute import KeptFile
from functions._core.forge.stages import SbomRecord, TransparencyEntry


class MadeFile(NamedTuple):
    """A file that was made, or an image by its manifest."""

    name: str
    """The name of the file, such as `shop-1.0-py3-none-any.whl`; of an image its name in the pipeline."""
    path: Path
    """Where it is; of an image its manifest, as in `blobs/sha256` of the layout."""
    sha256: str
    """Hash of the content of `path`, in hexadecimal digits; of an image that is its digest."""
    size: int
    """Bytes of `path`."""
    media_type: str = "application/octet-stream"
    """What it is; of an image the media type of its manifest."""
    image: str = ""
    """Of an image the repository it is pushed to, without a tag, such as `ghcr.io/acme/shop`; else empty."""


class CosignImage(NamedTuple):
    """The signature of an image, as cosign looks for it in the same repository: push blobs, then manifest."""

    tag: str
    """`sha256-<digest of the image>.sig`."""
    manifest: bytes
    """The manifest of the signature."""
    media_type: str
    """That of the manifest."""
    blobs: Mapping[str, bytes]
    """Configuration and payload by their digests, `sha256:…`."""


class Vouched(NamedTuple):
    """What vouches for one file."""

    signature: str
    """Signature of its content, base64."""
    bundle: KeptFile
    """The signature as a Sigstore bundle."""
    cosign: CosignImage | None = None
    """Of an image: its signature for a registry."""


class Attestations(NamedTuple):
    """What `attest` returns; its fields are those of `PackagedCode`."""

    sbom: SbomRecord
    provenance: KeptFile
    links: tuple[KeptFile, ...] = ()
    signature: str | None = None
    key_id: str = ""
    public_key: str = ""
    log: TransparencyEntry | None = None
    files: Mapping[str, Vouched] = {}
    """What vouches for each file that was made, by its name; empty without a key."""


# def attest(
#     made: Sequence[MadeFile],
#     facts: BuildFacts,                          functions/_core/forge/facts.py
#     project: Path,                              the project as it was composed: nothing was built within it yet
#     keep: Callable[[str], StoredFile],          context.keep
#     settings: ExecutorSettings,
# ) -> Attestations:                              raises StoreFailed, ArtifactsRefused, SigningFailed (all say why)
