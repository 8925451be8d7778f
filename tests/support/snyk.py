"""A server with the part of Snyk's REST API that is used here, over real HTTP, after its public reference.

`GET /rest/orgs/{org}/projects/{project}` and `GET /rest/orgs/{org}/issues` in JSON:API, version 2024-10-15: `version`
has to be given, `limit` is 10 to 100, the next page is a link with `starting_after`, credentials are `token …`.
Refusals are 401, 404 and 429 with `{"errors": […]}`. For a project that is not there the list of issues is empty.
"""

import json
from collections import deque
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

TOKEN = "token-of-snyk-for-the-worker"
ORGANIZATION = "11111111-2222-3333-4444-555555555555"
PROJECT = "99999999-2222-3333-4444-555555555555"


class SnykContractServer(Loopback):
    """Has one project with `issues`; `faults` are answered first; `elsewhere` is where links lead."""

    def reset(self) -> None:
        """Have no issues."""
        super().reset()
        self.answer = self._answer
        self.faults: deque[Answer] = deque()
        self.issues: list[dict[str, Any]] = []
        self.elsewhere = ""
        self.circle = False

    async def _answer(self, request: Request) -> Answer:
        if self.faults:
            return self.faults.popleft()
        if request.headers.get("authorization") != f"token {TOKEN}":
            return _refused(401, "Unauthorized")
        if "version" not in request.query:
            return _refused(400, "a version is required")
        base = f"/rest/orgs/{ORGANIZATION}"
        if request.path == f"{base}/projects/{PROJECT}":
            return _json(200, {"data": {"id": PROJECT, "type": "project"}})
        if request.path == f"{base}/issues":
            return self._page(request.query)
        return _json(200, {"data": {}}) if request.path == "/rest/self" else _refused(404, "Not Found")

    def _page(self, query: dict[str, str]) -> Answer:
        size = int(query["limit"])
        assert 10 <= size <= 100
        mine = query.get("scan_item.id") == PROJECT and query.get("scan_item.type") == "project"
        start = int(query.get("starting_after", "0"))
        shown = self.issues[start : start + size] if mine else []
        links = {}
        if mine and start + size < len(self.issues):
            after = 0 if self.circle else start + size
            links["next"] = f"{self.elsewhere}/rest/orgs/{ORGANIZATION}/issues?starting_after={after}&limit={size}"
        return _json(200, {"jsonapi": {"version": "1.0"}, "data": shown, "links": links})


def issue(problem: str, severity: str = "high", **attributes: Any) -> dict[str, Any]:
    """Return an issue as Snyk tells one: of a package, unless `attributes` say otherwise."""
    package = {"dependency": {"package_name": "requests", "package_version": "2.0.0"}}
    about = {
        "key": f"key-of-{problem}",
        "title": f"title of {problem}",
        "type": "package_vulnerability",
        "status": "open",
        "ignored": False,
        "effective_severity_level": severity,
        "problems": [{"id": problem, "source": "SNYK"}],
        "coordinates": [{"representations": [package]}],
    }
    return {"id": f"id-{problem}", "type": "issue", "attributes": {**about, **attributes}}


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/vnd.api+json"})


def _refused(status: int, title: str) -> Answer:
    return _json(status, {"jsonapi": {"version": "1.0"}, "errors": [{"status": str(status), "title": title}]})
