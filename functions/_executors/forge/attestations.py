"""What vouches for a build: lists of components, provenance, links of in-toto, signatures, an entry of the log.

`attest` is called by the stage package once all files and images are made, and before anything is pushed. It blocks:
call it from a thread. Without a key (WORKER_FORGE_KEY_FILE) nothing is signed, and no log is written.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from functions._core.executors.execute import KeptFile
from functions._core.forge.bundles import CosignImage, cosign_image, envelope_bundle, message_bundle
from functions._core.forge.components import MainComponent
from functions._core.forge.facts import BuildFacts, Hashes
from functions._core.forge.provenance import BUILDER, compose_link, package_link, statement_of, unsigned
from functions._core.forge.stages import SbomRecord, TransparencyEntry
from functions._core.passport.envelope import envelope
from functions._executors.artifacts import ArtifactsRefused
from functions._executors.file_store import store_at
from functions._executors.forge.dependencies import components_of, project_files
from functions._executors.forge.sbom import cyclonedx, software, spdx
from functions._executors.forge.signing import KEY_FILE, Signer, signer_of
from functions._executors.forge.transparency import log_of
from functions._executors.kept_files import Keep, keep_file
from functions._executors.port import ToolCheck
from functions._executors.settings import ExecutorSettings

BUILDER_ID = "WORKER_FORGE_BUILDER"
"""The variable with the URI by which provenance names the builder: verifiers are told which one to believe."""

FOLDER = "attestations"
"""Where the files are, below those of the attempt."""


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
    provenance_bundle: KeptFile | None = None
    """The signature of the provenance as a Sigstore bundle, `provenance.sigstore.json`."""
    links: tuple[KeptFile, ...] = ()
    signature: str | None = None
    key_id: str = ""
    public_key: str = ""
    log: TransparencyEntry | None = None
    files: Mapping[str, Vouched] = {}
    """What vouches for each file that was made, by its name; empty without a key."""


def attest(
    made: Sequence[MadeFile], facts: BuildFacts, project: Path, keep: Keep, settings: ExecutorSettings
) -> Attestations:
    """Make and keep what vouches for a build; `project` is the folder as it was composed, without what was built since.

    `keep` is that of the job's context. Raises `StoreFailed`, `ArtifactsRefused` or `SigningFailed`, which say why.
    """
    if len(made) != len({one.name for one in made}):
        raise ArtifactsRefused("two files that were made have one name")
    signer = signer_of(settings)
    files, manifests = project_files(project)
    hashes = {one.name: one.sha256 for one in made}
    sbom = _listed(facts, hashes, manifests, keep)
    builder = settings.environment.get(BUILDER_ID, "").strip() or BUILDER
    lists = (sbom.cyclonedx, sbom.spdx)
    statement = statement_of(facts, hashes, lists, builder=builder, software=software())
    if signer is None:
        return Attestations(sbom, _kept(keep, "provenance.json", unsigned(statement)))
    key = signer.public
    vouched = {one.name: _vouched(one, keep, signer) for one in made}
    links = (compose_link(facts, files), package_link(facts, files, hashes))
    signed = envelope(statement, key.key_id, signer.sign)
    return Attestations(
        sbom,
        _kept(keep, "provenance.json", signed),
        _kept(keep, "provenance.sigstore.json", envelope_bundle(signer.material, signed)),
        tuple(
            _kept(keep, f"{link['name']}.{key.key_id[:8]}.link", envelope(link, key.key_id, signer.sign))
            for link in links
        ),
        str(json.loads(signed)["signatures"][0]["sig"]),
        key.key_id,
        key.pem,
        _logged(signed, signer, settings),
        vouched,
    )


def signing_check(settings: ExecutorSettings) -> ToolCheck:
    """Return whether builds are signed, and by which key, for `flowc doctor executor` and the log of a ticket."""
    name = "signing"
    try:
        signer = signer_of(settings)
        store = store_at(settings.logs)
        if signer is None:
            return ToolCheck(name, False, f"{KEY_FILE} names no key: nothing is signed", required=False)
        if store is None:
            return ToolCheck(name, False, "there is no store for the transparency log (WORKER_LOGS)", required=False)
        log_of(settings, store, signer.public)
    except (ValueError, ImportError) as error:
        return ToolCheck(name, False, str(error))
    return ToolCheck(name, True, f"by the key {signer.public.key_id}")


def _listed(facts: BuildFacts, made: Hashes, manifests: Mapping[str, bytes], keep: Keep) -> SbomRecord:
    components = components_of(manifests, facts.bases)
    main = MainComponent(facts.artifact_id, facts.version, facts.code.content.sha256, made)
    return SbomRecord(
        components=len(components),
        cyclonedx=_kept(keep, "sbom.cdx.json", cyclonedx(main, components, facts.source_at)),
        spdx=_kept(keep, "sbom.spdx.json", spdx(main, components, facts.source_at)),
    )


def _vouched(one: MadeFile, keep: Keep, signer: Signer) -> Vouched:
    signature = signer.sign_file(one.path, one.sha256)
    bundle = message_bundle(signer.material, bytes.fromhex(one.sha256), signature)
    cosign = cosign_image(one.image, one.sha256, signer.sign) if one.image else None
    return Vouched(b64encode(signature).decode(), _kept(keep, f"{one.name}.sigstore.json", bundle), cosign)


def _logged(signed: bytes, signer: Signer, settings: ExecutorSettings) -> TransparencyEntry | None:
    store = store_at(settings.logs)
    if store is None:
        return None
    return log_of(settings, store, signer.public).append(sha256(signed).hexdigest(), datetime.now(UTC), signer)


def _kept(keep: Keep, name: str, data: bytes) -> KeptFile:
    return keep_file(keep, f"{FOLDER}/{name}", BytesIO(data))
