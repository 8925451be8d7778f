"""The tests of a project, run by pytest: what is laid down for them, the command, and what their reports mean.

    <job>/project/          the project, where they run
    <job>/reports/          junit.xml and coverage.xml, outside of the project: none that it brings is ever read
    <job>/pytest.ini, coverage.ini   ours

A project does not say how its tests are judged: its options of pytest (`addopts`) and its configuration of coverage are
not used. Its tests and the runner are one process, though: tests that lie about themselves are believed.
"""

import os
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePath
from signal import SIGKILL
from typing import Any, NamedTuple

from functions._core.executors.execute import ProgramParameters
from functions._core.forge.stages import ComposedCode, Score, TestedCode
from functions._executors.artifacts import ArtifactsRefused, files_in
from functions._executors.forge.projects import keep_bytes, unpacked
from functions._executors.port import CallFailed, JobContext, JobFailed, JobState, JobSucceeded
from functions._executors.reports import REPORT_BYTES, ReportsRefused, SuiteReport, read_files

PROJECT, REPORTS = "project", "reports"
JUNIT, COVERAGE = "junit.xml", "coverage.xml"
OWN_PYTEST, OWN_COVERAGE = "pytest.ini", "coverage.ini"
CONFIGURATIONS = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Files of a project that may configure pytest, in pytest's order."""

TEST_FILE = re.compile(r"(?:^|/)(?:tests?/.*|test_[^/]*|[^/]*_test|conftest)\.py$")
NO_CODE = frozenset({"setup.py", "noxfile.py"})
"""Files at the top that build, and are no code of the project."""

PLAIN = re.compile(r"[\w./-]+")
"""Paths that mean themselves in a configuration of coverage."""

MEASURED = "python"
"""The language whose coverage is measured, and missing where nobody has measured it."""

PASSED, FAILED, NO_TESTS = 0, 1, 5
"""Exit codes of pytest: all passed, some failed, none was found."""

SIGNALLED = 128
"""Exit codes above this one, and below 0, are those of programs that were killed."""

SAID = 2_000
"""Characters of last words."""

DIGITS = 6
CODE_IS_EXCLUDED = ("if __name__ == .__main__.:", "if TYPE_CHECKING:")


class ProjectTests(ProgramParameters):
    """The tests of a project, as what runs them takes them."""

    code: ComposedCode
    """See `RunTestsParameters`."""
    min_coverage: Score
    """See `RunTestsParameters`."""


class SuiteEnd(NamedTuple):
    """How a run of tests ended."""

    exit_code: int
    said: str
    """Its last words."""


def laid_out(context: JobContext[Any], code: ComposedCode, folder: Path) -> bool:
    """Write the project and what its tests need into the folder of a job; raise `CallFailed` or `OSError`.

    Return whether it has code whose lines are measured: known before anything of it runs.
    """
    files = unpacked(context, code.content, folder / PROJECT)
    (folder / REPORTS).mkdir()
    (folder / OWN_PYTEST).write_text("[pytest]\n", encoding="utf-8")
    sources = sources_of(files)
    measured = bool(sources) or code.language == MEASURED
    if measured:
        omitted = [file for file in files if not is_code(file) and file.endswith(".py") and PLAIN.fullmatch(file)]
        (folder / OWN_COVERAGE).write_text(_coverage(sources or ["."], omitted), encoding="utf-8")
    return measured


