"""The executor `forge_compose_code`: a project, rendered by copier in the sandbox, the same for the same inputs.

A template is rendered twice, by two processes with other folders and another order of sets: what differs then would
differ on another worker as well, and is refused. A language model may change files after that, where the worker's owner
has one and the plan says what to change; what it says is data, which passes the same stages as the rest.
"""

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from functions._core.errors import Rejected
from functions._core.executors.execute import Limits
from functions._core.executors.forge import ComposeCodeParameters
from functions._core.executors.table import BUILDS, FORGE
from functions._core.forge.composition import artifacts_of, confidence
from functions._core.forge.questions import checked_answers, for_copier, with_version
from functions._core.forge.stages import ComposedCode, GenerationMethod, SelectedTemplate
from functions._core.records.json_text import parse_json
from functions._core.records.values import TaskType
from functions._executors.forge.language_model import LanguageModel
from functions._executors.forge.projects import PROJECT, keep_bytes, packed, unpacked
from functions._executors.forge.render import NOT_RENDERED
from functions._executors.forge.templates_at import questions_in
from functions._executors.port import CallFailed, JobContext, JobState, JobSucceeded, ToolCheck
from functions._executors.programs import package_check
from functions._executors.settings import ExecutorSettings
from functions._executors.tools import ToolEnd, ToolExecutor, ToolJob

RENDER = Path(__file__).with_name("render.py").read_text(encoding="utf-8")
"""Given as text: the sandbox does not show where this package is."""

LIMITS = Limits(cpu_seconds=60, memory_mb=1_024, file_mb=16, processes=64, open_files=256)
"""What one rendering may use."""

