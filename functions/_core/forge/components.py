"""Components of what was made, and the list of them as SPDX 2.3 JSON (`_executors.forge.sbom` has CycloneDX).

Lists say the same for the same source: their time and their name follow from what is in them.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from functions._core.passport.seal import hash_of
from functions._core.records.values import format_time

NOT_SAID = "NOASSERTION"
MAIN = "SPDXRef-main"


class Component(NamedTuple):
    """One thing that something is made of."""

    name: str
    """Its name, such as `httpx`."""
    version: str = ""
    """Its version; empty where nothing says which one is meant."""
    purl: str = ""
    """Its package URL."""
    license: str = ""
    """Its licence as an SPDX expression; empty where it is not known."""
    hashes: tuple[str, ...] = ()
    """SHA-256 of its files, in hexadecimal digits, as the project pins them."""
    declared: str = ""
    """The words by which the project asks for it, such as `httpx>=0.28`."""
    image: bool = False
    """Whether it is an image; else a library."""


class MainComponent(NamedTuple):
    """What is made."""

    name: str
    version: str
    sha256: str
    """The hash of its project."""
    files: Mapping[str, str]
    """The hashes of what can be delivered, by name."""


def list_hash(main: MainComponent, components: Sequence[Component]) -> str:
    """Return what a list is named after: a hash of all that is in it."""
    return hash_of([main._asdict(), [one._asdict() for one in components]])


def spdx_of(main: MainComponent, components: Sequence[Component], at: datetime, software: str) -> dict[str, Any]:
    """Return the list as an SPDX document; `software` is our version."""
    about = f"the project, sha256:{main.sha256}"
    first = {
        **_package(MAIN, main.name, main.version),
        "comment": about,
        "primaryPackagePurpose": "APPLICATION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": main.sha256}],
    }
    packages, relations = [first], [_relation("SPDXRef-DOCUMENT", "DESCRIBES", MAIN)]
    for number, (name, digest) in enumerate(sorted(main.files.items())):
        ref = f"SPDXRef-file-{number}"
        part = {**_package(ref, name, main.version), "packageFileName": name}
        packages.append({**part, "checksums": [{"algorithm": "SHA256", "checksumValue": digest}]})
        relations.append(_relation(ref, "GENERATED_FROM", MAIN))
    for number, one in enumerate(components):
        ref = f"SPDXRef-{number}-{re.sub('[^A-Za-z0-9.-]', '-', one.name)}"
        packages.append(_listed(ref, one))
        relations.append(_relation(MAIN, "DEPENDS_ON", ref))
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{main.name}-{main.version}",
        "documentNamespace": f"https://neuralhive.io/flowc/spdx/{list_hash(main, components)}",
        "creationInfo": {"created": format_time(at)[:19] + "Z", "creators": [f"Tool: flowc-{software}"]},
        "packages": packages,
        "relationships": relations,
    }


def _package(ref: str, name: str, version: str) -> dict[str, Any]:
    said = {"versionInfo": version} if version else {}
    return {
        "SPDXID": ref,
        "name": name,
        **said,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": NOT_SAID,
        "licenseDeclared": NOT_SAID,
        "copyrightText": NOT_SAID,
    }


def _listed(ref: str, one: Component) -> dict[str, Any]:
    part = {**_package(ref, one.name, one.version), "licenseDeclared": one.license or NOT_SAID}
    part["primaryPackagePurpose"] = "CONTAINER" if one.image else "LIBRARY"
    if one.declared:
        part["comment"] = f"asked for as {one.declared}"
    if one.purl:
        locator = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": one.purl}
        part["externalRefs"] = [locator]
    if len(one.hashes) == 1:  # of several files one is used, and nothing says which
        part["checksums"] = [{"algorithm": "SHA256", "checksumValue": one.hashes[0]}]
    return part


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
