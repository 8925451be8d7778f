"""What a project is built into: a wheel and a source distribution, functions, a chart, an archive.

The backend that builds Python packages comes from the project, or is named by it: it is a program of strangers. It
runs in the sandbox, without a network, on a copy of the project that nothing else is made of; without a sandbox only
where the worker's owner names `build` (WORKER_COMMANDS). What it has made is packed anew, so that the same files have
the same bytes. Functions and charts are packed here, as SAM and Helm would.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from functions._core.errors import Rejected
from functions._core.executors.execute import Limits
from functions._core.executors.forge import PackageParameters
from functions._core.forge.packages import CHART_CONTENT, SEMVER
from functions._core.forge.stages import ForgeArtifactType
from functions._core.records.yaml_text import parse_yaml
from functions._executors.artifacts import ArtifactsRefused, files_in
from functions._executors.forge.archives import (
    PackedFile,
    PackedFiles,
    compressed,
    files_below,
    in_tar,
    in_zip,
    tarred,
    zipped,
)
from functions._executors.forge.projects import packed
from functions._executors.port import CallFailed, JobContext
from functions._executors.sandbox import Sandbox
from functions._executors.scanners.target import MOST_BYTES
from functions._executors.tools import ToolJob

EPOCH = "315532800"
"""SOURCE_DATE_EPOCH: the first second of 1980, before which no zip can say a time."""

BUILD_SECONDS = 300.0
"""How long building may take."""

LIMITS = Limits(cpu_seconds=300, memory_mb=4_096, file_mb=64, processes=64, open_files=256)

DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+!-]{0,190}\.(?:whl|tar\.gz)")
"""The name of a file that building may leave."""

SCRATCH = "scratch"
"""The folder in which the backend works."""

YAML_BYTES = 256 * 1024
"""Bytes of a template or of the head of a chart."""

YAML_DEPTH = 50
"""Values within each other in a template."""

CHART_NAME = re.compile(r"[a-z][a-z0-9-]{0,60}")
MOST_FUNCTIONS = 20
WITHOUT = ("tests/", "docs/", ".github/")
"""What a function does not need that has no template to say where its code is."""


class Built(NamedTuple):
    """One file that can be delivered."""

    kind: str
    """wheel, sdist, function, chart or archive; of several functions with their names."""
    artifact_type: ForgeArtifactType
    path: Path
    media_type: str
    about: Mapping[str, Any] = {}
    """Of a chart what is in its Chart.yaml."""


class ProjectBuild:
    """Builds one project: `names` are its files below `project`, what is made comes to `made`."""

    def __init__(self, context: JobContext[PackageParameters], project: Path, names: Sequence[str], made: Path) -> None:
        assert context.parameters.code is not None  # noqa: S101 - the executor has looked
        self._context = context
        self._project = project
        self._names = names
        self._made = made
        self._kind = context.parameters.code.artifact_type
        self.stem = context.parameters.artifact_id.rpartition("/")[2]
        self.version = context.parameters.version

    @property
    def has_python(self) -> bool:
        """Whether a wheel is made. That of a module is a matter of its tests."""
        return "pyproject.toml" in self._names and self._kind != "module"

    @property
    def has_image(self) -> bool:
        """Whether an image is made."""
        return "Dockerfile" in self._names and self._kind != "module"

    def packed(self) -> Sequence[Built]:
        """Return what is made without a program; it blocks. Raises `CallFailed`."""
        found = [*self._functions()]
        if "chart/Chart.yaml" in self._names:
            found.append(self._chart())
        if not found and not self.has_python and not self.has_image:
            found.append(self._archive())
        return found

    def python(self, folder: Path) -> Sequence[Built]:
        """Return wheel and source distribution out of a folder that others may write to; it blocks."""
        found: dict[str, Built] = {}
        for name, data in _left_in(folder):
            kind = "wheel" if name.endswith(".whl") else "sdist"
            if kind in found:
                raise CallFailed(f"building made more than one {kind}", transient=False, kind="bad_package")
            anew = zipped(data) if kind == "wheel" else compressed(tarred(data))
            media = "application/zip" if kind == "wheel" else "application/gzip"
            found[kind] = self._kept(kind, ForgeArtifactType.CODE, name, anew, media)
        if len(found) != 2:  # noqa: PLR2004 - the wheel and the source distribution
            raise CallFailed("building made no wheel, or no source distribution", transient=False, kind="bad_package")
        return [found["wheel"], found["sdist"]]

    def _functions(self) -> Iterator[Built]:
        there = "template.yaml" in self._names
        places = dict(functions_in((self._project / "template.yaml").read_bytes())) if there else {}
        if len({name.lower() for name in places}) < len(places):  # one would be written in place of another
            text = "the template has functions whose names differ in capital letters alone"
            raise CallFailed(text, transient=False, kind="bad_project")
        for name, place in places.items():
            files = files_below(self._project, self._names, place)
            if not files:
                text = f"the code of the function {name[:60]} is not in the project ({place[:100]})"
                raise CallFailed(text, transient=False, kind="bad_project")
            kind = "function" if len(places) == 1 else f"function-{name.lower()}"
            yield self._function(kind, files)
        if not places and self._kind == "function":
            names = [name for name in self._names if not name.startswith(WITHOUT)]
            yield self._function("function", files_below(self._project, names))

    def _function(self, kind: str, files: PackedFiles) -> Built:
        name = f"{self.stem}-{self.version}{kind.removeprefix('function')}.zip"
        return self._kept(kind, ForgeArtifactType.FUNCTION, name, zipped(files), "application/zip")

    def _chart(self) -> Built:
        files = dict(files_below(self._project, self._names, "chart"))
        head = chart_head(files, self.version)
        text = json.dumps(head, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        files["Chart.yaml"] = PackedFile(text.encode())  # JSON is YAML
        below = {f"{head['name']}/{name}": file for name, file in files.items()}
        name = f"{head['name']}-{head['version']}.tgz"
        content = compressed(tarred(below))
        return self._kept("chart", ForgeArtifactType.CHART, name, content, CHART_CONTENT)._replace(about=head)

    def _archive(self) -> Built:
        kind = ForgeArtifactType.IAC if self._kind == "module" else ForgeArtifactType.CODE
        name = f"{self.stem}-{self.version}.tar.gz"
        return self._kept("archive", kind, name, packed(self._project), "application/gzip")

    def _kept(self, kind: str, artifact_type: ForgeArtifactType, name: str, data: bytes, media: str) -> Built:
        path = self._made / name
        path.write_bytes(data)
        return Built(kind, artifact_type, path, media)


async def run_build(context: JobContext[Any], sandbox: Sandbox, folder: Path) -> None:
    """Build the Python packages of `folder`/project into `folder`/dist; raise `CallFailed`.

    A backend that has to be fetched is none that this worker has: it says which are missing, and fails.
    """
    await sandbox.require()
    if not sandbox.permits("build"):
        text = "the worker's owner does not let projects be built here (WORKER_COMMANDS: build)"
        raise CallFailed(text, transient=False, kind="not_allowed")
    job = ToolJob(sandbox, context, folder, {}, network=False)
    places = (f"--outdir={job.inside}/dist", f"{job.inside}/project")
    own = {"SOURCE_DATE_EPOCH": EPOCH, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    own["TMPDIR"] = f"{job.inside}/{SCRATCH}"
    for name in ("dist", SCRATCH):
        (folder / name).mkdir()
    seconds = min(BUILD_SECONDS, context.seconds_left)
    try:
        async with asyncio.timeout(seconds):
            command = (sys.executable, "-I", "-m", "build", "--no-isolation", *places)
            end = await job.run(*command, env=own, limits=LIMITS)
    except TimeoutError as error:
        text = f"building did not end within {seconds:g} s"
        raise CallFailed(text, transient=False, kind="build_timeout") from error
    if end.code:
        raise CallFailed(f"building failed: {end.said}", transient=False, kind="build_failed")


def copy_project(project: Path, names: Sequence[str], folder: Path) -> None:
    """Copy a project for the backend, which may do with the copy what it likes."""
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / name, place)
        place.chmod((project / name).stat().st_mode & 0o777)
        os.utime(place, (int(EPOCH), int(EPOCH)))


def functions_in(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and folder of each function of a SAM template whose code is in the project; raise `CallFailed`."""
    template = _template(text)
    if "AWS::Serverless-2016-10-31" not in str(template.get("Transform", ""))[:1_000]:
        return
    resources = template.get("Resources")
    general = _inner(template, "Globals", "Function")
    found = 0
    for name, resource in resources.items() if isinstance(resources, Mapping) else ():
        if not isinstance(resource, Mapping) or resource.get("Type") != "AWS::Serverless::Function":
            continue
        about = {**general, **_inner(resource, "Properties")}
        place = about.get("CodeUri", ".")
        if about.get("PackageType") == "Image" or "InlineCode" in about or not isinstance(place, str) or ":" in place:
            continue
        found += 1
        if found > MOST_FUNCTIONS or not re.fullmatch(r"[A-Za-z0-9]{1,64}", str(name)):
            raise CallFailed("the template has too many functions, or bad names", transient=False, kind="bad_project")
        normal = os.path.normpath(place)
        yield str(name), "" if normal == "." else normal


