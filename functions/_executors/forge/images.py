"""Images without an engine: a layout of the OCI image specification 1.1, of a base and one layer with the project.

No program runs for it. The layer has `/app`: the wheel as it is installed, with its scripts in `/app/bin`, or the
files of a project that makes none. Of the Dockerfile the last stage says ENV, EXPOSE, LABEL, STOPSIGNAL, USER, WORKDIR,
ENTRYPOINT and CMD; what it says beyond that needs an engine and is named in the log. The base is the owner's, by its
digest:

    WORKER_FORGE_BASE_IMAGE            HOST/REPOSITORY@sha256:DIGEST; without it an image has one layer
    WORKER_FORGE_BASE_REGISTRY_…       as of WORKER_FORGE_REGISTRY_…; without _URL https://HOST
    WORKER_FORGE_PLATFORM              linux/amd64; which image of a base for many is taken
"""

import asyncio
import configparser
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from functions._core.errors import Rejected
from functions._core.forge.packages import (
    CONFIG,
    DOCKER_LAYERS,
    INDEX,
    LAYER,
    LAYERS,
    MANIFEST,
    canonical,
    descriptor,
    digest_of,
    split_reference,
)
from functions._core.records.json_text import parse_json
from functions._executors.forge.archives import PROGRAM, PackedFile, PackedFiles, compressed, tarred
from functions._executors.forge.registry import MANIFEST_BYTES, NAME, RegistryApi
from functions._executors.port import CallFailed
from functions._executors.scanners.judge import instructions
from functions._executors.settings import ExecutorSettings

HOME = "/app"
"""Where the project is in an image."""

CREATED = "1980-01-01T00:00:00Z"
"""When an image says that it was made: the same project makes the same image."""

NOBODY = "65532:65532"
"""The user of an image whose Dockerfile names none."""

MOST_LAYERS = 100
LAYER_BYTES = 256 * 1024 * 1024
"""Bytes of one layer of a base, which is read into memory."""

BASE_BYTES = 768 * 1024 * 1024
"""Bytes of all layers of a base."""

DOCKERFILE_BYTES = 64 * 1024
BASE = "FORGE_BASE_REGISTRY"

SCRIPT = """#!/usr/bin/env python3
import sys

from {module} import {first}

sys.exit({whole}())
"""
OBJECT = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,200}")
SCRIPT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


class BaseLayers(NamedTuple):
    """The image that others are made from."""

    reference: str = ""
    layers: tuple[tuple[str, Path, str], ...] = ()
    """Digest, file and media type of each layer."""
    config: Mapping[str, Any] = {}
    """Its configuration, as the image specification has it."""


class ImageLayout(NamedTuple):
    """An image that was assembled."""

    manifest: bytes
    digest: str
    blobs: Mapping[str, bytes | Path]
    """Configuration and layers by their digests."""
    size: int
    """Bytes of manifest and blobs."""

    def files(self, name: str) -> dict[str, bytes | Path]:
        """Return the files of the layout, by their paths; `name` is that of the image in its index."""
        about = {"org.opencontainers.image.ref.name": name}
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [descriptor(MANIFEST, self.digest, len(self.manifest), about)],
        }
        blobs = {**self.blobs, self.digest: self.manifest}
        found: dict[str, bytes | Path] = {f"blobs/{digest.replace(':', '/')}": blob for digest, blob in blobs.items()}
        return {**found, "index.json": canonical(index), "oci-layout": canonical({"imageLayoutVersion": "1.0.0"})}


async def pulled_base(settings: ExecutorSettings, folder: Path) -> BaseLayers:
    """Return the owner's base, its layers as files in a folder; empty for none. Raises `CallFailed`."""
    reference = settings.environment.get("WORKER_FORGE_BASE_IMAGE", "").strip()
    if not reference:
        return BaseLayers()
    platform = settings.environment.get("WORKER_FORGE_PLATFORM", "").strip() or "linux/amd64"
    api = base_registry(settings, reference)
    try:
        _, repository, digest = split_reference(reference)
        about = await _read(api, repository, digest)
        if isinstance(about.get("manifests"), list):
            digest = _of_platform(about["manifests"], platform)
            about = await _read(api, repository, digest)
        listed = about.get("layers")
        named = [_named(one) for one in listed] if isinstance(listed, list) else []
        config_digest, config_size, _ = _named(about.get("config"))
        if not named or len(named) > MOST_LAYERS or sum(size for _, size, _ in named) > BASE_BYTES:
            raise _bad("has no layers, or too many, or too large ones")
        if config_size > MANIFEST_BYTES or max(size for _, size, _ in named) > LAYER_BYTES:
            raise _bad("has too large a layer or configuration")
        config = _object(await api.get_blob(repository, config_digest, config_size))
        unpacked = _inner(config, "rootfs").get("diff_ids")
        if not isinstance(unpacked, list) or len(unpacked) != len(named):
            raise _bad("says of another number of layers what they unpack to")
        layers = []
        for number, (layer, size, media_type) in enumerate(named):
            kind = DOCKER_LAYERS.get(media_type, media_type)
            if kind not in LAYERS:
                raise _bad("has a layer of a kind that may not be handed on")
            path = folder / f"layer-{number}"
            await asyncio.to_thread(path.write_bytes, await api.get_blob(repository, layer, size))
            layers.append((layer, path, kind))
        return BaseLayers(reference, tuple(layers), config)
    finally:
        await api.aclose()


