"""Sigstore bundles (v0.3), as Flow C writes and reads them; and the signature of an image, as cosign keeps it.

A bundle is canonical JSON, so that it has one form: whatever is changed in it is found.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from functions._core.forge.packages import CONFIG, MANIFEST, descriptor, digest_of
from functions._core.passport.seal import canonical

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
SIMPLE_TYPE = "cosign container image signature"

Material = Mapping[str, Any]


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


def message_bundle(material: Material, digest: bytes, signature: bytes) -> bytes:
    """Return the bundle of a file, by its SHA-256."""
    message = {
        "messageDigest": {"algorithm": "SHA2_256", "digest": b64encode(digest).decode()},
        "signature": b64encode(signature).decode(),
    }
    return _bundle(material, "messageSignature", message)


def envelope_bundle(material: Material, envelope: bytes) -> bytes:
    """Return the bundle of a DSSE envelope."""
    return _bundle(material, "dsseEnvelope", json.loads(envelope))


def _bundle(material: Material, kind: str, content: object) -> bytes:
    return canonical({"mediaType": BUNDLE_TYPE, "verificationMaterial": material, kind: content}) + b"\n"


def envelope_in(file: bytes) -> bytes | None:
    """Return the DSSE envelope of a bundle, written as Flow C writes one; None where the file is no such bundle."""
    try:
        content = json.loads(file)["dsseEnvelope"]
        order = {name: content[name] for name in ("payload", "payloadType", "signatures")}
        order["signatures"] = [{"keyid": one["keyid"], "sig": one["sig"]} for one in order["signatures"]]
        return json.dumps(order, separators=(",", ":")).encode() + b"\n"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def bundle_fault(
    file: bytes, material: Material, artifact: bytes, content: bytes, verify: Callable[[bytes, bytes], bool]
) -> str:
    """Return what is wrong with the bundle of a file; empty for nothing.

    `artifact` is the SHA-256 of the file, `content` the file, `material` what a bundle by the key that is believed has.
    """
    try:
        said = json.loads(file)
        message = said["messageSignature"]
        digest = b64decode(message["messageDigest"]["digest"], validate=True)
        signature = b64decode(message["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "bundle: it is no Sigstore bundle with the signature of a file"
    if said.get("verificationMaterial") != material:
        return "bundle: it names another key"
    if file != message_bundle(material, digest, signature):
        return "bundle: it is not as it is written"
    if digest != artifact:
        return f"artifact: its SHA-256 is {artifact.hex()}, and that of what was signed is {digest.hex()}"
    return "" if verify(content, signature) else "signature: it is not one of this key for this file"


def cosign_image(repository: str, digest: str, sign: Callable[[bytes], bytes]) -> CosignImage:
    """Return the signature of the image `repository` whose manifest has this hash, in hexadecimal digits."""
    payload = canonical(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": f"sha256:{digest}"},
                "type": SIMPLE_TYPE,
            },
            "optional": None,
        }
    )
    signature = b64encode(sign(payload)).decode()
    layer = descriptor(PAYLOAD_TYPE, digest_of(payload), len(payload), {SIGNATURE_ANNOTATION: signature})
    config = canonical(
        {
            "architecture": "",
            "config": {},
            "os": "",
            "rootfs": {"diff_ids": [layer["digest"]], "type": "layers"},
        }
    )
    about = descriptor(CONFIG, digest_of(config), len(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": about,
        "layers": [layer],
    }
    blobs = {about["digest"]: config, layer["digest"]: payload}
    return CosignImage(f"sha256-{digest}.sig", canonical(manifest), MANIFEST, blobs)
