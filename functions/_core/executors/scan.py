"""Parameters and outputs of the executor `scan`: tools and policies look at files, and what they find has one form.

Times are seconds. A file is named by its path below the target, with slashes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from functions._core.executors.execute import MOST_NAMES, MOST_TEXT, Artifact, RelativePath
from functions._core.executors.parameters import ExecutorParameters, ParameterPart
from functions._core.records.values import Model, Word

MOST_TOOLS = 20

PROGRAMS = ("bandit", "ruff", "semgrep", "detect-secrets", "checkov", "trivy", "promtool")
"""Tools that are programs of the worker's machine."""

ToolName = Literal[
    "bandit",
    "ruff",
    "semgrep",
    "detect-secrets",
    "checkov",
    "trivy",
    "promtool",
    "json_schema",
    "sarif",
    "opa",
    "sonarqube",
    "snyk",
]

COMMON = frozenset({"tool", "required", "timeout_seconds"})
"""Members that every tool knows."""

OPTIONS: Mapping[str, frozenset[str]] = {
    "promtool": frozenset({"files"}),
    "json_schema": frozenset({"files", "against"}),
    "sarif": frozenset({"files"}),
    "sonarqube": frozenset({"project", "branch", "pull_request", "revision", "new_code"}),
    "snyk": frozenset({"project", "organization"}),
}
"""What one tool knows beside them."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "json_schema": ("against",),
    "sonarqube": ("project",),
    "snyk": ("project", "organization"),
}
"""What a tool cannot do without."""

TARGETLESS = frozenset({"opa", "sonarqube", "snyk"})
"""Tools that can work without files."""

Key = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f]+$")]


class ScanSeverity(Word):
    """How grave a finding is, the worst first."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    INFO = "INFO"

    @property
    def rank(self) -> int:
        """Its place in that order, 0 for the worst."""
        return [*ScanSeverity].index(self)


class ScanTool(ParameterPart):
    """One tool, and how it is used."""

    tool: ToolName
    """The tool."""
    required: bool = False
    """Whether the task fails where the worker does not have the tool."""
    timeout_seconds: float = Field(default=300, ge=1, le=3_600)
    """How long it may take."""
    files: Annotated[tuple[RelativePath, ...], Field(max_length=MOST_NAMES)] = ()
    """Of promtool, json_schema and sarif: the files that it looks at, as patterns such as `rules/*.yml`."""
    against: Any = None
    """Of json_schema: the JSON Schema that files must fit."""
    project: Key | None = None
    """Of sonarqube: the key of the project; of snyk: its id."""
    organization: Key | None = None
    """Of snyk: the id of the organization."""
    branch: Key | None = None
    """Of sonarqube: the branch; without it the main one."""
    pull_request: Key | None = None
    """Of sonarqube: the pull request, in place of a branch."""
    revision: Key | None = None
    """Of sonarqube: the commit whose analysis counts. It is waited for; without it the latest analysis counts."""
    new_code: bool = False
    """Of sonarqube: whether only issues in new code are findings."""

    @model_validator(mode="after")
    def _knows_its_members(self) -> Self:
        known = COMMON | OPTIONS.get(self.tool, frozenset())
        given = (name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default)
        if unknown := sorted({*given} - known):
            raise ValueError(f"has {', '.join(unknown)}, which the tool {self.tool} does not know")
        if missing := [name for name in NEEDS.get(self.tool, ()) if getattr(self, name) is None]:
            raise ValueError(f"lacks {', '.join(missing)}, without which the tool {self.tool} can do nothing")
        if self.pull_request is not None and (self.branch is not None or self.revision is not None):
            raise ValueError("takes pull_request, or branch and revision")
        return self


def _named(value: Any) -> Any:  # noqa: ANN401 any JSON
    """Read the name of a tool as the tool without further words."""
    return {"tool": value} if isinstance(value, str) else value


class ScanPolicy(ParameterPart):
    """A policy that decides about the input: Rego of the plan, or a policy of the owner's OPA server."""

    name: Key
    """What findings call it."""
    rego: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)] | None = None
    """Text in Rego; `query` is what is asked of it."""
    query: Annotated[str, Field(pattern=r"^data(\.[A-Za-z_][A-Za-z0-9_]{0,99}){1,20}$")] | None = None
    """A rule in `rego`, such as `data.deploy.deny`."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}(/[A-Za-z_][A-Za-z0-9_]{0,99}){0,19}$")] | None = (
        None
    )
    """A rule of the OPA server, such as `acme/deploy/deny`, in place of `rego`."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.rego is None) == (self.path is None) or (self.rego is None) != (self.query is None):
            raise ValueError("takes rego with query, or path")
        return self


