"""Jenkins' remote access API as far as builds need it: written after its published description, not recorded.

It has jobs in folders, a queue whose items become builds and are forgotten, parameters that a job declares, crumbs that
are bound to a session, reports of tests, the plugin Coverage, and users with tokens.
"""

import json
from base64 import b64encode
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.support.loopback import Answer, Loopback, Request

USER, TOKEN = "flowc", "11aa"
JOB = "/job/acme/job/shop tests"
BASIC = "Basic " + b64encode(f"{USER}:{TOKEN}".encode()).decode()


@dataclass
class Item:
    """What waits, and the build that it becomes; `waits` is how often it is looked at before."""

    id: int
    parameters: dict[str, str]
    waits: int
    number: int | None = None
    cancelled: bool = False
    forgotten: bool = False
    building: bool = True
    result: str | None = None
    seen: int = 0


@dataclass
class JenkinsServer(Loopback):
    """Ends a build after `looks` looks as `ends_as`; `faults` come first."""

    looks: int | None = 2
    ends_as: str = "SUCCESS"
    waits: int = 2
    crumbs: bool = True
    coverage: str | None = None
    failing: int = 0
    tested: bool = True
    long_report: bool = False
    declared: frozenset[str] = frozenset({"FLOWC_KEY", "BROWSER"})
    items: dict[int, Item] = field(default_factory=dict)
    faults: deque[Answer] = field(default_factory=deque)

    def __post_init__(self) -> None:
        super().__init__()
        self.answer = self.api

    async def api(self, request: Request) -> Answer:  # noqa: C901, PLR0911 - one for each route
        """Answer a request."""
        if self.faults:
            return self.faults.popleft()
        if request.headers.get("authorization") != BASIC:
            return Answer(401, b"<html>Invalid password/token</html>")
        if request.method == "POST" and self.crumbs:
            crumb, session = request.headers.get("jenkins-crumb"), request.headers.get("cookie", "")
            if (crumb, session) != ("c-1", "JSESSIONID.1=s-1"):
                return Answer(403, b"<html>No valid crumb was included in the request</html>")
        match request.method, request.path:
            case "GET", "/api/json":
                return _said(200, {"mode": "NORMAL"})
            case "GET", "/crumbIssuer/api/json" if self.crumbs:
                body = json.dumps({"crumb": "c-1", "crumbRequestField": "Jenkins-Crumb"}).encode()
                return Answer(200, body, {"set-cookie": "JSESSIONID.1=s-1; Path=/; HttpOnly"})
            case "GET", "/queue/api/json":
                waiting = [one for one in self.items.values() if one.number is None and not one.cancelled]
                return _said(200, {"items": [self._queued(one) for one in waiting]})
            case "POST", "/queue/cancelItem":
                item = self.items[int(request.query["id"])]
                item.cancelled = item.number is None
                return Answer(204 if item.cancelled else 404, b"")
            case "POST", path if path == f"{JOB}/buildWithParameters":
                return self._ask(request)
            case "GET", path if path.startswith("/queue/item/"):
                return self._look_in_queue(int(path.split("/")[3]))
            case "GET", path if path == f"{JOB}/api/json":
                builds = sorted((one for one in self.items.values() if one.number), key=lambda one: -(one.number or 0))
                return _said(200, {"builds": [self._built(one) for one in builds[:100]]})
            case _, path if path.startswith(f"{JOB}/"):
                return self._build(request, path.removeprefix(f"{JOB}/").split("/"))
        return Answer(404, b"<html>Not Found</html>")

    def build_of(self, number: int) -> Item:
        """Return the build of a number."""
        return next(one for one in self.items.values() if one.number == number)

    def begin(self, item: Item) -> None:
        """Let what waits become a build."""
        item.number = 1 + max((one.number or 0 for one in self.items.values()), default=0)

    def _ask(self, request: Request) -> Answer:
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        given = dict(parse_qsl(request.body.decode()))
        item = Item(70 + len(self.items), {k: v for k, v in given.items() if k in self.declared}, self.waits)
        self.items[item.id] = item
        return Answer(201, b"", {"location": f"{self.url}/queue/item/{item.id}/"})

    def _look_in_queue(self, number: int) -> Answer:
        item = self.items.get(number)
        if item is None or item.forgotten:
            return Answer(404, b"<html>Not Found</html>")
        item.waits -= 1
        if item.number is None and not item.cancelled and item.waits <= 0:
            self.begin(item)
        return _said(200, self._queued(item))

    def _queued(self, item: Item) -> dict[str, Any]:
        why = "Waiting for next available executor" if item.number is None else None
        left = {"_class": "LeftItem", "cancelled": item.cancelled} if item.cancelled or item.number else {}
        job = {"url": f"{self.url}{JOB}/"}
        build = {"executable": {"number": item.number, "url": f"{self.url}{JOB}/{item.number}/"}} if item.number else {}
        return {"id": item.id, "why": why, "task": job, "actions": _actions(item), **left, **build}

    def _built(self, item: Item) -> dict[str, Any]:
        names = ("number", "building", "result")
        files = {"artifacts": [{"fileName": "app.war", "relativePath": "target/app.war"}]}
        url = {"url": f"{self.url}{JOB}/{item.number}/", "actions": _actions(item)}
        return {**url, **{name: getattr(item, name) for name in names}, **files}

    def _build(self, request: Request, path: list[str]) -> Answer:
        found = [one for one in self.items.values() if str(one.number) == path[0]]
        if not found:
            return Answer(404, b"<html>Not Found</html>")
        item = found[0]
        match request.method, path[1:]:
            case "GET", ["api", "json"]:
                item.seen += 1
                if item.building and self.looks is not None and item.seen >= self.looks:
                    item.building, item.result = False, self.ends_as
                return _said(200, self._built(item))
            case "POST", ["stop"]:
                if item.building:
                    item.building, item.result = False, "ABORTED"
                return Answer(302, b"", {"location": f"{self.url}{JOB}/{item.number}/"})
            case "GET", ["testReport", "api", "json"] if self.tested:
                cases = [{"className": "Cart", "name": "adds", "status": "PASSED"}]
                cases += [{"className": "Cart", "name": f"t{n}", "status": "REGRESSION"} for n in range(self.failing)]
                counts = {"failCount": self.failing, "passCount": 9 - self.failing, "skipCount": 1}
                cases[0]["name"] = "x" * (5_000_000 if self.long_report else 4)
                return _said(
                    200, {**counts, **({"suites": [{"cases": cases}]} if "suites" in request.query["tree"] else {})}
                )
            case "GET", ["coverage", "api", "json"] if self.coverage is not None:
                return _said(200, {"projectStatistics": {"line": self.coverage, "branch": "10.00%"}})
        return Answer(404, b"<html>Not Found</html>")


def _actions(item: Item) -> list[dict[str, Any]]:
    parameters = [{"name": name, "value": value} for name, value in item.parameters.items()]
    return [{"_class": "hudson.model.CauseAction"}, {}, {"parameters": parameters}]


def _said(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})
