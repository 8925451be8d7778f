"""The executor `scan`: tools and policies look at files side by side, and one verdict comes of all that they say.

A finding at or above `fail_on`, a policy that denies and a quality gate that has failed fail the task, and another
attempt would find the same. A tool that has not ended well fails it, too, and may end better. A tool that the worker
does not have is "not run", and matters only where the plan requires it. Scans change nothing: one whose worker is
killed is begun again.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from functions._core.executors.execute import Artifact
from functions._core.executors.findings import (
    CAPPED,
    MOST_FINDINGS,
    bounded,
    counts_of,
    score_of,
    sentence_of,
    worst_first,
)
from functions._core.executors.sarif import sarif_of
from functions._core.executors.scan import ScanFinding, ScanOutputs, ScanParameters, ScanSeverity, ScanTool, ToolOutcome
from functions._core.guards.detector import without_secrets
from functions._core.masking import Mask
from functions._core.records.values import TaskType
from functions._executors.artifacts import artifacts_in
from functions._executors.kept_files import Keep
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.programs import NEWS_SECONDS
from functions._executors.scanners.patience import PAUSES
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.scanners.table import ScanSettings, scanners_for
from functions._executors.scanners.target import TargetRefused, laid_out
from functions._executors.settings import ExecutorSettings
from functions._executors.stored_files import StoreFailed
from functions._executors.work_folder import new_folder, remove_folder

REPORT = "findings.sarif"
"""The artifact with all findings."""

SARIF_BYTES = 100 * 1024
"""Bytes of SARIF in an output; further findings are left out."""

NAMED = 10
"""Findings that the message of a failure names."""

LOGGED = 200
"""Findings that the log of a ticket has; of most, 64 KiB are kept."""

MOST_OF_TOOL = 20_000
"""Findings of one tool that are sorted and written; all are counted."""

REASON = 500
"""Characters of why a tool was not run or has failed."""

SERVICES = frozenset({"sonarqube", "snyk", "opa"})
"""Tools whose time begins at once; programs wait for their turn first."""

END_SECONDS = 7.0
"""How long programs may take to end when a job is cancelled."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one tool."""

    outcome: ToolOutcome
    findings: Sequence[ScanFinding] = ()
    retryable: bool = True
    started_at: datetime | None = None


@dataclass(slots=True)
class RunningScan:
    """A job: its task, its folder, and how many of its tools have ended."""

    task: asyncio.Task[Sequence[ToolResult]]
    folder: Path
    tools: int
    ended: int = 0


