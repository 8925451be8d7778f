"""Deployments by Argo CD: what is changed and synced, when it counts as done, going back, faults, and the kill."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors.argocd import ArgocdParameters
from functions._core.executors.parameters import checked_parameters
from functions._executors.argocd import ArgocdExecutor
from functions._executors.port import JobContext, JobFailed, JobHandle, JobRunning, JobState, JobSucceeded
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.argocd_server import TOKEN, ArgocdServer
from tests.support.jobs import assigned, by_looks
from tests.support.loopback import Answer, until
from tests.support.processes import running_platform, worker_process
from tests.support.world import decision, task

SHOP = {"provider": "argocd", "application": "shop", "revision": "v2"}
KEY = "t-1-0"
Run = Callable[..., "asyncio.Task[dict[str, Any]]"]


@pytest.fixture
async def argo() -> AsyncIterator[ArgocdServer]:
    async with ArgocdServer() as served:
        yield served


def settings(argo: ArgocdServer, **changes: str) -> ExecutorSettings:
    about = {"WORKER_ARGOCD_URL": argo.url, "WORKER_ARGOCD_TOKEN": TOKEN, "WORKER_APPLICATIONS": "sh*,team-a/*"}
    return ExecutorSettings.from_environment({**about, **changes})


@pytest.fixture
async def run(argo: ArgocdServer) -> AsyncIterator[Run]:
    """Give what runs a ticket by an executor of its own, as another worker would."""
    made: list[JobsExecutor] = []

    def running(parameters: dict[str, Any] = SHOP, **changes: Any) -> "asyncio.Task[dict[str, Any]]":
        executor = ArgocdExecutor(settings(argo))
        executor.pause_seconds = 0.0
        jobs = JobsExecutor([executor], pauses=(0.0, 0.0, 0.0))
        made.append(jobs)
        return asyncio.create_task(jobs.run(assigned(parameters, **{"task_type": "DEPLOY", **changes})))  # type: ignore[arg-type]

    yield running
    for jobs in made:
        await jobs.aclose()


async def failed(running: Awaitable[Any]) -> TaskFailed:
    with pytest.raises(TaskFailed) as raised:
        await running
    return raised.value


async def synced(argo: ArgocdServer, times: int = 1) -> None:
    await until(lambda: len(argo.syncs) == times and argo.running, f"sync number {times}")


def said(argo: ArgocdServer, sync: int = -1) -> dict[str, str]:
    return {each["name"]: each["value"] for each in argo.syncs[sync]["infos"]}


class TestDeploy:
    async def test_it_is_done_when_it_is_synced_and_healthy_and_looked_at_since(
        self, argo: ArgocdServer, run: Run
    ) -> None:
        running = run()
        await synced(argo)
        mark = {"flowc.neuralhive.io/job": f"{KEY} 4"}
        assert argo.patches == [
            {"spec": {"source": {"targetRevision": "v2"}}, "metadata": {"annotations": mark}},
        ]
        assert said(argo) == {"flowc.key": KEY, "flowc.step": "deploy", "flowc.previous": "4"}
        argo.finish()  # what is told of its health is still from before
        looks = len(argo.requests)
        await until(lambda: len(argo.requests) > looks + 3, "looks at what is not news")
        argo.reconcile("Progressing")
        await until(lambda: len(argo.requests) > looks + 6, "looks at progress")
        assert not running.done()
        argo.reconcile()
        output = await running
        job = output.pop("job")
        assert output == {
            "revision": "c0ffee2",
            "previous_revision": "4",
            "history_id": "5",
            "health": "Healthy",
            "url": f"{argo.url}/applications/shop",
        }
        assert job["url"] == output["url"]

    async def test_images_and_values_are_put_over_those_that_are_there(self, argo: ArgocdServer, run: Run) -> None:
        argo.app["spec"]["source"] |= {
            "kustomize": {"images": ["r.test/shop:6", "r.test/db@sha256:1"], "namePrefix": "a-"},
            "helm": {"valuesObject": {"replicas": 1, "image": {"tag": "6", "pull": "Always"}}},
        }
        values = {"image": {"tag": "7"}}
        running = run({**SHOP, "revision": None, "images": ["r.test/shop:7"], "values": values, "prune": True})
        await synced(argo)
        source = argo.app["spec"]["source"]
        assert source["targetRevision"] == "main"
        assert source["kustomize"] == {"images": ["r.test/shop:7", "r.test/db@sha256:1"], "namePrefix": "a-"}
        assert source["helm"] == {"valuesObject": {"replicas": 1, "image": {"tag": "7", "pull": "Always"}}}
        assert argo.syncs[0]["prune"] is True
        argo.finish()
        argo.reconcile()
        await running

    async def test_one_that_is_as_it_should_be_is_synced_and_not_changed(self, argo: ArgocdServer, run: Run) -> None:
        running = run({"provider": "argocd", "application": "shop", "app_namespace": "team-a", "project": "p"})
        await synced(argo)
        assert argo.patches == []
        assert argo.requests[0].query == {"appNamespace": "team-a", "project": "p"}
        argo.finish()
        argo.reconcile()
        assert (await running)["url"].endswith("/applications/team-a/shop")


class TestGoingBack:
    async def back(self, argo: ArgocdServer) -> None:
        """Follow the way back to its end."""
        await synced(argo, 2)
        assert said(argo)["flowc.step"] == "back"
        assert argo.app["spec"]["source"]["targetRevision"] == "c0ffee0"
        argo.finish()
        argo.reconcile()

    async def test_a_sync_that_fails_is_taken_back_and_says_which_objects(self, argo: ArgocdServer, run: Run) -> None:
        running = run()
        await synced(argo)
        bad = {"kind": "Deployment", "name": "shop", "status": "SyncFailed", "message": "no such field"}
        argo.finish("Failed", "one object could not be synced", resources=[bad, {"status": "Synced"}])
        await self.back(argo)
        failure = await failed(running)
        assert (failure.kind, failure.retryable) == ("rolled_back", False)
        assert "Deployment shop: no such field; it is back at c0ffee0" in failure.message

    async def test_one_that_stays_degraded_is_taken_back(self, argo: ArgocdServer, run: Run) -> None:
        running = run()
        await synced(argo)
        argo.finish()
        argo.reconcile("Degraded", message="exceeded its progress deadline")
        await self.back(argo)
        failure = await failed(running)
        assert "it has not become healthy: Synced, Degraded exceeded its progress deadline" in failure.message

    async def test_one_that_is_not_healthy_in_time_is_taken_back(self, argo: ArgocdServer, run: Run) -> None:
        running = run({**SHOP, "health_timeout_seconds": 1})
        await synced(argo)
        argo.finish()
        argo.reconcile("Progressing")
        await self.back(argo)
        assert (await failed(running)).kind == "rolled_back"

    async def test_one_that_is_not_healthy_in_the_time_of_its_ticket_is_taken_back_by_whoever_looks(
        self, argo: ArgocdServer
    ) -> None:
        looking = by_looks(lambda: ArgocdExecutor(settings(argo)), SHOP, task_type="DEPLOY", timeout_ms=2_000)
        looks = asyncio.create_task(looking)
        await synced(argo)
        argo.finish()
        argo.reconcile("Progressing")
        await self.back(argo)
        state = await looks
        assert isinstance(state, JobFailed)
        assert state.kind == "rolled_back"
        assert state.message.startswith("not healthy in 1.")

    async def test_a_way_back_that_fails_says_both_reasons(self, argo: ArgocdServer, run: Run) -> None:
        running = run()
        await synced(argo)
        argo.finish("Failed", "first")
        await synced(argo, 2)
        argo.finish("Error", "second")
        failure = await failed(running)
        assert failure.kind == "rollback_failed"
        assert "first" in failure.message
        assert "second" in failure.message

    @pytest.mark.parametrize("first", [True, False])
    async def test_where_there_is_no_way_back_or_none_is_wanted_it_stays(
        self, argo: ArgocdServer, run: Run, first: bool
    ) -> None:
        if first:
            argo.app["status"]["history"] = []
        running = run({**SHOP, "rollback_on_failure": first})
        await synced(argo)
        argo.finish("Failed", "no")
        failure = await failed(running)
        assert failure.kind == "deployment_failed"
        assert failure.message.endswith("there is nothing to go back to" if first else "it stays as it is")
        assert len(argo.syncs) == 1

    @pytest.mark.parametrize(
        ("revision", "there"), [("4", "c0ffee0"), ("c0ffee2", "c0ffee2"), (None, "c0ffee2")], ids=str
    )
    async def test_a_rollback_goes_to_an_entry_of_the_history(
        self, argo: ArgocdServer, run: Run, revision: str | None, there: str
    ) -> None:
        for target in ("v2", "v3"):
            argo.app["spec"]["source"] |= {"targetRevision": target, "kustomize": {"images": [target]}}
            argo.begin()
            argo.finish()
        running = run({"provider": "argocd", "application": "shop", "action": "rollback", "revision": revision})
        await synced(argo)
        argo.finish()
        argo.reconcile()
        output = await running
        assert (output["revision"], output["previous_revision"]) == (there, "6")
        assert argo.app["spec"]["source"].get("kustomize") == (None if there == "c0ffee0" else {"images": ["v2"]})

    @pytest.mark.parametrize(
        ("revision", "kind"), [("", "no_previous_revision"), (None, "no_previous_revision"), ("9", "no_such_revision")]
    )
    async def test_a_rollback_to_nothing_changes_nothing(
        self, argo: ArgocdServer, run: Run, revision: str | None, kind: str
    ) -> None:
        failure = await failed(run({**SHOP, "action": "rollback_deployment", "revision": revision}))
        assert (failure.kind, failure.retryable) == (kind, False)
        assert (argo.patches, argo.syncs) == ([], [])

    async def test_what_argo_cd_syncs_by_itself_is_not_what_was_there_before(
        self, argo: ArgocdServer, run: Run
    ) -> None:
        argo.automated = True
        assert (await failed(run(timeout_ms=1_000))).kind == "busy"  # by what the change has begun
        argo.finish()
        running = run()
        await synced(argo)
        argo.finish()
        argo.reconcile("Degraded")
        await until(lambda: argo.running, "what the way back has begun")
        argo.finish()
        await synced(argo, 2)
        assert [said(argo, n)["flowc.previous"] for n in (0, 1)] == ["4", "4"]
        argo.finish()
        argo.reconcile()
        assert (await failed(running)).message.endswith("it is back at c0ffee0")


class TestOnce:
    async def test_another_attempt_goes_on_with_the_sync_and_with_the_way_back(
        self, argo: ArgocdServer, run: Run
    ) -> None:
        first = run()
        await synced(argo)
        first.cancel()
        argo.refuses = {"DELETE"}  # its worker is gone: it ends nothing
        await asyncio.gather(first, return_exceptions=True)
        argo.refuses = set()
        argo.app["spec"]["source"]["targetRevision"] = "v2"
        second = run(attempt=2)
        looks = len(argo.requests)
        await until(lambda: len(argo.requests) > looks + 2, "looks of the second")
        argo.finish("Failed", "no")
        await synced(argo, 2)
        third = run(attempt=3)  # the second one is slow, and another one has taken over
        argo.finish()
        argo.reconcile()
        failures = [await failed(second), await failed(third)]
        assert [failure.kind for failure in failures] == ["rolled_back"] * 2
        assert len(argo.syncs) == 2

    async def test_a_sync_whose_answer_is_lost_is_not_begun_again(self, argo: ArgocdServer, run: Run) -> None:
        answer = argo.answer

        async def losing(request: Any) -> Answer:
            answered = await answer(request)
            return Answer(503) if request.path.endswith("/sync") else answered

        argo.answer = losing
        running = run()
        await synced(argo)
        argo.finish()
        argo.reconcile()
        output = await running
        assert output["job"]["adopted"] is True
        assert len(argo.syncs) == 1

    async def test_a_copy_that_lags_behind_is_believed_neither_at_the_start_nor_on_the_way_back(
        self, argo: ArgocdServer, run: Run
    ) -> None:
        running = run()
        await synced(argo)
        argo.stale = 2
        await until(lambda: not argo.stale, "two looks at what was before")
        argo.finish("Failed", "no")
        await synced(argo, 2)
        argo.stale = 3
        await until(lambda: not argo.stale, "three looks at what was before")
        argo.finish()
        argo.reconcile()
        assert (await failed(running)).kind == "rolled_back"
        assert len(argo.syncs) == 2

    async def test_an_operation_of_somebody_else_is_waited_for_and_one_that_comes_after_is_told(
        self, argo: ArgocdServer, run: Run
    ) -> None:
        argo.begin()
        failure = await failed(run(timeout_ms=1_000))
        assert (failure.kind, failure.retryable) == ("busy", True)
        argo.finish()
        running = run()
        await synced(argo)
        argo.finish()
        argo.begin(by="somebody")
        failure = await failed(running)
        assert (failure.kind, failure.retryable) == ("superseded", True)

    async def test_a_worker_that_is_killed_leaves_the_sync_to_another_one(
        self, argo: ArgocdServer, tmp_path: Path
    ) -> None:
        plan = decision(task("a", task_type="DEPLOY", parameters=SHOP, required_capabilities=[]))
        async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
            for name in ("doomed", "other"):
                worker = worker_process(tmp_path, platform.url, name, "--executor", "argocd")
                worker.environment = dict(settings(argo).environment)
                platform.hired.append(worker)
            platform.hired[0].start()
            flow_id = await platform.submit(plan)
            await synced(argo)
            platform.hired[0].kill()
            argo.finish()
            looks = len(argo.requests)
            platform.hired[1].start()
            await until(lambda: len(argo.requests) > looks + 1, "looks of another worker")
            argo.reconcile()
            flow = await platform.ended(flow_id)
            tickets = await platform.tickets(flow_id)
        assert flow["status"] == "COMPLETED", flow["reasons"]
        assert len(argo.syncs) == 1
        assert (tickets["a"]["worker_id"], tickets["a"]["retry_count"]) == ("other", 0)
        assert tickets["a"]["output"]["job"]["adopted"] is True


class TestLooksOfOtherProcesses:
    """Where the platform does jobs itself, each look is made by a process that has seen nothing before."""

    @pytest.mark.parametrize(
        ("health", "words"), [("Degraded", "going back"), ("Progressing", "going back"), ("Healthy", "")]
    )
    async def test_what_has_lasted_too_long_is_known_by_the_clock(
        self, argo: ArgocdServer, health: str, words: str
    ) -> None:
        argo.seconds = -3_600
        handle = await self.begun(argo)
        argo.finish()
        argo.reconcile(health)
        state = await self.looked(argo, handle)
        assert isinstance(state, JobRunning if words else JobSucceeded)
        assert not words or words in getattr(state, "message", "")

    async def test_an_operation_that_somebody_else_has_replaced_is_known_by_the_clock(self, argo: ArgocdServer) -> None:
        handle = await self.begun(argo)
        argo.finish()
        argo.begin()
        assert isinstance(await self.looked(argo, handle), JobRunning)
        old = JobHandle(job_id=handle.job_id, data={**handle.data, "since": 0.0})
        state = await self.looked(argo, old)
        assert isinstance(state, JobFailed)
        assert state.kind == "superseded"

    async def begun(self, argo: ArgocdServer) -> JobHandle:
        executor = ArgocdExecutor(settings(argo))
        handle = await executor.start(self.context)
        await executor.aclose()
        return handle

    async def looked(self, argo: ArgocdServer, handle: JobHandle) -> JobState:
        executor = ArgocdExecutor(settings(argo))
        state = await executor.poll(self.context, handle)
        await executor.aclose()
        return state

    @property
    def context(self) -> JobContext[ArgocdParameters]:
        given = checked_parameters(ArgocdParameters, SHOP)
        return JobContext(parameters=given, ticket_id="t-1", attempt=1, idempotency_key=KEY)


class TestCancel:
    async def test_it_ends_the_operation_and_gives_the_source_back(self, argo: ArgocdServer, run: Run) -> None:
        running = run()
        await synced(argo)
        looks = len(argo.requests)
        await until(lambda: len(argo.requests) > looks, "a look")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert argo.ended == ["shop"]
        assert argo.app["spec"]["source"]["targetRevision"] == "main"

    async def test_one_that_has_just_ended_is_no_error(self, argo: ArgocdServer, run: Run) -> None:
        running = run({**SHOP, "rollback_on_failure": False})
        await synced(argo)
        argo.finish()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert argo.ended == []
        assert argo.app["spec"]["source"]["targetRevision"] == "v2"


class TestFaults:
    @pytest.mark.parametrize("name", ["shops/../x", "SHOP", "shop?x=1", "", "-shop"])
    async def test_a_name_that_is_none_is_refused(self, run: Run, name: str) -> None:
        assert (await failed(run({**SHOP, "application": name}))).kind == "bad_parameters"

    @pytest.mark.parametrize("parameters", [{"application": "bank"}, {"application": "x", "app_namespace": "team-b"}])
    async def test_an_application_that_the_owner_does_not_name_is_not_even_asked_for(
        self, argo: ArgocdServer, run: Run, parameters: dict[str, str]
    ) -> None:
        failure = await failed(run({**SHOP, **parameters}))
        assert (failure.kind, failure.retryable, argo.requests) == ("not_allowed", False, [])

    @pytest.mark.parametrize(
        ("answer", "kind", "retryable"),
        [
            (Answer(429, b"", {"retry-after": "0"}), "unexpected_status", True),
            (Answer(500), "unexpected_status", True),
            (Answer(200, b"<html>"), "not_json", True),
            (Answer(200, b"[" * 100_000), "not_json", True),
            (Answer(200, b"x" * (5 * 1024 * 1024)), "answer_too_large", False),
            (Answer(301, b"", {"location": "http://other.test/"}), "unexpected_status", False),
        ],
        ids=["rate limit", "500", "html", "deep", "huge", "redirect"],
    )
    async def test_answers_that_are_none(
        self, argo: ArgocdServer, run: Run, answer: Answer, kind: str, retryable: bool
    ) -> None:
        argo.faults.extend([answer] * 4)
        failure = await failed(run())
        assert (failure.kind, failure.retryable) == (kind, retryable)
        assert argo.syncs == []

    @pytest.mark.parametrize("body", [[], {}, {"spec": 7, "status": {"history": [1, {"id": "x"}], "health": []}}])
    async def test_an_answer_of_another_shape_is_an_application_without_anything(
        self, argo: ArgocdServer, run: Run, body: Any
    ) -> None:
        argo.faults.append(Answer(200, json.dumps(body).encode()))
        running = run()
        await synced(argo)
        assert said(argo)["flowc.previous"] == ""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    @pytest.mark.parametrize("what", ["shop", "sync", "PATCH"])
    async def test_what_the_token_may_not_do_is_told_without_the_words_of_the_server(
        self, argo: ArgocdServer, run: Run, what: str
    ) -> None:
        argo.refuses = {what}
        failure = await failed(run())
        assert (failure.kind, failure.retryable) == ("unexpected_status", False)
        assert "answered 403" in failure.message
        assert TOKEN not in failure.message

    @pytest.mark.parametrize(
        ("given", "place"),
        [
            ({"revision": "hunter2-hunter2"}, "/revision"),
            ({"values": {"db": {"password": "hunter2-hunter2"}}}, "/values/db/password"),
            ({"values": {"hunter2-hunter2": 1}, "service": "hunter2-hunter2"}, "/service"),
            ({"images": ["shop:hunter2-hunter2"]}, "/images/0"),
        ],
        ids=["revision", "value", "name", "image"],
    )
    async def test_a_secret_is_nothing_that_an_application_shows(
        self, argo: ArgocdServer, run: Run, given: dict[str, Any], place: str
    ) -> None:
        failure = await failed(run({**SHOP, **given}, secrets=[place]))
        assert (failure.kind, failure.retryable) == ("secret_in_parameters", False)
        assert argo.requests == []
        assert "hunter2" not in failure.message

    async def test_a_namespace_that_is_not_the_applications_is_told(self, argo: ArgocdServer, run: Run) -> None:
        assert (await failed(run({**SHOP, "namespace": "test"}))).kind == "another_namespace"
        assert argo.syncs == []

    async def test_several_sources_are_synced_and_not_changed(self, argo: ArgocdServer, run: Run) -> None:
        argo.app["spec"] = {"sources": [{"chart": "a"}, {"chart": "b"}]}
        assert (await failed(run())).kind == "several_sources"
        assert argo.patches == []

    async def test_no_application_of_the_name(self, run: Run) -> None:
        assert (await failed(run({**SHOP, "application": "shed"}))).kind == "no_application"


async def test_the_doctor_asks_who_the_worker_is(argo: ArgocdServer) -> None:
    for changes, expected in (
        ({}, [True, True]),
        ({"WORKER_ARGOCD_TOKEN": "x", "WORKER_APPLICATIONS": ""}, [False] * 2),
    ):
        executor = ArgocdExecutor(settings(argo, **changes))
        checks = await executor.check()
        await executor.aclose()
        assert [check.ok for check in checks] == expected
        assert TOKEN not in str(checks)