def base_registry(settings: ExecutorSettings, reference: str) -> RegistryApi:
    """Return the registry of a base, with the credentials of the owner's own where it is that; raise `CallFailed`."""
    try:
        host, _, _ = split_reference(reference)
    except ValueError as error:
        raise CallFailed(f"WORKER_FORGE_BASE_IMAGE {error}", transient=False, kind="not_configured") from error
    own = RegistryApi(settings)
    api = own if own.host == host else RegistryApi(settings, BASE, f"https://{host}")
    if api.host != host:
        text = f"WORKER_{BASE}_URL is not the registry of WORKER_FORGE_BASE_IMAGE, nor is WORKER_{NAME}_URL"
        raise CallFailed(text, transient=False, kind="not_configured")
    return api


def assembled(base: BaseLayers, files: PackedFiles, dockerfile: bytes, labels: Mapping[str, str]) -> ImageLayout:
    """Return an image of a base and a layer with files; it blocks. Raises `CallFailed` for no Dockerfile."""
    layer = tarred({f"{HOME[1:]}/{name}": file for name, file in files.items()})
    packed = compressed(layer)
    own = digest_of(packed)
    config = canonical(_config(base, files, dockerfile, labels, digest_of(layer)))
    sizes = [(digest, path.stat().st_size, kind) for digest, path, kind in base.layers]
    annotations = {**labels, **({"org.opencontainers.image.base.name": base.reference} if base.reference else {})}
    if base.reference:
        annotations["org.opencontainers.image.base.digest"] = base.reference.rpartition("@")[2]
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, digest_of(config), len(config)),
            "layers": [descriptor(kind, digest, size) for digest, size, kind in (*sizes, (own, len(packed), LAYER))],
            "annotations": annotations,
        }
    )
    blobs: dict[str, bytes | Path] = {digest: path for digest, path, _ in base.layers}
    blobs |= {own: packed, digest_of(config): config}
    size = len(manifest) + len(config) + len(packed) + sum(size for _, size, _ in sizes)
    return ImageLayout(manifest, digest_of(manifest), blobs, size)


def installed(wheel: PackedFiles) -> PackedFiles:
    """Return the files of a wheel as they are installed in an image: modules, data, and a script for each command."""
    found: dict[str, PackedFile] = {}
    for name, file in wheel.items():
        top, _, rest = name.partition("/")
        kind, _, below = rest.partition("/")
        if not top.endswith(".data"):
            found[name] = file
        elif kind in {"purelib", "platlib"}:
            found[below] = file
        elif kind == "scripts":
            begin, _, code = file.data.partition(b"\n")
            data = b"#!/usr/bin/env python3\n" + code if begin.startswith(b"#!python") else file.data
            found[f"bin/{below}"] = PackedFile(data, PROGRAM)
        else:
            found[f"share/{rest}"] = file
    entry = next((file.data for name, file in wheel.items() if name.endswith(".dist-info/entry_points.txt")), b"")
    for name, text in _scripts(entry):
        found.setdefault(f"bin/{name}", PackedFile(text.encode(), PROGRAM))
    return found


def requirements_in(wheel: PackedFiles) -> Sequence[str]:
    """Return the distributions that a wheel needs, which a base has to bring."""
    head = next((file.data for name, file in wheel.items() if name.endswith(".dist-info/METADATA")), b"")
    lines = head.partition(b"\n\n")[0].decode(errors="replace").splitlines()
    needed = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("requires-dist:"))
    return sorted(
        {match[0] for one in needed if "extra ==" not in one and (match := re.match(r"[A-Za-z0-9._-]+", one))}
    )


def left_out_of(dockerfile: bytes) -> Sequence[str]:
    """Return the instructions of the last stage that an image without an engine does not carry out."""
    return sorted({word for word, _ in _instructions(dockerfile)} - KNOWN)


KNOWN = frozenset({"FROM", "ARG", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "WORKDIR", "ENTRYPOINT", "CMD"})


