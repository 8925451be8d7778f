"""The executor `forge_validate_code`: tools and policies look at a project, and one quality comes of what they find.

The tools are those of the executor `scan`, used in its way. Findings fail nothing: the approval gate looks at the
quality. What fails is a tool that has not ended well, as nobody knows what it would have found.

    WORKER_FORGE_POLICIES              a folder of the owner's policies: NAME.rego, whose rule `deny` is asked
    WORKER_FORGE_SONARQUBE_PROJECT     a project of SonarQube; {template_id} stands for the template
    WORKER_FORGE_SNYK_PROJECT, WORKER_FORGE_SNYK_ORGANIZATION
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from functions._core.executors.execute import MOST_TEXT
from functions._core.executors.findings import sentence_of
from functions._core.executors.forge import ValidateCodeParameters
from functions._core.executors.sarif import sarif_of
from functions._core.executors.scan import ScanParameters, ScanPolicy, ScanTool
from functions._core.executors.table import EXECUTORS, FORGE
from functions._core.forge.quality import TOOLS, ToolVerdict, quality_of, skipped, verdict_on
from functions._core.forge.stages import ValidatedCode
from functions._core.records.values import TaskType
from functions._executors.forge.projects import keep_bytes, unpacked
from functions._executors.patterns import fits
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.scan import (
    LOGGED,
    REPORT,
    RunningScan,
    ScanExecutor,
    ToolResult,
    sorted_findings,
    tool_failure,
)
from functions._executors.scanners.documents import DOCKERFILES, TEXTS
from functions._executors.scanners.patience import PAUSES
from functions._executors.settings import PREFIX, ExecutorSettings
from functions._executors.work_folder import remove_folder

SECONDS = 240.0
"""How long a tool may take; the stage has ten minutes."""

MOST_REPORTED = 20_000
"""Findings in the report, the worst first; all are counted."""

OWN_POLICY = Path(__file__).with_name("project.rego")
PACKAGE = re.compile(r"^\s*package\s+([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*$", re.MULTILINE)

LOOKS_AT: Mapping[str, Sequence[str]] = {
    "bandit": ("**/*.py",),
    "ruff": ("**/*.py", "**/*.pyi", "**/*.ipynb"),
    "checkov": ("**/*.tf", *TEXTS, *DOCKERFILES),
}
"""Files without which a tool has nothing to look at: that it finds nothing then says nothing."""

VERSION = re.compile(r"\d+(?:\.\d+)+[\w.+-]*")


class ValidateCodeExecutor(JobExecutor[ValidateCodeParameters]):
    """Has a project looked at by all tools that the worker has."""

    name: ClassVar[str] = "forge_validate_code"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = EXECUTORS[name].task_types
    Parameters = ValidateCodeParameters
    Outputs = ValidatedCode

    def __init__(self, settings: ExecutorSettings, pauses: Sequence[float] = PAUSES) -> None:
        """Read what the owner has said; `pauses` are those between repeated calls of services."""
        self._environment = settings.environment
        folder = settings.environment.get(f"{PREFIX}FORGE_POLICIES", "").strip()
        self._policies = Path(folder) if folder else None
        self._scan = ScanExecutor(settings, pauses)
        self._versions: dict[str, str] = {}

    async def start(self, context: JobContext[ValidateCodeParameters]) -> JobHandle:
        """Unpack the project, and start all tools."""
        given = context.parameters
        policies = await asyncio.to_thread(self._asked, given.policies)
        asking: JobContext[Any] = context
        lay_out = partial(unpacked, context, given.code.content)
        return await self._scan.begin(replace(asking, parameters=policies), lay_out, partial(self._chosen, given))

    async def poll(self, context: JobContext[ValidateCodeParameters], handle: JobHandle) -> JobState:
        """Wait a moment for the end of all tools."""
        scan = await self._scan.ended(handle)
        if not isinstance(scan, RunningScan):
            return scan
        try:
            results = scan.task.result()
            if failure := self._failure(context.parameters, results):
                return failure
            ran = [result.outcome.tool for result in results if result.outcome.status == "run"]
            await asyncio.gather(*map(self._learn_version, ran))
            return await asyncio.to_thread(self._judged, context, results)
        except CallFailed as failed:
            return JobFailed(failed.kind, str(failed), failed.transient)
        finally:
            await asyncio.to_thread(remove_folder, scan.folder)

    async def cancel(self, context: JobContext[ValidateCodeParameters], handle: JobHandle) -> None:
        """End all tools."""
        await self._scan.cancel(context, handle)

    async def check(self) -> Sequence[ToolCheck]:
        """Look at each tool of the stage, and at the owner's policies."""
        checks = await asyncio.gather(*map(self._scan.check_tool, TOOLS))
        kinds = {TOOLS[check.name] for check in checks if check.ok}
        missing = sorted({*TOOLS.values()} - kinds)
        lacks = f"nothing for {', '.join(missing)}, which counts as 0" if missing else "each kind has a tool"
        try:
            policies = f"{len(self._of_owner())} of the owner"
        except CallFailed as failed:
            return ToolCheck("tools", bool(kinds), lacks), ToolCheck("policies", False, str(failed)), *checks
        return ToolCheck("tools", bool(kinds), lacks), ToolCheck("policies", True, policies), *checks

    async def aclose(self) -> None:
        """End all tools and close connections."""
        await self._scan.aclose()

    def _chosen(self, given: ValidateCodeParameters, files: Sequence[str]) -> Sequence[ScanTool]:
        """Return the tools that have something to look at."""
        of_services = {"sonarqube": ("project",), "snyk": ("project", "organization")}
        chosen = []
        for tool in TOOLS:
            patterns = LOOKS_AT.get(tool)
            if patterns and not any(fits(file, patterns) for file in files):
                continue
            said = {
                name: self._environment.get(f"{PREFIX}FORGE_{tool.upper()}_{name.upper()}", "").strip()
                for name in of_services.get(tool, ())
            }
            if all(said.values()):
                named = {name: word.replace("{template_id}", given.code.template_id) for name, word in said.items()}
                chosen.append(ScanTool.model_validate({"tool": tool, "timeout_seconds": SECONDS, **named}))
        return chosen

    def _asked(self, of_plan: Sequence[ScanPolicy]) -> ScanParameters:
        """Return all policies that are asked, as the scan takes them."""
        own = _policy("flowc", OWN_POLICY.read_text(encoding="utf-8"))
        named = [policy.but(name=f"plan: {policy.name[:300]}") for policy in of_plan]
        try:
            return ScanParameters(policies=(own, *self._of_owner(), *named))
        except ValidationError as error:
            text = f"the policies cannot be asked: {error.errors()[0]['msg']}"
            raise CallFailed(text, transient=False, kind="bad_policies") from error

    def _of_owner(self) -> Sequence[ScanPolicy]:
        if self._policies is None:
            return ()
        where = f"the owner's policies (WORKER_FORGE_POLICIES, {self._policies})"
        try:
            found = sorted(self._policies.glob("*.rego")) if self._policies.is_dir() else []
            policies = [_policy(f"owner: {path.stem}", path.read_text(encoding="utf-8")) for path in found]
        except (OSError, ValueError) as error:
            raise CallFailed(f"{where} cannot be read: {error}", transient=False, kind="bad_policies") from error
        if not policies:
            raise CallFailed(f"{where} are not there", transient=False, kind="bad_policies")
        return policies

    def _failure(self, given: ValidateCodeParameters, results: Sequence[ToolResult]) -> JobFailed | None:
        """Return why nobody knows the quality; None where it is known."""
        if failure := tool_failure(results):
            return failure
        asked = bool(given.policies) or self._policies is not None
        lacks = [one.outcome for one in results if one.outcome.tool == "opa" and one.outcome.status == "not_run"]
        return JobFailed("tool_missing", f"policies are not asked: {lacks[0].reason}") if asked and lacks else None

    def _judged(self, context: JobContext[Any], results: Sequence[ToolResult]) -> JobState:
        """Return the quality, and keep what was found."""
        found = sorted_findings(results)
        report = keep_bytes(
            context, f"artifacts/{REPORT}", json.dumps(sarif_of(found[:MOST_REPORTED]), indent=1).encode()
        )
        by_tool = {result.outcome.tool: result for result in results if result.outcome.status == "run"}
        verdicts = [self._verdict(tool, by_tool.get(tool), report.uri) for tool in TOOLS]
        quality, capped_by = quality_of(verdicts)
        for one in found[:LOGGED]:
            context.log(sentence_of(one))
        context.log(f"all findings: {report.uri}")
        context.log(f"quality {quality:g}{f', as there is {capped_by}' if capped_by else ''}")
        outputs = ValidatedCode(
            validation_results=tuple(verdict.result for verdict in verdicts),
            quality=quality,
            capped_by=capped_by,
            report=report,
        )
        return JobSucceeded(outputs)

    def _verdict(self, tool: str, result: ToolResult | None, report_uri: str) -> ToolVerdict:
        if result is None:
            return skipped(tool)
        return verdict_on(
            result.outcome,
            version=self._versions.get(tool, ""),
            report_uri=report_uri,
            started_at=result.started_at,
        )

    async def _learn_version(self, tool: str) -> None:
        """Ask a tool for its version, once in the life of a worker that gets an answer."""
        if not self._versions.get(tool):
            said = VERSION.search((await self._scan.check_tool(tool)).detail)
            self._versions[tool] = said.group()[:50] if said else ""


def _policy(name: str, text: str) -> ScanPolicy:
    """Return a policy by its text, which says the package whose rule `deny` is asked; raise `ValueError`."""
    package = PACKAGE.search(text)
    if package is None or len(text) > MOST_TEXT:
        raise ValueError(f"{name} has no line `package NAME`, or more than {MOST_TEXT} characters")
    return ScanPolicy(name=name[:400], rego=text, query=f"data.{package[1]}.deny")
