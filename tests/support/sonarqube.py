"""A SonarQube server with the part of its Web API that is used here, over real HTTP, after the pages of `/web_api`.

`api/qualitygates/project_status` (by project and branch, or by analysis), `api/issues/search` (500 on a page and
10,000 in all at most, 400 beyond), `api/project_analyses/search`, `api/authentication/validate`. A user token comes as
a bearer; without a right one the answer is 401, for a project that is not there 404 with `{"errors": [{"msg": …}]}`;
only `validate` says `{"valid": false}`.
"""

import json
from collections import deque
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

TOKEN = "squ_token-of-the-worker"
MOST = 10_000


class SonarQubeContractServer(Loopback):
    """Has one project, `shop`; `faults` are answered first, `hidden` is for how many looks an analysis is not seen."""

    def reset(self) -> None:
        """Have a project that passes its gate, without issues."""
        super().reset()
        self.answer = self._answer
        self.faults: deque[Answer] = deque()
        self.gate: dict[str, Any] = {"status": "OK", "conditions": []}
        self.gates: dict[str, dict[str, Any]] = {}
        self.issues: list[dict[str, Any]] = []
        self.analyses: list[dict[str, Any]] = []
        self.hidden = 0

    async def _answer(self, request: Request) -> Answer:
        if self.faults:
            return self.faults.popleft()
        if request.path == "/api/authentication/validate":
            return _json(200, {"valid": request.headers.get("authorization") == f"Bearer {TOKEN}"})
        known = request.headers.get("authorization") == f"Bearer {TOKEN}"
        return self._known(request) if known else Answer(401, b"")

    def _known(self, request: Request) -> Answer:
        match request.path.removeprefix("/api/"):
            case "qualitygates/project_status":
                return self._status(request.query)
            case "issues/search":
                return self._search(request.query)
            case "project_analyses/search":
                self.hidden -= 1
                return _json(200, {"paging": {}, "analyses": self.analyses if self.hidden < 0 else []})
        return _refused(404, "Unknown url")

    def _status(self, query: dict[str, str]) -> Answer:
        if "analysisId" in query:
            return _json(200, {"projectStatus": self.gates[query["analysisId"]]})
        if query.get("projectKey") != "shop":
            return _refused(404, f"Project '{query.get('projectKey')}' not found")
        return _json(200, {"projectStatus": self.gate})

    def _search(self, query: dict[str, str]) -> Answer:
        page, size = int(query["p"]), int(query["ps"])
        if page * size > MOST:
            return _refused(400, f"Can return only the first {MOST} results")
        found = [one for one in self.issues if query.get("inNewCodePeriod") != "true" or one.get("new")]
        shown = found[(page - 1) * size : page * size]
        return _json(200, {"paging": {"pageIndex": page, "pageSize": size, "total": len(found)}, "issues": shown})


def issue(rule: str = "python:S1", severity: str = "MAJOR", **more: Any) -> dict[str, Any]:
    """Return an issue as the server tells one."""
    about = {"key": f"i-{rule}", "component": "shop:src/a.py", "project": "shop", "status": "OPEN", "line": 7}
    return {**about, "rule": rule, "severity": severity, "message": f"of {rule}", **more}


def condition(metric: str, *, status: str = "ERROR") -> dict[str, Any]:
    """Return a condition of a quality gate."""
    return {"status": status, "metricKey": metric, "comparator": "LT", "errorThreshold": "80", "actualValue": "63.1"}


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})


def _refused(status: int, text: str) -> Answer:
    return _json(status, {"errors": [{"msg": text}]})
