"""The executors `pytest` and `test_command`: programs of the worker's machine that test, and the reports they make.

What is tested is copied to the folder of the job, so a test may write beside its code and nobody else sees it.
"""

import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, TypeVar

from functions._core.executors.testing import (
    LocalSuiteParameters,
    PytestParameters,
    SuiteCommandParameters,
    SuiteOutputs,
)
from functions._core.records.values import TaskType
from functions._executors.artifacts import ArtifactsRefused, files_in
from functions._executors.ci_runs import SUCCESS, judged, outputs_with
from functions._executors.port import CallFailed, JobContext, JobFailed, JobState, ToolCheck
from functions._executors.programs import (
    ProgramEnd,
    ProgramExecutor,
    ProgramSpec,
    last_words,
    made_files,
    package_check,
)
from functions._executors.reports import ReportsRefused, SuiteReport, read_files
from functions._executors.sandbox import INSIDE

JUNIT = "flowc-junit.xml"
"""The report that pytest is told to make."""

NO_TESTS = 5
"""The exit code of pytest that has found no test."""

SOURCE_FILES, SOURCE_BYTES = 100_000, 1024 * 1024 * 1024
"""What is copied at most."""

LP = TypeVar("LP", bound=LocalSuiteParameters)


class LocalSuiteExecutor(ProgramExecutor[LP]):
    """Base of executors whose jobs are programs that test."""

    family: ClassVar[str] = "test"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.TEST})
    Outputs = SuiteOutputs

    @abstractmethod
    def command(self, given: LP, folder: Path) -> Sequence[str]:
        """Return what is run; `folder` is that of the job, as the program sees it. Raises `CallFailed`."""

    @abstractmethod
    def patterns(self, given: LP) -> Sequence[str]:
        """Return which files are reports."""

    def prepare(self, context: JobContext[LP], folder: Path) -> None:
        """Copy what is tested; a report that lies there already is none of this run."""
        source = context.parameters.source
        if source is None:
            return
        _copy(_readable(source, self.settings.readable), folder, Path(os.path.realpath(self.settings.folder)))
        try:
            for name, descriptor, _ in files_in(folder, self.patterns(context.parameters)):
                os.close(descriptor)
                (folder / name).unlink()
        except ArtifactsRefused as refused:
            raise CallFailed(f"the source cannot be tested: {refused}", transient=False, kind="bad_source") from refused

    def spec(self, context: JobContext[LP], folder: Path) -> ProgramSpec:
        """Return the program; raise `CallFailed` for one that is not allowed."""
        given = context.parameters
        return ProgramSpec(
            argv=self.command(given, INSIDE if self.sandbox.on else folder),
            env={"PYTHONDONTWRITEBYTECODE": "1", **given.env},
            within=given.folder,
            network=given.network,
            limits=given.limits,
        )

    def judged(self, context: JobContext[LP], end: ProgramEnd) -> JobState:
        """Return what the reports say; a program that succeeds and reports failing tests has failed."""
        given = context.parameters
        try:
            report = read_files(_opened(end.folder, self.patterns(given)))
            coverage = report.coverage
        except (ArtifactsRefused, ReportsRefused, OSError) as refused:
            if end.exit_code == 0:
                return JobFailed("report", str(refused), retryable=False)
            report, coverage = SuiteReport(), None
        broken = report.failed + report.errors
        if end.exit_code == NO_TESTS and not report.passed + broken + report.skipped:
            return JobFailed("no_tests", f"no test was found: {last_words(end)}", retryable=False)
        if end.exit_code != 0 and not broken:
            return JobFailed("exit_status", f"exit status {end.exit_code}: {last_words(end)}")
        if not report.counted and coverage is None:
            return JobFailed("report", f"no file fits {', '.join(self.patterns(given))}", retryable=False)
        artifacts = () if broken else made_files(end, given.artifacts)
        if isinstance(artifacts, JobFailed):
            return artifacts
        outputs = outputs_with(
            report,
            conclusion="failure" if broken else SUCCESS,
            artifacts=artifacts,
            exit_code=end.exit_code,
            stdout=end.stdout,
            stderr=end.stderr,
        )
        return judged(outputs, given.min_coverage)

    def _allow(self, name: str) -> None:
        if not self.sandbox.permits(name):
            text = f"the worker's owner does not allow {name[:100]} (WORKER_COMMANDS)"
            raise CallFailed(text, transient=False, kind="not_allowed")


class PytestExecutor(LocalSuiteExecutor[PytestParameters]):
    """Runs pytest, with the packages that the worker has."""

    name: ClassVar[str] = "pytest"
    Parameters = PytestParameters

    def command(self, given: PytestParameters, folder: Path) -> Sequence[str]:
        """Return pytest with a report; a path is never an option."""
        self._allow("pytest")
        report = (f"--junitxml={folder / JUNIT}", "-p", "no:cacheprovider")
        return sys.executable, "-m", "pytest", *given.arguments, *report, *(f"./{path}" for path in given.paths)

    def patterns(self, given: PytestParameters) -> Sequence[str]:
        """Return its own report, and those of coverage."""
        return JUNIT, *given.reports

    async def check(self) -> Sequence[ToolCheck]:
        """Look for pytest, too."""
        return (*await super().check(), package_check("pytest"))


class SuiteCommandExecutor(LocalSuiteExecutor[SuiteCommandParameters]):
    """Runs any program that tests."""

    name: ClassVar[str] = "test_command"
    Parameters = SuiteCommandParameters

    def command(self, given: SuiteCommandParameters, folder: Path) -> Sequence[str]:  # noqa: ARG002 - the base's
        """Return the program."""
        self._allow(given.argv[0])
        return given.argv

    def patterns(self, given: SuiteCommandParameters) -> Sequence[str]:
        """Return the reports that it makes."""
        return given.reports


def _readable(source: str, readable: Sequence[Path]) -> Path:
    """Return a folder that the worker's owner lets jobs read, wherever links lead; raise `CallFailed`."""
    path = Path(os.path.realpath(source))
    if not any(path.is_relative_to(os.path.realpath(allowed)) for allowed in readable):
        text = "the worker's owner does not allow this source (WORKER_READABLE)"
        raise CallFailed(text, transient=False, kind="not_allowed")
    if not path.is_dir():
        raise CallFailed("there is no such source", transient=False, kind="bad_source")
    return path


def _copy(source: Path, folder: Path, without: Path) -> None:
    """Copy a folder, links as links, without the one of all jobs, which may be in it; raise `CallFailed`."""
    left = [SOURCE_FILES, SOURCE_BYTES]

    def counted(name: str, target: str) -> str:
        left[0] -= 1
        left[1] -= Path(name).lstat().st_size
        if min(left) < 0:
            raise CallFailed("the source has too many files, or too large ones", transient=False, kind="bad_source")
        return str(shutil.copy2(name, target, follow_symlinks=False))

    def left_out(place: str, names: Sequence[str]) -> set[str]:
        return {name for name in names if Path(place, name) == without}

    try:
        shutil.copytree(source, folder, symlinks=True, ignore=left_out, dirs_exist_ok=True, copy_function=counted)
    except (shutil.Error, OSError) as error:
        raise CallFailed("the source cannot be copied", transient=False, kind="bad_source") from error


def _opened(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, BinaryIO]]:
    for name, descriptor, _ in files_in(folder, patterns):
        yield name, os.fdopen(descriptor, "rb")
