"""The executor `forge_package`: a project is built, vouched for, kept and pushed; as a compensation it is taken back.

The same project makes the same bytes, so a stage whose worker is killed is begun again and nothing is there twice.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from functions._core.executors.forge import PackageParameters
from functions._core.executors.table import FORGE
from functions._core.forge.packages import RemovedPackages
from functions._core.forge.stages import PackagedCode
from functions._core.records.values import TaskType
from functions._executors.artifacts import ArtifactsRefused
from functions._executors.forge.attestations import signing_check
from functions._executors.forge.images import base_registry
from functions._executors.forge.packaging import PackagingJob, PackagingTools
from functions._executors.forge.pushes import PackagePusher
from functions._executors.forge.registry import NAME, RegistryApi
from functions._executors.forge.signing import SigningFailed
from functions._executors.port import CallFailed, JobContext, JobFailed, JobHandle, JobState, JobSucceeded, ToolCheck
from functions._executors.sandbox import Sandbox
from functions._executors.scanners.patience import PAUSES, Patience
from functions._executors.settings import PREFIX, ExecutorSettings
from functions._executors.stored_files import StoreFailed
from functions._executors.task_jobs import TaskExecutor
from functions._executors.work_folder import folder_for, remove_folder

Context = JobContext[PackageParameters]


class PackageExecutor(TaskExecutor[PackageParameters]):
    """Builds, keeps, vouches and pushes; or takes back."""

    name: ClassVar[str] = "forge_package"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.BUILD, TaskType.COMPENSATE})
    Parameters = PackageParameters
    Outputs = PackagedCode

    def __init__(self, settings: ExecutorSettings, pauses: Sequence[float] = PAUSES) -> None:
        """Open nothing yet; `pauses` are those between repeated calls. Raises `ValueError` for a bad address."""
        super().__init__()
        self.settings = settings
        self.sandbox = Sandbox(settings)
        self._patience = Patience(pauses)
        self._registry = RegistryApi(settings)

    async def start(self, context: Context) -> JobHandle:
        """Begin in folders of the job's own."""
        shown = (context.parameters.artifact_id, context.parameters.version)
        context.refuse_secrets(shown, "a secret is in what becomes the name of a package")
        return self.begin(context, partial(self._done, context))

    async def check(self) -> Sequence[ToolCheck]:
        """Look at the sandbox, the store, the registry, the base and the key."""
        logs = self.settings.logs
        checks = [
            await self.sandbox.check("builds"),
            ToolCheck("store", bool(logs), logs or "WORKER_LOGS is not set: there is no place for packages"),
        ]
        if self._registry.connection.url:
            checks.append(await self._registry.check_reach())
        else:
            checks.append(ToolCheck("registry", False, f"{PREFIX}{NAME}_URL is not set: nothing is pushed", False))
        base = self.settings.environment.get("WORKER_FORGE_BASE_IMAGE", "").strip()
        try:
            if base:
                await base_registry(self.settings, base).aclose()
            checks.append(ToolCheck("base image", bool(base), base or "none: images have one layer", required=False))
        except CallFailed as failure:
            checks.append(ToolCheck("base image", False, str(failure), required=False))
        return [*checks, await asyncio.to_thread(signing_check, self.settings)]

    async def aclose(self) -> None:
        """End all jobs and close connections."""
        await super().aclose()
        await self._registry.aclose()

    async def _done(self, context: Context) -> JobState:
        folders: list[Path] = []
        try:
            async with asyncio.timeout(context.seconds_left):
                return JobSucceeded(await self._outcome(context, folders))
        except CallFailed as failure:
            failed = JobFailed(failure.kind, str(failure), failure.transient)
        except (StoreFailed, ArtifactsRefused) as failure:
            failed = JobFailed("artifacts_not_kept", str(failure))
        except SigningFailed as failure:
            failed = JobFailed("not_signed", str(failure), retryable=False)
        except TimeoutError:
            failed = JobFailed("timeout", "the stage did not end in its time")
        except OSError as error:
            failed = JobFailed("no_folder", f"the files of the job cannot be written: {error.strerror}")
        finally:
            for folder in folders:
                await asyncio.to_thread(remove_folder, folder)
        return failed

    async def _outcome(self, context: Context, folders: list[Path]) -> PackagedCode | RemovedPackages:
        """Return the outputs; `folders` gets those that are to be removed."""
        if context.task_type is TaskType.COMPENSATE:
            return await PackagePusher(self._registry, context, self._patience).remove(context.parameters.pushed)
        for what in ("package", "build"):  # the second one is the backend's own: another user for each job
            name = f"{context.ticket_id}-{what}"
            folders.append(await asyncio.to_thread(folder_for, self.settings.folder, name, context.attempt))
        tools = PackagingTools(self.settings, self.sandbox, self._registry, self._patience)
        return await PackagingJob(tools, context, folders[0], folders[1]).work()
