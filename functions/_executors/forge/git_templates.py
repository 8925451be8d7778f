"""Templates in git repositories, by the git program: addresses that the owner allows, and objects alone.

Nothing of a repository is checked out, so no filter, hook, link or submodule of it does anything: its files are read
out of its objects. A repository is fetched without its history, within bounds of bytes and time.
"""

import asyncio
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from functions._core.executors.execute import Limits
from functions._core.forge.stages import TemplateSource
from functions._executors.forge.templates_at import bad, check_bounds
from functions._executors.patterns import admit
from functions._executors.port import CallFailed
from functions._executors.programs import found
from functions._executors.scanners.target import TargetFolder, TargetRefused
from functions._executors.settings import ExecutorSettings
from functions._executors.tools import ToolEnd, ToolFailed, ToolJob

ADDRESS = re.compile(
    r"(?P<scheme>https?|file|ssh)://(?P<user>[a-z_][a-z0-9_-]{0,31}@)?(?!-)(?:[A-Za-z0-9._~:/+-]|%20|%[89A-Fa-f][0-9A-Fa-f]){1,500}"
    r"|(?P<ssh>[a-z_][a-z0-9_-]{0,31}@)[A-Za-z0-9][A-Za-z0-9.-]{0,252}:[A-Za-z0-9_~/][A-Za-z0-9_./~+-]{0,500}"
)
"""An address, the second one as code hosts show those of ssh: `git@host:owner/name.git`.

Git and servers decode it after the owner's patterns were looked at: no sign that means something is encoded in it.
"""

REF = re.compile(r"(?!.*(\.\.|//|\.lock(/|$)))[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}(?<![./])")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

FETCH_SECONDS = 50.0
"""How long git may take, for all that it does."""

LIMITS = Limits(cpu_seconds=60, memory_mb=2_048, file_mb=64, processes=64, open_files=256)
"""What git may use; the largest file is the pack with all that it fetches."""

CONFIG = """\
[core]
  hooksPath = /dev/null
  fsmonitor = false
[credential]
  helper =
[fetch]
  unpackLimit = 1
  recurseSubmodules = false
[pack]
  threads = 1
[gc]
  auto = 0
[http]
  followRedirects = false
  lowSpeedLimit = 1000
  lowSpeedTime = 30
[safe]
  directory = *
"""
"""All configuration that git has. One pack is one file, whose size is limited; a redirect would lead past the owner's
list; repositories on this machine may belong to anybody."""

LINK, SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True)
class GitRevision:
    """What of a repository is taken."""

    wanted: str
    """The full name of a reference, or a commit."""
    version: str
    """The tag, or what was asked for; empty for the default branch."""


@dataclass(frozen=True, slots=True)
class GitFetched:
    """What was fetched."""

    version: str
    """The tag, or the commit."""
    commit: str
    """The commit."""
    ref: str
    """What names it: the tag or branch, or the commit."""


def check_source(settings: ExecutorSettings, source: TemplateSource) -> str:
    """Return the address of a repository; raise `CallFailed` unless the worker's owner allows it.

    Only a pattern that begins with `http://`, `file://`, `ssh://` or `git@` allows such an address: `**` does not.
    """
    address = source.git or ""
    match = ADDRESS.fullmatch(address)
    scheme = scheme_of(address)
    if match is None or ".." in address.split("/") or (match["user"] and scheme != "ssh"):
        text = "the address of a template is https://HOST/PATH or one of ssh, without a password"
        raise CallFailed(text, transient=False, kind="not_allowed")
    begin = "" if scheme == "https" else match["ssh"] or f"{scheme}://"
    patterns = [one for one in settings.repositories if one.startswith(begin)]
    admit(address, patterns, "this repository (WORKER_REPOSITORIES)")
    if source.ref is not None and not REF.fullmatch(source.ref):
        raise CallFailed("the reference of the template is none of git", transient=False, kind="bad_parameters")
    return address


def scheme_of(address: str) -> str:
    """Return how a repository is reached: https, http, ssh or file."""
    scheme, separator, _ = address.partition("://")
    return scheme if separator else "ssh"


async def fetch_template(job: ToolJob, source: TemplateSource, address: str, target: Path) -> GitFetched:
    """Fetch a template into a new folder; raise `CallFailed`."""
    git = GitProgram(job, address)
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            revision = _chosen(await git.references(), source.ref)
            commit = await git.fetch(revision)
            await git.lay_out(commit, source.subfolder, target)
    except TimeoutError as error:
        raise CallFailed(f"git took more than {FETCH_SECONDS:.0f} s", kind="git_failed") from error
    except ToolFailed as failure:
        raise CallFailed(f"the repository cannot be fetched: {str(failure)[-500:]}", kind="git_failed") from failure
    return GitFetched(revision.version or commit, commit, revision.version or commit)


