"""Stages of the code forge that look at a project, without a platform: a desk with a store, tools and projects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.forge.stages import ComposedCode
from functions._executors.forge.run_tests import RunTestsExecutor
from functions._executors.forge.validate_code import ValidateCodeExecutor
from functions._executors.port import JobExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.context import CONTEXT, TaskContext
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from functions._worker.written import Written
from tests.support.forge_projects import archive, kept_project, stored_context, written
from tests.support.jobs import assigned

ALLOWED = ("bandit", "ruff", "detect-secrets", "trivy", "checkov", "pytest")
SHOP = {
    "LICENSE": "Apache License\n",
    "pyproject.toml": "[project]\nname = 'shop'\nversion = '0.1.0'\n",
    "src/shop/__init__.py": '"""A shop."""\n',
    "src/shop/prices.py": '"""Prices."""\n\n\ndef total(prices: list[int]) -> int:\n    return sum(prices)\n',
    "tests/test_prices.py": """
from unittest import TestCase

from shop.prices import total


class TestPrices(TestCase):
    def test_adds(self) -> None:
        self.assertEqual(total([1, 2]), 3)

    def test_nothing_costs_nothing(self) -> None:
        self.assertEqual(total([]), 0)
""",
}
"""A project in which nothing is wrong."""


class ForgeDesk:
    """Runs stages in a folder; `log` is what the ticket of the last one has."""

    def __init__(self, folder: Path, sandbox: str = "off", **environment: str) -> None:
        self.folder = folder
        self.settings = ExecutorSettings.model_validate(
            {
                "sandbox": sandbox,
                "folder": folder / "work",
                "commands": ALLOWED if sandbox == "off" else (),
                "logs": str(folder / "store"),
                "environment": environment,
            }
        )
        self.log = ""
        self._projects = 0

    def project(self, files: Mapping[str, str | bytes], language: str = "python") -> dict[str, Any]:
        """Keep a project in the store, and return it as the output of compose_code."""
        self._projects += 1
        source = written(self.folder / f"source-{self._projects}", files)
        context = stored_context(self.folder / "store", ticket_id=f"composed-{self._projects}")
        return self.code(kept_project(context, source), language, len(files))

    def code(self, content: Any, language: str = "python", files: int = 1) -> dict[str, Any]:
        """Return the output of compose_code with some content."""
        return ComposedCode(
            content=content,
            artifacts=(),
            confidence_score=1,
            template_id="shop-template",
            language=language,
            files=files,
        ).model_dump(mode="json", exclude_none=True)

    async def validate(self, code: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        """Return the output of validate_code."""
        return await self.run("forge_validate_code", {"code": code, **parameters})

    async def test(self, code: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        """Return the output of run_tests."""
        return await self.run("forge_run_tests", {"code": code, **parameters})

    async def run(self, provider: str, parameters: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Return the outputs of an executor, as they are after JSON."""
        executors: list[JobExecutor[Any]] = [
            ValidateCodeExecutor(self.settings, (0.0, 0.0)),
            RunTestsExecutor(self.settings),
        ]
        jobs = JobsExecutor(executors, pauses=(0.0,), settings=self.settings)
        task_type = "TEST" if provider == "forge_run_tests" else "VALIDATE"
        assignment = assigned({"provider": provider, **parameters}, task_type=task_type, **changes)
        said = Written(assignment.mask)
        token = CONTEXT.set(TaskContext(assignment, said, lambda *_, **__: None))
        try:
            output = await jobs.run(assignment)
        finally:
            self.log = said.text()
            CONTEXT.reset(token)
            await jobs.aclose()
        assert isinstance(output, dict)
        return output

    async def failure(self, provider: str, parameters: Mapping[str, Any], **changes: Any) -> TaskFailed:
        """Return how a stage fails."""
        with pytest.raises(TaskFailed) as failed:
            await self.run(provider, parameters, **changes)
        return failed.value

    @property
    def left(self) -> list[str]:
        """What is left in the folder of all jobs."""
        return sorted(path.name for path in self.settings.folder.iterdir()) if self.settings.folder.exists() else []


def hostile(desk: ForgeDesk, *members: Any) -> dict[str, Any]:
    """Return a project whose archive is not as the forge packs it."""
    from functions._executors.forge.projects import keep_bytes

    return desk.code(keep_bytes(stored_context(desk.folder / "store"), "hostile.tar.gz", archive(*members)))
