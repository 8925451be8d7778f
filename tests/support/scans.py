"""Scans without a platform: an executor with the tools of this machine, and programs that stand in for others."""

import sys
from pathlib import Path
from typing import Any

import pytest

from functions._core.records.json_text import parse_json
from functions._executors.scan import ScanExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.context import CONTEXT, TaskContext
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from functions._worker.written import Written
from tests.support.jobs import assigned

ALLOWED = ("bandit", "ruff", "detect-secrets", "semgrep", "checkov", "trivy", "promtool")


class ScanDesk:
    """Runs scans in a folder; `log` is what the ticket of the last one has."""

    def __init__(self, folder: Path, sandbox: str = "off", **environment: str) -> None:
        self.folder = folder
        self.settings = ExecutorSettings.model_validate(
            {
                "sandbox": sandbox,
                "folder": folder / "work",
                "commands": ALLOWED if sandbox == "off" else (),
                "environment": environment,
            }
        )
        self.log = ""

    async def run(self, parameters: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Return the outputs, as they are after JSON."""
        jobs = JobsExecutor([ScanExecutor(self.settings, pauses=(0.0, 0.0))], pauses=(0.0,))
        assignment = assigned({"provider": "scan", **parameters}, task_type="VALIDATE", **changes)
        written = Written(assignment.mask)
        context = TaskContext(assignment, written, lambda *_, **__: None)
        token = CONTEXT.set(context)
        try:
            output = await jobs.run(assignment)
        finally:
            self.log = written.text()
            CONTEXT.reset(token)
            await jobs.aclose()
        assert isinstance(output, dict)
        return output

    async def failure(self, parameters: dict[str, Any], **changes: Any) -> TaskFailed:
        """Return how the task fails."""
        with pytest.raises(TaskFailed) as failed:
            await self.run(parameters, **changes)
        return failed.value

    @property
    def left(self) -> list[str]:
        """What is left in the folder of all jobs."""
        return sorted(path.name for path in self.settings.folder.iterdir())


def program(folder: Path, name: str, text: str) -> Path:
    """Make a program in Python that stands in for a tool, and return its folder, which is to be in PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return folder


def json_of(text: str) -> Any:
    """Return a JSON value."""
    return parse_json(text.encode())
