"""Tools that judge JSON and YAML: JSON Schema, and SARIF that other tools have written."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

from functions._core.executors.findings import finding
from functions._core.executors.sarif import NoSarif, findings_in
from functions._core.executors.scan import ScanFinding, ScanSeverity
from functions._executors.port import ToolCheck
from functions._executors.programs import ProgramSpec, last_words
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.scanners.programs import LAST_WORDS, QUIET, SOURCE, Programs, json_in, limits_for, report_of
from functions._executors.scanners.target import copied
from functions._executors.work_folder import remove_folder

JUDGE = Path(__file__).with_name("judge.py").read_text(encoding="utf-8")
"""Given as text: the sandbox does not show where this package is."""

ADDRESSES_MB = 320 * 1_024
"""Addresses of the judge: regopy reserves 256 GiB of them. Its memory is watched by itself."""

TEXTS = ("**/*.json", "**/*.yaml", "**/*.yml")
DOCKERFILES = ("**/Dockerfile", "**/*.Dockerfile", "**/Dockerfile.*", "**/Containerfile")
SARIFS = ("**/*.sarif", "**/*.sarif.json")


class Judge:
    """Has documents judged in a process of its own, as a schema, a policy or a document may be made to exhaust one."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def fault(self) -> str:
        """Return why nothing can be judged here; empty where it can."""
        return await self._programs.fault()

    async def ask(
        self, job: ScanJob, paths: Sequence[str], dockerfiles: Sequence[str] = (), **about: object
    ) -> Mapping[str, Any]:
        """Return the answer to a request about some documents; raise `NotRun` or `ToolFaulty`."""
        if fault := await self.fault():
            raise NotRun(fault)
        seconds = job.tool.timeout_seconds
        request = json.dumps({"paths": paths, "dockerfiles": dockerfiles, **about}).encode()
        files = [*dict.fromkeys([*paths, *(dockerfiles or ())])]
        limits = limits_for(seconds).but(cpu_seconds=ceil(seconds) + 1, memory_mb=ADDRESSES_MB)
        argv = (sys.executable, "-I", "-c", JUDGE)
        spec = ProgramSpec(argv=argv, stdin=request, env=QUIET, within=SOURCE, limits=limits)
        try:
            await asyncio.to_thread(copied, job.target, files, job.folder / SOURCE)
            end = await self._programs.ended(spec, job.context, job.folder, seconds)
        finally:
            await asyncio.to_thread(remove_folder, job.folder)
        if end.exit_code != 0:
            raise ToolFaulty(f"exit status {end.exit_code}: {last_words(end)[-LAST_WORDS:]}", retryable=False)
        answer = await asyncio.to_thread(json_in, end.value, "the answer about the documents")
        if not isinstance(answer, dict):
            raise ToolFaulty("the answer about the documents has another form than it should")
        return answer


class JsonSchemaScanner:
    """Whether JSON and YAML files fit a schema of the plan. Each fault is a finding of severity HIGH."""

    name: ClassVar[str] = "json_schema"

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def scan(self, job: ScanJob) -> Scanned:
        """See `Scanner.scan`."""
        paths = job.chosen(TEXTS)
        if not paths:
            raise ToolFaulty("the target has no files for it; `files` names them", retryable=False)
        answer = await self._judge.ask(job, paths, against=job.tool.against)
        if "wrong" in answer:
            raise ToolFaulty(str(answer["wrong"]), retryable=False)
        try:
            found = [
                finding(self.name, keyword, ScanSeverity.HIGH, f"/{place}: {said}", path)
                for path, faults in answer["faults"].items()
                for place, keyword, said in faults
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ToolFaulty("the answer about the documents has another form than it should") from error
        return Scanned(found)

    async def check(self) -> ToolCheck:
        """See `Scanner.check`."""
        fault = await self._judge.fault()
        return ToolCheck(self.name, not fault, fault or f"jsonschema {_version('jsonschema')}", required=False)

    async def aclose(self) -> None:
        """See `Scanner.aclose`."""


class SarifScanner:
    """Findings of tools that Flow C does not know, in SARIF files of the target."""

    name: ClassVar[str] = "sarif"

    async def scan(self, job: ScanJob) -> Scanned:
        """See `Scanner.scan`."""
        paths = job.chosen(SARIFS)
        if not paths:
            raise ToolFaulty("the target has no files for it; `files` names them", retryable=False)
        return Scanned(await asyncio.to_thread(self._found, job, paths))

    async def check(self) -> ToolCheck:
        """See `Scanner.check`."""
        return ToolCheck(self.name, True, "SARIF 2.1.0", required=False)

    async def aclose(self) -> None:
        """See `Scanner.aclose`."""

    def _found(self, job: ScanJob, paths: Sequence[str]) -> Sequence[ScanFinding]:
        found: list[ScanFinding] = []
        for path in paths:
            try:
                found += findings_in(report_of(job.target, path), known=len(found))
            except NoSarif as error:
                raise ToolFaulty(f"{path[:200]} {error}", retryable=False) from error
        return found


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
