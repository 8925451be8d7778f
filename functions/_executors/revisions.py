"""What an object of a cluster was before it was deployed: kept in an annotation of the object itself.

The annotation comes with the change, in one call, so nobody ever finds the one without the other: a worker may die at
any moment, and whoever deploys or rolls back next still knows what to go back to. Of each revision it has what Flow C
had applied, and of the fields that it took over what was there. Others may write annotations, too: what is read is
bounded here, and has to pass the worker's rules before it is applied.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from functions._core.errors import Rejected
from functions._core.executors.manifests import OWN, Manifest
from functions._core.executors.owned_fields import fields_of, joined, values_of, without
from functions._core.records.json_text import parse_json
from functions._executors.cluster import KEY, MANAGER, ClusterObject, part_of

REVISION, TICKET, HISTORY = f"{OWN}revision", f"{OWN}ticket", f"{OWN}history"
MARKS = (KEY, REVISION, TICKET, HISTORY)
"""The annotations of what is deployed."""

KEPT = 5
"""Revisions that an object remembers."""

PACKED_BYTES = 96 * 1024
"""Bytes of the annotation; all of an object have 256 KiB."""

UNPACKED_BYTES = 4 * 1024 * 1024


class Before(NamedTuple):
    """What an object was at a revision; None: it was not there."""

    revision: str
    manifest: Manifest | None


def marks_of(live: ClusterObject | None) -> Mapping[str, str]:
    """Return the annotations of an object."""
    found = part_of(live or {}, "metadata", "annotations")
    return {name: str(found.get(name, "")) for name in MARKS}


def history_of(live: ClusterObject | None) -> Sequence[Before]:
    """Return what an object was, the newest first; what cannot be read is nothing."""
    try:
        packed = b64decode(marks_of(live)[HISTORY][: 2 * PACKED_BYTES])
        found = parse_json(zlib.decompressobj().decompress(packed, UNPACKED_BYTES))
    except (ValueError, zlib.error, Rejected):
        return ()
    entries = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    return [
        Before(str(one.get("revision", "")), manifest if isinstance(manifest, Mapping) else None)
        for one in entries
        for manifest in [one.get("manifest")]
        if manifest is None or isinstance(manifest, Mapping)
    ]


def packed(history: Sequence[Before]) -> str | None:
    """Return the annotation: as many as there is room for, the newest first; None where there is none for one."""
    for count in range(min(KEPT, len(history)), 0, -1):
        text = json.dumps([one._asdict() for one in history[:count]], separators=(",", ":"))
        found = b64encode(zlib.compress(text.encode(), 9)).decode()
        if len(found) <= PACKED_BYTES and len(text) <= UNPACKED_BYTES:
            return found
    return None if history else ""


def marked(manifest: Manifest, namespace: str, **marks: str) -> Mapping[str, Any]:
    """Return a manifest with annotations of ours: key, revision, ticket, history."""
    metadata = part_of(manifest, "metadata")
    named = {f"{OWN}{name}": value for name, value in marks.items() if value}
    annotations = {**part_of(metadata, "annotations"), **named}
    return {**manifest, "metadata": {**metadata, "namespace": namespace, "annotations": annotations}}


def applied_part(live: ClusterObject, after: ClusterObject) -> Manifest:
    """Return what an object has in the fields that are ours, or become ours by what it will be `after`."""
    fields = joined(fields_of(live, MANAGER), fields_of(after, MANAGER))
    found = values_of(without(live, ("status",)), fields)
    metadata = part_of(found, "metadata")
    annotations = without(part_of(metadata, "annotations"), MARKS)
    kept = {name: metadata[name] for name in ("labels",) if name in metadata}
    kept |= {"annotations": annotations} if annotations else {}
    about = part_of(live, "metadata")
    return {
        **found,
        "apiVersion": live.get("apiVersion"),
        "kind": live.get("kind"),
        "metadata": {"name": about.get("name"), **kept},
    }