class ArtifactReference(ParameterPart):
    """A file that an earlier task has made, as it is in that task's output `artifacts`."""

    uri: Annotated[str, Field(pattern=r"^(file:///|s3://)", max_length=4_096)]
    """Where it is: on the machine of the same worker, or in the store of workers (WORKER_LOGS)."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The hash of its content: another file is not looked at."""
    name: RelativePath | None = None
    """Its path below the target; without it the last part of `uri`."""
    size: int = 0
    """Bytes; not looked at."""


class ScanTarget(ParameterPart):
    """The files that are looked at. Several kinds of them lie beside each other."""

    files: Annotated[Mapping[RelativePath, str], Field(max_length=1_000)] = {}
    """Text files: path and text."""
    artifacts: Annotated[tuple[ArtifactReference, ...], Field(max_length=MOST_NAMES)] = ()
    """Files of earlier tasks; .tar, .tar.gz and .tgz are unpacked."""
    folder: RelativePath | None = None
    """A folder below the one that the worker's owner has for this (`WORKER_SCAN_FOLDER`)."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.files or self.artifacts or self.folder):
            raise ValueError("takes at least one of files, artifacts and folder")
        return self


class ScanParameters(ExecutorParameters):
    """Tools, what they look at, and what may not be found."""

    tools: Annotated[tuple[Annotated[ScanTool, BeforeValidator(_named)], ...], Field(max_length=MOST_TOOLS)] = ()
    """The tools, each a name or an object with more."""
    target: ScanTarget | None = None
    """The files that they look at."""
    policies: Annotated[tuple[ScanPolicy, ...], Field(max_length=MOST_TOOLS)] = ()
    """Policies that must not deny; they are asked whether or not `tools` has opa."""
    input: Any = None
    """What the policies are asked about; without it the target: {"files": {path: document}, "unread": [path]} of its
    JSON and YAML, "texts", the lines of what is unread, "paths" of all its files, and "dockerfiles"."""
    fail_on: ScanSeverity = ScanSeverity.HIGH
    """The lowest severity of a finding that fails the task."""
    sarif: Literal["output", "artifact"] | None = None
    """Whether what was found is also given as SARIF 2.1.0: as the output `sarif`, or as a file."""

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        names = [tool.tool for tool in self.tools]
        if not names and not self.policies:
            raise ValueError("takes at least one tool or policy")
        if "opa" in names and not self.policies:
            raise ValueError("has the tool opa, and no policies")
        if len({policy.name for policy in self.policies}) < len(self.policies):
            raise ValueError("has two policies of the same name")
        if self.target is None and (needy := sorted(set(names) - TARGETLESS)):
            raise ValueError(f"has no target for {', '.join(needy)}")
        return self


class ScanFinding(Model):
    """One thing that a tool has found."""

    tool: str
    """The tool; of a SARIF file the one that wrote it."""
    rule: str
    """The rule that it broke, as the tool names it."""
    severity: ScanSeverity
    """How grave it is."""
    file: str = ""
    """The file, by its path; empty where it is about none."""
    line: int | None = None
    """The line, from 1."""
    message: str = ""
    """What it is, in words; what looks like a secret is masked."""


class ToolOutcome(Model):
    """What became of one tool."""

    tool: str
    """The tool."""
    status: Literal["run", "not_run", "failed"]
    """not_run: the worker does not have it; failed: it did not end, or said what nobody understands."""
    reason: str = ""
    """Why it was not run or has failed."""
    counts: Mapping[str, int] = {}
    """Findings by severity."""
    denied: bool = False
    """Whether it said no by itself: a policy, a quality gate."""
    score: float | None = None
    """1 for no finding, 0 for many or grave ones; null where it was not run."""
    seconds: float = 0.0
    """How long it took."""


class ScanOutputs(Model):
    """The outputs of a scan that has found nothing at or above `fail_on`."""

    findings: tuple[ScanFinding, ...] = ()
    """The worst ones, the worst first; 200 at most."""
    total: int = 0
    """How many there are."""
    counts: Mapping[str, int] = {}
    """Findings by severity."""
    tools: tuple[ToolOutcome, ...] = ()
    """What became of each tool."""
    not_run: tuple[str, ...] = ()
    """Tools that the worker does not have."""
    score: float | None = None
    """The mean of those of the tools that were run, null for none; 0.49 at most with a critical finding."""
    sarif: Any = None
    """The findings in SARIF 2.1.0, where the plan wants them here."""
    artifacts: tuple[Artifact, ...] = ()
    """The file with them, where the plan wants one."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"scan": ScanParameters}
"""The model of the parameters."""
