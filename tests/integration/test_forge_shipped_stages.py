"""The templates that Flow C brings, through the stages of the forge: nothing is found, all tests pass, all is built."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.forge.composition import ANSWERS
from functions._core.forge.pipeline import PipelineRequest, pipeline_decision
from functions._core.forge.templates import SHIPPED
from functions._executors.forge.compose_code import ComposeCodeExecutor
from functions._executors.forge.gate import GateExecutor
from functions._executors.forge.package import PackageExecutor
from functions._executors.forge.run_tests import RunTestsExecutor
from functions._executors.forge.select_template import SelectTemplateExecutor
from functions._executors.forge.validate_code import ValidateCodeExecutor
from functions._executors.port import JobExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from tests.support.forge_stages import TESTED, VALIDATED
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
            ValidateCodeExecutor(settings, (0.0,)),
            RunTestsExecutor(settings),
            GateExecutor(settings),
            PackageExecutor(settings),
        ]
        self.jobs = JobsExecutor(executors, pauses=(0.0,), settings=settings)

    async def run(self, stage: str, task_type: str, **parameters: Any) -> dict[str, Any]:
        """Return the output of a stage."""
        asked = {"provider": f"forge_{stage}", **parameters}
        output = await self.jobs.run(assigned(asked, task_type=task_type, ticket_id=f"t-{stage}"))
        assert isinstance(output, dict)
        return {name: value for name, value in output.items() if name not in {"job", "logs_uri"}}


def planned(name: str, outputs: Mapping[str, Any], **parameters: Any) -> dict[str, dict[str, Any]]:
    """Return the parameters of the stages of a pipeline, as its plan hands them on where the stages have said this."""
    request = PipelineRequest.model_validate({"artifact_id": "acme/shop", "template_id": name, **parameters})
    tasks = pipeline_decision(request, SHIPPED, "k")["cognitive_plan"]["tasks"][:-1]

    def filled(value: Any) -> Any:
        return outputs.get(value["$output"]) if isinstance(value, dict) and "$output" in value else value

    return {one["task_id"]: {key: filled(value) for key, value in one["parameters"].items()} for one in tasks}


def project(output: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the files of a project that was composed."""
    shutil.unpack_archive(output["content"]["uri"].removeprefix("file://"), folder)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


async def composed(stages: Stages, name: str, **asked: Any) -> dict[str, Any]:
    """Return what the first two stages of a plan say."""
    template = await stages.run("select_template", "BUILD", **planned(name, {}, **asked)["select_template"])
    given = planned(name, {"select_template": template}, **asked)["compose_code"]
    return {"select_template": template, "compose_code": await stages.run("compose_code", "BUILD", **given)}


@pytest.mark.parametrize("name", sorted(MADE))
async def test_a_project_has_the_version_of_its_pipeline(name: str, tmp_path: Path) -> None:
    stages = Stages(settings_for(tmp_path, WORKER_COMMANDS=ALLOWED))
    try:
        made = await composed(stages, name, version="1.2.0-rc.1")
    finally:
        await stages.jobs.aclose()
    files = project(made["compose_code"], tmp_path / "made")
    assert 'version = "1.2.0-rc.1"' in files["pyproject.toml"]
    if name == "python-service":
        assert 'version: "1.2.0-rc.1"\nappVersion: "1.2.0-rc.1"' in files["chart/Chart.yaml"]
        assert "sample-service:1.2.0-rc.1" in files["manifests/service.yaml"]
    assert [path for path, text in files.items() if "0.1.0" in text] in ([], [ANSWERS])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MADE))
async def test_all_that_is_made_has_the_version_of_the_pipeline(name: str, tmp_path: Path) -> None:
    stages = Stages(settings_for(tmp_path, WORKER_COMMANDS=ALLOWED))
    checked = {"validate_code": VALIDATED.model_dump(mode="json"), "run_tests": TESTED.model_dump(mode="json")}
    try:
        outputs = await composed(stages, name, version="1.2.0") | checked
        package = await stages.run("package", "BUILD", **planned(name, outputs, version="1.2.0")["package"])
    finally:
        await stages.jobs.aclose()
    assert sorted(one["artifact_type"] for one in package["artifacts"]) == MADE[name]
    assert all("1.2.0" in one["name"] for one in package["artifacts"]), package["artifacts"]


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
