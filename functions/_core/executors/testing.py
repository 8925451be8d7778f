"""Parameters and outputs of the executors that test: runs of CI servers, and programs of the worker's machine.

Coverage is a share, 0 to 1.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from functions._core.executors.execute import (
    MOST_ARGUMENTS,
    MOST_NAMES,
    Argument,
    Artifact,
    ProgramParameters,
    RelativePath,
)
from functions._core.executors.execute import variables as checked_variables
from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import Model

MOST_INPUTS = 24
"""Inputs of a workflow of GitHub, which takes 25; one of them is the key of the job."""

KEY_INPUT = "flowc_key"
"""The input by which the run of a job is found again."""

NAME = r"[A-Za-z0-9_.-]{1,100}"
BRANCH = r"[^\s~^:?*\[\\\x00-\x1f\x7f-]"
"""A character of the name of a branch or a tag, but for the hyphen, with which none begins."""

INPUT = r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$"


def _path_of_names(path: str) -> str:
    """Refuse a path of which a part is no name: it becomes a part of an address."""
    if any(name in {"", ".", ".."} for name in path.split("/")):
        raise ValueError("must be names with / between")
    return path


def _own(given: Mapping[str, str]) -> Mapping[str, str]:
    if KEY_INPUT in given:
        raise ValueError(f"has {KEY_INPUT}, which is the worker's own")
    return given


Names = Annotated[
    str, Field(max_length=500, pattern=r"^[\w. -]{1,100}(/[\w. -]{1,100})*$"), AfterValidator(_path_of_names)
]
Branch = Annotated[str, Field(max_length=255, pattern=rf"^(?:{BRANCH})(?:{BRANCH}|-)*$")]
InputName = Annotated[str, Field(pattern=INPUT)]
InputValue = Annotated[str, Field(max_length=10_000)]
Patterns = Annotated[tuple[RelativePath, ...], Field(max_length=MOST_NAMES)]


class SuiteParameters(ExecutorParameters):
    """What all that test share."""

    min_coverage: float | None = Field(default=None, ge=0, le=1)
    """The least share of lines that the tests must cover; a run that does not say its coverage fails, too."""


class GithubActionsParameters(SuiteParameters):
    """A workflow of GitHub Actions."""

    repository: Annotated[str, Field(pattern=rf"^{NAME}/{NAME}$"), AfterValidator(_path_of_names)]
    """Owner and name; the worker's owner says which ones may be used."""
    workflow: Annotated[str, Field(pattern=rf"^{NAME}$"), AfterValidator(_path_of_names)]
    """The name of its file, such as `test.yml`, or its number."""
    ref: Branch
    """The branch or the tag."""
    inputs: Annotated[Mapping[InputName, InputValue], Field(max_length=MOST_INPUTS), AfterValidator(_own)] = {}
    """The inputs of the workflow, beside `flowc_key`. Everybody who may read the run can see them."""
    artifact: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The artifact of the run that has the reports; without it none are read."""
    reports: Patterns = ("**/*.xml",)
    """The files in the artifact that are reports: JUnit and Cobertura, known by their first element."""

    @model_validator(mode="after")
    def _can_know_coverage(self) -> Self:
        if self.min_coverage is not None and self.artifact is None:
            raise ValueError("has min_coverage, and no artifact with a report of it")
        return self


class GitlabCiParameters(SuiteParameters):
    """A pipeline of GitLab CI."""

    project: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})+$"), AfterValidator(_path_of_names)]
    """Its path with all groups; the worker's owner says which ones may be used."""
    ref: Branch
    """The branch or the tag."""
    variables: Annotated[Mapping[str, Argument], Field(max_length=MOST_NAMES), AfterValidator(checked_variables)] = {}
    """Variables of the pipeline. Who may maintain the project can see them."""


class JenkinsParameters(SuiteParameters):
    """A build of a job of Jenkins, which has the parameter FLOWC_KEY."""

    job: Names
    """Its name, with all folders; the worker's owner says which ones may be used."""
    inputs: Annotated[Mapping[str, Argument], Field(max_length=MOST_NAMES), AfterValidator(checked_variables)] = {}
    """Parameters of the job, as text. Everybody who may read the build can see them."""


class LocalSuiteParameters(SuiteParameters, ProgramParameters):
    """What the executors share that test on the worker's machine."""

    source: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=1_000)] | None = None
    """A folder with what is tested, which is copied to the folder of the job; the worker's owner says which folders may
    be read."""


class PytestParameters(LocalSuiteParameters):
    """Tests that pytest runs."""

    paths: Patterns = ()
    """Files and folders with tests, below `folder`; without any those that pytest finds."""
    arguments: Annotated[tuple[Argument, ...], Field(max_length=MOST_ARGUMENTS)] = ()
    """More arguments, such as `-m`, `fast`."""
    reports: Patterns = ("coverage.xml",)
    """Reports of coverage that the run makes, below the folder of the job; that of the tests is known."""


class SuiteCommandParameters(LocalSuiteParameters):
    """A program that tests."""

    argv: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=MOST_ARGUMENTS)]
    """The program and its arguments; no shell reads them."""
    reports: Annotated[tuple[RelativePath, ...], Field(min_length=1, max_length=MOST_NAMES)]
    """The reports that it makes, as patterns below the folder of the job: JUnit and Cobertura."""


class RunArtifact(Model):
    """A file that a run of a CI server keeps."""

    name: str
    """Its name, or its path."""
    size: int | None = None
    """Bytes, where the server says so."""
    sha256: str | None = None
    """Hash of its content, in hexadecimal digits, where the server says so."""
    uri: str = ""
    """Where it is; the server asks who wants it."""


class SuiteOutputs(Model):
    """The outputs of tests that have succeeded."""

    url: str = ""
    """Where a person sees the run."""
    conclusion: str
    """What the server says of the run, in lower case; of a program `success`."""
    passed: int | None = None
    """Tests that succeeded; None where no report says so, as with the other numbers."""
    failed: int | None = None
    """Tests that failed."""
    errors: int | None = None
    """Tests that could not be carried out."""
    skipped: int | None = None
    """Tests that were left out."""
    failing: tuple[str, ...] = ()
    """Names of tests that failed or could not be carried out; 100 at most."""
    coverage: float | None = None
    """The share of lines that the tests cover, 0 to 1."""
    artifacts: tuple[RunArtifact | Artifact, ...] = ()
    """The files that the run keeps; 100 at most."""
    exit_code: int | None = None
    """How a program ended."""
    stdout: str | None = None
    """The last 64 KiB of the standard output of a program."""
    stderr: str | None = None
    """The last 64 KiB of its standard error."""


MODELS: Mapping[str, type[ExecutorParameters]] = {
    "github_actions": GithubActionsParameters,
    "gitlab_ci": GitlabCiParameters,
    "jenkins": JenkinsParameters,
    "pytest": PytestParameters,
    "test_command": SuiteCommandParameters,
}
"""The model of the parameters of each executor."""
