"""The tests of a project in a container of an image that the worker's owner names.

The container has the folder of the job at the same path, where it may write, and nothing else of the machine: no
network, no rights, a root that cannot be written to. One that a killed worker has left is removed, and its tests begin
again.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from functions._core.executors.container import ContainerLimits, ContainerParameters
from functions._core.forge.stages import Score
from functions._executors.container import ContainerExecutor, ContainerLog
from functions._executors.forge.suite import PROJECT, ProjectTests, SuiteEnd, command, judged, laid_out, said_by
from functions._executors.port import JobContext, JobHandle, JobRunning, JobState, ToolCheck
from functions._executors.settings import ExecutorSettings
from functions._executors.work_folder import new_folder, remove_folder

NOBODY = 65534
LIMITS = ContainerLimits(cpus=2, memory_mb=2_048, processes=256)
"""What tests may use."""


class InContainer(ContainerParameters):
    """The tests of a project, as the container with them is made."""

    folder: Path
    """That of the job."""
    min_coverage: Score
    """See `RunTestsParameters`."""
    measured: bool
    """Whether there is code whose lines are measured."""


class ContainedSuite(ContainerExecutor):
    """Runs tests by an engine of this machine."""

    detached: ClassVar[bool] = False

    def __init__(self, settings: ExecutorSettings, image: str) -> None:
        """Take the image, which is the only one that may run here."""
        super().__init__(settings.model_copy(update={"images": (image,), "program_network": False}))
        self._folder = settings.folder
        self._image = image

    async def start(self, context: JobContext[Any]) -> JobHandle:
        """Lay the project down and start its tests; a container that an earlier attempt has left is removed."""
        if (left := await self.known(context)) is not None:
            await self.removed(left)
        folder = await new_folder(self._folder, context)
        try:
            parameters = await asyncio.to_thread(self._prepared, context, folder)
            handle = await super().start(replace(context, parameters=parameters))
        except BaseException:
            await asyncio.to_thread(remove_folder, folder)
            raise
        return handle.but(data={"folder": str(folder), "measured": parameters.measured})

    async def poll(self, context: JobContext[Any], handle: JobHandle) -> JobState:
        """Look at the tests; nothing of them is left when they have ended."""
        folder = Path(handle.data["folder"])
        parameters = InContainer(
            image=self._image,
            folder=folder,
            limits=LIMITS,
            min_coverage=context.parameters.min_coverage,
            measured=handle.data["measured"],
        )
        state = await super().poll(replace(context, parameters=parameters), handle)
        if not isinstance(state, JobRunning):
            await self.removed(handle.job_id)
            await asyncio.to_thread(remove_folder, folder)
        return state

    async def cancel(self, context: JobContext[Any], handle: JobHandle) -> None:
        """Kill and remove the container, and remove its folder."""
        await super().cancel(context, handle)
        await asyncio.to_thread(remove_folder, Path(handle.data["folder"]))

    def place(self, context: JobContext[Any]) -> tuple[Path, Path] | None:
        """See `ContainerExecutor.place`."""
        folder: Path = context.parameters.folder
        return folder, folder / PROJECT

    def judged(self, context: JobContext[Any], state: Mapping[str, Any], log: ContainerLog, image: str) -> JobState:  # noqa: ARG002 - the base's
        """See `ContainerExecutor.judged`."""
        given: InContainer = context.parameters
        end = SuiteEnd(int(state.get("ExitCode", 1)), said_by(log.tails[1].text, log.tails[2].text))
        return judged(context, given.min_coverage, given.folder, end, measured=given.measured)

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the engine for its version."""
        return (*await super().check(), ToolCheck("tests", True, f"in {self._image}"))

    def _prepared(self, context: JobContext[Any], folder: Path) -> InContainer:
        given: ProjectTests = context.parameters
        measured = laid_out(context, given.code, folder)
        argv, env = command("python", folder, folder, cov=True)
        user, group = os.geteuid(), os.getegid()
        if user == 0:
            user = group = NOBODY
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user, group, follow_symlinks=False)
        return InContainer(
            image=self._image,
            argv=tuple(argv[1:]),
            entrypoint=(argv[0],),
            env={**env, "HOME": "/tmp"},  # noqa: S108 - that of the container
            user=f"{user}:{group}",
            limits=LIMITS,
            folder=folder,
            min_coverage=given.min_coverage,
            measured=measured,
        )
