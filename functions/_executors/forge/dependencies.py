"""What a project depends on, as it says itself: `dependencies` of pyproject.toml, and requirements.txt beside it.

Versions are those that the project pins, else those that the worker has installed where they fit what is asked for, as
the tests ran with them. Licences are those that installed packages state. What a dependency depends on is not listed.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from hashlib import file_digest
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from functions._core.forge.components import Component
from functions._core.forge.facts import BaseImage, Hashes
from functions._executors.artifacts import ArtifactsRefused, files_in

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MANIFEST = "pyproject.toml"
REQUIREMENTS = "requirements.txt"

MANIFEST_BYTES = 1024 * 1024
"""Bytes of a file in which a project names its dependencies."""

MOST_FILES = 10_000
MOST_BYTES = 256 * 1024 * 1024
"""Files and bytes of a project; a link of in-toto has a line for each file."""

MOST_COMPONENTS = 2_000
MOST_LINE = 8 * 1024
"""Characters of a requirement; one has a hash for each file of its release."""

HASH = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})(?![0-9a-f])")
OPTION = re.compile(r"\s--?[a-z][\w-]*(?:[= ]\S+)?")

LICENSES = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""Licences of the classifiers that mean one of SPDX and no other; `BSD License` is not among them."""


def project_files(project: Path) -> tuple[Hashes, Mapping[str, bytes]]:
    """Return the hashes of a project's files, and the content of those that name dependencies.

    No link is followed. Raises `ArtifactsRefused` for one, and for more than `MOST_FILES` files or `MOST_BYTES`.
    """
    hashes: dict[str, str] = {}
    manifests: dict[str, bytes] = {}
    left = MOST_BYTES
    for name, descriptor, size in files_in(project, ["**"]):
        left -= size
        with os.fdopen(descriptor, "rb") as file:
            if left < 0 or len(hashes) >= MOST_FILES:
                raise ArtifactsRefused(f"the project has more than {MOST_FILES} files or {MOST_BYTES} bytes")
            if name in {MANIFEST, REQUIREMENTS}:
                manifests[name] = file.read(MANIFEST_BYTES + 1)
                if len(manifests[name]) > MANIFEST_BYTES:
                    raise ArtifactsRefused(f"{name} has more than {MANIFEST_BYTES} bytes")
                file.seek(0)
            hashes[name] = file_digest(file, "sha256").hexdigest()
    return hashes, manifests


def components_of(files: Mapping[str, bytes], bases: tuple[BaseImage, ...] = ()) -> tuple[Component, ...]:
    """Return the components, by name; `files` are those of the project's own folder that say so.

    Raises `ArtifactsRefused` for more than `MOST_COMPONENTS`, and for a file that cannot be read.
    """
    found: dict[str, Component] = {}
    for name in sorted(files):  # pyproject.toml first: what pins a version comes after it
        for line in _lines(name, files[name]):
            made = _component(line)
            if made is None:
                continue
            before = found.get(made.name, made)
            found[made.name] = made if _says(made) >= _says(before) else before
            if len(found) > MOST_COMPONENTS:
                raise ArtifactsRefused(f"the project names more than {MOST_COMPONENTS} dependencies")
    return (*(found[name] for name in sorted(found)), *map(_base, sorted(set(bases))))


def _says(one: Component) -> tuple[bool, bool]:
    return bool(one.hashes), bool(one.version)


def _lines(name: str, data: bytes) -> Iterator[str]:
    """Yield requirements as a file has them, with their options."""
    try:
        text = data.decode()
        if name != MANIFEST:
            yield from _requirements(text)
            return
        said: Any = tomllib.loads(text).get("project", {})
    except (ValueError, RecursionError) as error:
        raise ArtifactsRefused(f"{name} cannot be read") from error
    asked = said.get("dependencies", []) if isinstance(said, dict) else None
    if not isinstance(asked, list) or not all(isinstance(line, str) for line in asked):
        raise ArtifactsRefused(f"{name}: its dependencies are no list of texts")
    yield from asked


def _requirements(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        plain = re.sub(r"(^|\s)#.*", "", line).strip()
        if plain and not plain.startswith("-"):
            yield plain


def _component(line: str) -> Component | None:
    """Return what a requirement asks for; None where it is not asked for on this platform."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    if len(line) > MOST_LINE:
        raise ArtifactsRefused(f"a requirement has more than {MOST_LINE} characters")
    declared = OPTION.sub("", line).strip()
    try:
        asked = Requirement(declared)
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            return None
        name = canonicalize_name(asked.name)
        installed = _installed(name)
        version = _version(asked, installed)
    except (ValueError, RecursionError):  # also of versions and markers that nobody can compare
        return Component(declared[:100], declared=declared[:1000])  # it is listed by its words alone
    known = _license(installed) if installed is not None and installed.version == version else ""
    purl = f"pkg:pypi/{name}" + (f"@{quote(version, safe='')}" if version else "")
    return Component(name, version, purl, known, tuple(sorted({*HASH.findall(line)})), declared[:1000])


def _version(asked: "Requirement", installed: Distribution | None) -> str:
    if asked.url:
        return ""
    for one in asked.specifier:
        if one.operator in {"==", "==="} and not one.version.endswith(".*"):
            return str(one.version)
    if installed is not None and asked.specifier.contains(installed.version, prereleases=True):
        return str(installed.version)
    return ""


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _license(installed: Distribution) -> str:
    """Return the licence that a package states, as SPDX has it; empty where it does not state one."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    about = installed.metadata
    for text in (*about.get_all("License-Expression", []), *about.get_all("License", [])):
        try:
            return str(canonicalize_license_expression(text))
        except InvalidLicenseExpression:
            continue
    stated = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License :: ")]
    known = {LICENSES.get(one, "") for one in stated}
    return known.pop() if len(known) == 1 else ""


def _base(image: BaseImage) -> Component:
    digest = image.digest.removeprefix("sha256:")
    return Component(
        image.name, image.tag or image.digest, image.purl, "", (digest,), f"{image.name}@{image.digest}", True
    )
