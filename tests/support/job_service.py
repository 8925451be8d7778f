"""A service of jobs over HTTP, as many are: a POST begins one, a GET tells how it stands, a DELETE ends it."""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from tests.support.loopback import Answer, Loopback, Request


@dataclass
class Job:
    """A job of the service; `looks` is how often it is looked at before it ends."""

    job_id: str
    key: str
    body: Any
    status: str = "running"
    percent: int = 0
    seen: int = 0


class JobService(Loopback):
    """Knows Idempotency-Keys unless `forgetful`; `faults` are answered first. Jobs end after `looks`, None: never."""

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.jobs: dict[str, Job] = {}
        self.faults: deque[Answer] = deque()
        self.looks: int | None = 2
        self.ends_as = "done"
        self.forgetful = False

    async def _answer(self, request: Request) -> Answer:
        if self.faults:
            return self.faults.popleft()
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["jobs"]:
                return self._begin(request)
            case "GET", ["jobs"]:
                found = [job for job in self.jobs.values() if job.key == request.query.get("key")]
                return _json(200, {"items": [_shown(job) for job in found]})
            case "GET", ["jobs", job_id] if job_id in self.jobs:
                return self._look(self.jobs[job_id])
            case "DELETE", ["jobs", job_id] if job_id in self.jobs:
                return self._end(self.jobs[job_id])
        return _echo(request) if request.path == "/echo" else _json(404, {"error": "no such thing"})

    def _begin(self, request: Request) -> Answer:
        key = request.headers.get("idempotency-key", "")
        known = None if self.forgetful else next((job for job in self.jobs.values() if job.key == key), None)
        job = known or Job(f"job-{len(self.jobs) + 1}", key, json.loads(request.body or b"null"))
        self.jobs[job.job_id] = job
        return Answer(202, json.dumps(_shown(job)).encode(), {"location": f"/jobs/{job.job_id}"})

    def _end(self, job: Job) -> Answer:
        job.status = "cancelled"
        return _json(202, {})

    def _look(self, job: Job) -> Answer:
        job.seen += 1
        if job.status == "running" and self.looks is not None:
            job.percent = min(100, 100 * job.seen // self.looks)
            if job.seen >= self.looks:
                job.status = self.ends_as
        return _json(200, _shown(job) | {"result": {"rows": 7}})


def _echo(request: Request) -> Answer:
    headers = {name: value for name, value in request.headers.items() if name.startswith(("x-", "auth"))}
    return _json(200, {"headers": headers, "query": request.query})


def _shown(job: Job) -> dict[str, Any]:
    return {"id": job.job_id, "status": job.status, "percent": job.percent, "message": f"it is {job.status}"}


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})


def job_parameters(url: str, **changes: Any) -> dict[str, Any]:
    """Return parameters of the executor `http` for a job of the service."""
    poll = {
        "id": "/id",
        "url": f"{url}/jobs/{{id}}",
        "every_seconds": 0.1,
        "succeeded": {"at": "/status", "equals": ["done"]},
        "failed": {"at": "/status", "equals": ["failed", "cancelled"]},
        "percent": "/percent",
        "message": "/message",
        "cancel": {"method": "DELETE", "url": f"{url}/jobs/{{id}}"},
        **changes.pop("poll", {}),
    }
    return {"provider": "http", "method": "POST", "url": f"{url}/jobs", "json": {"n": 1}, "poll": poll, **changes}
