"""The executor `forge_run_tests`: the tests of a project are run, without the network, and their lines are measured.

They run by the worker's Python in its sandbox, or in a container where the worker's owner names an image.

    WORKER_FORGE_TEST_SECONDS   seconds that the tests of a project may take; 300 without it
    WORKER_FORGE_TEST_IMAGE     an image with Python, pytest and pytest-cov, in which they run
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from functions._core.executors.execute import Limits
from functions._core.executors.forge import RunTestsParameters
from functions._core.executors.table import EXECUTORS, FORGE
from functions._core.forge.stages import TestedCode
from functions._core.records.values import TaskType
from functions._executors.forge.contained_suite import ContainedSuite
from functions._executors.forge.suite import (
    PROJECT,
    ProjectTests,
    SuiteEnd,
    command,
    judged,
    laid_out,
    said_by,
)
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    ToolCheck,
)
from functions._executors.programs import ProgramEnd, ProgramExecutor, ProgramSpec, package_check
from functions._executors.sandbox import INSIDE
from functions._executors.settings import PREFIX, ExecutorSettings

SECONDS = 300.0
"""How long tests may take, unless the owner says so; the stage has ten minutes."""

LIMITS = Limits(cpu_seconds=900, memory_mb=2_048, file_mb=64, processes=256, open_files=1_024)
"""What tests may use."""


class ProjectSuite(ProgramExecutor[ProjectTests]):
    """Runs tests by the worker's Python in its sandbox."""

    name: ClassVar[str] = "forge_run_tests"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = EXECUTORS[name].task_types
    Parameters = ProjectTests

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings)
        self._measured: set[Path] = set()

    def prepare(self, context: JobContext[ProjectTests], folder: Path) -> None:
        """See `ProgramExecutor.prepare`."""
        if not self.sandbox.permits("pytest"):
            text = "the worker's owner does not allow pytest (WORKER_COMMANDS)"
            raise CallFailed(text, transient=False, kind="not_allowed")
        self._measured.discard(folder)
        if laid_out(context, context.parameters.code, folder):
            self._measured.add(folder)

    def spec(self, context: JobContext[ProjectTests], folder: Path) -> ProgramSpec:
        """See `ProgramExecutor.spec`."""
        inside = INSIDE if self.sandbox.on else folder
        argv, env = command(sys.executable, folder, inside, cov=find_spec("pytest_cov") is not None)
        return ProgramSpec(argv=argv, env=env, within=PROJECT, limits=context.parameters.limits)

    def judged(self, context: JobContext[ProjectTests], end: ProgramEnd) -> JobState:
        """See `ProgramExecutor.judged`."""
        ended = SuiteEnd(end.exit_code, said_by(end.stdout, end.stderr))
        measured = end.folder in self._measured
        self._measured.discard(end.folder)
        return judged(context, context.parameters.min_coverage, end.folder, ended, measured=measured)


class RunTestsExecutor(JobExecutor[RunTestsParameters]):
    """Runs the tests of a project within a time."""

    name: ClassVar[str] = "forge_run_tests"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = EXECUTORS[name].task_types
    Parameters = RunTestsParameters
    Outputs = TestedCode

    def __init__(self, settings: ExecutorSettings) -> None:
        """Read what the owner has said; raise `ValueError` for a time that is none."""
        said = settings.environment.get(f"{PREFIX}FORGE_TEST_SECONDS", "").strip()
        try:
            self._seconds = float(said or SECONDS)
        except ValueError:
            self._seconds = -1.0
        if not 1 <= self._seconds <= 86_400:  # noqa: PLR2004 - a day
            raise ValueError("WORKER_FORGE_TEST_SECONDS is no number of seconds from 1 to 86400")
        image = settings.environment.get(f"{PREFIX}FORGE_TEST_IMAGE", "").strip()
        self._suite: JobExecutor[Any] = ContainedSuite(settings, image) if image else ProjectSuite(settings)
        self._tools = () if image else ("pytest", "pytest_cov")
        self._begun: dict[str, float] = {}

    async def start(self, context: JobContext[RunTestsParameters]) -> JobHandle:
        """Unpack the project, and start its tests."""
        given = context.parameters
        tests = ProjectTests(code=given.code, min_coverage=given.min_coverage, limits=LIMITS)
        running: JobContext[Any] = context
        handle = await self._suite.start(replace(running, parameters=tests))
        self._begun[handle.job_id] = monotonic()
        return handle

    async def poll(self, context: JobContext[RunTestsParameters], handle: JobHandle) -> JobState:
        """Wait a moment for the end of the tests, and no longer than they may take."""
        tests = ProjectTests(code=context.parameters.code, min_coverage=context.parameters.min_coverage)
        running: JobContext[Any] = context
        state = await self._suite.poll(replace(running, parameters=tests), handle)
        if not isinstance(state, JobRunning):
            self._begun.pop(handle.job_id, None)
            return state
        if monotonic() - self._begun.setdefault(handle.job_id, monotonic()) < self._seconds:
            return state
        await self.cancel(context, handle)
        return JobFailed("tests_hang", f"the tests did not end within {self._seconds:g} s", retryable=False)

    async def cancel(self, context: JobContext[RunTestsParameters], handle: JobHandle) -> None:
        """End the tests and all that they have started."""
        self._begun.pop(handle.job_id, None)
        await self._suite.cancel(context, handle)

    async def check(self) -> Sequence[ToolCheck]:
        """Look at where tests run, and what runs them."""
        return (*await self._suite.check(), *map(package_check, self._tools))

    async def aclose(self) -> None:
        """End all tests."""
        await self._suite.aclose()
