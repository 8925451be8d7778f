"""The port of code hosts, where people merge what the forge has made or close it; and which one the owner has.

    WORKER_FORGE_HOST          github or gitlab
    WORKER_FORGE_REPOSITORY    the repository, which WORKER_REPOSITORIES has to allow, too
    WORKER_FORGE_BASE          the branch that is merged into; without it the default branch
    WORKER_FORGE_FOLDER        where a project lies: {artifact_id} is replaced, {name} by its last part

Address and token are those of the service FORGE_HOST (`services`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from functions._executors.port import ToolCheck
from functions._executors.settings import PREFIX, ExecutorSettings

HOSTS = ("github", "gitlab")

FOLDER = re.compile(r"[A-Za-z0-9._{}-]+(/[A-Za-z0-9._{}-]+)*")
REPOSITORY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
BRANCH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")

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
    text: str = ""
    commit: str = ""
    """Of one that was merged: the commit that the merge made."""
    merged_by: str = ""
    hindrance: str = ""
    """Of an open one: why it cannot be merged as it is; empty where it can, or nobody knows."""

    @property
    def withdrawn(self) -> bool:
        """Whether the forge has closed it."""
        return self.state == "closed" and WITHDRAWN in self.text


class CodeHost(Protocol):
    """One repository on a code host. All methods raise `CallFailed`."""

    async def find(self, branch: str) -> SeenRequest | None:
        """Return the newest request from a branch of the repository itself, whatever its state; None for none.

        Requests from other repositories are strangers', whatever their branch is called.
        """

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
        parts = folder.split("/")
        if any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts):
            raise ValueError("the id of the artifact is no folder of a repository")
        return folder


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