class ScanExecutor(JobExecutor[ScanParameters]):
    """Runs tools side by side, programs in the sandbox."""

    name: ClassVar[str] = "scan"
    family: ClassVar[str] = "validate"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.VALIDATE})
    Parameters = ScanParameters
    Outputs = ScanOutputs

    def __init__(self, settings: ExecutorSettings, pauses: Sequence[float] = PAUSES) -> None:
        """Read what the owner has said of each tool; `pauses` are those between repeated calls of services."""
        self._settings = settings
        self._own = ScanSettings.from_settings(settings)
        self._scanners = scanners_for(settings, self._own, pauses)
        self._scans: dict[str, RunningScan] = {}

    async def start(self, context: JobContext[ScanParameters]) -> JobHandle:
        """Lay the target down and start all tools."""
        return await self.begin(context, partial(self._laid_out, context), lambda _: _tools(context.parameters))

    async def begin(
        self,
        context: JobContext[ScanParameters],
        lay_out: Callable[[Path], Sequence[str]],
        choose: Callable[[Sequence[str]], Sequence[ScanTool]],
    ) -> JobHandle:
        """Start the tools that are chosen by the paths of the files that `lay_out` writes into a new folder.

        It runs beside the event loop, and may raise `TargetRefused` and `CallFailed`.
        """
        given = context.parameters
        shown = [
            *(tool.model_dump(mode="json", exclude={"against", "files"}) for tool in given.tools),
            *(policy.model_dump(mode="json", exclude={"rego"}) for policy in given.policies),
        ]
        context.refuse_secrets(shown, "a secret is in what becomes part of an address")
        folder = await new_folder(self._settings.folder, context)
        try:
            files = await asyncio.to_thread(lay_out, folder / "target")
        except BaseException as error:
            await asyncio.to_thread(remove_folder, folder)
            if isinstance(error, TargetRefused):
                raise CallFailed(str(error), transient=error.retryable, kind=error.kind) from error
            raise
        job_id = f"{socket.gethostname()}:{folder.name}"
        jobs = [
            ScanJob(
                context=context,
                tool=tool,
                target=folder / "target",
                files=files,
                folder=folder.with_name(f"{folder.name}-{number}-{tool.tool}"),
            )
            for number, tool in enumerate(choose(files))
        ]
        task = asyncio.create_task(self._all(job_id, jobs))
        self._scans[job_id] = RunningScan(task, folder, len(jobs))
        return JobHandle(job_id=job_id)

    async def poll(self, context: JobContext[ScanParameters], handle: JobHandle) -> JobState:
        """Wait a moment for the end of all tools."""
        scan = await self.ended(handle)
        if not isinstance(scan, RunningScan):
            return scan
        left = scan.folder
        try:
            results = scan.task.result()
            found = await asyncio.to_thread(sorted_findings, results)
            kept: tuple[Artifact, ...] = ()
            if context.parameters.sarif == "artifact":
                kept = await asyncio.to_thread(_written, found, scan.folder, context.keep)
                left = scan.folder / "target" if context.keep is None else scan.folder
            return await asyncio.to_thread(judged, context, results, found, kept)
        except StoreFailed as error:
            return JobFailed("artifacts_not_kept", str(error))
        finally:
            await asyncio.to_thread(remove_folder, left)

    async def ended(self, handle: JobHandle) -> RunningScan | JobState:
        """Wait a moment, and return a scan whose tools have all ended, to its caller alone; its folder is left."""
        scan = self._scans.get(handle.job_id)
        if scan is None:
            return JobFailed("lost", "the scan was one of another worker, with which it ended")
        await asyncio.wait({scan.task}, timeout=NEWS_SECONDS)
        if not scan.task.done():
            return JobRunning(100 * scan.ended / scan.tools, pause_seconds=0)
        del self._scans[handle.job_id]
        return scan

    async def cancel(self, context: JobContext[Any], handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """End all tools."""
        scan = self._scans.pop(handle.job_id, None)
        if scan is not None:
            await self._stopped(scan)

    async def check_tool(self, name: str) -> ToolCheck:
        """Look at one tool."""
        return await self._scanners[name].check()

    async def check(self) -> Sequence[ToolCheck]:
        """Look at each tool; the executor is of use with any of them."""
        checks = await asyncio.gather(*(scanner.check() for scanner in self._scanners.values()))
        there = [check.name for check in checks if check.ok]
        return (ToolCheck("tools", bool(there), f"{len(there)} of {len(checks)}"), *checks, *self._own.checks())

    async def aclose(self) -> None:
        """End all tools and close connections."""
        for scan in [*self._scans.values()]:
            await self._stopped(scan)
        self._scans.clear()
        for scanner in self._scanners.values():
            await scanner.aclose()

    def _laid_out(self, context: JobContext[ScanParameters], target: Path) -> Sequence[str]:
        return laid_out(
            context.parameters.target, target, work=self._settings.folder, owned=self._own.folder, fetch=context.fetch
        )

    async def _stopped(self, scan: RunningScan) -> None:
        scan.task.cancel()
        await asyncio.wait({scan.task}, timeout=END_SECONDS)
        await asyncio.to_thread(remove_folder, scan.folder)

    async def _all(self, job_id: str, jobs: Sequence[ScanJob]) -> Sequence[ToolResult]:
        async def one(job: ScanJob) -> ToolResult:
            result = await self._one(job)
            if job_id in self._scans:
                self._scans[job_id].ended += 1
            return result

        async with asyncio.TaskGroup() as group:  # none of them outlives it
            tasks = [group.create_task(one(job)) for job in jobs]
        return [task.result() for task in tasks]

    async def _one(self, job: ScanJob) -> ToolResult:
        """Use one tool; whatever becomes of it is its own."""
        started_at, begun, name = datetime.now(UTC), monotonic(), job.tool.tool
        limit = asyncio.timeout(job.tool.timeout_seconds if name in SERVICES else None)
        result = Scanned(())
        status, reason, retryable = "run", "", True
        try:
            async with limit:
                result = await self._scanners[name].scan(job)
            reason = result.note
        except NotRun as absence:
            status, reason = "not_run", str(absence)
        except (ToolFaulty, CallFailed) as fault:
            retryable = fault.transient if isinstance(fault, CallFailed) else fault.retryable
            status, reason = "failed", str(fault)
        except TimeoutError:
            status, reason = "failed", f"it did not end within {job.tool.timeout_seconds:g} s"
        except OSError as error:
            status, reason = "failed", f"its files cannot be laid down: {error.strerror}"
        counts, worst = await asyncio.to_thread(_weighed, result.findings, Mask(job.context.secrets))
        outcome = ToolOutcome.model_validate(
            {
                "tool": name,
                "status": status,
                "reason": without_secrets(reason)[:REASON],
                "counts": counts,
                "denied": result.denied,
                "score": score_of(counts, denied=result.denied) if status == "run" else None,
                "seconds": round(monotonic() - begun, 3),
            }
        )
        job.context.log(_line(outcome))
        return ToolResult(outcome, worst, retryable, started_at)


def judged(
    context: JobContext[ScanParameters],
    results: Sequence[ToolResult],
    found: Sequence[ScanFinding],
    kept: tuple[Artifact, ...],
) -> JobState:
    """Return what the tools have found as the end of a job, and write it to the log of the ticket."""
    given = context.parameters
    for one in found[:LOGGED]:
        context.log(sentence_of(one))
    for artifact in kept:
        context.log(f"all findings: {artifact.uri}")
    failure = _failure(given, results, found)
    if failure is not None:
        return failure
    ran = [result.outcome.score for result in results if result.outcome.score is not None]
    counts = _counts(results)
    best = CAPPED if counts.get(ScanSeverity.CRITICAL.value) else 1.0
    return JobSucceeded(
        ScanOutputs(
            findings=bounded(found),
            total=sum(counts.values()),
            counts=counts,
            tools=tuple(result.outcome for result in results),
            not_run=tuple(result.outcome.tool for result in results if result.outcome.status == "not_run"),
            score=round(min(best, sum(ran) / len(ran)), 2) if ran else None,
            sarif=_sarif(found) if given.sarif == "output" else None,
            artifacts=kept,
        )
    )


def _tools(given: ScanParameters) -> Sequence[ScanTool]:
    """Return the tools that are used: policies are asked in any case, and who has none of their engines cannot pass."""
    tools = [*given.tools]
    if given.policies and not any(tool.tool == "opa" for tool in tools):
        tools.append(ScanTool(tool="opa"))
    return [tool.but(required=True) if tool.tool == "opa" else tool for tool in tools]


def _failure(given: ScanParameters, results: Sequence[ToolResult], found: Sequence[ScanFinding]) -> JobFailed | None:
    """Return why the task fails, what was found first; None where it does not."""
    denied = [result for result in results if result.outcome.denied]
    grave = [one for one in found if one.severity.rank <= given.fail_on.rank]
    if denied or grave:
        names = ", ".join(result.outcome.tool for result in denied)
        worst = grave or worst_first([one for result in denied for one in result.findings])
        number = sum(
            number for name, number in _counts(results).items() if ScanSeverity(name).rank <= given.fail_on.rank
        )
        said = [f"{number} finding{'s' if number > 1 else ''} at or above {given.fail_on}"] if grave else []
        said += [f"denied by {names}"] if denied else []
        return JobFailed(
            "findings", f"{', '.join(said)}: {'; '.join(map(sentence_of, worst[:NAMED]))}", retryable=False
        )
    if failure := tool_failure(results):
        return failure
    required = {tool.tool for tool in _tools(given) if tool.required}
    absent = [result.outcome for result in results if result.outcome.status == "not_run"]
    missing = [f"{one.tool}: {one.reason}" for one in absent if one.tool in required]
    return JobFailed("tool_missing", "; ".join(missing)) if missing else None


def _weighed(findings: Sequence[ScanFinding], mask: Mask) -> tuple[Mapping[str, int], Sequence[ScanFinding]]:
    """Return the counts, and the worst findings without secrets of the plan: files of findings are masked by nobody."""
    worst = worst_first(findings)[:MOST_OF_TOOL]
    if mask.longest:
        worst = [
            one.but(message=mask.text(one.message), file=mask.text(one.file), rule=mask.text(one.rule)) for one in worst
        ]
    return counts_of(findings), worst


def tool_failure(results: Sequence[ToolResult]) -> JobFailed | None:
    """Return the failure of tools that have not ended well; None where all have."""
    faulty = [result for result in results if result.outcome.status == "failed"]
    said = "; ".join(f"{result.outcome.tool}: {result.outcome.reason}" for result in faulty)
    return JobFailed("tool_failed", said, retryable=any(result.retryable for result in faulty)) if faulty else None


def sorted_findings(results: Sequence[ToolResult]) -> Sequence[ScanFinding]:
    """Return the findings of all tools, the worst first."""
    return worst_first(one for result in results for one in result.findings)


def _counts(results: Sequence[ToolResult]) -> Mapping[str, int]:
    every = [result.outcome.counts for result in results]
    total = {name.value: sum(counts.get(name.value, 0) for counts in every) for name in ScanSeverity}
    return {name: number for name, number in total.items() if number}


def _sarif(found: Sequence[ScanFinding]) -> Mapping[str, Any]:
    """Return as many of the findings in SARIF as an output may have."""
    most = min(len(found), MOST_FINDINGS)
    while most and len(json.dumps(sarif_of(found[:most]))) > SARIF_BYTES:
        most //= 2
    return sarif_of(found[:most])


def _written(found: Sequence[ScanFinding], folder: Path, keep: Keep | None) -> tuple[Artifact, ...]:
    """Write all findings to the folder of the job, and return where they are kept; raise `StoreFailed`."""
    (folder / REPORT).write_text(json.dumps(sarif_of(found), indent=1), encoding="utf-8")
    return artifacts_in(folder, (REPORT,), keep)


def _line(outcome: ToolOutcome) -> str:
    """Return what the log says of a tool."""
    found = ", ".join(f"{number} {name}" for name, number in outcome.counts.items()) or "no findings"
    said = {"run": found, "not_run": f"not run: {outcome.reason}", "failed": f"failed: {outcome.reason}"}
    note = f" ({outcome.reason})" if outcome.status == "run" and outcome.reason else ""
    return f"{outcome.tool}: {said[outcome.status]}{note}, {outcome.seconds:g} s"
