"""The port of code hosts, where people merge what the forge has made or close it; and which one the owner has.

    WORKER_FORGE_HOST          github or gitlab
    WORKER_FORGE_REPOSITORY    the repository, which WORKER_REPOSITORIES has to allow, too
    WORKER_FORGE_BASE          the branch that is merged into; without it the default branch
    WORKER_FORGE_FOLDER        where a project lies: {artifact_id} is replaced, {name} by its last part

Address and token are those of the service FORGE_HOST (`services`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from functions._adapters.http.reply import Reply
from functions._executors.port import CallFailed, ToolCheck
from functions._executors.services import SECONDS, ServiceApi
from functions._executors.settings import PREFIX, ExecutorSettings

HOSTS = ("github", "gitlab")

FOLDER = re.compile(r"[A-Za-z0-9._{}-]+(/[A-Za-z0-9._{}-]+)*")
REPOSITORY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
BRANCH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")

WEB = re.compile(r"https?://[!-~]{1,2000}")
"""An address of a page, without blanks and controls."""

PREFIX_OF_BRANCHES = "flowc-forge/"
"""Branches with this prefix are the forge's: it makes, replaces and deletes no others."""

WITHDRAWN = "<!-- flowc-forge: withdrawn -->"
"""In the text of a request that the forge itself has closed, as nobody waited for it any more: nobody rejected it."""


