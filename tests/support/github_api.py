"""GitHub's REST API as far as workflows need it: written after its published description (version 2022-11-28).

It has tokens, dispatches with the inputs that a workflow declares, runs in pages that are to be seen late, artifacts
that are fetched from another server by a signed address, and limits of its rate. It is no recording.
"""

import io
import json
import time
import zipfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

TOKEN = "ghp_token-1"
REPOSITORY = "/repos/acme/shop"
SEEN = ("id", "display_title", "status", "conclusion", "html_url", "event")


@dataclass
class HubRun:
    """A run; `seen` is how often it was looked at."""

    id: int
    inputs: dict[str, str]
    ref: str
    display_title: str
    status: str = "queued"
    conclusion: str | None = None
    event: str = "workflow_dispatch"
    seen: int = 0
    lists: int = 0
    """How many lists of runs have not had it yet."""

    @property
    def html_url(self) -> str:
        return f"https://github.test/acme/shop/actions/runs/{self.id}"


@dataclass
class GithubServer(Loopback):
    """Ends a run after `looks` looks as `ends_as`; shows it in lists after `late` of them; `faults` come first."""

    looks: int | None = 2
    ends_as: str = "success"
    late: int = 0
    tells_runs: bool = True
    """Whether it knows `return_run_details`."""
    titled: bool = True
    """Whether the workflow has the key in its run-name."""
    declared: frozenset[str] = frozenset({"flowc_key", "browser"})
    runs: dict[int, HubRun] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    faults: deque[Answer] = field(default_factory=deque)
    page: int = 100

    def __post_init__(self) -> None:
        super().__init__()
        self.answer = self.api

    async def api(self, request: Request) -> Answer:  # noqa: C901, PLR0911 - one for each route
        """Answer a request."""
        if request.path.startswith("/store/"):
            return self._stored(request)
        if self.faults:
            return self.faults.popleft()
        proof = request.headers.get("authorization")
        if request.path == "/rate_limit" and proof is None:  # strangers have one, too
            return said(200, {"resources": {}})
        if proof != f"Bearer {TOKEN}":
            return said(401, {"message": "Bad credentials"})
        if request.path == "/rate_limit":
            return said(200, {"resources": {}})
        if not request.path.startswith(f"{REPOSITORY}/actions/"):
            return said(404, {"message": "Not Found"})
        parts = request.path.removeprefix(f"{REPOSITORY}/actions/").split("/")
        match request.method, parts:
            case "POST", ["workflows", "test.yml", "dispatches"]:
                return self._dispatch(request)
            case "GET", ["workflows", "test.yml", "runs"]:
                return self._list(request)
            case _, ["runs", number, *rest] if number.isdecimal() and int(number) in self.runs:
                return self._run(request, self.runs[int(number)], rest)
            case "GET", ["artifacts", number, "zip"]:
                return Answer(302, b"", {"location": f"{self.url}/store/{number}?sig=signed"})
        return said(404, {"message": "Not Found"})

    def add(self, title: str, **about: Any) -> HubRun:
        """Add a run that others began."""
        run = HubRun(1000 + len(self.runs), {}, "main", title, **about)
        self.runs[run.id] = run
        return run

    def _dispatch(self, request: Request) -> Answer:
        body = request.json
        known = {"ref", "inputs"} | ({"return_run_details"} if self.tells_runs else set())
        if body.keys() - known or body["inputs"].keys() - self.declared or body["ref"] not in {"main", "v1"}:
            return said(422, {"message": "Unexpected inputs provided"})
        title = f"Tests {body['inputs']['flowc_key']}" if self.titled else "Tests"
        run = self.add(title)
        run.inputs, run.ref = body["inputs"], body["ref"]
        if not body.get("return_run_details"):
            return Answer(204, b"")
        return said(200, {"workflow_run_id": run.id, "run_url": "x", "html_url": run.html_url})

    def _list(self, request: Request) -> Answer:
        assert request.query["event"] == "workflow_dispatch"
        for run in self.runs.values():
            run.lists += 1
        visible = [run for run in reversed(self.runs.values()) if run.lists > self.late]
        size = min(self.page, int(request.query["per_page"]))
        first = (int(request.query["page"]) - 1) * size
        runs = [_shown(run) for run in visible[first : first + size]]
        return said(200, {"total_count": len(visible), "workflow_runs": runs})

    def _run(self, request: Request, run: HubRun, rest: list[str]) -> Answer:
        method = request.method
        if (method, rest) == ("POST", ["cancel"]):
            if run.status == "completed":
                return said(409, {"message": "Cannot cancel a workflow run that is completed."})
            run.status, run.conclusion = "completed", "cancelled"
            return said(202, {})
        if (method, rest) == ("GET", ["artifacts"]):
            found = [_artifact(number, name, data) for number, (name, data) in enumerate(self.artifacts.items())]
            found = [one for one in found if one["name"] == request.query.get("name", one["name"])]
            return said(200, {"total_count": len(found), "artifacts": found[: int(request.query["per_page"])]})
        if (method, rest) == ("GET", ["jobs"]):
            jobs = [{"name": "lint", "conclusion": "success"}, {"name": "unit", "conclusion": run.conclusion}]
            return said(200, {"total_count": 2, "jobs": jobs})
        if method != "GET" or rest:
            return said(404, {"message": "Not Found"})
        run.seen += 1
        if run.status != "completed":
            run.status = "in_progress"
            if self.looks is not None and run.seen >= self.looks:
                run.status, run.conclusion = "completed", self.ends_as
        return said(200, _shown(run))

    def _stored(self, request: Request) -> Answer:
        """Answer as the store of artifacts: a signed address, and no other proof beside it."""
        if "authorization" in request.headers or request.query.get("sig") != "signed":
            return Answer(400, b"<Error/>")
        return Answer(200, list(self.artifacts.values())[int(request.path.rpartition("/")[2])])


def rate_limited(status: int, seconds: int, *, reset: bool = False) -> Answer:
    """Return GitHub's refusal of too many calls: by Retry-After, or by the moment when the count begins again."""
    if not reset:
        return Answer(status, b'{"message": "secondary rate limit"}', {"retry-after": str(seconds)})
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + seconds)}
    return Answer(status, b'{"message": "API rate limit exceeded"}', headers)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Return an artifact with these files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def said(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})


def _shown(run: HubRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in SEEN}


def _artifact(number: int, name: str, data: bytes) -> dict[str, Any]:
    return {"id": number, "name": name, "size_in_bytes": len(data), "expired": False, "digest": "sha256:ab12"}
