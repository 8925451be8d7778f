"""The executor `forge_select_template`: the template that fits best, and its content at one version."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from functions._core.errors import Rejected
from functions._core.executors.forge import SelectTemplateParameters
from functions._core.executors.table import BUILDS, FORGE
from functions._core.forge.selection import selected
from functions._core.forge.stages import SelectedTemplate, TemplateSource
from functions._core.records.values import TaskType
from functions._executors.forge.git_templates import check_source, fetch_template, scheme_of
from functions._executors.forge.projects import keep_bytes, packed
from functions._executors.forge.template_cache import CachedTemplate, TemplateCache
from functions._executors.forge.templates_at import SHIPPED, bad, copy_template, folder_of, owned_folders, questions_in
from functions._executors.port import CallFailed, JobContext, JobFailed, JobState, JobSucceeded, ToolCheck
from functions._executors.programs import found
from functions._executors.settings import ExecutorSettings
from functions._executors.tools import ToolExecutor, ToolJob

CONTENT = "template.tar.gz"
LONGEST_FOLDER = 1_000
"""Characters of the place of a template within a repository, which is an argument of git."""

Context = JobContext[SelectTemplateParameters]


@dataclass(frozen=True, slots=True)
class _Brought:
    """A template that is here."""

    content: bytes
    questions: dict[str, object]
    version: str = ""
    commit: str | None = None
    ref: str | None = None
    cached: bool = False


class SelectTemplateExecutor(ToolExecutor[SelectTemplateParameters]):
    """Chooses a template and brings it."""

    name: ClassVar[str] = "forge_select_template"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = BUILDS
    PROGRAMS: ClassVar[Sequence[str]] = (sys.executable,)
    NEEDS_NETWORK: ClassVar[bool] = False
    Parameters = SelectTemplateParameters
    Outputs = SelectedTemplate

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings.model_copy(update={"projects": ()}))
        self._cache = TemplateCache(settings.folder)

    async def work(self, context: Context, job: ToolJob) -> JobState:
        """Choose, bring and keep it."""
        given = context.parameters
        try:
            card, score = selected(given.templates, given)
        except Rejected as refused:
            return JobFailed(refused.code, str(refused), retryable=False)
        brought = await self._brought(card.source, job)
        where = "from the cache" if brought.cached else "looked up"
        context.log(f"template {card.template_id}, score {score}, version {brought.version or 'none'}, {where}")
        content = await asyncio.to_thread(keep_bytes, context, CONTENT, brought.content)
        return JobSucceeded(
            SelectedTemplate(
                template_id=card.template_id,
                score=score,
                version=brought.version,
                commit=brought.commit,
                artifact_type=card.artifact_type,
                language=card.language,
                content=content,
                questions=brought.questions,
                source=TemplateSource.model_validate({**card.source.model_dump(), "ref": brought.ref}),
                cached=brought.cached,
            )
        )

    async def check(self) -> Sequence[ToolCheck]:
        """Say where templates may come from."""
        folders = owned_folders(self.settings)
        absent = [str(path) for path in folders if not path.is_dir()]
        git = found("git")
        allowed = ", ".join(self.settings.repositories) or "none"
        named = ", ".join(map(str, folders)) or "none"
        missing = f"; not there: {', '.join(absent)}" if absent else ""
        return (
            *await super().check(),
            ToolCheck("git", git is not None, git or "templates in repositories cannot be used", required=False),
            ToolCheck("repositories", True, f"WORKER_REPOSITORIES allows {allowed}", required=False),
            ToolCheck("templates", not absent, f"WORKER_TEMPLATES: {named}{missing}", required=False),
        )

    async def _brought(self, source: TemplateSource, job: ToolJob) -> _Brought:
        if [source.shipped, source.folder, source.git].count(None) != 2:  # noqa: PLR2004 - all but one
            raise bad("the template says nothing, or several things, of where it is")
        inner = source.subfolder
        if ".." in inner.split("/") or inner.startswith("/") or "\0" in inner or len(inner) > LONGEST_FOLDER:
            raise bad("the folder of the template leads out of its place, or is none")
        if source.git is not None:
            return await self._from_git(source, job)
        if source.shipped is not None:
            return await asyncio.to_thread(_from_folder, (SHIPPED,), source.shipped, source, job, _own_version())
        return await asyncio.to_thread(_from_folder, owned_folders(self.settings), source.folder or "", source, job, "")

    async def _from_git(self, source: TemplateSource, job: ToolJob) -> _Brought:
        address = check_source(self.settings, source)
        cached = await asyncio.to_thread(self._cache.get, source)
        if cached is not None:
            return _Brought(cached.content, **cached.about, cached=True)
        remote = scheme_of(address) != "file"
        if remote and self.sandbox.on and not self.settings.program_network:
            text = "the worker's owner does not let programs have the network (WORKER_PROGRAM_NETWORK)"
            raise CallFailed(text, transient=False, kind="not_allowed")
        folder = job.folder / "template"
        fetched = await fetch_template(job, source, address, folder)
        content, questions = await asyncio.to_thread(_read, folder)
        about: dict[str, Any] = {
            "version": fetched.version,
            "commit": fetched.commit,
            "ref": fetched.ref,
            "questions": questions,
        }
        await asyncio.to_thread(self._cache.put, source, CachedTemplate(content, about))
        return _Brought(content, **about)


def _from_folder(bases: Sequence[Path], name: str, source: TemplateSource, job: ToolJob, said: str) -> _Brought:
    """Bring a template of a folder; it is read each time, as its owner may be at work on it."""
    place = folder_of(bases, name)
    if source.subfolder not in {"", "."}:
        place = folder_of((place,), source.subfolder)
    folder = job.folder / "template"
    copy_template(place, folder)
    return _Brought(*_read(folder), version=said)


def _read(folder: Path) -> tuple[bytes, dict[str, object]]:
    return packed(folder), questions_in(folder)


def _own_version() -> str:
    try:
        return version("flowc")
    except PackageNotFoundError:
        return ""
