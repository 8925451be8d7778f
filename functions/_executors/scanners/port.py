"""The port of scanners: one use of one tool, and what comes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from functions._core.executors.scan import ScanFinding, ScanParameters, ScanTool
from functions._executors.patterns import fits
from functions._executors.port import JobContext, ToolCheck


class NotRun(Exception):
    """The worker does not have the tool, or its owner has not said what the tool needs."""


class ToolFaulty(Exception):
    """The tool is there, and has not ended well: nobody knows what it would have found.

    `retryable` says whether it may end better another time.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a tool has found; `denied` where it says no by itself."""

    findings: Sequence[ScanFinding]
    denied: bool = False
    note: str = ""
    """What people should know of how it went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanJob:
    """One use of one tool."""

    context: JobContext[ScanParameters]
    tool: ScanTool
    target: Path
    """The folder with the files; it belongs to the worker, and no tool writes to it."""
    files: Sequence[str]
    """The paths of all files in it."""
    folder: Path
    """A folder that is there for this use alone; not made yet."""

    def chosen(self, default: Sequence[str]) -> Sequence[str]:
        """Return the files that fit the patterns of the plan, or else `default`."""
        return [path for path in self.files if fits(path, self.tool.files or default)]


class Scanner(Protocol):
    """Uses one tool. It is made once for a worker."""

    name: ClassVar[str]

    async def scan(self, job: ScanJob) -> Scanned:
        """Return what the tool finds; raise `NotRun`, `ToolFaulty` or `CallFailed`. It may be cancelled."""

    async def check(self) -> ToolCheck:
        """Return whether the tool is there, and its version."""

    async def aclose(self) -> None:
        """Let go of connections."""


Documents = Mapping[str, object]
"""JSON values by the paths of their files."""