class ProjectFile(NamedTuple):
    """A file of a project."""

    path: str
    """Relative, with slashes."""
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """A project that is put before people."""

    branch: str
    base: str
    """The branch that it is to be merged into."""
    folder: str
    """Where it lies in the repository."""
    title: str
    text: str
    """Markdown."""
    files: Sequence[ProjectFile] = ()


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A merge request, as its host shows it."""

    number: int
    url: str
    state: str
    """open, merged or closed."""
    branch: str
    base: str = ""
    """The branch that it goes to, or went to."""
    head: str = ""
    """The newest commit of its branch."""
    text: str = ""
    commit: str = ""
    """Of one that was merged: the commit that the merge made."""
    merged_by: str = ""
    hindrance: str = ""
    """Of an open one: why it cannot be merged as it is; empty where it can, or nobody knows."""

    @property
    def withdrawn(self) -> bool:
        """Whether the forge has closed it: only the last line says so, as names from outside are in other lines."""
        return self.state == "closed" and self.text.rstrip().rpartition("\n")[2].strip() == WITHDRAWN


class CodeHost(Protocol):
    """One repository on a code host. All methods raise `CallFailed`."""

    async def find(self, branch: str, base: str) -> SeenRequest | None:
        """Return the request from a branch of the repository itself to another one: an open one, else the newest.

        None for none. Requests from other repositories are strangers', whatever their branch is called.
        """

    async def base(self) -> str:
        """Return the branch that is merged into."""

    async def propose(self, proposal: Proposal) -> SeenRequest:
        """Put the project on the branch, in place of what is there, and open a request for it.

        It may be called again, and goes on where it was left.
        """

    async def look(self, number: int) -> SeenRequest | None:
        """Return a request; None for one that is not there any more."""

    async def withdraw(self, request: SeenRequest, comment: str) -> None:
        """Comment on an open request, close it, and delete its branch; one that was merged meanwhile is left alone."""

    async def reached(self) -> ToolCheck:
        """Return whether the repository can be seen with the worker's token."""

    async def aclose(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class CodeHostSettings:
    """The repository of the worker's owner for merge requests."""

    host: str
    """One of HOSTS."""
    repository: str
    base: str
    """The branch that is merged into; empty for the default branch."""
    folder: str
    """Pattern of the folder of a project."""

    def folder_of(self, artifact_id: str) -> str:
        """Return the folder of an artifact; raise `ValueError` for an id that leads elsewhere."""
        name = artifact_id.rstrip("/").rpartition("/")[2]
        folder = self.folder.replace("{artifact_id}", artifact_id).replace("{name}", name)
        hidden = any(part.startswith(".") for part in artifact_id.split("/"))  # .github has programs of the host
        if hidden or any(part in {"", ".", ".."} or part.lower() == ".git" for part in folder.split("/")):
            raise ValueError("the id of the artifact is no folder of a repository")
        return folder


class HostedRepository:
    """What the hosts have in common: calls of one repository, and what its owner can do about those that fail."""

    def __init__(self, api: ServiceApi, path: str, settings: CodeHostSettings) -> None:
        """Open nothing yet; `path` is where the API has the repository."""
        self._api = api
        self._path = path
        self._base = settings.base
        self._repository = settings.repository

    async def reached(self) -> ToolCheck:
        """See `CodeHost.reached`."""
        return await self._api.reached(self._path, "repository")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.aclose()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        seconds: float = SECONDS,
    ) -> Reply:
        """Return the answer, whatever its status; `path` is one below the repository."""
        return await self._api.call(method, f"{self._path}{path}", query=query, body=body, seconds=seconds)

    async def _good(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Reply:
        """Return an answer of success; raise `CallFailed` for any other."""
        return self._checked(await self._call(method, path, query=query, body=body), method)

    def _checked(self, reply: Reply, method: str) -> Reply:
        """Return an answer of success; raise `CallFailed` with a word on what the owner can do."""
        if reply.ok:
            return reply
        failure = self._api.refused(reply, method)
        raise failure if failure.transient else refusal(reply.status, f"{method} in {self._repository}")


def code_host_settings(settings: ExecutorSettings) -> CodeHostSettings | None:
    """Return where merge requests are made; None where the owner names no code host. Raises `ValueError`."""

    def given(name: str) -> str:
        return settings.environment.get(f"{PREFIX}FORGE_{name}", "").strip()

    host, repository = given("HOST").lower(), given("REPOSITORY")
    if not host and not repository:
        return None
    if host not in HOSTS:
        raise ValueError(f"{PREFIX}FORGE_HOST is none of {', '.join(HOSTS)}")
    if not REPOSITORY.fullmatch(repository) or {".", ".."} & {*repository.split("/")}:
        raise ValueError(f"{PREFIX}FORGE_REPOSITORY is no repository, such as acme/generated")
    if host == "github" and repository.count("/") != 1:
        raise ValueError(f"{PREFIX}FORGE_REPOSITORY is no repository of GitHub, which has an owner and a name")
    base, folder = given("BASE"), given("FOLDER") or "{artifact_id}"
    if base and (not BRANCH.fullmatch(base) or base.startswith(("-", PREFIX_OF_BRANCHES)) or ".." in base):
        raise ValueError(f"{PREFIX}FORGE_BASE is no branch that can be merged into")
    found = CodeHostSettings(host, repository, base, folder)
    if not FOLDER.fullmatch(folder) or found.folder_of("a/b") == found.folder_of("c/d"):
        raise ValueError(f"{PREFIX}FORGE_FOLDER is no folder with {{artifact_id}} or {{name}} in it")
    return found


def newest(found: Sequence[SeenRequest], branch: str, base: str) -> SeenRequest | None:
    """Return an open request from a branch to another one, else the first; a host may list others, too."""
    ours = [one for one in found if (one.branch, one.base) == (branch, base)]
    return next((one for one in ours if one.state == "open"), ours[0] if ours else None)


def refusal(status: int, what: str) -> CallFailed:
    """Return what it means that a code host refuses something for good; what the host says is not in it."""
    reasons = {
        301: "the repository has another name now (WORKER_FORGE_REPOSITORY)",
        401: "the token is not taken (WORKER_FORGE_HOST_TOKEN)",
        403: "the token may not do this",
        404: "there is no such thing, or the token may not see it",
    }
    text = f"the code host answered {status} to {what}: {reasons.get(status, 'it does not take this')}"
    return CallFailed(text, transient=False, kind="refused")


def web_address(url: str) -> str:
    """Return an address that a browser opens; empty for any other."""
    return url if WEB.fullmatch(url) else ""


def batches(files: Sequence[ProjectFile], most_bytes: int, most_files: int) -> Iterator[Sequence[ProjectFile]]:
    """Yield files in pieces that have at most so many bytes and files; a larger file is a piece of its own."""
    batch: list[ProjectFile] = []
    size = 0
    for file in files:
        if batch and (size + len(file.data) > most_bytes or len(batch) == most_files):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += len(file.data)
    if batch:
        yield batch


def text_of(data: bytes) -> str | None:
    """Return bytes as text that JSON keeps as it is; None for others."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
