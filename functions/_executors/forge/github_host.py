"""Merge requests on GitHub: its Git database for the content, its pull requests for people (REST API, 2022-11-28).

The folder of a project becomes what the project is, as one tree: text goes with the tree, other files as blobs before.
A commit that is made again is another one; the branch is the forge's, and is moved to the newest.
"""

from base64 import b64encode
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from pydantic import Field

from functions._adapters.http.reply import Reply
from functions._core.records.values import Model
from functions._executors.forge.code_host import (
    WITHDRAWN,
    CodeHostSettings,
    HostedRepository,
    ProjectFile,
    Proposal,
    SeenRequest,
    batches,
    newest,
    refusal,
    text_of,
    web_address,
)
from functions._executors.github_actions import GithubApi
from functions._executors.port import CallFailed
from functions._executors.services import ServiceConnection, part, read_as, read_list

INLINE_BYTES = 256 * 1024
"""Bytes of a text that goes with its tree."""

TREE_BYTES, TREE_FILES = 2 * 1024 * 1024, 500
"""Bytes and files that go with one tree; the rest comes with the next one, which is based on it."""

MOST_BLOBS = 60
"""Files that are no text, or too large to go with a tree: GitHub takes 80 calls a minute that make something."""

GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Statuses for a branch that is deleted and is not there."""

HINDRANCES = {
    "dirty": "it has conflicts with the branch that it goes to",
    "blocked": "the rules of the branch that it goes to are not met yet",
    "behind": "its branch is behind the one that it goes to",
    "unstable": "a check of the repository does not succeed",
}

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]


class HubObject(Model):
    """Anything of the Git database."""

    sha: Sha


class HubRef(Model):
    """A branch."""

    object: HubObject


class HubCommit(Model):
    """A commit."""

    sha: Sha
    tree: HubObject


class HubRepository(Model):
    """A repository."""

    default_branch: Annotated[str, Field(min_length=1, max_length=255)]
    full_name: str = ""


class HubUser(Model):
    """A person or a program."""

    login: str = ""


class HubHead(Model):
    """A branch that a pull request comes from or goes to; its repository may have been deleted."""

    ref: str = ""
    sha: str = ""
    repo: HubRepository | None = None


class PullRequest(Model):
    """A pull request, as GitHub shows it."""

    number: Annotated[int, Field(ge=1, lt=2**53)]
    html_url: str = ""
    state: str = ""
    body: str | None = None
    merged_at: str | None = None
    merge_commit_sha: str | None = None
    merged_by: HubUser | None = None
    mergeable_state: str | None = None
    head: HubHead
    base: HubHead

    @property
    def seen(self) -> SeenRequest:
        merged = self.merged_at is not None
        return SeenRequest(
            number=self.number,
            url=web_address(self.html_url),
            state="merged" if merged else "open" if self.state == "open" else "closed",
            branch=self.head.ref,
            base=self.base.ref,
            head=self.head.sha,
            text=self.body or "",
            commit=(self.merge_commit_sha or "")[:64] if merged else "",
            merged_by=(self.merged_by.login if self.merged_by else "")[:100],
            hindrance=HINDRANCES.get(self.mergeable_state or "", ""),
        )


class GithubHost(HostedRepository):
    """A repository on GitHub."""

    def __init__(self, connection: ServiceConnection, settings: CodeHostSettings) -> None:
        """Open nothing yet."""
        self._owner, _, name = settings.repository.partition("/")
        super().__init__(GithubApi(connection), f"/repos/{part(self._owner)}/{part(name)}", settings)

    async def find(self, branch: str, base: str) -> SeenRequest | None:
        """See `CodeHost.find`."""
        query = {"head": f"{self._owner}:{branch}", "base": base, "state": "all"}
        query |= {"sort": "created", "direction": "desc", "per_page": "100"}
        listed = read_list(PullRequest, await self._good("GET", "/pulls", query=query))
        return newest([one.seen for one in listed if self._is_own(one)], branch, base)

    async def base(self) -> str:
        """See `CodeHost.base`."""
        return self._base or read_as(HubRepository, await self._good("GET", "")).default_branch

    async def propose(self, proposal: Proposal) -> SeenRequest:
        """See `CodeHost.propose`."""
        parent = await self._head_of(proposal.base)
        commit = read_as(HubCommit, await self._good("GET", f"/git/commits/{parent}"))
        project = await self._tree(proposal.files)
        folder = {"path": proposal.folder, "mode": "040000", "type": "tree", "sha": project}
        tree = await self._made("/git/trees", {"base_tree": commit.tree.sha, "tree": [folder]})
        made = await self._made("/git/commits", {"message": proposal.title, "tree": tree, "parents": [parent]})
        await self._move(proposal.branch, made)
        return await self._open(proposal)

    async def look(self, number: int) -> SeenRequest | None:
        """See `CodeHost.look`."""
        reply = await self._call("GET", f"/pulls/{number}")
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        return read_as(PullRequest, self._checked(reply, "GET")).seen

    async def withdraw(self, request: SeenRequest, comment: str) -> None:
        """See `CodeHost.withdraw`: the text is marked with the same call that closes the request."""
        marked = {"state": "closed", "body": f"{request.text}\n{WITHDRAWN}\n"}
        closed = await self._good("PATCH", f"/pulls/{request.number}", body=marked)
        if read_as(PullRequest, closed).seen.state != "closed":
            return
        await self._good("POST", f"/issues/{request.number}/comments", body={"body": comment})
        reply = await self._call("DELETE", f"/git/refs/heads/{_quoted(request.branch)}")
        if reply.status not in GONE:
            self._checked(reply, "DELETE")

    def _is_own(self, request: PullRequest) -> bool:
        """Whether a request comes from this repository; of one whose repository is gone nobody knows."""
        return request.head.repo is not None and request.head.repo.full_name.lower() == self._repository.lower()

    async def _head_of(self, branch: str) -> str:
        reply = await self._call("GET", f"/git/ref/heads/{_quoted(branch)}")
        if reply.status == HTTPStatus.CONFLICT:
            text = "the repository is empty: a merge request needs a first commit on the branch that it goes to"
            raise CallFailed(text, transient=False, kind="empty_repository")
        if reply.status == HTTPStatus.NOT_FOUND:
            raise CallFailed(f"the repository has no branch {branch}", transient=False, kind="no_base_branch")
        return read_as(HubRef, self._checked(reply, "GET")).object.sha

    async def _tree(self, files: Sequence[ProjectFile]) -> str:
        """Make the tree of a project, in as many steps as its size takes."""
        alone = sum(_inline(file) is None for file in files)
        if alone > MOST_BLOBS:
            text = (
                f"{alone} files are no text or have more than {INLINE_BYTES} bytes; GitHub takes {MOST_BLOBS} of them"
            )
            raise CallFailed(text, transient=False, kind="project_too_large")
        made = ""
        for batch in batches(files, TREE_BYTES, TREE_FILES):
            before = {"base_tree": made} if made else {}
            made = await self._made("/git/trees", {**before, "tree": [await self._entry(file) for file in batch]})
        return made

    async def _entry(self, file: ProjectFile) -> dict[str, str]:
        about = {"path": file.path, "mode": "100755" if file.executable else "100644", "type": "blob"}
        text = _inline(file)
        if text is not None:
            return {**about, "content": text}
        blob = {"content": b64encode(file.data).decode(), "encoding": "base64"}
        return {**about, "sha": await self._made("/git/blobs", blob)}

    async def _made(self, path: str, body: object) -> str:
        return read_as(HubObject, await self._good("POST", path, body=body)).sha

    async def _move(self, branch: str, commit: str) -> None:
        """Let the branch be at a commit, whether it is there or not."""
        body = {"ref": f"refs/heads/{branch}", "sha": commit}
        reply = await self._call("POST", "/git/refs", body=body)
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:  # an earlier attempt has made it, or a rule forbids it
            path = f"/git/refs/heads/{_quoted(branch)}"
            reply = await self._call("PATCH", path, body={"sha": commit, "force": True})
        if reply.status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.FORBIDDEN} and not self._limited(reply):
            text = f"GitHub answered {reply.status}: the token may not write the branch {branch}, or a rule forbids it"
            raise CallFailed(text, transient=False, kind="branch_refused")
        self._checked(reply, "POST")

    async def _open(self, proposal: Proposal) -> SeenRequest:
        body = {"title": proposal.title, "body": proposal.text, "head": proposal.branch, "base": proposal.base}
        reply = await self._call("POST", "/pulls", body=body)
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            there = await self.find(proposal.branch, proposal.base)
            if there is not None and there.state == "open":
                return there
            raise refusal(reply.status, f"a pull request from {proposal.branch} to {proposal.base}")
        return read_as(PullRequest, self._checked(reply, "POST")).seen

    def _limited(self, reply: Reply) -> bool:
        return self._api.refused(reply, "POST").transient


def _inline(file: ProjectFile) -> str | None:
    """Return the text of a file that goes with its tree; None for another file."""
    return text_of(file.data) if len(file.data) <= INLINE_BYTES else None


def _quoted(branch: str) -> str:
    return "/".join(part(one) for one in branch.split("/"))
