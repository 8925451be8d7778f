"""The list of components of what was made, as CycloneDX 1.6 JSON (by cyclonedx-python-lib) and as SPDX 2.3 JSON."""

import json
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from uuid import UUID

from functions._core.forge.components import Component, MainComponent, list_hash, spdx_of
from functions._core.passport.seal import canonical

if TYPE_CHECKING:
    from cyclonedx.model.component import Component as ListedComponent

DECLARED = "flowc:declared"
"""The property with the words by which a project asks for a component."""


def software() -> str:
    """Return our version; `0` where Flow C is not installed."""
    try:
        return version("flowc")
    except PackageNotFoundError:
        return "0"


def spdx(main: MainComponent, components: Sequence[Component], at: datetime) -> bytes:
    """Return the list as SPDX."""
    return canonical(spdx_of(main, components, at, software())) + b"\n"


def cyclonedx(main: MainComponent, components: Sequence[Component], at: datetime) -> bytes:
    """Return the list as CycloneDX: the same bytes for the same components and time."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component as Listed
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    tool = Listed(type=ComponentType.APPLICATION, name="flowc", version=software())
    files = [
        Listed(
            type=ComponentType.FILE,
            name=name,
            bom_ref=f"file:{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one)],
        )
        for name, one in sorted(main.files.items())
    ]
    root = Listed(
        type=ComponentType.APPLICATION,
        name=main.name,
        version=main.version,
        bom_ref="main",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=main.sha256)],
        components=files,
    )
    about = BomMetaData(component=root, timestamp=at, tools=ToolRepository(components=[tool]))
    number = UUID(bytes=bytes.fromhex(list_hash(main, components))[:16], version=5)
    listed = [_listed(one) for one in components]
    bom = Bom(metadata=about, serial_number=number, components=listed)
    bom.register_dependency(root, listed)
    return canonical(json.loads(JsonV1Dot6(bom).output_as_string())) + b"\n"


def _listed(one: Component) -> "ListedComponent":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component as Listed
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    return Listed(
        type=ComponentType.CONTAINER if one.image else ComponentType.LIBRARY,
        name=one.name,
        version=one.version or None,
        bom_ref=one.purl or one.name,
        purl=PackageURL.from_string(one.purl) if one.purl else None,
        licenses=[LicenseFactory().make_from_string(one.license)] if one.license else None,
        # Several hashes of one algorithm are those of several files: they are of the declaration, not of a component.
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.hashes[0])] if len(one.hashes) == 1 else None,
        properties=[Property(name=DECLARED, value=one.declared)] if one.declared else None,
    )
