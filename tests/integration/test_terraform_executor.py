"""Terraform itself, with the provider that is built in: plans that wait, are applied as they are, destroy nothing."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from functions._executors.plan_files import hash_of_folder, keep_plan
from functions._executors.settings import ExecutorSettings
from functions._executors.terraform import TerraformExecutor
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.conftest import ROOT, require
from tests.support.documents import blocks, missing_statuses, prepare, run_session
from tests.support.jobs import assigned
from tests.support.loopback import until
from tests.support.processes import free_port
from tests.support.stand_in_platform import StandIn, working
from tests.support.tool_programs import install

BRINGS_IT = "Terraform or OpenTofu, from terraform.io or opentofu.org"
CONFIGURATION = """
terraform {
  backend "local" { path = "STATE" }
}
variable "release" { type = string }
variable "password" {
  type      = string
  sensitive = true
  default   = "hunter2-hunter2"
}
resource "terraform_data" "shop" { triggers_replace = [var.release] }
resource "terraform_data" "vault" { input = var.password }
output "release" { value = var.release }
output "password" {
  value     = var.password
  sensitive = true
}
"""
HANGS = """
resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "echo $TOKEN; touch BEGUN; sleep 300" }
}
"""

Output = dict[str, Any]


REAL = pytest.param("terraform", marks=pytest.mark.slow)
"""Slow, as machines of CI may not have it; the program that stands in for it runs the same tests everywhere."""


def settings_in(folder: Path, sandbox: str = "off") -> ExecutorSettings:
    """Return the settings of a worker whose owner has a project."""
    project = folder / "infra" / "shop"
    project.mkdir(parents=True)
    (folder / "state").mkdir()
    state = folder / "state" / "terraform.tfstate"
    (project / "main.tf").write_text(CONFIGURATION.replace("STATE", str(state)))
    about = {"WORKER_SANDBOX": sandbox, "WORKER_FOLDER": str(folder / "work")}
    about |= {"WORKER_PROJECTS": str(folder / "infra"), "WORKER_TERRAFORM_PASS": "TOKEN"}
    return ExecutorSettings.from_environment({**about, "TOKEN": "credential-of-the-owner"})


@pytest.fixture(params=["stand-in", REAL])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecutorSettings:
    """Give a worker with Terraform, and one with the program that stands in for it."""
    if request.param == "stand-in":
        install(monkeypatch, tmp_path, "terraform", "stand_in_terraform.py")
    require(bool(shutil.which("terraform") or shutil.which("tofu")), BRINGS_IT)
    return settings_in(tmp_path)


async def run(settings: ExecutorSettings, **parameters: Any) -> Output:
    """Run a ticket by an executor of its own, as another worker would."""
    about = {key: parameters.pop(key) for key in ("ticket_id", "retry_count", "secrets") if key in parameters}
    jobs = JobsExecutor([TerraformExecutor(settings)], pauses=(0.0,))
    given = {"provider": "terraform", "project": "shop", **parameters}
    try:
        output = await jobs.run(assigned(given, task_type="DEPLOY", **about))
    finally:
        await jobs.aclose()
    assert isinstance(output, dict)
    return output


async def failure(settings: ExecutorSettings, **parameters: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(settings, **parameters)
    return failed.value


def applied_release(settings: ExecutorSettings) -> Any:
    state = settings.projects[0].parent / "state" / "terraform.tfstate"
    return json.loads(state.read_text())["outputs"]["release"]["value"] if state.exists() else None


class TestPlans:
    async def test_a_plan_waits_and_that_very_plan_is_applied_once(self, settings: ExecutorSettings) -> None:
        planned = await run(settings, mode="plan", variables={"release": "v1"})
        assert (planned["create"], planned["destroy"], planned["health"]) == (2, 0, "Planned")
        assert planned["changes"] == [
            {"address": "terraform_data.shop", "action": "create"},
            {"address": "terraform_data.vault", "action": "create"},
        ]
        assert applied_release(settings) is None
        done = await run(settings, plan=planned["plan"], ticket_id="t-2")
        assert (done["health"], done["values"], done["plan"]) == ("Applied", {"release": "v1"}, planned["plan"])
        assert done["revision"] == planned["revision"] == hash_of_folder(settings.projects[0] / "shop")
        assert applied_release(settings) == "v1"
        again = await run(settings, plan=planned["plan"], ticket_id="t-2")  # its worker died before it had reported
        assert {**again, "job": None} == {**done, "job": None}
        assert (await failure(settings, plan=planned["plan"], ticket_id="t-3")).kind == "plan_applied"
        assert "hunter2" not in str([planned, done])

    async def test_a_plan_that_is_another_one_is_refused(self, settings: ExecutorSettings) -> None:
        planned = await run(settings, mode="plan", variables={"release": "v1"})
        kept = settings.folder / "plans" / planned["plan"]
        assert kept.stat().st_mode & 0o077 == 0
        kept.write_bytes(kept.read_bytes() + b" ")
        refused = await failure(settings, plan=planned["plan"])
        assert (refused.kind, refused.retryable) == ("another_plan", False)
        kept.unlink()
        kept.symlink_to("/etc/passwd")
        assert (await failure(settings, plan=planned["plan"])).kind == "no_plan"
        assert applied_release(settings) is None

    async def test_a_plan_of_a_world_that_has_changed_is_refused_by_terraform(self, settings: ExecutorSettings) -> None:
        planned = await run(settings, mode="plan", variables={"release": "v1"})
        await run(settings, variables={"release": "v2"})
        refused = await failure(settings, plan=planned["plan"])
        assert "stale" in refused.message
        assert applied_release(settings) == "v2"

    async def test_nothing_is_destroyed_unless_it_is_asked_for(self, settings: ExecutorSettings) -> None:
        await run(settings, variables={"release": "v1"})
        refused = await failure(settings, variables={"release": "v2"})
        assert (refused.kind, refused.retryable) == ("would_destroy", False)
        assert "terraform_data.shop" in refused.message
        planned = await run(settings, mode="plan", variables={"release": "v2"})
        assert (planned["replace"], planned["destroy"]) == (1, 0)
        assert (await failure(settings, plan=planned["plan"])).kind == "would_destroy"
        assert applied_release(settings) == "v1"
        done = await run(settings, plan=planned["plan"], destroy=True)
        assert (done["replace"], done["values"]) == (1, {"release": "v2"})

    @pytest.mark.parametrize("project", ["bank", "../secrets", "/etc", "shop/../../secrets", "link"])
    async def test_only_projects_of_the_owner(self, settings: ExecutorSettings, project: str) -> None:
        secrets = settings.projects[0].parent / "secrets"
        secrets.mkdir()
        (settings.projects[0] / "link").symlink_to(secrets)
        refused = await failure(settings, project=project)
        assert refused.kind in {"not_allowed", "bad_parameters"}
        assert not settings.folder.exists() or list(settings.folder.iterdir()) == []

    @pytest.mark.parametrize(
        "parameters",
        [
            {"variables": {"-out": 1}},
            {"variables": {"a": 1}, "plan": "0" * 64},
            {"plan": "../../etc/passwd"},
            {"plan": "0" * 64, "mode": "plan"},
            {"action": "rollback"},
            {"workspace": "-x"},
        ],
        ids=str,
    )
    async def test_parameters_that_make_no_sense_start_nothing(
        self, settings: ExecutorSettings, parameters: dict[str, Any]
    ) -> None:
        assert (await failure(settings, **parameters)).kind == "bad_parameters"

    async def test_another_configuration_than_was_named_is_refused(self, settings: ExecutorSettings) -> None:
        named = hash_of_folder(settings.projects[0] / "shop")
        (settings.projects[0] / "shop" / "more.tf").write_text("# another one")
        assert (await failure(settings, revision=named, variables={"release": "v1"})).kind == "another_revision"

    async def test_a_tool_gets_the_variables_that_its_owner_names_and_the_doctor_names_them(
        self, settings: ExecutorSettings
    ) -> None:
        about = {**settings.environment, "WORKER_TERRAFORM_PASS": "TOKEN, ABSENT"}
        checks = await TerraformExecutor(ExecutorSettings.from_environment(about)).check()
        by_name = {check.name: check for check in checks}
        assert by_name["variables"].detail == "WORKER_TERRAFORM_PASS: TOKEN; not set: ABSENT"
        assert by_name["tool"].ok
        assert "credential-of-the-owner" not in str(checks)


@pytest.mark.parametrize("settings", [REAL], indirect=True)
class TestTerraform:
    async def test_what_terraform_says_is_the_log_and_secrets_are_nowhere(self, settings: ExecutorSettings) -> None:
        async with StandIn() as platform, working(platform, JobsExecutor([TerraformExecutor(settings)])) as desk:
            variables = {"release": "s3cr3t-release"}
            parameters = {"provider": "terraform", "project": "shop", "variables": variables}
            about: Output = {"task_type": "DEPLOY", "secrets": ["/variables/release"]}
            assert await desk.assign(parameters=parameters, **about) == 202
            [report] = await platform.reported("COMPLETED")
        assert "Plan: 2 to add, 0 to change, 0 to destroy" in report["log"]
        assert "+ terraform_data.vault\nplan: 2 to create, 0 to change" in report["log"]
        assert "s3cr3t" not in json.dumps(report)
        assert "hunter2" not in json.dumps(report)
        assert list(settings.folder.glob("t-*")) == []

    async def test_credentials_of_the_owner_reach_the_tool_and_no_log(self, settings: ExecutorSettings) -> None:
        shows = HANGS.replace("touch BEGUN; sleep 300", "true")
        (settings.projects[0] / "shop" / "slow.tf").write_text(shows)
        async with StandIn() as platform, working(platform, JobsExecutor([TerraformExecutor(settings)])) as desk:
            parameters = {"provider": "terraform", "project": "shop", "variables": {"release": "v1"}}
            await desk.assign(parameters=parameters, task_type="DEPLOY")
            [report] = await platform.reported("COMPLETED")
        assert "(local-exec): ***" in report["log"]
        assert "credential-of-the-owner" not in json.dumps(report)

    async def test_a_fault_of_the_configuration_is_told_in_its_words(self, settings: ExecutorSettings) -> None:
        (settings.projects[0] / "shop" / "main.tf").write_text('resource "nothing" {')
        failed = await failure(settings)
        assert failed.kind == "exit_status"
        assert "terraform ended with exit status 1" in failed.message or "tofu ended" in failed.message

    async def test_it_is_ended_with_its_ticket_and_all_that_it_has_started(self, settings: ExecutorSettings) -> None:
        begun = settings.projects[0] / "begun"
        (settings.projects[0] / "shop" / "slow.tf").write_text(HANGS.replace("BEGUN", str(begun)))
        async with StandIn() as platform, working(platform, JobsExecutor([TerraformExecutor(settings)])) as desk:
            parameters = {"provider": "terraform", "project": "shop", "variables": {"release": "v1"}}
            await desk.assign(parameters=parameters, task_type="DEPLOY")
            await until(begun.exists, "the slow resource")
            assert _programs_of(settings.projects[0])
            await desk.cancel()
            await until(lambda: not _programs_of(settings.projects[0]), "the end of all programs")


@pytest.mark.slow
async def test_a_plan_is_made_and_applied_in_the_sandbox(tmp_path: Path) -> None:
    require(shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    require(bool(shutil.which("terraform") or shutil.which("tofu")), BRINGS_IT)
    settings = settings_in(tmp_path, "on")
    (settings.projects[0] / "shop" / "main.tf").write_text(CONFIGURATION.replace("STATE", "/job/state"))
    planned = await run(settings, mode="plan", variables={"release": "v1"})
    done = await run(settings, plan=planned["plan"])
    assert done["values"] == {"release": "v1"}


@pytest.mark.slow
def test_the_session_of_the_guide_plans_waits_for_a_person_and_applies(tmp_path: Path) -> None:
    require(bool(shutil.which("terraform") or shutil.which("tofu")), BRINGS_IT)
    page = list(blocks((ROOT / "docs" / "guides" / "executors-deploy.md").read_text(encoding="utf-8")))
    only = [block for block in page if block.language != "sh" or block.needs == "terraform"]
    printed = run_session(only, tmp_path, prepare(tmp_path, free_port()), "terraform")
    assert missing_statuses(only, printed, "terraform") == {}
    assert "plan: 1 to create, 0 to change, 0 to replace, 0 to destroy" in printed


def _programs_of(folder: Path) -> list[str]:
    """Return the processes that work in a folder of a job, or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = str((process / "cwd").readlink())
        except OSError:
            continue
        if where.startswith(str(folder)):
            found.append(process.name)
    return found


def test_old_plans_go_also_those_that_another_worker_removes_just_now(tmp_path: Path) -> None:
    made, plans = tmp_path / "plan.tfplan", tmp_path / "plans"
    made.write_bytes(b"plan")
    plans.mkdir()
    for name in ("old", "new"):
        (plans / name).touch()
    os.utime(plans / "old", (0, 0))
    (plans / "gone").symlink_to(tmp_path / "nothing")  # listed, and not there when it is looked at
    digest = keep_plan(tmp_path, made)
    assert {path.name for path in plans.iterdir() if path.exists()} == {"new", digest}