def command(python: str, folder: Path, inside: PurePath, *, cov: bool) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return what runs the tests in a folder that is laid out, and its variables; `inside` is where it is then."""
    project = inside / PROJECT
    named = next((name for name in CONFIGURATIONS if (folder / PROJECT / name).is_file()), None)
    configuration = project / named if named else inside / OWN_PYTEST
    measuring = cov and (folder / OWN_COVERAGE).exists()
    argv = [
        *(python, "-m", "pytest", "-q", "--color=no", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-c", str(configuration), f"--rootdir={project}", f"--confcutdir={project}"),
        *(f"--junitxml={inside / REPORTS / JUNIT}", "-o", "junit_family=xunit2"),
    ]
    if measuring:
        report = f"--cov-report=xml:{inside / REPORTS / COVERAGE}"
        argv += ["--cov", f"--cov-config={inside / OWN_COVERAGE}", report]
    env = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(project / "src"),
        "COVERAGE_FILE": str(inside / REPORTS / ".coverage"),
    }
    return argv, env


def judged(context: JobContext[Any], minimum: float, folder: Path, end: SuiteEnd, *, measured: bool) -> JobState:
    """Return what a run of tests means: failing tests are counted, and a suite that cannot run has failed."""
    try:
        texts = _texts(folder / REPORTS)
        suite, lines = (_read(name, texts) for name in (JUNIT, COVERAGE))
        coverage = lines.coverage
    except (ArtifactsRefused, ReportsRefused, OSError) as refused:
        return JobFailed("report", f"{refused}; {end.said}", retryable=False)
    broken = suite.failed + suite.errors
    total = suite.passed + broken + suite.skipped
    if failure := _failure(end, suite, total):
        return failure
    coverage = coverage if measured else None
    share = coverage or 0.0 if measured else None
    try:
        junit = keep_bytes(context, f"artifacts/{JUNIT}", texts[JUNIT])
    except CallFailed as failed:
        return JobFailed(failed.kind, str(failed), failed.transient)
    score = score_of(suite.passed, total, share, minimum)
    failing = f", of those that failed: {', '.join(suite.failing)}" if broken else ""
    covered = "coverage not measured" if coverage is None else f"{coverage:.1%} of lines covered"
    context.log(f"{suite.passed} of {total} tests passed, {covered}, score {score:g}{failing}")
    return JobSucceeded(
        TestedCode(
            passed=suite.passed,
            failed=broken,
            skipped=suite.skipped,
            coverage=coverage,
            minimum=minimum,
            score=score,
            junit=junit,
        )
    )


def score_of(passed: int, total: int, coverage: float | None, minimum: float) -> float:
    """Return passed of all, times coverage by its minimum, 1 at most; `coverage` is None where no code is measured."""
    share = 1.0 if coverage is None or minimum == 0 else min(1.0, coverage / minimum)
    return round(passed / total * share, DIGITS) if total else 0.0


def is_code(path: str) -> bool:
    """Whether a file is code in Python whose lines tests should run."""
    return path.endswith(".py") and path not in NO_CODE and not TEST_FILE.search(path)


def sources_of(files: Sequence[str]) -> Sequence[str]:
    """Return the folders with code in Python: coverage finds a module that no test imports only in folders it knows."""
    folders = {str(PurePath(file).parent) for file in files if is_code(file)}
    return sorted({folder if PLAIN.fullmatch(folder) else "." for folder in folders})


def _coverage(sources: Sequence[str], omitted: Sequence[str]) -> str:
    def lines(values: Sequence[str]) -> str:
        return "".join(f"\n    {value}" for value in values)

    run = f"[run]\nbranch = false\nsource ={lines(sources)}\nomit ={lines(omitted)}\n"
    return f"{run}[report]\nexclude_also ={lines(CODE_IS_EXCLUDED)}\n"


def _failure(end: SuiteEnd, suite: SuiteReport, total: int) -> JobFailed | None:
    if end.exit_code < 0 or end.exit_code > SIGNALLED:
        number = -end.exit_code if end.exit_code < 0 else end.exit_code - SIGNALLED
        why = "it took too much, or was killed" if number == SIGKILL else f"it ended by signal {number}"
        return JobFailed("tests_killed", f"the tests did not end: {why}; {end.said}")
    if end.exit_code == NO_TESTS or (suite.counted and not total):
        return JobFailed("no_tests", f"no test was found: {end.said}", retryable=False)
    if end.exit_code not in {PASSED, FAILED}:
        return JobFailed("suite_broken", f"the tests cannot be run: {end.said}", retryable=False)
    if not suite.counted:
        return JobFailed("report", f"the tests left no report: {end.said}", retryable=False)
    if end.exit_code == FAILED and not suite.failed + suite.errors:
        return JobFailed("suite_broken", f"the run failed, and no test did: {end.said}", retryable=False)
    return None


def _texts(folder: Path) -> Mapping[str, bytes]:
    """Return the reports that are there; nothing is read through a link."""
    texts = {}
    for name, descriptor, _ in files_in(folder, (JUNIT, COVERAGE)):
        with os.fdopen(descriptor, "rb") as file:
            texts[name] = file.read(REPORT_BYTES + 1)
    return texts


def _read(name: str, texts: Mapping[str, bytes]) -> SuiteReport:
    return read_files(iter([(name, BytesIO(texts[name]))])) if name in texts else SuiteReport()


def said_by(stdout: str, stderr: str) -> str:
    """Return the last words of pytest, which writes to standard output, or of what could not start it."""
    return (stdout.strip() or stderr.strip())[-SAID:]
