"""The tool `sonarqube`: the quality gate of a project and its open issues, by the API of SonarQube 10.2 or newer.

The code is analysed elsewhere, by the scanner of a build. With `revision` the analysis of that commit is waited for, as
it is seen some time after the build; without it the latest one counts.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from functions._core.executors.findings import finding, severity_of
from functions._core.executors.scan import ScanFinding, ScanSeverity
from functions._executors.port import CallFailed, ToolCheck
from functions._executors.scanners.patience import Patience
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.services import ServiceApi, ServiceConnection, json_of_reply
from functions._executors.settings import ExecutorSettings

PAGE = 500
MOST_ISSUES = 10_000
"""Issues that the server gives at most."""

NEW_ANALYSIS_SECONDS = 5.0
"""Between two looks for an analysis that is not there yet."""

SEVERITIES: Mapping[str, ScanSeverity] = {
    "BLOCKER": ScanSeverity.CRITICAL,
    "CRITICAL": ScanSeverity.HIGH,
    "MAJOR": ScanSeverity.MEDIUM,
    "MINOR": ScanSeverity.LOW,
    "INFO": ScanSeverity.INFO,
}
"""Of `severity`, which is not the severity of `impacts`."""


class SonarQubeScanner:
    """Asks a SonarQube server."""

    name: ClassVar[str] = "sonarqube"

    def __init__(self, settings: ExecutorSettings, patience: Patience) -> None:
        """Open nothing yet; raise `ValueError` for an address that is none."""
        self._api = ServiceApi(ServiceConnection.from_settings(settings, "SONARQUBE"))
        self._patience = patience

    async def scan(self, job: ScanJob) -> Scanned:
        """See `Scanner.scan`."""
        if not self._api.connection.url:
            raise NotRun("the worker's owner has no server of it (WORKER_SONARQUBE_URL)")
        tool = job.tool
        where = (
            {"branch": tool.branch} if tool.branch else {"pullRequest": tool.pull_request} if tool.pull_request else {}
        )
        about = {name: str(value) for name, value in where.items()}
        asked = {"projectKey": str(tool.project), **about}
        if tool.revision is not None:
            asked = {"analysisId": await self._analysis(job, tool.revision, about)}
        gate = _gate(await self._get(job, "/api/qualitygates/project_status", asked))
        failed = gate["status"] == "ERROR"
        found = [self._condition(one) for one in _objects(gate.get("conditions")) if one.get("status") == "ERROR"]
        if failed and not found:
            found = [finding(self.name, "quality_gate", ScanSeverity.HIGH, "the quality gate has failed")]
        issues, note = await self._issues(job, about)
        return Scanned([*(found if failed else ()), *issues], denied=failed, note=note)

    async def check(self) -> ToolCheck:
        """See `Scanner.check`."""
        if not self._api.connection.url:
            return ToolCheck(self.name, False, "WORKER_SONARQUBE_URL is not set", required=False)
        try:
            answer = json_of_reply(await self._api.good("GET", "/api/authentication/validate", seconds=10))
        except CallFailed as failure:
            return ToolCheck(self.name, False, str(failure), required=False)
        valid = isinstance(answer, dict) and answer.get("valid") is True
        return ToolCheck(
            self.name, valid, f"{self._api.connection.url}: token {'valid' if valid else 'refused'}", False
        )

    async def aclose(self) -> None:
        """See `Scanner.aclose`."""
        await self._api.aclose()

    async def _get(self, job: ScanJob, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        reply = await self._patience.of(lambda: self._api.good("GET", path, query=query), job.context)
        answer = json_of_reply(reply)
        if not isinstance(answer, dict):
            raise ToolFaulty("SonarQube's answer has another form than it should")
        return answer

    async def _analysis(self, job: ScanJob, revision: str, about: Mapping[str, str]) -> str:
        """Wait for the analysis of a commit and return its id; the time of the tool ends the wait."""
        query = {"project": str(job.tool.project), "ps": "100", **about}
        while True:
            answer = await self._get(job, "/api/project_analyses/search", query)
            for one in _objects(answer.get("analyses")):
                if one.get("revision") == revision and isinstance(one.get("key"), str):
                    return str(one["key"])
            await asyncio.sleep(NEW_ANALYSIS_SECONDS)

    async def _issues(self, job: ScanJob, about: Mapping[str, str]) -> tuple[Sequence[ScanFinding], str]:
        """Return the open issues, the worst first, and a note where there are more than the server gives."""
        query = {"components": str(job.tool.project), "resolved": "false", "s": "SEVERITY", "asc": "false", **about}
        query |= {"inNewCodePeriod": "true"} if job.tool.new_code else {}
        found: list[ScanFinding] = []
        total, page = 1, 0
        while page * PAGE < min(total, MOST_ISSUES):
            page += 1
            answer = await self._get(job, "/api/issues/search", {**query, "ps": str(PAGE), "p": str(page)})
            issues, total = _objects(answer.get("issues"), required=True), _total(answer)
            found += [self._issue(one) for one in issues]
            if not issues:
                break
        note = f"there are {total} issues, of which {len(found)} are told" if total > len(found) else ""
        return found, note

    def _condition(self, one: Mapping[str, Any]) -> ScanFinding:
        said = f"{one.get('metricKey')} is {one.get('actualValue')}, the quality gate has {one.get('errorThreshold')}"
        return finding(self.name, f"quality_gate:{one.get('metricKey')}", ScanSeverity.HIGH, said)

    def _issue(self, one: Mapping[str, Any]) -> ScanFinding:
        component = str(one.get("component", ""))
        file = component.partition(":")[2] if ":" in component else ""
        return finding(self.name, one.get("rule"), _severity(one), one.get("message"), file, one.get("line"))


def _gate(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the quality gate; raise `ToolFaulty` where there is none, as for a project without an analysis."""
    gate = answer.get("projectStatus")
    status = gate.get("status") if isinstance(gate, dict) else None
    if not isinstance(gate, dict) or status not in {"OK", "WARN", "ERROR", "NONE"}:
        raise ToolFaulty("SonarQube's answer has another form than it should")
    if status == "NONE":
        raise ToolFaulty("the project has no analysis with a quality gate")
    return gate


def _total(answer: Mapping[str, Any]) -> int:
    paging = answer.get("paging")
    total = paging.get("total") if isinstance(paging, dict) else None
    if not isinstance(total, int):
        raise ToolFaulty("SonarQube's answer has another form than it should")
    return total


def _severity(issue: Mapping[str, Any]) -> ScanSeverity:
    known = SEVERITIES.get(str(issue.get("severity")))
    impacts = [severity_of(one.get("severity"), ScanSeverity.MEDIUM) for one in _objects(issue.get("impacts"))]
    return known or min(impacts, key=lambda one: one.rank, default=ScanSeverity.MEDIUM)


def _objects(value: object, *, required: bool = False) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list):
        if required:
            raise ToolFaulty("SonarQube's answer has another form than it should")
        return ()
    return [one for one in value if isinstance(one, dict)]
