"""Deployments by Flux, against a contract server: asked for, followed, taken back, found again, and refused."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions._core.executors.merge_patch import difference, merged
from functions._executors.flux import FluxExecutor
from functions._executors.port import JobSucceeded
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import assigned, by_looks
from tests.support.kube_api import KubeApi, too_many
from tests.support.kube_controllers import Flux
from tests.support.loopback import Answer, Request, until

SHOP = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/web/kustomizations/shop"
REPOSITORY = "/apis/source.toolkit.fluxcd.io/v1/namespaces/web/gitrepositories/shop"
RELEASE = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/web/helmreleases/shop"
CHARTS = "/apis/source.toolkit.fluxcd.io/v1/namespaces/web/ocirepositories/charts"
MAIN = f"main@sha1:{'a' * 40}"


def thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "web"}, "spec": spec}


@pytest.fixture
async def api() -> AsyncIterator[KubeApi]:
    async with KubeApi() as served:
        yield served


@pytest.fixture
async def flux(api: KubeApi) -> AsyncIterator[Flux]:
    made = Flux(api)
    api.put(REPOSITORY, thing("GitRepository", "shop", ref={"branch": "main"}))
    source = {"kind": "GitRepository", "name": "shop"}
    api.put(SHOP, thing("Kustomization", "shop", sourceRef=source, images=[{"name": "web", "newTag": "1"}]))
    api.put(CHARTS, thing("OCIRepository", "charts", ref={"tag": "1"}))
    chart = {"spec": {"chart": "shop", "version": "1.0.0", "sourceRef": {"kind": "HelmRepository", "name": "x"}}}
    api.put(RELEASE, thing("HelmRelease", "shop", chart=chart, values={"image": "a", "more": {"b": 1, "c": 2}}))
    await until(lambda: flux_applied(made), "the first revisions")
    yield made
    await made.aclose()


def flux_applied(flux: Flux) -> bool:
    return flux.idle and {MAIN, "1.0.0"} <= {*flux.applied}


@pytest.fixture
async def jobs(api: KubeApi, flux: Flux, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:  # noqa: ARG001
    monkeypatch.setattr("functions._executors.flux.LOOK_SECONDS", 0.05)
    made = JobsExecutor([executor_for(api)], pauses=(0.0, 0.05, 0.1))
    yield made
    await made.aclose()


def executor_for(api: KubeApi, **changes: Any) -> FluxExecutor:
    environment = {"WORKER_KUBERNETES_URL": api.url, "WORKER_KUBERNETES_TOKEN": api.token}
    given = {"namespaces": ["web"], "environment": environment, **changes}
    return FluxExecutor(ExecutorSettings.model_validate(given))


async def run(jobs: JobsExecutor, ticket: str = "t-1", attempt: int = 1, **more: Any) -> dict[str, Any]:
    about: dict[str, Any] = {"ticket_id": ticket, "attempt": attempt, "retry_count": more.pop("retry_count", 0)}
    about["secrets"] = more.pop("secrets", [])
    given = {"provider": "flux", "namespace": "web", "application": "shop", **more}
    output = await jobs.run(assigned(given, task_type="DEPLOY", **about))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, **more: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, **more)
    return failed.value


async def release(jobs: JobsExecutor, **more: Any) -> dict[str, Any]:
    return await run(jobs, kind="HelmRelease", **more)


async def looked(api: KubeApi) -> None:
    """Wait until somebody has looked a few times."""
    seen = len(api.requests)
    await until(lambda: len(api.requests) > seen + 5, "looks")


def ref_in(api: KubeApi, path: str = REPOSITORY) -> Any:
    return api.objects[path]["spec"]["ref"]


class TestDeploy:
    async def test_a_revision_is_fetched_applied_and_found_healthy(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        images = [{"name": "web", "new_tag": "2"}]
        output = await run(jobs, revision="v2", images=images)
        assert (output["previous_revision"], output["health"]) == (MAIN, "Healthy")
        assert output["revision"].startswith("v2@sha1:")
        assert (output["application"], output["job"]["id"]) == ("Kustomization/shop", "web/Kustomization/shop")
        assert ref_in(api) == {"tag": "v2"}
        assert api.objects[SHOP]["spec"]["images"] == [{"name": "web", "newTag": "2"}]
        assert flux.applied[-1] == output["revision"]

    async def test_without_a_revision_flux_takes_the_newest(self, flux: Flux, jobs: JobsExecutor) -> None:
        flux.heads["main"] = "b" * 40
        output = await run(jobs)
        assert (output["revision"], output["previous_revision"]) == (f"main@sha1:{'b' * 40}", MAIN)

    async def test_a_status_of_before_the_request_is_not_believed(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        flux.held = True
        running = asyncio.create_task(run(jobs, revision="v2"))
        await until(lambda: ref_in(api) == {"tag": "v2"}, "the change")
        for path in (SHOP, REPOSITORY):  # Flux looks at the application while its source is as it was
            await flux.reconcile(path)
            await looked(api)
            assert not running.done()
        flux.held = False
        flux.seen(SHOP)
        assert (await running)["revision"].startswith("v2@")

    async def test_a_chart_gets_another_version_and_other_values(self, api: KubeApi, jobs: JobsExecutor) -> None:
        values = {"image": "b", "more": {"b": None}}
        output = await release(jobs, revision="2.0.0", values=values)
        assert (output["revision"], output["previous_revision"]) == ("2.0.0", "1.0.0")
        assert api.objects[RELEASE]["spec"]["values"] == {"image": "b", "more": {"c": 2}}
        back = await release(jobs, ticket="t-2", action="rollback", revision=output["previous_revision"])
        assert back["revision"] == "1.0.0"
        assert api.objects[RELEASE]["spec"]["values"] == {"image": "a", "more": {"b": 1, "c": 2}}

    async def test_a_chart_of_a_registry_is_followed_by_its_hash(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        named = {"kind": "OCIRepository", "name": "charts"}
        api.put(RELEASE, thing("HelmRelease", "shop", chartRef=named))
        digest = f"sha256:{'c' * 64}"
        flux.heads[digest] = "c" * 64
        await release(jobs, revision=digest)
        assert ref_in(api, CHARTS) == {"digest": digest}
        await release(jobs, ticket="t-2", revision="2")
        assert ref_in(api, CHARTS) == {"tag": "2"}

    async def test_a_suspended_application_is_resumed(self, api: KubeApi, jobs: JobsExecutor) -> None:
        api.objects[SHOP]["spec"]["suspend"] = True
        await run(jobs, revision="v2")
        assert "suspend" not in api.objects[SHOP]["spec"]


class TestRollback:
    @pytest.mark.parametrize(
        ("revision", "said"),
        [("v-broken", "HealthCheckFailed: timeout waiting"), ("v-missing", "source: GitOperationFailed: couldn't")],
    )
    async def test_what_fails_is_taken_back_to_the_commit_that_was_there(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor, revision: str, said: str
    ) -> None:
        flux.broken.add("v-broken")
        flux.missing.add("v-missing")
        failed = await failure(jobs, revision=revision, images=[{"name": "web", "new_tag": "2"}])
        assert (failed.kind, failed.retryable) == ("rolled_back", False)
        assert said in failed.message
        assert failed.message.endswith(f"; rolled back to {MAIN}")
        assert ref_in(api) == {"branch": "main", "commit": "a" * 40}
        assert api.objects[SHOP]["spec"]["images"] == [{"name": "web", "newTag": "1"}]
        await until(lambda: flux.applied[-1] == MAIN, "the revision of before")

    async def test_after_a_rollback_a_deployment_without_a_revision_follows_the_branch_again(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        flux.heads["main"] = "b" * 40
        flux.broken.add("b" * 40)
        await failure(jobs)
        assert ref_in(api) == {"branch": "main", "commit": "a" * 40}
        flux.heads["main"] = "c" * 40
        assert (await run(jobs, ticket="t-2"))["revision"] == f"main@sha1:{'c' * 40}"
        assert ref_in(api) == {"branch": "main"}

    async def test_a_source_that_follows_nothing_by_name_does_so_again(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        del api.objects[REPOSITORY]["spec"]["ref"]
        flux.broken.add("v-broken")
        await failure(jobs, revision="v-broken")
        assert ref_in(api) == {"commit": "a" * 40}
        flux.held = True
        running = asyncio.create_task(failure(jobs, ticket="t-2", health_timeout_seconds=1))
        await until(lambda: ref_in(api) == {}, "the reference of before")
        await running

    async def test_without_a_rollback_it_stays_as_it_is(self, api: KubeApi, flux: Flux, jobs: JobsExecutor) -> None:
        flux.broken.add("v-broken")
        await failure(jobs, revision="v-broken", rollback_on_failure=False)
        assert ref_in(api) == {"tag": "v-broken"}

    async def test_a_release_that_fails_gets_its_values_back(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        flux.broken.add("bad")
        failed = await failure(jobs, kind="HelmRelease", values={"image": "bad", "new": 1})
        assert "UpgradeFailed: Helm upgrade failed" in failed.message
        assert api.objects[RELEASE]["spec"]["values"] == {"image": "a", "more": {"b": 1, "c": 2}}

    async def test_compensations_go_back_step_by_step_and_twice_is_as_once(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        outputs = [await run(jobs, ticket=f"t-{number}", revision=f"v{number}") for number in (1, 2)]
        for number, ref in ((1, {"tag": "v1"}), (0, {"branch": "main", "commit": "a" * 40})):
            for attempt in (1, 2):  # the worker that has done it may die before it says so
                wanted = outputs[number]["previous_revision"]
                output = await run(jobs, f"undo-{number}", attempt, action="rollback", revision=wanted)
                assert (output["revision"], ref_in(api)) == (wanted, ref)

    async def test_what_was_never_applied_is_suspended(self, api: KubeApi, flux: Flux, jobs: JobsExecutor) -> None:
        del api.objects[SHOP]["status"]
        flux.broken.add("v1")
        failed = await failure(jobs, revision="v1")
        assert failed.message.endswith("; rolled back to nothing")
        assert api.objects[SHOP]["spec"]["suspend"] is True

    async def test_a_revision_that_nobody_remembers_is_found_by_its_words_or_not_at_all(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        output = await run(jobs, action="rollback", revision=f"main@sha1:{'d' * 40}")
        assert output["revision"] == f"main@sha1:{'d' * 40}"
        assert ref_in(api) == {"branch": "main", "commit": "d" * 40}
        assert (await failure(jobs, ticket="t-2", action="rollback", revision="unheard-of")).kind == "no_such_revision"
        assert (await failure(jobs, ticket="t-3", action="rollback")).kind == "no_such_revision"

    async def test_a_rollback_without_a_revision_goes_to_the_one_before(self, jobs: JobsExecutor) -> None:
        await run(jobs, revision="v1")
        await run(jobs, ticket="t-2", revision="v2")
        assert (await run(jobs, ticket="t-3", action="rollback"))["revision"].startswith("v1@")

    async def test_a_cancelled_deployment_is_taken_back(self, api: KubeApi, flux: Flux, jobs: JobsExecutor) -> None:
        flux.held = True
        running = asyncio.create_task(run(jobs, revision="v2"))
        await until(lambda: ref_in(api) == {"tag": "v2"}, "the change")
        running.cancel()
        await asyncio.wait({running})
        assert ref_in(api) == {"branch": "main", "commit": "a" * 40}

    async def test_what_somebody_else_deploys_meanwhile_is_left_alone(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        flux.held = True
        running = asyncio.create_task(failure(jobs, revision="v1"))
        await until(lambda: ref_in(api) == {"tag": "v1"}, "the change")
        flux.held = False
        await run(jobs, ticket="t-2", revision="v2")
        assert (await running).kind == "superseded"
        assert ref_in(api) == {"tag": "v2"}

    async def test_a_fault_on_the_way_back_does_not_end_it_half_way(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        answer, faults = api.answer, [too_many()]

        async def busy(request: Request) -> Answer:
            half_way = request.method == "PATCH" and request.path == SHOP and ref_in(api) != {"tag": "v-broken"}
            return faults.pop() if faults and half_way and flux.broken else await answer(request)

        await run(jobs, revision="v1")
        running = asyncio.create_task(failure(jobs, ticket="t-2", revision="v-broken"))
        await until(lambda: ref_in(api) == {"tag": "v-broken"}, "the change")
        flux.broken.add("v-broken")
        api.answer = busy
        flux.seen(REPOSITORY)
        failed = await running
        assert (faults, failed.kind, ref_in(api)) == ([], "rolled_back", {"tag": "v1"})
        assert (await run(jobs, ticket="t-2", attempt=2, revision="v2"))["previous_revision"].startswith("v1@")


class TestFoundAgain:
    @pytest.mark.parametrize("dies_before", ["gitrepositories", "nothing"])
    async def test_an_attempt_after_a_lost_worker_goes_on_and_keeps_what_was_there_before(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor, dies_before: str
    ) -> None:
        answer = api.answer

        async def refuse(request: Request) -> Answer:
            lost = request.method == "PATCH" and dies_before in request.path
            return Answer(503) if lost else await answer(request)

        flux.held = True
        api.answer = refuse
        first = JobsExecutor([executor_for(api)], pauses=(0.0,))
        lost = asyncio.create_task(run(first, revision="v2"))
        await until(lambda: len(api.made("PATCH")) > 1, "the change")
        first._executors["flux"].cancel = _nothing  # type: ignore[assignment] # noqa: SLF001 - it is killed
        lost.cancel()
        await asyncio.wait({lost})
        api.answer, flux.held = answer, False
        for path in (REPOSITORY, SHOP):
            flux.seen(path)
        changed = len(api.made("PATCH", "kustomizations"))
        output = await run(jobs, revision="v2", attempt=2)
        assert (output["previous_revision"], output["job"]["adopted"]) == (MAIN, True)
        assert len(api.made("PATCH", "kustomizations")) == changed
        await first.aclose()

    async def test_a_retry_after_a_failure_still_knows_what_was_there_before(
        self, api: KubeApi, flux: Flux, jobs: JobsExecutor
    ) -> None:
        flux.broken.add("v-broken")
        await failure(jobs, revision="v-broken", rollback_on_failure=False)
        output = await run(jobs, retry_count=1, revision="v2")
        assert output["previous_revision"] == MAIN
        await run(jobs, ticket="undo", action="rollback", revision=MAIN)
        assert ref_in(api) == {"branch": "main", "commit": "a" * 40}

    async def test_a_handle_is_enough_to_look_at_it_from_anywhere(self, api: KubeApi, flux: Flux) -> None:
        given = {"provider": "flux", "namespace": "web", "application": "shop", "revision": "v2"}
        state = await by_looks(lambda: executor_for(api), given, task_type="DEPLOY")
        assert isinstance(state, JobSucceeded)
        assert flux.applied[-1].startswith("v2@")
        assert len(api.made("PATCH")) == 2


async def _nothing(*_: object) -> None:
    """Do nothing."""


class TestServer:
    async def test_a_server_with_too_much_to_do_is_asked_again(self, api: KubeApi, jobs: JobsExecutor) -> None:
        api.faults.extend([too_many(), Answer(500)])
        assert (await run(jobs, revision="v2"))["health"] == "Healthy"

    async def test_an_application_that_changes_between_look_and_change_is_looked_at_again(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        answer = api.answer
        moved: list[str] = []

        async def move(request: Request) -> Answer:
            if request.method == "PATCH" and not moved:
                moved.append(request.path)
                api.change(SHOP, more=1)
            return await answer(request)

        api.answer = move
        assert (await run(jobs, revision="v2"))["previous_revision"] == MAIN
        assert moved == [SHOP]
        assert len(api.made("PATCH", "kustomizations")) > 1

    async def test_the_doctor_asks_for_reach_and_rights(self, api: KubeApi) -> None:
        executor = executor_for(api)
        api.denied.add(("patch", "kustomizations"))
        found = {check.name: (check.ok, check.detail) for check in await executor.check()}
        assert found["web"] == (False, "may not patch kustomizations")
        await executor.aclose()


class TestAttacks:
    async def test_neither_an_application_nor_its_source_is_in_a_namespace_that_the_owner_does_not_name(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        asked = len(api.requests)
        assert (await failure(jobs, namespace="flux-system")).kind == "not_allowed"
        assert len(api.requests) == asked
        api.objects[SHOP]["spec"]["sourceRef"]["namespace"] = "flux-system"
        assert (await failure(jobs, revision="v2")).kind == "not_allowed"
        assert api.made("GET", "flux-system") == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"application": "../../../other/kustomizations/x"},
            {"application": "shop/status"},
            {"namespace": "web/x"},
            {"kind": "GitRepository"},
            {"kind": "HelmRelease", "images": []},
            {"values": {"a": 1}},
            {"kind": "HelmRelease", "values": {"a": "x" * 600_000}},
            {"revision": "x" * 501},
            {"sourceRef": {"kind": "GitRepository", "name": "evil"}},
        ],
        ids=",".join,
    )
    async def test_what_leads_elsewhere_is_no_parameter(
        self, api: KubeApi, jobs: JobsExecutor, changes: dict[str, Any]
    ) -> None:
        asked = len(api.requests)
        assert (await failure(jobs, **changes)).kind == "bad_parameters"
        assert len(api.requests) == asked

    async def test_a_secret_gets_into_no_application(self, api: KubeApi, jobs: JobsExecutor) -> None:
        asked = len(api.requests)
        for more in (
            {"kind": "HelmRelease", "values": {"a": ["x", "hunter2-hunter2"]}, "secrets": ["/values/a/1"]},
            {"images": [{"name": "web", "new_tag": "hunter2-hunter2"}], "secrets": ["/images/0/new_tag"]},
            {"revision": "hunter2-hunter2", "secrets": ["/revision"]},
        ):
            assert (await failure(jobs, **more)).kind == "secret_in_parameters", more
        assert len(api.requests) == asked

    async def test_a_bucket_has_no_revisions(self, api: KubeApi, jobs: JobsExecutor) -> None:
        api.objects[SHOP]["spec"]["sourceRef"]["kind"] = "Bucket"
        api.objects[REPOSITORY.replace("gitrepositories", "buckets")] = api.objects[REPOSITORY]
        assert (await failure(jobs, revision="v2")).kind == "no_such_revision"
        assert api.made("PATCH") == []

    async def test_an_application_that_is_not_there_is_not_made(self, api: KubeApi, jobs: JobsExecutor) -> None:
        assert (await failure(jobs, application="none")).kind == "not_found"
        assert api.made("PATCH") == []


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 3}, "e": [1]}),
        ({}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {}),
        ({"a": [1, 2]}, {"a": {"b": 1}}),
    ],
)
def test_the_difference_of_two_values_makes_one_of_the_other(present: Any, wanted: Any) -> None:
    assert merged(copy.deepcopy(present), difference(present, wanted)) == wanted
