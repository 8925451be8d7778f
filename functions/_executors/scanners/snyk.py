"""The tool `snyk`: the open issues of a project of Snyk, by its REST API, which needs no program on the worker.

The project is asked for first: for one that is not there Snyk has no issues, and that is no success. The next page is
asked for at the same server, whatever the link in an answer says.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from functions._core.executors.findings import finding, severity_of
from functions._core.executors.scan import ScanFinding, ScanSeverity
from functions._executors.port import ToolCheck
from functions._executors.scanners.patience import Patience
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.services import ServiceApi, ServiceConnection, json_of_reply, part
from functions._executors.settings import ExecutorSettings

URL = "https://api.snyk.io"
VERSION = "2024-10-15"
"""The version of the API whose form is read here."""

PAGE = 100
MOST_PAGES = 100
JSON_API = {"accept": "application/vnd.api+json"}


class SnykApi(ServiceApi):
    """Proves itself as Snyk wants it."""

    def proof(self, credential: str) -> Mapping[str, str]:
        """See `ServiceApi.proof`."""
        return {"authorization": f"token {credential}"}


class SnykScanner:
    """Asks Snyk."""

    name: ClassVar[str] = "snyk"

    def __init__(self, settings: ExecutorSettings, patience: Patience) -> None:
        """Open nothing yet; raise `ValueError` for an address that is none."""
        self._connection = ServiceConnection.from_settings(settings, "SNYK", URL)
        self._api = SnykApi(self._connection)
        self._patience = patience

    async def scan(self, job: ScanJob) -> Scanned:
        """See `Scanner.scan`."""
        if not await self._connection.credential():
            raise NotRun("the worker's owner has no token of it (WORKER_SNYK_TOKEN)")
        organization = f"/rest/orgs/{part(str(job.tool.organization))}"
        project = str(job.tool.project)
        await self._get(job, f"{organization}/projects/{part(project)}", {"version": VERSION})
        query = {"version": VERSION, "limit": str(PAGE), "status": "open", "ignored": "false"}
        query |= {"scan_item.id": project, "scan_item.type": "project"}
        found: list[ScanFinding] = []
        cursors: set[str] = set()
        while True:
            answer = await self._get(job, f"{organization}/issues", query)
            found += [self._issue(one) for one in _data(answer)]
            cursor = _next(answer)
            if cursor is None:
                return Scanned(found)
            if cursor in cursors:
                raise ToolFaulty("Snyk's pages go round in a circle")
            if len(cursors) >= MOST_PAGES:
                return Scanned(found, note=f"there are more issues than the {len(found)} that are told")
            cursors.add(cursor)
            query["starting_after"] = cursor

    async def check(self) -> ToolCheck:
        """See `Scanner.check`."""
        if not (self._connection.token or self._connection.token_file):
            return ToolCheck(self.name, False, "WORKER_SNYK_TOKEN is not set", required=False)
        return (await self._api.reached(f"/rest/self?version={VERSION}", self.name))._replace(required=False)

    async def aclose(self) -> None:
        """See `Scanner.aclose`."""
        await self._api.aclose()

    async def _get(self, job: ScanJob, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        asked = dict(query)
        reply = await self._patience.of(lambda: self._api.good("GET", path, query=asked, headers=JSON_API), job.context)
        answer = json_of_reply(reply)
        if not isinstance(answer, dict):
            raise ToolFaulty("Snyk's answer has another form than it should")
        return answer

    def _issue(self, one: Mapping[str, Any]) -> ScanFinding:
        about = _mapping(one.get("attributes"))
        places = [
            _mapping(place)
            for each in _list(about.get("coordinates"))
            for place in _list(_mapping(each).get("representations"))
        ]
        package = next(filter(None, (_mapping(place.get("dependency")) for place in places)), _mapping(None))
        source = next(filter(None, (_mapping(place.get("sourceLocation")) for place in places)), _mapping(None))
        named = f" in {package.get('package_name')} {package.get('package_version')}" if package else ""
        line = _mapping(_mapping(source.get("region")).get("start")).get("line")
        problem = next((p.get("id") for p in map(_mapping, _list(about.get("problems"))) if p.get("id")), None)
        severity = severity_of(about.get("effective_severity_level"), ScanSeverity.MEDIUM)
        said = f"{about.get('title')}{named}"
        return finding(self.name, problem or about.get("key"), severity, said, source.get("file"), line)


def _data(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    data = answer.get("data")
    if not isinstance(data, list):
        raise ToolFaulty("Snyk's answer has another form than it should")
    return [one for one in data if isinstance(one, dict)]


def _next(answer: Mapping[str, Any]) -> str | None:
    """Return where the next page begins; None where there is none."""
    link = _mapping(answer.get("links")).get("next")
    href = _mapping(link).get("href", link) if link else None
    if not isinstance(href, str):
        return None
    try:
        begin = parse_qs(urlsplit(href).query).get("starting_after")
    except ValueError:
        begin = None
    if not begin:
        raise ToolFaulty("Snyk's answer leads to a page that cannot be asked for")
    return begin[0]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
