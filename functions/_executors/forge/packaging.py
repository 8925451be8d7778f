"""One job of `forge_package`: what a project is built into, in which order, and where all of it goes.

First everything is made and vouched for, then it is kept in the worker's store, and at last pushed: what is in a
registry is complete. Where something cannot be pushed, what was pushed before it is taken back.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from functions._core.executors.execute import KeptFile
from functions._core.executors.forge import PackageParameters
from functions._core.forge.facts import BaseImage, BuildFacts
from functions._core.forge.packages import MANIFEST, tag_of
from functions._core.forge.stages import ComposedCode, ForgeArtifactType, PackagedArtifact, PackagedCode
from functions._executors.forge.archives import MOST_LAYOUT, PackedFiles, files_below, in_zip, write_layout
from functions._executors.forge.attestations import Attestations, MadeFile, attest
from functions._executors.forge.builds import Built, ProjectBuild, copy_project, run_build
from functions._executors.forge.images import (
    ImageLayout,
    assembled,
    installed,
    left_out_of,
    pulled_base,
    requirements_in,
)
from functions._executors.forge.projects import unpacked
from functions._executors.forge.pushes import PackagePusher, RegistryPush, chart_push, file_push
from functions._executors.forge.registry import RegistryApi
from functions._executors.kept_files import keep_file
from functions._executors.port import CallFailed, JobContext
from functions._executors.sandbox import Sandbox
from functions._executors.scanners.patience import Patience
from functions._executors.settings import ExecutorSettings

Context = JobContext[PackageParameters]


class PackagingTools(NamedTuple):
    """What the jobs of a worker share."""

    settings: ExecutorSettings
    sandbox: Sandbox
    registry: RegistryApi
    patience: Patience


class MadeImage(NamedTuple):
    """An image as it was made."""

    layout: ImageLayout
    path: Path
    """The layout as a .tar."""
    manifest: Path
    bases: tuple[BaseImage, ...]


class PackagingJob:
    """One job: `folder` is the worker's, `build` the backend's."""

    def __init__(self, tools: PackagingTools, context: Context, folder: Path, build: Path) -> None:
        self._tools = tools
        self._context = context
        self._given = context.parameters
        self._folder = folder
        self._build = build
        self._project = folder / "project"
        self._tag = tag_of(self._given.version)

    async def work(self) -> PackagedCode:
        """Do it; raise `CallFailed`, `StoreFailed` or `ArtifactsRefused`."""
        context, code = self._context, self._given.code
        if code is None:
            raise CallFailed("there is no code to package", transient=False, kind="bad_parameters")
        if context.keep is None:
            text = "the worker's owner names no store (WORKER_LOGS), and packages need one"
            raise CallFailed(text, transient=False, kind="not_configured")
        began = datetime.now(UTC)
        names = await asyncio.to_thread(unpacked, context, code.content, self._project)
        made = self._folder / "made"
        made.mkdir()
        build = ProjectBuild(context, self._project, names, made)
        repository = self._tools.registry.repository(self._given.artifact_id)
        context.progress(10, "building")
        built = [*await self._python(build, names), *await asyncio.to_thread(build.packed)]
        image = await self._image(build, built, names) if build.has_image else None
        context.progress(60, "vouching")
        files = [await asyncio.to_thread(_made_file, one) for one in built]
        if image is not None:
            files.append(_made_image(image, self._tools.registry.place(repository)))
        facts = self._facts(code, began, image)
        vouched = await asyncio.to_thread(attest, files, facts, self._project, context.keep, self._tools.settings)
        kept = [await asyncio.to_thread(self._keep, one.path) for one in built]
        pushes = [await asyncio.to_thread(self._push_of, one) for one in built]
        if image is not None:
            kept.append(await asyncio.to_thread(self._keep, image.path))
            pushes.append(RegistryPush(repository, self._tag, image.layout.manifest, image.layout.blobs))
        context.progress(80, "pushing")
        places, pushed = await self._pushed(pushes, _signature_of(vouched, image, repository))
        located = places or [file.uri for file in kept]
        artifacts = [self._artifact(*one, vouched) for one in zip(built, kept, located, strict=False)]
        if image is not None:
            artifacts.append(self._image_artifact(image, kept[-1], located[-1], vouched))
        same = {name: getattr(vouched, name) for name in VOUCHED}
        return PackagedCode(artifacts=tuple(artifacts), pushed=tuple(pushed), **same)

    def _facts(self, code: ComposedCode, began: datetime, image: MadeImage | None) -> BuildFacts:
        return BuildFacts(
            artifact_id=self._given.artifact_id,
            version=self._given.version,
            code=code,
            flow_id=self._context.flow_id,
            ticket_id=self._context.ticket_id,
            attempt=self._context.attempt,
            began_at=began,
            ended_at=datetime.now(UTC),
            worker_id=self._context.worker_id,
            template=self._given.template,
            validation=self._given.validation,
            tests=self._given.tests,
            bases=image.bases if image is not None else (),
        )

    async def _python(self, build: ProjectBuild, names: Sequence[str]) -> Sequence[Built]:
        if not build.has_python:
            return ()
        await asyncio.to_thread(copy_project, self._project, names, self._build / "project")
        await run_build(self._context, self._tools.sandbox, self._build)
        return await asyncio.to_thread(build.python, self._build / "dist")

    async def _image(self, build: ProjectBuild, built: Sequence[Built], names: Sequence[str]) -> MadeImage:
        """Assemble the image, and say in the log what it does not have."""
        base = await pulled_base(self._tools.settings, self._folder)
        dockerfile = (self._project / "Dockerfile").read_bytes()
        files = await asyncio.to_thread(self._in_image, built, names)
        labels = {"org.opencontainers.image.title": build.stem, "org.opencontainers.image.version": build.version}
        layout = await asyncio.to_thread(assembled, base, files, dockerfile, labels)
        if layout.size > MOST_LAYOUT:
            raise CallFailed(f"the image has more than {MOST_LAYOUT} bytes", transient=False, kind="package_too_large")
        if left_out := left_out_of(dockerfile):
            self._context.log(f"the image was made without {', '.join(left_out)[:200]} of the Dockerfile")
        if not base.reference:
            self._context.log("the image has the layer of the project alone: there is no WORKER_FORGE_BASE_IMAGE")
        elif needed := requirements_in(files):
            self._context.log(f"the base image has to bring: {', '.join(needed)[:1_000]}")
        path = self._folder / "made" / f"{build.stem}-{build.version}.oci.tar"
        await asyncio.to_thread(write_layout, path, layout.files(self._tag))
        manifest = self._folder / "manifest.json"
        manifest.write_bytes(layout.manifest)
        place, _, digest = base.reference.partition("@")
        return MadeImage(layout, path, manifest, (BaseImage(place, digest),) if digest else ())

    def _in_image(self, built: Sequence[Built], names: Sequence[str]) -> PackedFiles:
        for one in built:
            if one.kind == "wheel":
                with one.path.open("rb") as file:
                    return installed(in_zip(file, one.path.name))
        return files_below(self._project, names)

    def _push_of(self, one: Built) -> RegistryPush:
        """Return where a file goes in the registry; it blocks."""
        if one.artifact_type is ForgeArtifactType.CHART:
            repository = self._tools.registry.repository("charts", one.about["name"])
            return chart_push(repository, tag_of(one.about["version"]), one.path, one.media_type, one.about)
        repository = self._tools.registry.repository(self._given.artifact_id, one.kind)
        return file_push(repository, self._tag, one.path, one.media_type, one.kind)

    async def _pushed(
        self, pushes: Sequence[RegistryPush], signature: RegistryPush | None
    ) -> tuple[list[str], list[str]]:
        """Push everything, or nothing; return where each is, and what is there through this pipeline."""
        if not self._tools.registry.host:
            return [], []
        pusher = PackagePusher(self._tools.registry, self._context, self._tools.patience)
        try:
            places = [await pusher.push(one) for one in pushes]
            if signature is not None:
                await pusher.push(signature)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(pusher.take_back()))
            raise
        return places, pusher.pushed

    def _keep(self, path: Path) -> KeptFile:
        """Keep a file in the worker's store, by its name; it blocks."""
        assert self._context.keep is not None  # noqa: S101 - looked at first
        with path.open("rb") as source:
            return keep_file(self._context.keep, f"artifacts/{path.name}", source)

    def _artifact(self, one: Built, file: KeptFile, place: str, vouched: Attestations) -> PackagedArtifact:
        by = vouched.files.get(one.path.name)
        return PackagedArtifact(
            artifact_id=f"{self._given.artifact_id}:{one.kind}",
            artifact_type=one.artifact_type,
            name=one.path.name,
            location=place,
            checksum=f"sha256:{file.sha256}",
            size=file.size,
            media_type=one.media_type,
            file=file,
            signature=by.signature if by is not None else None,
            bundle=by.bundle if by is not None else None,
        )

    def _image_artifact(self, image: MadeImage, file: KeptFile, place: str, vouched: Attestations) -> PackagedArtifact:
        same = self._artifact(Built("image", ForgeArtifactType.CONTAINER, image.path, MANIFEST), file, place, vouched)
        return same.but(checksum=image.layout.digest, size=image.layout.size)


VOUCHED = ("sbom", "provenance", "links", "signature", "key_id", "public_key", "log")
"""What the attestations of a build and the output of the stage have both."""


def _made_file(one: Built) -> MadeFile:
    data = one.path.read_bytes()
    return MadeFile(one.path.name, one.path, sha256(data).hexdigest(), len(data), one.media_type)


def _made_image(image: MadeImage, place: str) -> MadeFile:
    digest = image.layout.digest.removeprefix("sha256:")
    return MadeFile(image.path.name, image.manifest, digest, len(image.layout.manifest), MANIFEST, place)


def _signature_of(vouched: Attestations, image: MadeImage | None, repository: str) -> RegistryPush | None:
    """Return how the signature of an image goes to its registry; None where there is none."""
    by: Any = vouched.files.get(image.path.name) if image is not None else None
    if by is None or by.cosign is None:
        return None
    sign = by.cosign
    return RegistryPush(repository, sign.tag, sign.manifest, sign.blobs, sign.media_type, settled=False)