def chart_head(files: PackedFiles, version: str) -> Mapping[str, Any]:
    """Return what a chart says of itself, with the version as `helm package --version` sets it; raise `CallFailed`."""
    try:
        head = parse_yaml(files["Chart.yaml"].data[:YAML_BYTES])
    except Rejected as refusal:
        raise CallFailed(f"chart/Chart.yaml cannot be read: {refusal}", transient=False, kind="bad_project") from None
    said = dict(head) if isinstance(head, Mapping) else {}
    said["version"] = version if SEMVER.fullmatch(version) else str(said.get("version", ""))
    if not CHART_NAME.fullmatch(str(said.get("name"))) or not SEMVER.fullmatch(said["version"]):
        text = "chart/Chart.yaml has no name or no version as Helm takes them"
        raise CallFailed(text, transient=False, kind="bad_project")
    needed = said.get("dependencies")
    names = [one.get("name") for one in needed if isinstance(one, Mapping)] if isinstance(needed, list) else []
    absent = [str(name) for name in names if not any(path.startswith(f"charts/{name}") for path in files)]
    if absent:
        text = f"the chart needs others that are not in chart/charts: {', '.join(absent)[:200]}"
        raise CallFailed(text, transient=False, kind="bad_project")
    return said


def _left_in(folder: Path) -> Iterator[tuple[str, PackedFiles]]:
    """Yield name and files of each distribution that building has left; nothing is read through a link."""
    try:
        for name, descriptor, size in files_in(folder, ("*",)):
            with os.fdopen(descriptor, "rb") as file:
                if size > MOST_BYTES or not DISTRIBUTION.fullmatch(name):
                    text = f"building made {name[:100]!r}, which is no package or too large"
                    raise CallFailed(text, transient=False, kind="bad_package")
                yield name, (in_zip if name.endswith(".whl") else in_tar)(file, name)
    except (ArtifactsRefused, OSError) as error:
        raise CallFailed(f"what building made cannot be read: {error}", transient=False, kind="bad_package") from error


def _template(text: bytes) -> Mapping[str, Any]:
    """Return a template without the values that its tags stand for (`!Ref`); raise `CallFailed`.

    All scalars are text: of words that should be numbers or dates others make errors of any kind, or endless sums.
    """
    import yaml

    base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    reader: Any = type("TemplateReader", (base,), {})
    reader.add_multi_constructor("!", lambda _loader, _tag, _node: None)
    depth = 0
    try:
        for event in yaml.parse(text[: YAML_BYTES + 1], Loader=base):  # before anything is made of it
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > YAML_DEPTH or isinstance(event, yaml.AliasEvent):
                raise CallFailed(
                    "template.yaml is nested too deep, or has aliases", transient=False, kind="bad_project"
                )
        found = yaml.load(text, Loader=reader) if len(text) <= YAML_BYTES else None  # noqa: S506 - plain values
    except (yaml.YAMLError, ValueError) as error:
        raise CallFailed("template.yaml cannot be read", transient=False, kind="bad_project") from error
    if not isinstance(found, Mapping):
        raise CallFailed("template.yaml is no template, or too large", transient=False, kind="bad_project")
    return found


def _inner(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        inside = value.get(name)
        value = inside if isinstance(inside, Mapping) else {}
    return value
