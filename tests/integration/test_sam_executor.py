"""Stacks by the SAM CLI: the real one on an emulated AWS, and what it is asked for, by one that stands in for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions._executors.plan_files import hash_of_folder
from functions._executors.sam import SamExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.conftest import ROOT, require
from tests.support.dynamodb import ministack
from tests.support.jobs import assigned
from tests.support.stand_in_platform import StandIn, working
from tests.support.tool_programs import install

TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Release: {Type: String, Default: v1}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Sub "shop-${Release}"}
Outputs:
  Release: {Value: !Ref Release}
"""
SHOP = {"provider": "sam", "project": "shop", "stack": "shop"}
Output = dict[str, Any]


def settings_in(folder: Path, **passed: str) -> ExecutorSettings:
    """Return the settings of a worker whose owner has a project, and passes variables to the CLI."""
    project = folder / "infra" / "shop"
    project.mkdir(parents=True)
    (project / "template.yaml").write_text(TEMPLATE)
    about = {"WORKER_SANDBOX": "off", "WORKER_FOLDER": str(folder / "work"), "WORKER_APPLICATIONS": "shop*"}
    about |= {"WORKER_PROJECTS": str(folder / "infra"), "WORKER_SAM_PASS": ",".join(passed)}
    return ExecutorSettings.from_environment({**about, **passed})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecutorSettings:
    install(monkeypatch, tmp_path, "sam", "stand_in_sam.py")
    monkeypatch.setattr(SamExecutor, "pause_seconds", 0.0)
    return settings_in(tmp_path, SAM_STACK=str(tmp_path / "stack.json"))


async def run(settings: ExecutorSettings, **parameters: Any) -> Output:
    secrets = parameters.pop("secrets", [])
    jobs = JobsExecutor([SamExecutor(settings)], pauses=(0.0,))
    try:
        output = await jobs.run(assigned({**SHOP, **parameters}, task_type="DEPLOY", secrets=secrets))
    finally:
        await jobs.aclose()
    assert isinstance(output, dict)
    return output


async def failure(settings: ExecutorSettings, **parameters: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(settings, **parameters)
    return failed.value


def calls(settings: ExecutorSettings) -> list[list[str]]:
    file = Path(settings.environment["SAM_STACK"]).with_suffix(".calls")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def plans_and_deploys(settings: ExecutorSettings) -> None:
    planned = await run(settings, mode="plan", overrides={"Release": "v2"})
    assert planned["health"] == "Planned"
    assert planned["change_set"].startswith("arn:aws:cloudformation:eu-central-1:000000000000:changeSet/samcli-deploy")
    done = await run(settings, revision=planned["revision"], overrides={"Release": "v2"})
    assert (done["health"], done["values"]) == ("Deployed", {"Release": "v2"})
    assert done["revision"] == hash_of_folder(settings.projects[0] / "shop")
    again = await run(settings, overrides={"Release": "v2"})  # there is nothing to change
    assert again["values"] == {"Release": "v2"}
    (settings.projects[0] / "shop" / "template.yaml").write_text(f"{TEMPLATE}# another one")
    assert (await failure(settings, revision=planned["revision"])).kind == "another_revision"


async def test_a_change_set_is_shown_and_the_same_project_deployed(settings: ExecutorSettings) -> None:
    await plans_and_deploys(settings)


@pytest.mark.slow
async def test_the_cli_itself_on_an_emulated_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = ROOT / ".venv" / "sam" / "bin"
    require((program / "sam").exists(), "make sam")
    monkeypatch.setenv("PATH", f"{program}:/usr/bin:/bin")
    with ministack() as aws:
        keys = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"}
        await plans_and_deploys(
            settings_in(tmp_path, AWS_ENDPOINT_URL=aws.url, AWS_DEFAULT_REGION="eu-central-1", **keys)
        )


async def test_the_cli_is_asked_for_no_more_than_the_plan_says(settings: ExecutorSettings) -> None:
    project = settings.projects[0] / "shop"
    (project / "samconfig.toml").write_text("version = 0.1\n")
    await run(settings, overrides={"Release": "v2", "Stage": "prod"}, rollback_on_failure=False)
    config = f"--config-file={project / 'samconfig.toml'}"
    assert calls(settings) == [
        [
            "deploy",
            "--stack-name=shop",
            f"--template-file={project / 'template.yaml'}",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--no-progressbar",
            config,
            "--disable-rollback",
            "--parameter-overrides",
            "ParameterKey=Release,ParameterValue=v2 ParameterKey=Stage,ParameterValue=prod",
        ],
        ["list", "stack-outputs", "--stack-name=shop", "--output=json", config],
    ]


async def test_what_the_owner_passes_is_in_no_log_of_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, "sam", "stand_in_sam.py")
    settings = settings_in(tmp_path, SAM_STACK=str(tmp_path / "stack.json"), SAM_SAYS="hunter2-hunter2")
    async with StandIn() as platform, working(platform, JobsExecutor([SamExecutor(settings)])) as desk:
        await desk.assign(parameters={**SHOP, "mode": "plan"}, task_type="DEPLOY")
        [report] = await platform.reported("COMPLETED")
    assert "Changeset created successfully" in report["log"]
    assert "hunter2" not in json.dumps(report)


async def test_a_stack_that_changes_just_now_is_waited_for(settings: ExecutorSettings) -> None:
    assert (await run(settings, overrides={"Release": "busy"}))["values"] == {"Release": "busy"}
    assert [call[0] for call in calls(settings)] == ["deploy", "deploy", "list"]


@pytest.mark.parametrize(("release", "kind"), [("fails", "rolled_back"), ("refused", "deployment_failed")])
async def test_a_stack_that_fails_is_taken_back_by_cloudformation(
    settings: ExecutorSettings, release: str, kind: str
) -> None:
    failed = await failure(settings, overrides={"Release": release})
    assert (failed.kind, failed.retryable) == (kind, False)


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"stack": "bank"}, "not_allowed"),
        ({"project": "bank"}, "not_allowed"),
        ({"template": "other.yaml"}, "no_template"),
        ({"template": "link.yaml"}, "no_template"),
        ({"template": "../bank/template.yaml"}, "bad_parameters"),
        ({"stack": "--guided"}, "bad_parameters"),
        ({"overrides": {"Release": "v1 ParameterKey=Admin,ParameterValue=yes"}}, "bad_parameters"),
        ({"overrides": {"--guided": "v1"}}, "bad_parameters"),
        ({"action": "rollback"}, "bad_parameters"),
        ({"overrides": {"Release": "hunter2"}, "secrets": ["/overrides/Release"]}, "secret_in_arguments"),
    ],
    ids=str,
)
async def test_what_is_not_allowed_changes_nothing(settings: ExecutorSettings, parameters: Output, kind: str) -> None:
    (settings.projects[0] / "shop" / "link.yaml").symlink_to("/etc/passwd")
    refused = await failure(settings, **parameters)
    assert (refused.kind, refused.retryable) == (kind, False)
    assert calls(settings) == []


async def test_the_doctor_says_what_is_allowed(settings: ExecutorSettings) -> None:
    checks = {check.name: check for check in await SamExecutor(settings).check()}
    assert all(check.ok for check in checks.values())
    assert checks["applications"].detail == "WORKER_APPLICATIONS allows shop*"
