"""Merge requests on GitLab (REST API, v4): one commit with all changes of a folder, and the request for its branch.

A commit says of each file whether it is new, so the folder is listed before. With `force` the branch is made again from
the branch that it goes to, whatever an earlier attempt has left of it.
"""

from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field

from functions._core.records.values import Model
from functions._executors.forge.code_host import (
    WITHDRAWN,
    CodeHostSettings,
    HostedRepository,
    ProjectFile,
    Proposal,
    SeenRequest,
    newest,
    text_of,
    web_address,
)
from functions._executors.port import CallFailed
from functions._executors.services import ServiceApi, ServiceConnection, part, read_as, read_list

PAGE, MOST_PAGES = 100, 30
"""Entries of a folder on a page, and pages: a folder with more is none of the forge's."""

PROGRAM = "100755"
"""The mode of a file that may be run."""

COMMIT_SECONDS = 120.0
"""How long a commit of a whole project may take."""

STATES = {"opened": "open", "locked": "open", "merged": "merged"}

HINDRANCES = {
    "conflict": "it has conflicts with the branch that it goes to",
    "need_rebase": "its branch has to be rebased",
    "not_approved": "it lacks an approval",
    "discussions_not_resolved": "a discussion is not resolved",
    "ci_must_pass": "its pipeline has to succeed",
    "ci_still_running": "its pipeline is running",
    "draft_status": "it is a draft",
    "blocked_status": "another merge request has to be merged before",
    "requested_changes": "a reviewer asks for changes",
}

Number = Annotated[int, Field(ge=1, lt=2**53)]


class LabProject(Model):
    """A project."""

    id: Number
    default_branch: str | None = None


