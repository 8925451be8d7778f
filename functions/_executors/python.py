"""The executor `python`: a function of a module, or a script with the packages that its metadata names (PEP 723)."""

import json
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from functions._core.errors import Rejected
from functions._core.executors.execute import PythonParameters
from functions._core.executors.table import WORK
from functions._core.records.json_text import parse_json
from functions._core.records.values import TaskType
from functions._executors.port import CallFailed, JobContext, JobFailed, JobState, ToolCheck
from functions._executors.programs import ProgramEnd, ProgramExecutor, ProgramSpec, found, last_words, outputs_of

SCRIPT = "script.py"

METADATA = re.compile(r"^# /// script\s*$\n((?:^#(?:| .*)$\n)+?)^# ///\s*$", re.MULTILINE)
"""The block of a script that says what it needs."""

CALL = """\
import asyncio, inspect, json, os, sys
from pkgutil import resolve_name
said = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the function prints is no value
result = resolve_name(sys.argv[1])(json.load(sys.stdin))
if inspect.isawaitable(result):
    async def wait():
        return await result
    result = asyncio.run(wait())
json.dump(result, said)
said.close()
"""
"""Calls a function with the JSON on standard input and writes what it returns, alone, to standard output."""


class PythonExecutor(ProgramExecutor[PythonParameters]):
    """Runs Python in a process of its own, in the sandbox; never in the worker."""

    name: ClassVar[str] = "python"
    family: ClassVar[str] = "execute"
    task_types: ClassVar[frozenset[TaskType]] = WORK
    Parameters = PythonParameters

    def spec(self, context: JobContext[PythonParameters], folder: Path) -> ProgramSpec:
        """Return the program; raise `CallFailed` for a function that is not allowed, or packages without uv."""
        given = context.parameters
        if not self.sandbox.permits(given.callable or "python"):
            text = f"the worker's owner does not allow {'this function' if given.callable else 'scripts in Python'}"
            raise CallFailed(f"{text} (WORKER_COMMANDS)", transient=False, kind="not_allowed")
        if given.callable is not None:
            argv: Sequence[str] = (sys.executable, "-c", CALL, given.callable)
        else:
            argv = self._script(given.script or "", folder, network=given.network)
        readable = os.pathsep.join(str(path.resolve()) for path in self.settings.readable)
        return ProgramSpec(
            argv=argv,
            stdin=json.dumps(given.input).encode(),
            env={"PYTHONPATH": readable, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **given.env},
            within=given.folder,
            network=given.network,
            limits=given.limits,
        )

    def judged(self, context: JobContext[PythonParameters], end: ProgramEnd) -> JobState:
        """Return what the function returned, or what the script printed if it is JSON."""
        given = context.parameters
        if end.exit_code != 0:
            return JobFailed("exit_status", f"exit status {end.exit_code}: {last_words(end)}")
        try:
            value = parse_json(end.value) if end.value else None
        except Rejected as error:
            if given.callable is not None:
                text = f"what the function returned is no value of a task: {error}"
                return JobFailed("output_not_json", text, retryable=False)
            value = None
        if given.callable is not None and end.value is None:
            return JobFailed("output_too_large", "the function returned too much", retryable=False)
        return outputs_of(end, given.artifacts, value)

    async def check(self) -> Sequence[ToolCheck]:
        """Look at uv, too."""
        uv = found("uv")
        of_uv = ToolCheck("uv", uv is not None, uv or "scripts with dependencies cannot run", required=False)
        return (*await super().check(), ToolCheck("python", True, sys.executable), of_uv)

    def _script(self, text: str, folder: Path, *, network: bool) -> Sequence[str]:
        """Write a script to the folder of its job and return how it is run: by uv where it needs packages."""
        (folder / SCRIPT).write_text(text, encoding="utf-8")
        path = str((Path("/job") if self.sandbox.on else folder) / SCRIPT)
        if not _metadata(text):
            return sys.executable, path
        uv = found("uv")
        if uv is None:
            raise CallFailed("the script names dependencies, and uv is not here", transient=False, kind="no_uv")
        offline = () if network else ("--offline",)
        return uv, "run", "--no-project", "--no-config", *offline, "--python", sys.executable, "--script", path


def _metadata(script: str) -> dict[str, Any]:
    """Return what a script says that it needs (PEP 723); empty where it needs nothing."""
    block = METADATA.search(script)
    if block is None:
        return {}
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in block[1].splitlines(keepends=True))
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CallFailed("the metadata of the script is no TOML", transient=False, kind="bad_parameters") from error
    return {name: said[name] for name in ("dependencies", "requires-python") if said.get(name)}
