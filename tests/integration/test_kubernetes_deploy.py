"""Manifests as deployments, against a contract server: applied, followed, taken back, found again, and refused."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from time import time
from types import SimpleNamespace
from typing import Any

import pytest

from functions._executors import health
from functions._executors.cluster import key_hash
from functions._executors.kubernetes import KubernetesExecutor
from functions._executors.port import JobFailed
from functions._executors.revisions import HISTORY, REVISION, Before, history_of, packed
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import assigned, by_looks
from tests.support.kube_api import KubeApi, too_many
from tests.support.kube_controllers import Workloads
from tests.support.loopback import Answer, Request, until
from tests.support.processes import running_platform, worker_process
from tests.support.world import decision, task

DEPLOYMENTS = "/apis/apps/v1/namespaces/web/deployments"
MAPS = "/api/v1/namespaces/web/configmaps"


def deployment(image: str = "ghcr.io/acme/web:1", name: str = "web", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": image, "ports": [{"containerPort": 8080}]}
    pod = {"containers": [container], **spec.pop("pod", {})}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, **spec}
    spec["template"] = {"metadata": {"labels": labels}, "spec": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}


@pytest.fixture
async def api() -> AsyncIterator[KubeApi]:
    async with KubeApi() as served:
        yield served


@pytest.fixture
async def workloads(api: KubeApi) -> AsyncIterator[Workloads]:
    made = Workloads(api)
    made.broken.add("ghcr.io/acme/web:broken")
    yield made
    await made.aclose()


def executor_for(api: KubeApi, **changes: Any) -> KubernetesExecutor:
    environment = {"WORKER_KUBERNETES_URL": api.url, "WORKER_KUBERNETES_TOKEN": api.token}
    given = {"images": ["ghcr.io/acme/*"], "namespaces": ["web"], "environment": environment, **changes}
    return KubernetesExecutor(ExecutorSettings.model_validate(given))


@pytest.fixture
async def jobs(api: KubeApi, workloads: Workloads, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:  # noqa: ARG001
    monkeypatch.setattr("functions._executors.kubernetes.LOOK_SECONDS", 0.05)
    made = JobsExecutor([executor_for(api)], pauses=(0.0, 0.05, 0.1))
    yield made
    await made.aclose()


async def run(jobs: JobsExecutor, *manifests: Any, ticket: str = "t-1", **more: Any) -> dict[str, Any]:
    about = {name: more.pop(name) for name in ("attempt", "retry_count", "secrets", "timeout_ms") if name in more}
    given = {"provider": "kubernetes", "namespace": "web", "manifests": manifests, **more}
    output = await jobs.run(assigned(json.loads(json.dumps(given)), ticket_id=ticket, task_type="DEPLOY", **about))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, *manifests: Any, **more: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, *manifests, **more)
    return failed.value


def image_in(api: KubeApi, name: str = "web") -> str:
    found: str = api.objects[f"{DEPLOYMENTS}/{name}"]["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


class TestDeploy:
    async def test_manifests_are_applied_and_followed_until_they_are_healthy(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        rules = [{"host": "shop.example"}]
        ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}}
        output = await run(jobs, config(a="1"), deployment(), {**ingress, "spec": {"rules": rules}}, revision="v1")
        assert (output["revision"], output["previous_revision"], output["health"]) == ("v1", "", "Healthy")
        assert output["url"] == "http://shop.example/"
        assert output["objects"] == ["ConfigMap/settings", "Deployment/web", "Ingress/web"]
        found = api.objects[f"{DEPLOYMENTS}/web"]
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
        assert found["metadata"]["annotations"][REVISION] == "v1"
        applies = [one for one in api.requests if one.method == "PATCH"]
        assert {one.query["fieldManager"] for one in applies} == {"flowc"}
        assert [one.query.get("dryRun") for one in applies] == ["All"] * 3 + [None] * 3

    async def test_a_status_of_before_the_change_is_not_believed(
        self, api: KubeApi, workloads: Workloads, jobs: JobsExecutor
    ) -> None:
        await run(jobs, deployment())
        workloads.held = True
        running = asyncio.create_task(run(jobs, deployment("ghcr.io/acme/web:2"), ticket="t-2"))
        await until(lambda: image_in(api).endswith(":2"), "the change")
        seen = len(api.requests)
        await until(lambda: len(api.requests) > seen + 5, "looks")
        assert not running.done()
        workloads.held = False
        api.put(f"{DEPLOYMENTS}/web", api.objects[f"{DEPLOYMENTS}/web"])
        assert (await running)["health"] == "Healthy"

    async def test_stateful_sets_and_daemon_sets_are_followed_too(self, jobs: JobsExecutor) -> None:
        both = [{**deployment(), "kind": kind} for kind in ("StatefulSet", "DaemonSet")]
        assert (await run(jobs, *both))["objects"] == ["StatefulSet/web", "DaemonSet/web"]

    async def test_a_field_of_somebody_else_is_a_conflict_unless_it_is_taken_over(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        fields: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
        scaled = {"manager": "hpa", "operation": "Update", "fieldsV1": fields}
        live = copy.deepcopy(deployment())
        live["spec"]["replicas"] = 7
        live["metadata"] |= {"namespace": "web", "managedFields": [scaled]}
        api.put(f"{DEPLOYMENTS}/web", live)
        failed = await failure(jobs, config(a="1"), deployment())
        assert (failed.kind, failed.retryable) == ("conflict", False)
        assert 'conflict with "hpa": .spec.replicas; nothing was changed' in failed.message
        assert f"{MAPS}/settings" not in api.objects  # the dry run of all comes first
        output = await run(jobs, config(a="1"), deployment(), ticket="t-2", force=True)
        assert api.objects[f"{DEPLOYMENTS}/web"]["spec"]["replicas"] == 2
        await run(jobs, config(a="1"), deployment(), action="rollback", revision=output["previous_revision"])
        assert api.objects[f"{DEPLOYMENTS}/web"]["spec"]["replicas"] == 7
        assert f"{MAPS}/settings" not in api.objects


class TestRollback:
    async def test_what_does_not_become_healthy_is_taken_back_with_its_words(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        await run(jobs, config(a="1", b="2"), deployment(), revision="v1")
        before = copy.deepcopy({path: api.objects[path] for path in (f"{MAPS}/settings", f"{DEPLOYMENTS}/web")})
        broken = deployment("ghcr.io/acme/web:broken")
        failed = await failure(jobs, config(a="9"), broken, deployment(name="more"), ticket="t-2", revision="v2")
        assert (failed.kind, failed.retryable) == ("rolled_back", False)
        assert "ProgressDeadlineExceeded" in failed.message
        assert "ImagePullBackOff: Back-off pulling image" in failed.message
        assert failed.message.endswith("; rolled back to v1")
        for path, was in before.items():
            assert {**api.objects[path], "metadata": 0, "status": 0} == {**was, "metadata": 0, "status": 0}
            assert api.objects[path]["metadata"]["annotations"][REVISION] == "v1"
        assert f"{DEPLOYMENTS}/more" not in api.objects

    async def test_without_a_rollback_it_stays_as_it_is(self, api: KubeApi, jobs: JobsExecutor) -> None:
        failed = await failure(jobs, deployment("ghcr.io/acme/web:broken"), rollback_on_failure=False)
        assert (failed.kind, failed.message[-15:]) == ("deployment_failed", "; left as it is")
        assert image_in(api) == "ghcr.io/acme/web:broken"

    async def test_what_is_not_healthy_in_time_is_taken_back(
        self, api: KubeApi, workloads: Workloads, jobs: JobsExecutor
    ) -> None:
        workloads.held = True
        failed = await failure(jobs, deployment(), health_timeout_seconds=1)
        assert "not healthy in 1 s: Deployment/web: its controller has not seen the change yet" in failed.message
        assert api.of("deployments") == []

    async def test_a_clock_that_is_set_meanwhile_makes_nothing_late(
        self, api: KubeApi, workloads: Workloads, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workloads.held = True
        running = asyncio.create_task(run(jobs, deployment()))
        await until(lambda: api.of("deployments"), "the deployment")
        ahead = SimpleNamespace(time=lambda: time() + 86_400)
        monkeypatch.setattr(health, "time", ahead)
        looks = len(api.requests)
        await until(lambda: len(api.requests) > looks + 3 or running.done(), "looks at it")
        workloads.held = False
        api.put(f"{DEPLOYMENTS}/web", copy.deepcopy(api.objects[f"{DEPLOYMENTS}/web"]))
        assert (await running)["health"] == "Healthy"

    async def test_compensations_go_back_step_by_step_and_twice_is_as_once(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        outputs = []
        for number in (1, 2, 3):
            manifest = deployment(f"ghcr.io/acme/web:{number}")
            outputs.append(await run(jobs, manifest, ticket=f"t-{number}", revision=f"v{number}"))
        assert [one["previous_revision"] for one in outputs] == ["", "v1", "v2"]
        for number in (3, 2):
            for _ in range(2):  # the worker that has done it may die before it says so
                back = await run(
                    jobs,
                    deployment(),
                    ticket=f"undo-{number}",
                    action="rollback",
                    revision=outputs[number - 1]["previous_revision"],
                )
                assert (back["revision"], image_in(api)) == (f"v{number - 1}", f"ghcr.io/acme/web:{number - 1}")
        for _ in range(2):
            await run(jobs, deployment(), ticket="undo-1", action="rollback", revision="")
            assert api.of("deployments") == []

    async def test_a_rollback_without_a_revision_goes_to_the_one_before(self, api: KubeApi, jobs: JobsExecutor) -> None:
        await run(jobs, deployment(), revision="v1")
        await run(jobs, deployment("ghcr.io/acme/web:2"), ticket="t-2", revision="v2")
        output = await run(jobs, deployment(), ticket="t-3", action="rollback")
        assert (output["revision"], output["previous_revision"]) == ("v1", "v2")
        failed = await failure(jobs, deployment(), ticket="t-4", action="rollback", revision="v7")
        assert (failed.kind, image_in(api)) == ("no_such_revision", "ghcr.io/acme/web:1")

    async def test_the_same_again_goes_back_to_the_same(self, api: KubeApi, jobs: JobsExecutor) -> None:
        await run(jobs, deployment(), revision="v1")
        again = await run(jobs, deployment(), ticket="t-2", revision="v1")
        await run(jobs, deployment(), ticket="t-3", action="rollback", revision=again["previous_revision"])
        assert (again["previous_revision"], image_in(api)) == ("v1", "ghcr.io/acme/web:1")

    async def test_a_cancelled_deployment_is_taken_back(
        self, api: KubeApi, workloads: Workloads, jobs: JobsExecutor
    ) -> None:
        await run(jobs, deployment(), revision="v1")
        workloads.held = True
        running = asyncio.create_task(run(jobs, deployment("ghcr.io/acme/web:2"), ticket="t-2"))
        await until(lambda: image_in(api).endswith(":2"), "the change")
        running.cancel()
        await asyncio.wait({running})
        assert image_in(api) == "ghcr.io/acme/web:1"

    async def test_one_that_is_refused_half_way_takes_back_what_it_has_changed(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        answer = api.answer

        async def refuse(request: Request) -> Answer:
            if request.method == "PATCH" and "deployments" in request.path and "dryRun" not in request.query:
                return Answer(422, b'{"kind": "Status", "message": "no"}')
            return await answer(request)

        await run(jobs, config(a="1"), revision="v1")
        api.answer = refuse
        failed = await failure(jobs, config(a="2"), deployment(), ticket="t-2")
        assert failed.message.endswith("answered 422 to PATCH: no; rolled back to v1")
        assert api.objects[f"{MAPS}/settings"]["data"] == {"a": "1"}

    async def test_a_fault_on_the_way_back_does_not_end_it_half_way(self, api: KubeApi, jobs: JobsExecutor) -> None:
        answer, faults = api.answer, [too_many()]

        async def busy(request: Request) -> Answer:
            applied = api.objects[f"{MAPS}/settings"]["data"] == {"a": "2"}
            half_way = request.method == "PATCH" and "configmaps" in request.path and applied
            return faults.pop() if faults and half_way and image_in(api).endswith(":1") else await answer(request)

        await run(jobs, config(a="1"), deployment(), revision="v1")
        api.answer = busy
        failed = await failure(jobs, config(a="2"), deployment("ghcr.io/acme/web:broken"), ticket="t-2")
        assert (faults, failed.kind) == ([], "rolled_back")
        assert (image_in(api), api.objects[f"{MAPS}/settings"]["data"]) == ("ghcr.io/acme/web:1", {"a": "1"})
        again = await run(jobs, config(a="2"), deployment("ghcr.io/acme/web:2"), ticket="t-2", attempt=2)
        assert again["previous_revision"] == "v1"  # the same key: its worker was ended when it had gone back

    async def test_what_somebody_else_deploys_meanwhile_is_left_alone(
        self, api: KubeApi, workloads: Workloads, jobs: JobsExecutor
    ) -> None:
        workloads.held = True
        running = asyncio.create_task(failure(jobs, deployment()))
        await until(lambda: api.of("deployments"), "the deployment")
        workloads.held = False
        await run(jobs, deployment("ghcr.io/acme/web:2"), ticket="t-2")
        assert (await running).kind == "superseded"
        assert image_in(api) == "ghcr.io/acme/web:2"


class TestFoundAgain:
    async def test_an_attempt_after_a_lost_worker_goes_on_and_keeps_what_was_there_before(
        self, api: KubeApi, workloads: Workloads, jobs: JobsExecutor
    ) -> None:
        await run(jobs, config(a="1"), deployment(), revision="v1")
        workloads.held = True
        first = JobsExecutor([executor_for(api)], pauses=(0.0,))
        new = config(a="2"), deployment("ghcr.io/acme/web:2")
        lost = asyncio.create_task(run(first, *new, ticket="t-2", revision="v2"))
        await until(lambda: image_in(api).endswith(":2"), "the change")
        first._executors["kubernetes"].cancel = _nothing  # type: ignore[assignment] # noqa: SLF001 - it is killed
        lost.cancel()
        await asyncio.wait({lost})
        workloads.held = False
        applied = len(api.made("PATCH"))
        api.put(f"{DEPLOYMENTS}/web", api.objects[f"{DEPLOYMENTS}/web"])
        output = await run(jobs, *new, ticket="t-2", revision="v2", attempt=2)
        assert (output["previous_revision"], output["job"]["adopted"]) == ("v1", True)
        assert len(api.made("PATCH")) == applied
        await first.aclose()

    async def test_a_retry_after_half_a_deployment_still_knows_what_was_there_before(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        await run(jobs, config(a="1"), deployment(), revision="v1")
        new = config(a="2"), deployment("ghcr.io/acme/web:broken")
        await failure(jobs, *new, ticket="t-2", rollback_on_failure=False, revision="v2")
        output = await run(
            jobs, config(a="2"), deployment("ghcr.io/acme/web:2"), ticket="t-2", retry_count=1, revision="v2"
        )
        assert output["previous_revision"] == "v1"
        await run(jobs, *new, ticket="undo", action="rollback", revision="v1")
        assert (image_in(api), api.objects[f"{MAPS}/settings"]["data"]) == ("ghcr.io/acme/web:1", {"a": "1"})

    async def test_the_deployment_of_a_worker_that_is_killed_is_applied_once_and_a_failed_flow_takes_it_back(
        self, tmp_path: Any, api: KubeApi, workloads: Workloads
    ) -> None:
        workloads.held = True
        given = {"provider": "kubernetes", "namespace": "web", "manifests": [deployment()]}
        never = {
            "provider": "kubernetes",
            "namespace": "web",
            "manifests": [deployment("ghcr.io/acme/web:broken", "b")],
        }
        about: dict[str, Any] = {"required_capabilities": [], "task_type": "DEPLOY"}
        plan = decision(task("a", parameters=given, **about), task("b", "a", parameters=never, **about))
        async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
            for name in ("doomed", "other"):
                worker = worker_process(tmp_path, platform.url, name, "--executor", "kubernetes")
                worker.environment = {
                    "WORKER_KUBERNETES_URL": api.url,
                    "WORKER_KUBERNETES_TOKEN": api.token,
                    "WORKER_NAMESPACES": "web",
                    "WORKER_IMAGES": "ghcr.io/acme/*",
                }
                platform.hired.append(worker)
            platform.hired[0].start()
            flow_id = await platform.submit(plan)
            await until(lambda: api.of("deployments"), "the deployment")
            platform.hired[0].kill()
            platform.hired[1].start()
            seen = len(api.requests)
            await until(lambda: len(api.requests) > seen + 2, "looks of another worker at it")
            assert len(api.made("PATCH", "deployments/web")) == 2  # one of them dry
            workloads.held = False
            api.put(f"{DEPLOYMENTS}/web", api.objects[f"{DEPLOYMENTS}/web"])
            flow = await platform.ended(flow_id)
            tickets = await platform.tickets(flow_id)
        assert flow["status"] == "FAILED"
        assert tickets["a"]["status"] == "COMPENSATED"
        assert api.of("deployments") == []

    async def test_a_handle_is_enough_to_look_at_it_from_anywhere(self, api: KubeApi, jobs: JobsExecutor) -> None:
        await run(jobs, config(a="1"), deployment(), revision="v1")
        bad = [config(a="2"), deployment("ghcr.io/acme/web:broken")]
        given = {"provider": "kubernetes", "namespace": "web", "manifests": bad}
        state = await by_looks(lambda: executor_for(api), given, ticket_id="t-2", task_type="DEPLOY")
        assert isinstance(state, JobFailed)
        assert state.kind == "rolled_back"
        assert (image_in(api), api.objects[f"{MAPS}/settings"]["data"]) == ("ghcr.io/acme/web:1", {"a": "1"})


async def _nothing(*_: object) -> None:
    """Do nothing."""


class TestServer:
    async def test_a_server_with_too_much_to_do_is_asked_again(self, api: KubeApi, jobs: JobsExecutor) -> None:
        api.faults.extend([too_many(), Answer(500), Answer(503)])
        assert (await run(jobs, deployment()))["health"] == "Healthy"

    @pytest.mark.parametrize("verb", ["create", "patch"])
    async def test_what_the_account_may_not_do_is_told_and_nothing_is_changed(
        self, api: KubeApi, jobs: JobsExecutor, verb: str
    ) -> None:
        api.denied.add((verb, "deployments"))
        failed = await failure(jobs, config(a="1"), deployment())
        assert failed.kind == "forbidden"
        assert "cannot patch resource" in failed.message
        assert api.objects == {}

    async def test_the_doctor_asks_for_reach_rights_and_kinds(self, api: KubeApi) -> None:
        executor = executor_for(api)
        found = {check.name: check.ok for check in await executor.check()}
        assert found == {"cluster": True, "namespaces": True, "web": True, "kinds": True, "images": True}
        await executor.aclose()


ROLE = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "all"}, "rules": []}


class TestAttacks:
    @pytest.mark.parametrize(
        "manifest",
        [
            ROLE,
            {**ROLE, "kind": "ClusterRole"},
            {**deployment(), "apiVersion": "evil.example/v1"},
            {**deployment(), "kind": "Pod"},
            {"apiVersion": "v1", "kind": "List", "metadata": {"name": "x"}, "items": [ROLE]},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
            deployment("evil.example/web"),
            deployment(pod={"serviceAccountName": "cluster-admin"}),
        ],
        ids=lambda manifest: manifest["kind"],
    )
    async def test_what_the_owner_does_not_name_is_not_applied(
        self, api: KubeApi, jobs: JobsExecutor, manifest: dict[str, Any]
    ) -> None:
        assert (await failure(jobs, manifest)).kind == "not_allowed"
        assert api.requests == []

    async def test_a_kind_that_is_named_without_namespaces_has_no_place(self, api: KubeApi) -> None:
        jobs = JobsExecutor([executor_for(api, kinds=["ClusterRole.rbac.authorization.k8s.io", "Role"])], pauses=())
        failed = await failure(jobs, {**ROLE, "kind": "ClusterRole"})
        assert failed.message.endswith("has no kind ClusterRole within namespaces")
        assert (await run(jobs, ROLE))["objects"] == ["Role/all"]
        await jobs.aclose()

    @pytest.mark.parametrize(
        ("metadata", "more"),
        [
            ({"namespace": "kube-system"}, {}),
            ({"name": "../../kube-system/deployments/dns"}, {}),
            ({"name": "web/scale"}, {}),
            ({"name": "Web"}, {}),
            ({"name": ["web"]}, {}),
            ({"finalizers": ["a/b"]}, {}),
            ({"ownerReferences": []}, {}),
            ({"managedFields": []}, {}),
            ({"annotations": {HISTORY: "x"}}, {}),
            ({"labels": {"flowc.neuralhive.io/key": "x"}}, {}),
            ({}, {"apiVersion": "apps/v1/namespaces/kube-system"}),
            ({}, {"status": {"replicas": 2}}),
        ],
        ids=str,
    )
    async def test_a_manifest_that_leads_elsewhere_is_no_parameter(
        self, api: KubeApi, jobs: JobsExecutor, metadata: dict[str, Any], more: dict[str, Any]
    ) -> None:
        manifest = {**deployment(), **more}
        manifest["metadata"] = {**manifest["metadata"], **metadata}
        assert (await failure(jobs, manifest)).kind == "bad_parameters"
        assert api.requests == []

    @pytest.mark.parametrize("namespace", ["kube-system", "other", "web2"])
    async def test_a_namespace_that_the_owner_does_not_name_is_not_touched(
        self, api: KubeApi, jobs: JobsExecutor, namespace: str
    ) -> None:
        assert (await failure(jobs, deployment(), namespace=namespace)).kind == "not_allowed"
        assert api.requests == []

    @pytest.mark.parametrize(
        "pod",
        [
            {"hostNetwork": True},
            {"hostPID": True},
            {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
            {"containers": [{"image": "ghcr.io/acme/web:1", "securityContext": {"privileged": True}}]},
            {"initContainers": [{"image": "ghcr.io/acme/web:1", "securityContext": {"privileged": True}}]},
            {
                "containers": [
                    {"image": "ghcr.io/acme/web:1", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
                ]
            },
            {"containers": [{"image": "ghcr.io/acme/web:1", "ports": [{"hostPort": 80}]}]},
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        ],
        ids=str,
    )
    async def test_a_pod_that_would_leave_its_box_is_refused(
        self, api: KubeApi, jobs: JobsExecutor, pod: dict[str, Any]
    ) -> None:
        assert (await failure(jobs, deployment(pod=pod))).kind == "bad_parameters"
        assert api.requests == []

    async def test_too_much_is_refused(self, api: KubeApi, jobs: JobsExecutor) -> None:
        assert (await failure(jobs, *[config()] * 51)).kind == "bad_parameters"
        assert (await failure(jobs, config(a="x" * 600_000))).kind == "bad_parameters"
        assert (await failure(jobs, config(), config())).kind == "bad_manifest"
        assert api.made("PATCH") == []

    async def test_a_secret_is_in_no_manifest_but_a_secret(self, api: KubeApi, jobs: JobsExecutor) -> None:
        given: dict[str, Any] = {"secrets": ["/manifests/0/data/a"]}
        assert (await failure(jobs, config(a="hunter2-hunter2"), **given)).kind == "secret_in_manifest"
        failed = await failure(jobs, config(a="1"), secrets=["/revision"], revision="hunter2-hunter2")
        assert failed.kind == "secret_in_parameters"
        assert api.made("PATCH") == []

    async def test_a_secret_is_in_the_data_of_a_secret_alone(self, api: KubeApi) -> None:
        jobs = JobsExecutor([executor_for(api, kinds=["Secret"])], pauses=(0.0,))
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hunter2"}, "stringData": {"a": "hunter2"}}
        given: dict[str, Any] = {"secrets": ["/manifests/0/stringData/a"]}
        assert (await failure(jobs, secret, **given)).kind == "secret_in_manifest"
        secret["metadata"] = {"name": "a", "labels": {"hunter2": "x"}}
        assert (await failure(jobs, secret, **given)).kind == "secret_in_manifest"
        assert api.made("PATCH") == []
        secret["metadata"] = {"name": "a"}
        await run(jobs, secret, **given)
        await jobs.aclose()

    @pytest.mark.parametrize(
        "planted",
        [
            deployment(pod={"hostNetwork": True}),
            deployment("evil.example/web"),
            {**ROLE, "metadata": {"name": "web"}},
            {**deployment(name="other")},
        ],
        ids=["host", "image", "kind", "name"],
    )
    async def test_a_history_that_somebody_else_has_written_gives_nothing_that_a_plan_could_not(
        self, api: KubeApi, jobs: JobsExecutor, planted: dict[str, Any]
    ) -> None:
        await run(jobs, deployment(), revision="v1")
        history = packed([Before("v0", planted)])
        api.objects[f"{DEPLOYMENTS}/web"]["metadata"]["annotations"][HISTORY] = history
        await failure(jobs, deployment(), ticket="t-2", action="rollback", revision="v0")
        assert [*api.objects] == [f"{DEPLOYMENTS}/web"]
        assert image_in(api) == "ghcr.io/acme/web:1"

    @pytest.mark.parametrize("text", ["x", "AAAA", "eJw=", "e" * 300_000, "eJyLjgUAARUAuQ=="])
    def test_a_history_that_cannot_be_read_is_none(self, text: str) -> None:
        assert list(history_of({"metadata": {"annotations": {HISTORY: text}}})) == []

    async def test_what_could_not_be_kept_or_restored_is_not_changed(self, api: KubeApi, jobs: JobsExecutor) -> None:
        noise = "".join(key_hash(str(number)) for number in range(8_000))
        await run(jobs, config(a=noise), rollback_on_failure=False)
        assert (await failure(jobs, config(a="1"), ticket="t-2")).kind == "too_large_to_keep"
        api.put(
            f"{DEPLOYMENTS}/web", {**deployment("evil.example/web"), "metadata": {"name": "web", "namespace": "web"}}
        )
        failed = await failure(jobs, deployment(), ticket="t-3")
        assert "as it is now could not be restored" in failed.message
        assert image_in(api) == "evil.example/web"
