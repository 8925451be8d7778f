"""GitLab's REST API (v4) as far as merge requests need it: written after its published description, not recorded.

Projects by their quoted path, branches, folders in pages, commits with actions, merge requests, notes, tokens, and the
quick actions that lines of a text are which begin with a slash. The repository is a real one.
"""

from base64 import b64decode
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.bare_repository import BLOB, PROGRAM, BareRepository
from tests.support.github_api import said
from tests.support.loopback import Answer, Loopback, Request

TOKEN = "glpat-forge-1"
PROJECT = "acme/web/made"
QUOTED = "/api/v4/projects/acme%2Fweb%2Fmade"
NOT_FOUND = said(404, {"message": "404 Not found"})
OWN, FORK = 41, 99
"""Ids of the project, and of a stranger's copy of it."""


@dataclass
class LabMerge:
    """A merge request."""

    iid: int
    title: str
    description: str
    source_branch: str
    target_branch: str
    sha: str
    source_project_id: int = OWN
    state: str = "opened"
    merge_commit_sha: str | None = None
    merge_user: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class GitlabRequests(Loopback):
    """Merge requests of one project; `faults` are answered first, `forbidden` are branches that are protected."""

    repository: BareRepository
    requests_of: dict[int, LabMerge] = field(default_factory=dict)
    faults: deque[Answer | None] = field(default_factory=deque)
    """None lets a request through."""
    forbidden: tuple[str, ...] = ()
    commands: list[str] = field(default_factory=list)
    """Quick actions that somebody has given in a text."""

    def __post_init__(self) -> None:
        super().__init__()
        self.answer = self.api

    async def api(self, request: Request) -> Answer:
        """Answer a request."""
        if self.faults and (fault := self.faults.popleft()) is not None:
            return fault
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return said(401, {"message": "401 Unauthorized"})
        if request.raw_path == QUOTED:
            empty = not self.repository.git("for-each-ref")
            return said(200, {"id": OWN, "default_branch": None if empty else "main", "empty_repo": empty})
        if not request.raw_path.startswith(f"{QUOTED}/"):
            return said(404, {"message": "404 Project Not Found"})
        parts = request.raw_path.removeprefix(f"{QUOTED}/").split("/")
        try:
            return self._route(request.method, parts, request)
        except ValueError as error:
            return said(400, {"message": str(error)})

    def merge(self, iid: int, by: str = "alice") -> None:
        """Merge a request as a person does."""
        one = self.requests_of[iid]
        one.sha = self.repository.head(one.source_branch) or one.sha
        one.merge_commit_sha = self.repository.merge(one.target_branch, one.source_branch)
        one.state, one.merge_user = "merged", by
        self.repository.move(one.source_branch, None)

    def _route(self, method: str, parts: list[str], request: Request) -> Answer:  # noqa: PLR0911 - routes
        body = request.json if request.body else {}
        match method, parts:
            case "GET", ["repository", "branches", name]:
                head = self.repository.head(name.replace("%2F", "/"))
                return said(200, {"name": name, "commit": {"id": head}}) if head else NOT_FOUND
            case "DELETE", ["repository", "branches", name]:
                if self.repository.head(name.replace("%2F", "/")) is None:
                    return NOT_FOUND
                self.repository.move(name.replace("%2F", "/"), None)
                return Answer(204, b"")
            case "GET", ["repository", "tree"]:
                return self._listed(request.query)
            case "POST", ["repository", "commits"]:
                return self._commit(body)
            case "GET", ["merge_requests"]:
                wanted = ("source_branch", "target_branch")
                found = [
                    one
                    for one in reversed(self.requests_of.values())
                    if all(getattr(one, name) == request.query[name] for name in wanted)
                ]
                return said(200, [self._shown(one) for one in found])
            case "POST", ["merge_requests"]:
                return self._open(body)
            case _, ["merge_requests", iid, *rest] if int(iid) in self.requests_of:
                return self._request(method, self.requests_of[int(iid)], rest, body)
        return NOT_FOUND

    def _listed(self, query: dict[str, str]) -> Answer:
        entries = self.repository.entries(query["ref"], query["path"])
        if not entries:
            return said(404, {"message": "404 Tree Not Found"})
        found = [{"path": path, "mode": mode, "type": kind} for path, (mode, kind) in entries.items()]
        size, page = min(100, int(query["per_page"])), int(query["page"])
        return said(200, found[(page - 1) * size : page * size])

    def _commit(self, body: dict[str, Any]) -> Answer:
        branch = body["branch"]
        if branch.startswith(self.forbidden or ("\0",)):
            return said(403, {"message": "You are not allowed to push into this branch"})
        if self.repository.head(branch) is not None and not body.get("force"):
            raise ValueError(f"A branch called '{branch}' already exists.")
        files = self.repository.files(body["start_sha"])
        changes: dict[str, tuple[str, str] | None] = {}
        for action in body["actions"]:
            path, kind = action["file_path"], action["action"]
            there = changes.get(path) is not None or (path in files and path not in changes)
            if there == (kind == "create"):
                raise ValueError(f"A file with this name {'already exists' if there else 'does not exist'}")
            if kind == "delete":
                changes[path] = None
            elif kind == "chmod":
                known = changes[path]
                assert known is not None
                changes[path] = (PROGRAM if action["execute_filemode"] else BLOB, known[1])
            else:
                text = action["content"]
                data = b64decode(text, validate=True) if action["encoding"] == "base64" else text.encode()
                changes[path] = (files.get(path, BLOB), self.repository.blob(data))
        tree = self.repository.tree(body["start_sha"], changes)
        made = self.repository.commit(tree, body["commit_message"], body["start_sha"])
        self.repository.move(branch, made)
        return said(201, {"id": made})

    def _open(self, body: dict[str, Any]) -> Answer:
        branch = body["source_branch"]
        if any((one.source_branch, one.state) == (branch, "opened") for one in self.requests_of.values()):
            return said(409, {"message": ["Another open merge request already exists for this source branch: !3"]})
        head = self.repository.head(branch)
        if head is None:
            raise ValueError("source branch does not exist")
        self._obey(body["description"])
        iid = len(self.requests_of) + 3
        one = LabMerge(iid, body["title"], body["description"], branch, body["target_branch"], head)
        self.requests_of[iid] = one
        return said(201, self._shown(one))

    def _request(self, method: str, one: LabMerge, rest: list[str], body: dict[str, Any]) -> Answer:
        match method, rest:
            case "GET", []:
                return said(200, self._shown(one))
            case "PUT", []:
                self._obey(body.get("description", ""))
                one.description = body.get("description", one.description)
                closes = body.get("state_event") == "close" and one.state == "opened"
                one.state = "closed" if closes else one.state
                return said(200, self._shown(one))
            case "POST", ["notes"]:
                self._obey(body["body"])
                one.notes.append(body["body"])
                return said(201, {})
        return NOT_FOUND

    def _obey(self, text: str) -> None:
        self.commands += [line for line in text.splitlines() if line.startswith("/")]

    def _shown(self, one: LabMerge) -> dict[str, Any]:
        one.sha = self.repository.head(one.source_branch) or one.sha
        base = self.repository.head(one.target_branch)
        clean = base is not None and self.repository.merged(base, one.sha) is not None
        names = ("iid", "description", "source_branch", "target_branch", "sha", "source_project_id", "state")
        return {
            **{name: getattr(one, name) for name in names},
            "target_project_id": OWN,
            "web_url": f"https://gitlab.test/{PROJECT}/-/merge_requests/{one.iid}",
            "merge_commit_sha": one.merge_commit_sha,
            "merge_user": {"username": one.merge_user} if one.merge_user else None,
            "detailed_merge_status": "mergeable" if clean else "conflict",
        }
