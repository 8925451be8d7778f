"""The templates that Flow C brings, through the stages of the forge: nothing is found, all tests pass, all is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.forge.templates import SHIPPED
from functions._executors.forge.compose_code import ComposeCodeExecutor
from functions._executors.forge.gate import GateExecutor
from functions._executors.forge.package import ForgePackageExecutor
from functions._executors.forge.run_tests import ForgeRunTestsExecutor
from functions._executors.forge.select_template import SelectTemplateExecutor
from functions._executors.forge.validate_code import ForgeValidateCodeExecutor
from functions._executors.port import JobExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from tests.support.forge_templates import settings_for
from tests.support.jobs import assigned

ALLOWED = "bandit,build,copier,detect-secrets,pytest,python,ruff"
CARDS = [card.model_dump(mode="json", exclude_none=True) for card in SHIPPED]
MADE: Mapping[str, list[str]] = {
    "lambda-function": ["CODE", "CODE", "FUNCTION"],
    "python-library": ["CODE", "CODE"],
    "python-service": ["CHART", "CODE", "CODE", "CONTAINER"],
    "terraform-module": ["IAC"],
}
"""What is built of each."""


class Stages:
    """Runs one stage after the other, as tickets."""

    def __init__(self, settings: ExecutorSettings) -> None:
        executors: list[JobExecutor[Any]] = [
            SelectTemplateExecutor(settings),
            ComposeCodeExecutor(settings),
            ForgeValidateCodeExecutor(settings, (0.0,)),
            ForgeRunTestsExecutor(settings),
            GateExecutor(settings),
            ForgePackageExecutor(settings),
        ]
        self.jobs = JobsExecutor(executors, pauses=(0.0,), settings=settings)

    async def run(self, stage: str, task_type: str, **parameters: Any) -> dict[str, Any]:
        """Return the output of a stage."""
        asked = {"provider": f"forge_{stage}", **parameters}
        output = await self.jobs.run(assigned(asked, task_type=task_type, ticket_id=f"t-{stage}"))
        assert isinstance(output, dict)
        return {name: value for name, value in output.items() if name not in {"job", "logs_uri"}}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MADE))
async def test_a_shipped_template_becomes_artifacts_that_nobody_has_to_look_at(name: str, tmp_path: Path) -> None:
    stages = Stages(settings_for(tmp_path, WORKER_COMMANDS=ALLOWED))
    what = {"artifact_id": "acme/shop"}
    try:
        template = await stages.run("select_template", "BUILD", template_id=name, templates=CARDS, **what)
        code = await stages.run("compose_code", "BUILD", template=template, inputs={}, **what)
        validation = await stages.run("validate_code", "VALIDATE", code=code)
        tests = await stages.run("run_tests", "TEST", code=code)
        gate = await stages.run("gate", "VALIDATE", code=code, validation=validation, tests=tests)
        made = {"code": code, "template": template, "validation": validation, "tests": tests, **what}
        package = await stages.run("package", "BUILD", **made)
    finally:
        await stages.jobs.aclose()
    assert (validation["quality"], tests["score"], tests.get("failed", 0)) == (1.0, 1.0, 0)
    assert gate["outcome"] == "APPROVED"
    assert sorted(one["artifact_type"] for one in package["artifacts"]) == MADE[name]