class GitProgram:
    """Runs git in the folder of a job."""

    def __init__(self, job: ToolJob, address: str) -> None:
        """Take one repository; raise `CallFailed` where there is no git."""
        program = found("git")
        if program is None:
            raise CallFailed("git is not installed", transient=False, kind="no_tool")
        self._program, self._job, self._address = program, job, address
        config = job.folder / "gitconfig"
        config.write_text(CONFIG, encoding="utf-8")
        self._env = {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": f"{job.inside}/gitconfig",
            "GIT_ALLOW_PROTOCOL": scheme_of(address),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "LC_ALL": "C",
        }

    async def references(self) -> Mapping[str, str]:
        """Return the commits of the branches and tags, and of HEAD, by their full names."""
        end = await self._run("ls-remote", "--", self._address)
        lines = (line.partition("\t") for line in end.read.decode(errors="replace").splitlines())
        return {name: commit for commit, _, name in lines if COMMIT.fullmatch(commit)}

    async def fetch(self, revision: GitRevision) -> str:
        """Fetch one commit without what was before it, and return it."""
        await self._run("init", "-q", "--bare", "repository")
        await self._run(
            "-C", "repository", "fetch", "-q", "--depth=1", "--no-tags", "--", self._address, revision.wanted
        )
        end = await self._run("-C", "repository", "rev-parse", "--verify", "-q", "FETCH_HEAD^{commit}")
        return end.read.decode().strip()

    async def lay_out(self, commit: str, subfolder: str, target: Path) -> None:
        """Write the files of a folder of a commit into a new folder."""
        inner = "" if subfolder in {"", "."} else f":{subfolder.strip('/')}/"
        end = await self._run("-C", "repository", "ls-tree", "-r", "-z", "-l", "--full-tree", f"{commit}{inner}")
        entries = [*_entries(end.read)]
        check_bounds(len(entries), sum(size for _, _, size, _ in entries))
        wanted = "".join(f"{object_id}\n" for _, object_id, _, _ in entries).encode()
        contents = await self._run("-C", "repository", "cat-file", "--batch", stdin=wanted)
        await asyncio.to_thread(_lay_down, entries, contents.read, target)

    async def _run(self, *arguments: str, stdin: bytes = b"") -> ToolEnd:
        end = await self._job.run(self._program, *arguments, quiet=True, env=self._env, stdin=stdin, limits=LIMITS)
        if end.code:
            raise ToolFailed(f"git ended with exit status {end.code}: {end.said}")
        return end


def _chosen(references: Mapping[str, str], ref: str | None) -> GitRevision:
    """Return what is taken: what is named, else the newest tag that is a version, else the default branch."""
    if ref is not None:
        for name in (f"refs/tags/{ref}", f"refs/heads/{ref}"):
            if name in references:
                return GitRevision(name, ref)
        if COMMIT.fullmatch(ref):
            return GitRevision(ref, ref)
        raise CallFailed(f"the repository has no tag or branch {ref}", transient=False, kind="no_template")
    newest = newest_version([name.removeprefix("refs/tags/") for name in references if name.startswith("refs/tags/")])
    if newest is not None:
        return GitRevision(f"refs/tags/{newest}", newest)
    if "HEAD" not in references:
        raise CallFailed("the repository is empty", transient=False, kind="no_template")
    return GitRevision("HEAD", "")


def newest_version(tags: Sequence[str]) -> str | None:
    """Return the tag of the newest version by PEP 440 that is no prerelease; None where no tag is one."""
    from packaging.version import InvalidVersion, Version

    versions: list[tuple[Version, str]] = []
    for tag in filter(REF.fullmatch, tags):  # which has an end, as numbers have
        try:
            version = Version(tag)
        except InvalidVersion:
            continue
        if not version.is_prerelease:
            versions.append((version, tag))
    return max(versions)[1] if versions else None


def _entries(text: bytes) -> Iterator[tuple[str, str, int, str]]:
    """Yield mode, object, size and path of each file of a tree; raise `CallFailed` for a link."""
    for line in filter(None, text.split(b"\0")):
        about, _, name = line.partition(b"\t")
        mode, _, object_id, size = about.decode().split()
        try:
            path = name.decode()
        except UnicodeDecodeError as error:
            raise bad("the template has a file whose name is no text") from error
        if mode == LINK:
            raise bad(f"the template has a link: {path[:200]}")
        if mode == SUBMODULE:
            raise bad(f"the template has a submodule, which is not fetched: {path[:200]}")
        yield mode, object_id, int(size), path


def _lay_down(entries: Sequence[tuple[str, str, int, str]], contents: bytes, target: Path) -> None:
    target.mkdir(mode=0o700)
    laid, stream = TargetFolder(target), io.BytesIO(contents)
    for mode, object_id, size, path in entries:
        head = stream.readline().split()
        if head != [object_id.encode(), b"blob", str(size).encode()]:
            raise CallFailed("git did not print what it was asked for", kind="git_failed")
        try:
            laid.add(path, io.BytesIO(stream.read(size)), int(mode, 8))
        except TargetRefused as refused:
            raise bad(f"the template has a file that cannot be taken: {path[:200]}") from refused
        stream.read(1)
    if not laid.files:
        raise bad("the template has no files")
