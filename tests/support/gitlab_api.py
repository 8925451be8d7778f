"""GitLab's REST API (v4) as far as pipelines need it: written after its published description, not recorded.

It has projects by their quoted path, pipelines with variables that only some may read, lists in pages, reports of
tests, coverage in percent as text, jobs, cancellation, and tokens.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

TOKEN = "glpat-1"
PROJECT = "/api/v4/projects/acme%2Fweb%2Fshop"


@dataclass
class LabPipeline:
    """A pipeline; `seen` is how often it was looked at."""

    id: int
    ref: str
    variables: dict[str, str]
    status: str = "created"
    seen: int = 0
    name: str | None = None
    coverage: str | None = None

    @property
    def web_url(self) -> str:
        return f"https://gitlab.test/acme/web/shop/-/pipelines/{self.id}"


@dataclass
class GitlabServer(Loopback):
    """Ends a pipeline after `looks` looks as `ends_as`; `faults` come first."""

    looks: int | None = 2
    ends_as: str = "success"
    coverage: str | None = None
    named: bool = False
    """Whether the project names its pipelines by FLOWC_KEY."""
    may_read_variables: bool = True
    failing: int = 0
    long_report: bool = False
    pipelines: dict[int, LabPipeline] = field(default_factory=dict)
    faults: deque[Answer] = field(default_factory=deque)

    def __post_init__(self) -> None:
        super().__init__()
        self.answer = self.api

    async def api(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each route
        """Answer a request."""
        if self.faults:
            return self.faults.popleft()
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _said(401, {"message": "401 Unauthorized"})
        if request.path == "/api/v4/version":
            return _said(200, {"version": "18.0.0"})
        if not request.raw_path.startswith(f"{PROJECT}/"):
            return _said(404, {"message": "404 Project Not Found"})
        match request.method, request.raw_path.removeprefix(f"{PROJECT}/").split("/"):
            case "POST", ["pipeline"]:
                return self._make(request)
            case "GET", ["pipelines"]:
                return self._list(request)
            case method, ["pipelines", number, *rest] if number.isdecimal() and int(number) in self.pipelines:
                return self._pipeline(request, method, self.pipelines[int(number)], rest)
        return _said(404, {"message": "404 Not found"})

    def add(self, ref: str = "main", **variables: str) -> LabPipeline:
        """Add a pipeline."""
        made = LabPipeline(500 + len(self.pipelines), ref, variables, coverage=self.coverage)
        made.name = f"Tests {variables.get('FLOWC_KEY')}" if self.named else None
        self.pipelines[made.id] = made
        return made

    def _make(self, request: Request) -> Answer:
        body = request.json
        if body["ref"] not in {"main", "v1"}:
            return _said(400, {"message": {"base": ["Reference not found"]}})
        return _said(201, _shown(self.add(body["ref"], **{one["key"]: one["value"] for one in body["variables"]})))

    def _list(self, request: Request) -> Answer:
        query = request.query
        assert (query["source"], query["order_by"], query["sort"]) == ("api", "id", "desc")
        found = [one for one in reversed(self.pipelines.values()) if one.ref == query["ref"]]
        return _page([_shown(one) for one in found], request)

    def _pipeline(  # noqa: PLR0911 - one for each route
        self, request: Request, method: str, pipeline: LabPipeline, rest: list[str]
    ) -> Answer:
        match method, rest:
            case "GET", []:
                return self._look(pipeline)
            case "GET", ["variables"] if self.may_read_variables:
                variables = [{"variable_type": "env_var", "key": k, "value": v} for k, v in pipeline.variables.items()]
                return _said(200, variables)
            case "GET", ["variables"]:
                return _said(403, {"message": "403 Forbidden"})
            case "GET", ["test_report_summary"]:
                count = {"time": 1.0, "count": 10, "success": 9 - self.failing, "failed": self.failing, "skipped": 1}
                return _said(200, {"total": {**count, "error": 0, "suite_error": None}, "test_suites": []})
            case "GET", ["test_report"]:
                cases = [{"status": "success", "name": "adds", "classname": "Cart"}]
                cases += [{"status": "failed", "name": f"t{n}", "classname": "Cart"} for n in range(self.failing)]
                filler = "x" * (5_000_000 if self.long_report else 0)
                return _said(200, {"test_suites": [{"name": "unit", "test_cases": cases, "output": filler}]})
            case "GET", ["jobs"]:
                return _page(self._jobs(pipeline), request)
            case "POST", ["cancel"]:
                pipeline.status = pipeline.status if pipeline.status in {"success", "failed"} else "canceled"
                return _said(200, _shown(pipeline))
        return _said(404, {"message": "404 Not found"})

    def _look(self, pipeline: LabPipeline) -> Answer:
        pipeline.seen += 1
        if pipeline.status in {"created", "running", "manual"}:
            pipeline.status = "running"
            if self.looks is not None and pipeline.seen >= self.looks:
                pipeline.status = self.ends_as
        return _said(200, _shown(pipeline))

    def _jobs(self, pipeline: LabPipeline) -> list[dict[str, Any]]:
        lint = {"name": "lint", "status": "failed", "allow_failure": True, "web_url": "https://gitlab.test/jobs/1"}
        file = {"filename": "artifacts.zip", "size": 7}
        unit = {
            "name": "unit",
            "status": pipeline.status,
            "web_url": "https://gitlab.test/jobs/2",
            "artifacts_file": file,
        }
        many = [{"name": f"job {n}", "status": "success", "web_url": "", "allow_failure": False} for n in range(120)]
        return [lint, *many, unit]


def _shown(pipeline: LabPipeline) -> dict[str, Any]:
    names = ("id", "ref", "status", "web_url", "name", "coverage")
    return {"iid": 1, "sha": "a" * 40, "source": "api", **{name: getattr(pipeline, name) for name in names}}


def _page(found: list[dict[str, Any]], request: Request) -> Answer:
    size, page = min(100, int(request.query["per_page"])), int(request.query["page"])
    return _said(200, found[(page - 1) * size : page * size])


def _said(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})