def _config(
    base: BaseLayers, files: PackedFiles, dockerfile: bytes, labels: Mapping[str, str], diff_id: str
) -> Mapping[str, Any]:
    """Return the configuration of an image: that of its base, and what the Dockerfile and the project add."""
    run = {**_inner(base.config, "config")}
    env = dict(one.partition("=")[::2] for one in run.get("Env") or () if isinstance(one, str))
    path = env.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env |= {"PATH": f"{HOME}/bin:{path}", "PYTHONPATH": HOME, "PYTHONDONTWRITEBYTECODE": "1"}
    commands = sorted(name for name in files if name.startswith("bin/"))
    run |= {"WorkingDir": HOME, "User": NOBODY}
    said, more = _said(dockerfile)
    if "Entrypoint" in said or ("Cmd" not in said and len(commands) == 1):  # what a base runs is no argument of it
        run |= {"Entrypoint": [f"{HOME}/{name}" for name in commands], "Cmd": None}
    run |= said
    run["Env"] = [f"{name}={value}" for name, value in (env | more["env"]).items()]
    run["Labels"] = {**(run.get("Labels") or {}), **more["labels"], **labels}
    run["ExposedPorts"] = {**(run.get("ExposedPorts") or {}), **{port: {} for port in more["ports"]}}
    history = [{**one} for one in base.config.get("history") or () if isinstance(one, Mapping)]
    own = {"created": CREATED, "created_by": "flowc forge_package", "comment": "the project at /app"}
    return {
        "created": CREATED,
        "architecture": str(base.config.get("architecture") or "amd64"),
        "os": str(base.config.get("os") or "linux"),
        "config": {name: value for name, value in run.items() if value not in (None, {}, [])},
        "rootfs": {"type": "layers", "diff_ids": [*_inner(base.config, "rootfs").get("diff_ids", ()), diff_id]},
        "history": [*history, own],
    }


def _said(dockerfile: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a Dockerfile says of how an image runs; a value with a variable in it is left out."""
    run: dict[str, Any] = {}
    env: dict[str, str] = {}
    labels: dict[str, str] = {}
    ports: list[str] = []
    for word, text in _instructions(dockerfile):
        if word in {"ENTRYPOINT", "CMD"}:
            run["Entrypoint" if word == "ENTRYPOINT" else "Cmd"] = _command(text)
        elif "$" in text:
            continue
        elif word in {"USER", "WORKDIR", "STOPSIGNAL"}:
            run[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[word]] = text
        elif word == "EXPOSE":
            ports += [port if "/" in port else f"{port}/tcp" for port in text.split()]
        elif word in {"ENV", "LABEL"}:
            (env if word == "ENV" else labels).update(_pairs(text))
    return run, {"env": env, "labels": labels, "ports": ports}


def _instructions(dockerfile: bytes) -> Iterator[tuple[str, str]]:
    """Yield the instructions of the last stage, word and text, as the policies of a project have looked at them."""
    found = [*instructions(dockerfile[:DOCKERFILE_BYTES].decode(errors="replace"))]
    begin = max((number for number, (word, _) in enumerate(found) if word == "FROM"), default=0)
    yield from found[begin:]


def _command(text: str) -> list[str]:
    """Return a command in either form, as an engine reads it."""
    if text.startswith("["):
        try:
            words = parse_json(text.encode())
        except Rejected:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return ["/bin/sh", "-c", text] if text else []


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of ENV and LABEL: `A=1 B="2 3"`, or `A 1`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise CallFailed("the Dockerfile cannot be read", transient=False, kind="bad_project") from error
    if words and "=" not in words[0]:
        yield words[0], " ".join(words[1:])
        return
    yield from (word.partition("=")[::2] for word in words if "=" in word)


def _scripts(entry_points: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and text of the scripts that a wheel asks for; what is no name of an object is left out."""
    reader = configparser.RawConfigParser(delimiters=("=",), strict=False)
    reader.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        reader.read_string(entry_points.decode(errors="replace"))
    except configparser.Error:
        return
    for name, value in reader.items("console_scripts") if reader.has_section("console_scripts") else ():
        module, _, whole = value.split("[")[0].strip().partition(":")
        if SCRIPT_NAME.fullmatch(name) and OBJECT.fullmatch(module) and OBJECT.fullmatch(whole):
            yield name, SCRIPT.format(module=module, first=whole.partition(".")[0], whole=whole)


async def _read(api: RegistryApi, repository: str, digest: str) -> Mapping[str, Any]:
    found = await api.manifest(repository, digest)
    if found is None:
        raise _bad("is not in its registry")
    return _object(found.data)


def _of_platform(manifests: Sequence[Any], platform: str) -> str:
    """Return the digest of the image for a platform, `OS/ARCHITECTURE`."""
    for one in manifests[:MOST_LAYERS]:
        about = _inner(one, "platform") if isinstance(one, Mapping) else {}
        if f"{about.get('os')}/{about.get('architecture')}" == platform:
            return _named(one)[0]
    raise _bad(f"is not there for {platform} (WORKER_FORGE_PLATFORM)")


def _named(value: object) -> tuple[str, int, str]:
    """Return digest, size and media type of a descriptor."""
    about = value if isinstance(value, Mapping) else {}
    digest, size = str(about.get("digest")), about.get("size")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or type(size) is not int or size < 0:
        raise _bad("has a manifest that names something without digest and size")
    return digest, size, str(about.get("mediaType"))


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = parse_json(data)
    except Rejected as error:
        raise _bad("has something that is no JSON") from error
    return value if isinstance(value, Mapping) else {}


def _inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inside = value.get(name)
    return inside if isinstance(inside, Mapping) else {}


def _bad(what: str) -> CallFailed:
    return CallFailed(f"the base image {what} (WORKER_FORGE_BASE_IMAGE)", transient=False, kind="bad_base_image")
