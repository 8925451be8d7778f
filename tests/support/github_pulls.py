"""GitHub's REST API as far as pull requests need it: written after its published description (version 2022-11-28).

Git database (blobs, trees, commits, references), pull requests, comments, tokens, rules for branches, limits of the
rate. The repository is a real one; it is no recording.
"""

from base64 import b64decode
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.bare_repository import BareRepository
from tests.support.github_api import said
from tests.support.loopback import Answer, Loopback, Request

TOKEN = "ghp_forge-1"
REPOSITORY = "acme/made"
NOT_FOUND = said(404, {"message": "Not Found"})
MOST_BODY = 65_536


@dataclass
class Pull:
    """A pull request."""

    number: int
    title: str
    body: str
    head: str
    base: str
    sha: str
    repository: str = REPOSITORY
    state: str = "open"
    merge_commit_sha: str | None = None
    merged_by: str | None = None
    comments: list[str] = field(default_factory=list)


@dataclass
class GithubPulls(Loopback):
    """Pull requests of one repository; `faults` are answered first, `forbidden` are branches that a rule protects."""

    repository: BareRepository
    pulls: dict[int, Pull] = field(default_factory=dict)
    faults: deque[Answer | None] = field(default_factory=deque)
    """None lets a request through."""
    forbidden: tuple[str, ...] = ()
    moved: bool = False
    page_of: Any = None
    """What a person's page of a request is, instead of the usual one."""

    def __post_init__(self) -> None:
        super().__init__()
        self.answer = self.api

    async def api(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each kind of refusal
        """Answer a request."""
        if self.faults and (fault := self.faults.popleft()) is not None:
            return fault
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return said(401, {"message": "Bad credentials"})
        if self.moved:
            return Answer(301, b"{}", {"location": f"{self.url}/repositories/1"})
        path = request.path.removeprefix(f"/repos/{REPOSITORY}")
        if path == request.path:
            return NOT_FOUND
        if not path:
            return said(200, {"full_name": REPOSITORY, "default_branch": "main"})
        try:
            if path.startswith("/git/"):
                return self._git(request.method, path.split("/")[2:], request)
            return self._pulls(request.method, path.split("/")[1:], request)
        except ValueError as error:
            return said(422, {"message": str(error)})

    def merge(self, number: int, by: str = "alice") -> None:
        """Merge a request as a person does, and delete its branch as many repositories do."""
        pull = self.pulls[number]
        pull.sha = self.repository.head(pull.head) or pull.sha
        pull.merge_commit_sha, pull.state, pull.merged_by = self.repository.merge(pull.base, pull.head), "closed", by
        self.repository.move(pull.head, None)

    def _git(self, method: str, parts: list[str], request: Request) -> Answer:  # noqa: PLR0911 - one for each route
        body = request.json if request.body else {}
        match method, parts:
            case "POST", ["blobs"]:
                return said(201, {"sha": self.repository.blob(b64decode(body["content"], validate=True))})
            case "POST", ["trees"]:
                return said(201, {"sha": self._tree(body)})
            case "POST", ["commits"]:
                made = self.repository.commit(body["tree"], body["message"], *body["parents"])
                return said(201, {"sha": made, "tree": {"sha": body["tree"]}})
            case "GET", ["commits", sha]:
                return said(200, {"sha": sha, "tree": {"sha": self.repository.git("rev-parse", f"{sha}^{{tree}}")}})
            case "GET", ["ref", "heads", *name]:
                if not self.repository.git("for-each-ref"):
                    return said(409, {"message": "Git Repository is empty."})
                head = self.repository.head("/".join(name))
                return said(200, {"object": {"sha": head}}) if head else NOT_FOUND
            case _, ["refs", *name]:
                return self._ref(method, name, body)
        return NOT_FOUND

    def _tree(self, body: dict[str, Any]) -> str:
        changes = {}
        for entry in body["tree"]:
            if ("sha" in entry) == ("content" in entry):
                raise ValueError("Must supply either tree.sha or tree.content")
            sha = entry["sha"] if "sha" in entry else self.repository.blob(entry["content"].encode())
            changes[entry["path"]] = (entry["mode"], sha)
        return self.repository.tree(body.get("base_tree"), changes)

    def _ref(self, method: str, name: list[str], body: dict[str, Any]) -> Answer:
        branch = body["ref"].removeprefix("refs/heads/") if method == "POST" else "/".join(name[1:])
        there = self.repository.head(branch)
        if branch.startswith(self.forbidden or ("\0",)):
            return said(422, {"message": "Repository rule violations found"})
        if (there is None) != (method == "POST"):
            return said(422, {"message": f"Reference {'already exists' if there else 'does not exist'}"})
        if method == "PATCH" and not body.get("force"):
            return said(422, {"message": "Update is not a fast forward"})
        self.repository.move(branch, body.get("sha"))
        return Answer(204, b"") if method == "DELETE" else said(201, {"object": {"sha": body["sha"]}})

    def _pulls(self, method: str, parts: list[str], request: Request) -> Answer:
        body = request.json if request.body else {}
        match method, parts:
            case "GET", ["pulls"]:
                owner, _, branch = request.query["head"].partition(":")
                found = [one for one in reversed(self.pulls.values()) if one.head == branch]
                found = [one for one in found if one.repository.startswith(f"{owner}/")]
                return said(200, [self._shown(one) for one in found if one.base == request.query["base"]])
            case "POST", ["pulls"]:
                return self._open(body)
            case "GET", ["pulls", number] if int(number) in self.pulls:
                return said(200, self._shown(self.pulls[int(number)]))
            case "PATCH", ["pulls", number] if int(number) in self.pulls:
                pull = self.pulls[int(number)]
                pull.body, pull.state = body.get("body", pull.body), body.get("state", pull.state)
                return said(200, self._shown(pull))
            case "POST", ["issues", number, "comments"] if int(number) in self.pulls:
                self.pulls[int(number)].comments.append(body["body"])
                return said(201, {})
        return NOT_FOUND

    def _open(self, body: dict[str, Any]) -> Answer:
        head = self.repository.head(body["head"])
        if head is None or head == self.repository.head(body["base"]) or len(body["body"]) > MOST_BODY:
            return said(422, {"message": "Validation Failed"})
        ours = [one for one in self.pulls.values() if (one.repository, one.head) == (REPOSITORY, body["head"])]
        if any(one.state == "open" for one in ours):
            return said(422, {"message": "Validation Failed", "errors": ["A pull request already exists"]})
        pull = Pull(len(self.pulls) + 7, body["title"], body["body"], body["head"], body["base"], head)
        self.pulls[pull.number] = pull
        return said(201, self._shown(pull))

    def _shown(self, pull: Pull) -> dict[str, Any]:
        pull.sha = self.repository.head(pull.head) or pull.sha
        base = self.repository.head(pull.base)
        clean = base is not None and self.repository.merged(base, pull.sha) is not None
        merged = pull.merged_by is not None
        return {
            "number": pull.number,
            "html_url": self.page_of or f"https://github.test/{REPOSITORY}/pull/{pull.number}",
            "state": pull.state,
            "body": pull.body,
            "head": {
                "ref": pull.head,
                "sha": pull.sha,
                "repo": {"full_name": pull.repository, "default_branch": "main"},
            },
            "base": {"ref": pull.base, "sha": base},
            "merged_at": "2026-11-30T12:00:00Z" if merged else None,
            "merged_by": {"login": pull.merged_by} if merged else None,
            "merge_commit_sha": pull.merge_commit_sha if merged else "f" * 40,
            "mergeable_state": "clean" if clean else "dirty",
        }
