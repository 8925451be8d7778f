"""Releases of Helm: once, waited for, taken back; by a program that stands in for Helm's command line."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from functions._executors.helm import HelmExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import assigned
from tests.support.loopback import until
from tests.support.stand_in_platform import StandIn, working
from tests.support.tool_programs import install

CHART = "oci://r.test/acme/shop"
SHOP = {"provider": "helm", "release": "shop", "namespace": "prod", "chart": CHART, "revision": "1.4.0"}
Output = dict[str, Any]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecutorSettings:
    install(monkeypatch, tmp_path, "helm", "stand_in_helm.py")
    about = {"WORKER_SANDBOX": "off", "WORKER_FOLDER": str(tmp_path / "work"), "WORKER_HELM_PASS": "HELM_STATE,STAGE"}
    about |= {"HELM_STATE": str(tmp_path / "releases.json"), "WORKER_APPLICATIONS": "prod/*,shop"}
    about |= {"STAGE": "prod"}  # a value of the owner's that is a word of the plan, too
    return ExecutorSettings.from_environment({**about, "WORKER_CHARTS": "oci://r.test/acme/*,/srv/charts/*"})


async def run(settings: ExecutorSettings, **parameters: Any) -> Output:
    """Run a ticket by an executor of its own, as another worker would."""
    about: Output = {"task_type": "DEPLOY"}
    about |= {key: parameters.pop(key) for key in ("ticket_id", "attempt", "timeout_ms") if key in parameters}
    jobs = JobsExecutor([HelmExecutor(settings)], pauses=(0.0,))
    try:
        output = await jobs.run(assigned({**SHOP, **parameters}, **about))
    finally:
        await jobs.aclose()
    assert isinstance(output, dict)
    return output


async def failure(settings: ExecutorSettings, **parameters: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(settings, **parameters)
    return failed.value


def releases(settings: ExecutorSettings) -> list[Any]:
    file = Path(settings.environment["HELM_STATE"])
    return list(json.loads(file.read_text())) if file.exists() else []


def calls(settings: ExecutorSettings, command: str) -> list[Any]:
    lines = Path(settings.environment["HELM_STATE"]).with_suffix(".calls").read_text().splitlines()
    return [call for call in map(json.loads, lines) if call[0] == command]


async def test_a_release_is_installed_and_upgraded_with_its_values(settings: ExecutorSettings) -> None:
    first = await run(settings, values={"replicas": 3}, create_namespace=True)
    first.pop("job")
    assert first == {"revision": "1", "previous_revision": "", "health": "deployed", "url": "", "chart": "shop-1.4.0"}
    second = await run(settings, ticket_id="t-2", revision="1.5.0", values={"replicas": 4})
    assert (second["revision"], second["previous_revision"], second["chart"]) == ("2", "1", "shop-1.5.0")
    assert [each["values"] for each in releases(settings)] == [{"replicas": 3}, {"replicas": 4}]
    [argv, _] = calls(settings, "upgrade")
    assert argv[1:7] == ["shop", CHART, "--install", "--wait", "--reset-values", "--version=1.4.0"]
    assert {"--create-namespace", "--namespace=prod", "--description=flowc:t-1-0", "--output=json"} < set(argv)
    assert list(settings.folder.iterdir()) == []


async def test_values_and_manifests_are_in_no_log_and_no_argument(settings: ExecutorSettings) -> None:
    async with StandIn() as platform, working(platform, JobsExecutor([HelmExecutor(settings)])) as desk:
        parameters = {**SHOP, "values": {"password": "hunter2-hunter2"}}
        await desk.assign(parameters=parameters, task_type="DEPLOY")
        [report] = await platform.reported("COMPLETED")
    assert "hunter2" not in json.dumps(report)
    assert "kind: Secret" not in json.dumps(report)
    assert "hunter2" not in json.dumps(calls(settings, "upgrade"))


async def test_what_a_job_with_a_longer_key_has_deployed_is_not_taken_for_this_ones(settings: ExecutorSettings) -> None:
    await run(settings, ticket_id="t-1-0")  # its key, t-1-0-0, begins with that of t-1
    assert (await run(settings, ticket_id="t-1", values={"replicas": 2}))["revision"] == "2"


async def test_a_history_that_cannot_be_read_is_not_an_empty_one(settings: ExecutorSettings) -> None:
    await run(settings)
    Path(settings.environment["HELM_STATE"]).with_suffix(".fault").write_text("exec: executable aws not found")
    failed = await failure(settings, ticket_id="t-2", action="rollback", revision=None)
    assert (failed.kind, failed.retryable) == ("exit_status", True)


async def test_one_that_fails_goes_back_to_what_ran_before(settings: ExecutorSettings) -> None:
    await run(settings)
    failed = await failure(settings, ticket_id="t-2", values={"fails": True})
    assert (failed.kind, failed.retryable) == ("rolled_back", False)
    assert "timed out waiting for the condition; it is back at revision 1" in failed.message
    assert [each["status"] for each in releases(settings)] == ["superseded", "failed", "deployed"]


async def test_a_first_one_that_fails_is_removed(settings: ExecutorSettings) -> None:
    failed = await failure(settings, values={"fails": True})
    assert failed.message.endswith("it was removed, as there was none before")
    assert releases(settings) == []


async def test_one_that_nobody_wants_taken_back_stays(settings: ExecutorSettings) -> None:
    failed = await failure(settings, values={"fails": True}, rollback_on_failure=False)
    assert (failed.kind, failed.retryable) == ("deployment_failed", False)
    assert [each["status"] for each in releases(settings)] == ["failed"]


async def test_a_way_back_that_fails_says_both_reasons(settings: ExecutorSettings) -> None:
    await run(settings, values={"stuck": True})
    failed = await failure(settings, ticket_id="t-2", values={"fails": True})
    assert failed.kind == "rollback_failed"
    assert failed.message.count("timed out waiting") == 2


async def test_a_chart_that_is_not_there_changes_nothing(settings: ExecutorSettings) -> None:
    failed = await failure(settings, chart="oci://r.test/acme/missing")
    assert (failed.kind, failed.retryable) == ("deployment_failed", True)
    assert failed.message.endswith("nothing was changed")
    assert releases(settings) == []


@pytest.mark.parametrize(
    ("revision", "expected"),
    [("1", "1.4.0"), (None, "1.5.0"), ("", "no_previous_revision"), ("7", "no_such_revision"), ("3", "1.6.0")],
    ids=str,
)
async def test_a_rollback_goes_to_a_revision_of_the_history(
    settings: ExecutorSettings, revision: str | None, expected: str
) -> None:
    for number, version in enumerate(("1.4.0", "1.5.0", "1.6.0")):
        await run(settings, ticket_id=f"t-{number}", revision=version)
    back = {"ticket_id": "t-9", "action": "rollback", "revision": revision, "chart": None}
    if "_" in expected:
        assert (await failure(settings, **back)).kind == expected
        assert len(releases(settings)) == 3
        return
    output = await run(settings, **back)
    assert (output["revision"], output["previous_revision"], output["chart"]) == ("4", "3", f"shop-{expected}")
    assert (await run(settings, **back, attempt=2))["revision"] == ("4" if revision else "5")


class TestOnce:
    async def test_what_an_earlier_attempt_has_deployed_is_not_deployed_again(self, settings: ExecutorSettings) -> None:
        await run(settings, ticket_id="t-0")
        first = await run(settings, ticket_id="t-2")
        again = await run(settings, ticket_id="t-2", attempt=2)
        assert {**again, "job": None} == {**first, "job": None}
        assert len(calls(settings, "upgrade")) == 2

    async def test_a_revision_that_is_left_pending_is_rolled_back_by_its_own_ticket_alone(
        self, settings: ExecutorSettings
    ) -> None:
        await run(settings, ticket_id="t-0")
        async with StandIn() as platform, working(platform, JobsExecutor([HelmExecutor(settings)])) as desk:
            await desk.assign(parameters={**SHOP, "values": {"hangs": True}}, task_type="DEPLOY", ticket_id="t-2")
            await until(lambda: len(releases(settings)) == 2, "a revision that is pending")
            await desk.cancel(ticket_id="t-2")
            await until(lambda: not list(settings.folder.iterdir()), "the end of helm")
        assert releases(settings)[-1]["status"] == "pending-upgrade"
        other = await failure(settings, ticket_id="t-3")
        assert (other.kind, other.retryable) == ("busy", True)
        output = await run(settings, ticket_id="t-2", attempt=2)
        assert (output["revision"], output["previous_revision"]) == ("4", "3")
        assert [each["description"] for each in releases(settings)][2:] == ["Rollback to 1", "flowc:t-2-0"]


class TestRefused:
    @pytest.mark.parametrize(
        "parameters",
        [
            {"namespace": "bank"},
            {"chart": "oci://r.test/other/shop"},
            {"chart": "/srv/charts/a/b"},
            {"chart": "/etc/passwd"},
        ],
        ids=str,
    )
    async def test_what_the_owner_does_not_name(self, settings: ExecutorSettings, parameters: Output) -> None:
        refused = await failure(settings, **parameters)
        assert (refused.kind, refused.retryable) == ("not_allowed", False)
        assert not Path(settings.environment["HELM_STATE"]).with_suffix(".calls").exists()

    @pytest.mark.parametrize(
        "parameters",
        [
            {"release": "--post-renderer=x"},
            {"release": "a/b"},
            {"chart": "--debug"},
            {"chart": "/srv/charts/../../etc"},
            {"chart": None},
            {"namespace": "-x"},
        ],
        ids=str,
    )
    async def test_what_is_no_name(self, settings: ExecutorSettings, parameters: Output) -> None:
        assert (await failure(settings, **parameters)).kind == "bad_parameters"

    async def test_a_worker_without_helm(self, settings: ExecutorSettings, tmp_path: Path) -> None:
        (tmp_path / "programs" / "helm").unlink()
        if shutil.which("helm") is None:
            assert (await failure(settings)).kind == "no_tool"
            checks = await HelmExecutor(settings).check()
            assert [check.name for check in checks if not check.ok] == ["tool"]

    async def test_no_network_for_programs_in_the_sandbox(
        self, settings: ExecutorSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        about = {**settings.environment, "WORKER_SANDBOX": "on"}
        executor = HelmExecutor(ExecutorSettings.from_environment(about))
        monkeypatch.setattr(executor.sandbox, "require", _nothing)  # it is not about bubblewrap
        with pytest.raises(TaskFailed, match="WORKER_PROGRAM_NETWORK"):
            await JobsExecutor([executor]).run(assigned(SHOP, task_type="DEPLOY"))


async def _nothing() -> None:
    await asyncio.sleep(0)