VARIABLES = {
    "PATH": "/nowhere",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
"""Variables of a rendering: it finds no program, and copier would run git for each file."""

RENDER_SECONDS = 100.0
"""How long one rendering may take."""

MOST_FILES, MOST_BYTES = 2_000, 32 * 1024 * 1024
"""Files and folders, and bytes, of a project."""

ODD = re.compile(r"[\x00-\x1f\x7f\\]")
"""What no name of a file in a project has."""

Context = JobContext[ComposeCodeParameters]


@dataclass(frozen=True, slots=True)
class _Way:
    """One rendering: its folder below that of the job, and its order of sets."""

    name: str
    seed: str


WAYS = (_Way("one", "0"), _Way("another", "1"))


class ComposeCodeExecutor(ToolExecutor[ComposeCodeParameters]):
    """Makes a project of a template and answers."""

    name: ClassVar[str] = "forge_compose_code"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = BUILDS
    PROGRAMS: ClassVar[Sequence[str]] = (sys.executable,)
    NEEDS_NETWORK: ClassVar[bool] = False
    Parameters = ComposeCodeParameters
    Outputs = ComposedCode

    def __init__(self, settings: ExecutorSettings) -> None:
        """Show a template nothing of the worker, and give it no network, whatever other programs have."""
        bare = {"projects": (), "readable": (), "program_network": False}
        super().__init__(settings.model_copy(update=bare))
        self._model = LanguageModel(settings)

    def admit(self, context: Context) -> None:
        """Refuse a secret among the answers, and everything where copier is not installed."""
        if find_spec("copier") is None:
            raise _failed("copier is not installed: flowc[forge]", "no_tool")
        given = context.parameters
        why = "a secret is among the inputs, which everybody can read who may read the pipeline"
        context.refuse_secrets((given.inputs, given.instructions), why, "secret_in_inputs")

    async def work(self, context: Context, job: ToolJob) -> JobState:
        """Unpack, check, render, and keep."""
        given = context.parameters
        template = job.folder / "template"
        await asyncio.to_thread(unpacked, context, given.template.content, template)
        questions = await asyncio.to_thread(questions_in, template)
        inputs = with_version(questions, given.inputs, given.version)
        try:
            checked_answers(questions, inputs)
        except Rejected as refused:
            raise CallFailed(str(refused), transient=False, kind=refused.code) from refused
        data = for_copier(questions, inputs, json.dumps)
        for way in WAYS:
            await self._render(context, job, way, data)
        folders = [_project(job.folder, way, given.artifact_id) for way in WAYS]
        content, hashes = await asyncio.to_thread(_same, *folders)
        model = await self._model.change(context, folders[0], hashes) if given.instructions else None
        if model is not None:
            content, hashes = await asyncio.to_thread(_packed, folders[0])
        kept = await asyncio.to_thread(keep_bytes, context, PROJECT, content)
        context.log(f"{len(hashes)} files composed of {given.template.template_id} {given.template.version}")
        return JobSucceeded(
            ComposedCode(
                content=kept,
                artifacts=tuple(artifacts_of(given.artifact_id, hashes, kept.uri)),
                confidence_score=confidence(given.template.score, questions, inputs),
                generation_method=GenerationMethod.HYBRID if model else GenerationMethod.TEMPLATE,
                template_id=given.template.template_id,
                template_version=given.template.version,
                artifact_type=given.template.artifact_type,
                language=given.template.language,
                files=len(hashes),
                model=model,
            )
        )

    async def check(self) -> Sequence[ToolCheck]:
        """Look for copier, and at the language model."""
        copier = package_check("copier", "install flowc[forge]")
        return (*await super().check(), copier, self._model.check())

    async def aclose(self) -> None:
        """End all programs and close all connections."""
        await super().aclose()
        await self._model.aclose()

    async def _render(self, context: Context, job: ToolJob, way: _Way, data: Mapping[str, object]) -> None:
        """Render the template once; it moves to the folder of this rendering, so that its place differs, too."""
        given = context.parameters
        project = _project(job.folder, way, given.artifact_id)
        template = job.folder / way.name / "template"
        last = job.folder / WAYS[0].name / "template" if way is not WAYS[0] else job.folder / "template"
        await asyncio.to_thread(_moved, last, template)
        about = {
            "template": f"{job.inside}/{template.relative_to(job.folder)}",
            "project": f"{job.inside}/{project.relative_to(job.folder)}",
            "data": data,
            "remembered": _remembered(given.template),
            "most_files": MOST_FILES,
            "most_bytes": MOST_BYTES,
        }
        asked = await job.put(f"{way.name}.json", about)
        env = {**VARIABLES, "PYTHONHASHSEED": way.seed}
        try:
            async with asyncio.timeout(RENDER_SECONDS):
                end = await job.run(sys.executable, "-s", "-P", "-c", RENDER, asked, quiet=True, env=env, limits=LIMITS)
        except TimeoutError as error:
            raise _failed(f"rendering took more than {RENDER_SECONDS:.0f} s", "template_too_costly") from error
        if end.code:
            raise _why(end)


def _project(folder: Path, way: _Way, artifact_id: str) -> Path:
    """Return where a rendering makes its project: a template may use the name of the folder."""
    name = artifact_id.rstrip("/").rpartition("/")[2]
    return folder / way.name / "made" / (name if name.strip(".") else "project")


def _moved(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _remembered(template: SelectedTemplate) -> Mapping[str, str]:
    """Return what a project says of its template; copier updates it from a repository alone."""
    source = template.source
    if source is not None and source.git is not None and source.subfolder in {"", "."}:
        prefix = "git+" if "://" in source.git else ""
        return {"src_path": f"{prefix}{source.git}", "commit": source.ref or template.commit or ""}
    return {"src_path": f"flowc:{template.template_id}", "commit": template.version}


def _why(end: ToolEnd) -> CallFailed:
    """Return why a template was not rendered."""
    if end.code == NOT_RENDERED:
        try:
            fault = parse_json(end.read)
        except Rejected:
            fault = None
        if isinstance(fault, Mapping):
            return _failed(str(fault.get("message", ""))[:2_000], str(fault.get("kind", ""))[:60] or "template_failed")
    used = (
        f"{LIMITS.cpu_seconds} s of the processor, {LIMITS.memory_mb} MiB of memory or {LIMITS.file_mb} MiB in a file"
    )
    if end.code < 0 or end.code > 128:  # noqa: PLR2004 - ended by a signal, as a shell has it
        return _failed(f"rendering needs more than {used}", "template_too_costly")
    return _failed(f"rendering ended with exit status {end.code}: {end.said[-500:]}", "template_failed")


def _failed(text: str, kind: str) -> CallFailed:
    return CallFailed(text, transient=False, kind=kind)


def _same(one: Path, another: Path) -> tuple[bytes, Mapping[str, str]]:
    """Return a project with the hashes of its files; raise `CallFailed` unless two renderings are the same."""
    content, hashes = _packed(one)
    if content != packed(another):
        changed = sorted({path for path, _ in hashes.items() ^ hashes_in(another).items()})
        named = ", ".join(changed[:10]) or "the mode of a file"
        raise _failed(f"the template makes other files each time: {named}", "not_deterministic")
    if len(hashes) <= 1:
        raise _failed("the template makes no files", "template_failed")
    return content, hashes


def _packed(folder: Path) -> tuple[bytes, Mapping[str, str]]:
    return packed(folder), hashes_in(folder)


def hashes_in(folder: Path) -> Mapping[str, str]:
    """Return the SHA-256 of each file below a folder by its path; a name that no stage could take is refused."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    hashes = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}
    for path in hashes:
        if ODD.search(path):
            raise _failed(f"the project has a file with an odd name: {path[:200]!r}", "bad_project")
    return hashes
