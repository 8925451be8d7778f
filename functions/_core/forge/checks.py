"""What somebody finds who checks a build: its provenance, and whether a file is one of those that it speaks of.

`PassportFault` names what is wrong, in sentences, as it does for passports.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from functions._core.forge.bundles import Material, envelope_bundle, envelope_in
from functions._core.forge.provenance import SLSA
from functions._core.passport.envelope import PassportFault, opened, signed_bytes
from functions._core.passport.statement import STATEMENT

Verify = Callable[[bytes, bytes], bool]


class CheckedBuild(NamedTuple):
    """A statement about a build whose signature holds: provenance, or the link of a step."""

    envelope: bytes
    """Its envelope, which the transparency log has by hash."""
    statement: Mapping[str, Any]
    """What it says."""

    @property
    def files(self) -> Mapping[str, str]:
        """The SHA-256 of what was made, by name."""
        if self.is_link:
            return {str(name): str(digest["sha256"]) for name, digest in self.statement["products"].items()}
        return {str(one["name"]): str(one["digest"]["sha256"]) for one in self.statement["subject"]}

    @property
    def builder(self) -> str:
        """Who made it, as provenance says."""
        return str(self.statement["predicate"]["runDetails"]["builder"]["id"])

    @property
    def is_link(self) -> bool:
        """Whether it is the link of a step."""
        return bool(self.statement["_type"] == "link")


def is_build(file: bytes) -> bool:
    """Whether a file means to be a statement about a build, in an envelope or a bundle; nothing of it is believed yet.

    A passport is none, and no bundle of a file.
    """
    try:
        outer = json.loads(file)
        statement = json.loads(b64decode(outer.get("dsseEnvelope", outer)["payload"]))
        return bool(statement.get("predicateType") == SLSA or statement.get("_type") == "link")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def checked_build(file: bytes, key_id: str, material: Material, verify: Verify) -> CheckedBuild:
    """Return what provenance, or a link, says: in an envelope, or as a Sigstore bundle. Raises `PassportFault`."""
    inner = envelope_in(file)
    envelope = file if inner is None else inner
    if _signatures(envelope) == []:
        raise PassportFault("envelope: nobody has signed it")
    payload, signature, named, faults = opened(envelope)
    if inner is not None and file != envelope_bundle(material, envelope):
        faults.append("bundle: it is not as it is written, or names another key")
    if named != key_id:
        faults.append("envelope: keyid is not that of this key")
    if not verify(signed_bytes(payload), signature):
        raise PassportFault(*faults, "signature: it is not one of this key for this content")
    if faults:
        raise PassportFault(*faults)
    return CheckedBuild(envelope, _statement(payload))


def _signatures(envelope: bytes) -> object:
    try:
        found: object = json.loads(envelope)["signatures"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found


def _statement(payload: bytes) -> Mapping[str, Any]:
    """Return what was signed: whoever has the key may have signed anything."""
    try:
        said: Any = json.loads(payload)
        build = CheckedBuild(b"", said)
        whole = bool(build.files) and (build.is_link or bool(build.builder))
        ours = build.is_link or (said["_type"] == STATEMENT and said["predicateType"] == SLSA)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = ours = False
    if not whole or not ours:
        raise PassportFault("statement: it is no provenance of SLSA about files, and no link of in-toto")
    return build.statement


def file_fault(build: CheckedBuild, name: str, digest: str) -> str:
    """Return what is wrong with a file that is to be one of a build; empty for nothing."""
    files = build.files
    if digest in files.values():
        return ""
    if name in files:
        return f"artifact: its SHA-256 is {digest}, and that of the {name} that was made is {files[name]}"
    return f"artifact: no file that was made has its SHA-256, {digest}"