class LabCommit(Model):
    """A commit."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]


class LabBranch(Model):
    """A branch."""

    commit: LabCommit


class LabEntry(Model):
    """An entry of a folder."""

    path: str
    type: str = ""
    mode: str = ""


class LabUser(Model):
    """A person or a program."""

    username: str = ""


class LabRequest(Model):
    """A merge request, as GitLab shows it."""

    iid: Number
    web_url: str = ""
    state: str = ""
    description: str | None = None
    source_branch: str = ""
    target_branch: str = ""
    source_project_id: int | None = None
    target_project_id: int | None = None
    merge_commit_sha: str | None = None
    squash_commit_sha: str | None = None
    sha: str | None = None
    merge_user: LabUser | None = None
    merged_by: LabUser | None = None
    detailed_merge_status: str | None = None

    @property
    def seen(self) -> SeenRequest:
        state = STATES.get(self.state, "closed")
        commit = self.merge_commit_sha or self.squash_commit_sha or self.sha or ""
        by = self.merge_user or self.merged_by or LabUser()
        return SeenRequest(
            number=self.iid,
            url=web_address(self.web_url),
            state=state,
            branch=self.source_branch,
            base=self.target_branch,
            head=self.sha or "",
            text=self.description or "",
            commit=commit[:64] if state == "merged" else "",
            merged_by=by.username[:100],
            hindrance=HINDRANCES.get(self.detailed_merge_status or "", ""),
        )

    @property
    def is_own(self) -> bool:
        """Whether it comes from the project that it goes to."""
        return self.source_project_id is not None and self.source_project_id == self.target_project_id


class GitlabHost(HostedRepository):
    """A project on GitLab."""

    def __init__(self, connection: ServiceConnection, settings: CodeHostSettings) -> None:
        """Open nothing yet."""
        super().__init__(ServiceApi(connection), f"/api/v4/projects/{part(settings.repository)}", settings)

    async def find(self, branch: str, base: str) -> SeenRequest | None:
        """See `CodeHost.find`."""
        query = {"source_branch": branch, "target_branch": base, "state": "all"}
        query |= {"order_by": "created_at", "sort": "desc", "per_page": "100"}
        listed = read_list(LabRequest, await self._good("GET", "/merge_requests", query=query))
        return newest([one.seen for one in listed if one.is_own], branch, base)

    async def base(self) -> str:
        """See `CodeHost.base`."""
        found = self._base or read_as(LabProject, await self._good("GET", "")).default_branch
        if not found:
            text = "the repository is empty: a merge request needs a first commit on the branch that it goes to"
            raise CallFailed(text, transient=False, kind="empty_repository")
        return found

    async def propose(self, proposal: Proposal) -> SeenRequest:
        """See `CodeHost.propose`."""
        parent = await self._head_of(proposal.base)
        actions = _actions(proposal, await self._listed(proposal.folder, parent))
        body = {
            "branch": proposal.branch,
            "start_sha": parent,
            "force": True,
            "commit_message": proposal.title,
            "actions": actions,
        }
        reply = await self._call("POST", "/repository/commits", body=body, seconds=COMMIT_SECONDS)
        if reply.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN}:
            text = f"GitLab answered {reply.status}: the token may not write the branch {proposal.branch}, a rule "
            raise CallFailed(f"{text}forbids it, or the commit is too large", transient=False, kind="branch_refused")
        self._checked(reply, "POST")
        return await self._open(proposal)

    async def look(self, number: int) -> SeenRequest | None:
        """See `CodeHost.look`."""
        reply = await self._call("GET", f"/merge_requests/{number}")
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        return read_as(LabRequest, self._checked(reply, "GET")).seen

    async def withdraw(self, request: SeenRequest, comment: str) -> None:
        """See `CodeHost.withdraw`: the text is marked with the same call that closes the request."""
        marked = {"state_event": "close", "description": f"{request.text}\n{WITHDRAWN}\n"}
        closed = await self._good("PUT", f"/merge_requests/{request.number}", body=marked)
        if read_as(LabRequest, closed).seen.state != "closed":
            return
        await self._good("POST", f"/merge_requests/{request.number}/notes", body={"body": comment})
        reply = await self._call("DELETE", f"/repository/branches/{part(request.branch)}")
        if reply.status != HTTPStatus.NOT_FOUND:
            self._checked(reply, "DELETE")

    async def _head_of(self, branch: str) -> str:
        reply = await self._call("GET", f"/repository/branches/{part(branch)}")
        if reply.status == HTTPStatus.NOT_FOUND:
            raise CallFailed(f"the repository has no branch {branch}", transient=False, kind="no_base_branch")
        return read_as(LabBranch, self._checked(reply, "GET")).commit.id

    async def _listed(self, folder: str, commit: str) -> dict[str, str]:
        """Return the modes of the files in a folder by their paths; none for a folder that is not there."""
        found: dict[str, str] = {}
        for page in range(1, MOST_PAGES + 1):
            query = {"path": folder, "ref": commit, "recursive": "true", "per_page": str(PAGE), "page": str(page)}
            reply = await self._call("GET", "/repository/tree", query=query)
            if reply.status == HTTPStatus.NOT_FOUND:
                return found
            entries = read_list(LabEntry, self._checked(reply, "GET"))
            files = (one for one in entries if one.type == "blob" and one.path.startswith(f"{folder}/"))
            found |= {one.path: one.mode for one in files}
            if len(entries) < PAGE:
                return found
        text = f"the folder {folder} of the repository has more than {PAGE * MOST_PAGES} entries"
        raise CallFailed(text, transient=False, kind="folder_too_large")

    async def _open(self, proposal: Proposal) -> SeenRequest:
        body = {
            "source_branch": proposal.branch,
            "target_branch": proposal.base,
            "title": proposal.title,
            "description": proposal.text,
            "remove_source_branch": True,
        }
        reply = await self._call("POST", "/merge_requests", body=body)
        if reply.status == HTTPStatus.CONFLICT:
            there = await self.find(proposal.branch, proposal.base)
            if there is not None and there.state == "open":
                return there
        return read_as(LabRequest, self._checked(reply, "POST")).seen


def _actions(proposal: Proposal, there: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what makes of the files of a folder those of a project; `there` has their modes."""
    actions: list[dict[str, Any]] = []
    wanted = {f"{proposal.folder}/{file.path}": file for file in proposal.files}
    for path, file in wanted.items():
        actions.append({"action": "update" if path in there else "create", "file_path": path, **_content(file)})
        if file.executable != (there.get(path) == PROGRAM):
            actions.append({"action": "chmod", "file_path": path, "execute_filemode": file.executable})
    gone = sorted(there.keys() - wanted.keys())
    return [*({"action": "delete", "file_path": path} for path in gone), *actions]


def _content(file: ProjectFile) -> dict[str, str]:
    text = text_of(file.data)
    if text is not None:
        return {"content": text, "encoding": "text"}
    return {"content": b64encode(file.data).decode(), "encoding": "base64"}
