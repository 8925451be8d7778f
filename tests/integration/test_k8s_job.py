"""Jobs of a Kubernetes cluster as jobs, against a contract server of its API: rights, logs, ends, and being found."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions._executors import pod_log
from functions._executors.cluster import cluster_connection, key_hash
from functions._executors.k8s_job import K8sJobExecutor
from functions._executors.port import JobSucceeded
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import assigned, by_looks
from tests.support.kube_api import KubeApi, too_many
from tests.support.kube_controllers import Kubelet
from tests.support.loopback import Answer, until
from tests.support.processes import running_platform, worker_process
from tests.support.world import decision, task

IMAGE = "python:3.12"
BEGUN = datetime(2026, 11, 30, 12, tzinfo=UTC)
NAME = f"flowc-{key_hash('t-1-0')}"


@pytest.fixture
async def api() -> AsyncIterator[KubeApi]:
    async with KubeApi() as served:
        yield served


@pytest.fixture
async def node(api: KubeApi) -> AsyncIterator[Kubelet]:
    kubelet = Kubelet(api)
    yield kubelet
    await kubelet.aclose()


def environment(api: KubeApi) -> dict[str, str]:
    return {"WORKER_KUBERNETES_URL": api.url, "WORKER_KUBERNETES_TOKEN": api.token}


def executor_for(api: KubeApi, **changes: Any) -> K8sJobExecutor:
    given = {"images": ["python:*", "ghcr.io/acme/*"], "namespaces": ["jobs", "team-*"], **changes}
    return K8sJobExecutor(ExecutorSettings.model_validate({"environment": environment(api), **given}))


@pytest.fixture
async def jobs(api: KubeApi, node: Kubelet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:  # noqa: ARG001
    monkeypatch.setattr("functions._executors.k8s_job.LOOK_SECONDS", 0.05)
    made = JobsExecutor([executor_for(api, service_accounts=["builder"])], pauses=(0.0, 0.05, 0.1))
    yield made
    await made.aclose()


async def run(jobs: JobsExecutor, *argv: str, ticket: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    given = {"provider": "k8s_job", "image": IMAGE, "namespace": "jobs", "argv": argv, **more}
    output = await jobs.run(assigned(given, **ticket or {}))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, *argv: str, **more: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, *argv, **more)
    return failed.value


class TestJob:
    async def test_a_job_runs_without_rights_and_its_exit_code_and_log_are_read(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        output = await run(jobs, "sh", "-c", "echo '{\"n\": 7}'", env={"A": "1"}, read="json", keep_seconds=60)
        assert (output["exit_code"], output["value"], output["node"]) == (0, {"n": 7}, "node-1")
        assert (output["image"], output["job"]["id"]) == ("sha256:abc", f"jobs/{NAME}")
        job = api.one("jobs")
        spec = job["spec"]
        assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"], spec["suspend"]) == (0, 60, False)
        assert 180 < spec["activeDeadlineSeconds"] <= 240
        pod = spec["template"]["spec"]
        assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"] == {
            "limits": {"cpu": "1000m", "memory": "512Mi"},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        }
        assert {"name": "FLOWC_TICKET_ID", "value": "t-1"} in container["env"]
        assert job["metadata"]["annotations"]["flowc.neuralhive.io/ticket"] == "t-1"

    async def test_what_the_cluster_would_replace_in_arguments_and_variables_stays_as_it_is(
        self, jobs: JobsExecutor
    ) -> None:
        output = await run(jobs, "printenv", "X", env={"X": "$(FLOWC_TICKET_ID) $$5 $"})
        assert output["stdout"] == "$(FLOWC_TICKET_ID) $$5 $\n"
        output = await run(jobs, "echo", "$(FLOWC_TICKET_ID)", ticket={"ticket_id": "t-2"})
        assert output["stdout"] == "$(FLOWC_TICKET_ID)\n"

    async def test_a_secret_is_in_a_secret_that_the_job_owns_and_goes_with_its_end(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        env = {"TOKEN": "hunter2-hunter2", "PLAIN": "1"}
        ticket = {"secrets": ["/env/TOKEN"]}
        running = asyncio.create_task(
            run(jobs, "sh", "-c", "echo $TOKEN; sleep 0.3; echo ended", env=env, ticket=ticket)
        )
        await until(lambda: api.of("secrets"), "the Secret")
        secret, job = api.one("secrets"), api.one("jobs")
        assert (secret["data"], secret["metadata"]["name"]) == ({"TOKEN": "hunter2-hunter2"}, NAME)
        assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        output = await running
        assert output["stdout"] == "***\nended\n"
        assert "hunter2" not in json.dumps([*api.of("jobs"), *api.of("pods")])
        assert api.of("secrets") == []

    async def test_a_secret_is_no_argument(self, api: KubeApi, jobs: JobsExecutor) -> None:
        given = {"argv": ["echo", "hunter2-hunter2"], "ticket": {"secrets": ["/argv/1"]}}
        failed = await failure(jobs, **given)
        assert (failed.kind, api.requests) == ("secret_in_arguments", [])
        given = {"service_account": "hunter2-hunter2", "ticket": {"secrets": ["/service_account"]}}
        failed = await failure(jobs, "true", **given)
        assert (failed.kind, api.requests) == ("secret_in_arguments", [])

    async def test_a_worker_that_died_before_a_suspended_job_began_left_one_that_begins_now(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        answer = api.answer
        lost: list[Any] = []

        async def lose(request: Any) -> Answer:
            if request.path.endswith("/secrets") and not lost:
                lost.append(request)
                raise ConnectionError
            return await answer(request)

        api.answer = lose
        env, ticket = {"TOKEN": "hunter2-hunter2"}, {"secrets": ["/env/TOKEN"]}
        output = await run(jobs, "printenv", "TOKEN", env=env, ticket=ticket)
        assert (output["stdout"], output["job"]["adopted"], len(lost)) == ("***\n", True, 1)
        assert len(api.of("jobs")) == 1


class TestEnds:
    async def test_an_exit_code_fails_the_task_with_the_last_words(self, jobs: JobsExecutor) -> None:
        failed = await failure(jobs, "sh", "-c", "echo the last word >&2; exit 3")
        assert (failed.kind, failed.message, failed.retryable) == ("exit_status", "exit status 3: the last word", True)

    async def test_too_little_memory_an_image_that_is_not_there_and_no_room_are_told_in_their_words(
        self, api: KubeApi, node: Kubelet, jobs: JobsExecutor
    ) -> None:
        node.out_of_memory = True
        assert (await failure(jobs, "true")).message == "OOMKilled: it needs more than 512 MiB"
        failed = await failure(jobs, "true", image="ghcr.io/acme/none:1", ticket={"ticket_id": "t-2"})
        assert (failed.kind, failed.retryable) == ("no_container", True)
        assert failed.message.startswith("ImagePullBackOff: Back-off pulling image")
        much = {"cpus": 64, "requested_cpus": 64}
        failed = await failure(jobs, "true", resources=much, schedule_seconds=0, ticket={"ticket_id": "t-3"})
        assert (failed.kind, failed.retryable) == ("unschedulable", True)
        assert failed.message == "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
        assert [one["metadata"]["name"] for one in api.of("jobs")] == [NAME]  # the others would go on for ever

    async def test_a_job_waits_for_a_node_as_long_as_the_plan_says(
        self, api: KubeApi, node: Kubelet, jobs: JobsExecutor
    ) -> None:
        node.cpus = 0
        running = asyncio.create_task(run(jobs, "true", schedule_seconds=600))
        await until(lambda: len(api.made("GET", "/pods")) > 5, "looks at the pod")
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})

    async def test_a_job_whose_pod_is_gone_is_lost(self, api: KubeApi, jobs: JobsExecutor) -> None:
        running = asyncio.create_task(failure(jobs, "sleep", "60"))
        await until(lambda: api.of("pods"), "the pod")
        api.remove(api.path(api.one("pods")))
        failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "has failed"}
        api.change(api.path(api.one("jobs")), status={"conditions": [failed]})
        failure_ = await running
        assert (failure_.kind, failure_.retryable) == ("lost", True)
        assert "BackoffLimitExceeded" in failure_.message

    async def test_a_cancelled_job_is_deleted_with_its_pod(
        self, api: KubeApi, node: Kubelet, jobs: JobsExecutor
    ) -> None:
        running = asyncio.create_task(run(jobs, "sleep", "60"))
        await until(lambda: any(c.process for c in node.containers.values()), "the container")
        [container] = node.containers.values()
        running.cancel()
        await asyncio.wait({running})
        assert (api.of("jobs"), api.of("pods")) == ([], [])
        assert json.loads(api.requests[-1].body)["propagationPolicy"] == "Background"
        assert container.process is not None
        await until(lambda: container.process and container.process.returncode, "the end of the process")


class TestFoundAgain:
    async def test_the_job_of_a_worker_that_was_lost_is_gone_on_with(self, api: KubeApi, jobs: JobsExecutor) -> None:
        first = JobsExecutor([executor_for(api)], pauses=(0.0,))
        lost = asyncio.create_task(run(first, "sh", "-c", "echo begun; sleep 0.5; echo ended"))
        await until(lambda: api.of("pods"), "the pod")
        lost_api = first._executors["k8s_job"]  # noqa: SLF001 - a worker that is killed cancels nothing
        lost_api.cancel = _nothing  # type: ignore[assignment]
        output = await run(jobs, "sh", "-c", "never begun", ticket={"attempt": 2})
        assert (output["stdout"], output["job"]["adopted"]) == ("begun\nended\n", True)
        again = await run(jobs, "sh", "-c", "never begun", ticket={"attempt": 3})
        assert (again["stdout"], again["job"]["adopted"]) == ("begun\nended\n", True)
        assert len(api.made("POST", "/jobs")) == 1
        lost.cancel()
        await asyncio.wait({lost})
        await first.aclose()

    async def test_an_answer_that_is_lost_makes_no_second_job(self, api: KubeApi, jobs: JobsExecutor) -> None:
        answer = api.answer
        lost: list[Any] = []

        async def lose_one(request: Any) -> Answer:
            told = await answer(request)
            if request.method == "POST" and not lost:
                lost.append(request)
                return Answer(504)
            return told

        api.answer = lose_one
        assert (await run(jobs, "true"))["exit_code"] == 0
        assert len(api.of("jobs")) == 1

    async def test_one_that_failed_is_followed_by_a_new_one(self, api: KubeApi, jobs: JobsExecutor) -> None:
        await failure(jobs, "false")
        uid = api.one("jobs")["metadata"]["uid"]
        assert (await run(jobs, "true", ticket={"attempt": 2}))["job"]["adopted"] is False
        assert api.one("jobs")["metadata"]["uid"] != uid

    async def test_the_job_of_a_worker_that_is_killed_is_started_once_and_cancelled_with_its_flow(
        self, tmp_path: Any, api: KubeApi, node: Kubelet
    ) -> None:
        given = {"provider": "k8s_job", "image": IMAGE, "namespace": "jobs", "argv": ["sleep", "600"]}
        plan = decision(task("a", parameters=given, required_capabilities=[]))
        async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
            for name in ("doomed", "other"):
                worker = worker_process(tmp_path, platform.url, name, "--executor", "k8s_job")
                worker.environment = {**environment(api), "WORKER_NAMESPACES": "jobs", "WORKER_IMAGES": "python:*"}
                platform.hired.append(worker)
            platform.hired[0].start()
            flow_id = await platform.submit(plan)
            await until(lambda: api.made("GET", "/pods"), "the first look at the pod")
            platform.hired[0].kill()
            platform.hired[1].start()
            seen = len(api.made("GET", "/pods"))
            await until(lambda: len(api.made("GET", "/pods")) > seen + 1, "looks of another worker at the same Job")
            assert (len(api.made("POST", "/jobs")), len(api.of("jobs")), len(node.begun)) == (1, 1, 1)
            await platform.send(f"/api/v1/flows/{flow_id}/cancel")
            await until(lambda: api.of("jobs") == [], "the end of the Job")
            await platform.ended(flow_id)

    @pytest.mark.usefixtures("node")
    async def test_a_handle_is_enough_to_look_at_it_from_anywhere(self, api: KubeApi) -> None:
        argv = ["sh", "-c", "echo begun; sleep 0.3; echo ended"]
        given = {"provider": "k8s_job", "image": IMAGE, "namespace": "jobs", "argv": argv}
        state = await by_looks(lambda: executor_for(api), given)
        assert isinstance(state, JobSucceeded)
        assert state.outputs.model_dump()["stdout"] == "begun\nended\n"
        assert len(api.made("POST", "/jobs")) == 1


async def _nothing(*_: object) -> None:
    """Do nothing."""


class TestServer:
    async def test_a_server_with_too_much_to_do_is_left_alone_and_asked_again(
        self, api: KubeApi, jobs: JobsExecutor
    ) -> None:
        api.faults.extend([too_many(), Answer(500), Answer(503)])
        assert (await run(jobs, "true"))["exit_code"] == 0
        assert len(api.of("jobs")) == 1

    async def test_a_list_comes_in_pages_and_is_begun_again_when_its_rest_is_forgotten(
        self, api: KubeApi, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("functions._executors.cluster.PAGE", 1)
        labels = {"flowc.neuralhive.io/key": key_hash("t-1-0")}
        for name in ("a", "b"):  # they carry the label, and no Job of ours owns them
            api.put(
                f"/api/v1/namespaces/jobs/pods/{name}", {"kind": "Pod", "metadata": {"name": name, "labels": labels}}
            )
        api.pages_forgotten = 2
        assert (await run(jobs, "echo", "x"))["stdout"] == "x\n"
        api.pages_forgotten = 7  # twice more often than one look bears
        assert (await run(jobs, "echo", "x", ticket={"ticket_id": "t-2"}))["stdout"] == "x\n"
        assert api.pages_forgotten == 7  # another key, with one pod
        assert (await run(jobs, "echo", "x", ticket={"attempt": 2}))["stdout"] == "x\n"
        assert api.pages_forgotten == 0

    @pytest.mark.parametrize(
        ("denied", "said"),
        [(("create", "jobs"), "cannot create resource"), (("get", "jobs"), "cannot get resource")],
    )
    async def test_what_the_account_may_not_do_is_told_in_the_servers_words(
        self, api: KubeApi, jobs: JobsExecutor, denied: tuple[str, str], said: str
    ) -> None:
        api.denied.add(denied)
        failed = await failure(jobs, "true")
        assert (failed.kind, failed.retryable) == ("forbidden", False)
        assert said in failed.message
        assert api.of("jobs") == []

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(200, b"<html>"), "not_json"),
            (Answer(200, b"[]"), "not_json"),
            (Answer(401, b"{}"), "unexpected_status"),
            (Answer(302, b"", {"location": "http://169.254.169.254/"}), "unexpected_status"),
            (Answer(200, b'{"a": "' + b"x" * 5_000_000), "answer_too_large"),
        ],
        ids=["html", "list", "unauthorized", "redirect", "huge"],
    )
    async def test_a_strange_answer_starts_nothing(
        self, api: KubeApi, jobs: JobsExecutor, answer: Answer, kind: str
    ) -> None:
        api.faults.extend([answer] * 10)
        assert (await failure(jobs, "true")).kind == kind
        assert api.of("jobs") == []


class TestAttacks:
    @pytest.mark.parametrize(
        "changes",
        [
            {"namespace": "kube-system"},
            {"namespace": "other"},
            {"namespace": "xjobs"},
            {"image": "alpine"},
            {"image": "python:3.12/evil"},
            {"image": "ghcr.io/acme/deep/tool"},
            {"service_account": "cluster-admin"},
        ],
        ids=str,
    )
    async def test_what_the_owner_does_not_name_is_not_run(
        self, api: KubeApi, jobs: JobsExecutor, changes: dict[str, Any]
    ) -> None:
        assert (await failure(jobs, "true", **changes)).kind == "not_allowed"
        assert api.requests == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"namespace": "jobs/../kube-system"},
            {"namespace": "jobs/pods"},
            {"namespace": "*"},
            {"namespace": "jobs?x=y"},
            {"namespace": "Jobs"},
            {"service_account": "a/b"},
            {"user": "0"},
            {"user": "root"},
            {"env": {"FLOWC_TICKET_ID": "x"}},
            {"env": {"LD_PRELOAD": "x"}},
            {"resources": {"cpus": -1}},
            {"securityContext": {"privileged": True}},
        ],
        ids=str,
    )
    async def test_what_is_no_parameter_of_a_job_starts_nothing(
        self, api: KubeApi, jobs: JobsExecutor, changes: dict[str, Any]
    ) -> None:
        assert (await failure(jobs, "true", **changes)).kind == "bad_parameters"
        assert api.requests == []

    async def test_without_a_word_of_the_owner_there_is_no_namespace(self, api: KubeApi) -> None:
        jobs = JobsExecutor([executor_for(api, namespaces=[])], pauses=())
        assert (await failure(jobs, "true")).message.endswith("this namespace (WORKER_NAMESPACES)")
        await jobs.aclose()

    async def test_a_huge_log_is_read_in_pieces_and_its_writer_ended(
        self, api: KubeApi, node: Kubelet, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node.time_of = lambda number: BEGUN + number * timedelta(milliseconds=1)
        monkeypatch.setattr(pod_log, "READ_BYTES", 100_000)
        monkeypatch.setattr(pod_log, "FLOOD_BYTES", 400_000)
        failed = await failure(jobs, "sh", "-c", "yes 0123456789 | head -c 3000000; sleep 60")
        assert (failed.kind, failed.retryable) == ("output_too_large", False)
        assert api.of("jobs") == []

    async def test_a_job_of_somebody_else_with_our_name_is_left_alone(self, api: KubeApi, jobs: JobsExecutor) -> None:
        path = f"/apis/batch/v1/namespaces/jobs/jobs/{NAME}"
        api.put(path, {"kind": "Job", "metadata": {"name": NAME}, "spec": {"suspend": True}})
        assert (await failure(jobs, "true")).kind == "name_taken"
        assert path in api.objects


class TestLog:
    async def test_lines_are_told_once_however_often_the_log_is_read(self, api: KubeApi, jobs: JobsExecutor) -> None:
        text = "echo '::progress 40 half'; for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.1; done; printf end"
        output = await run(jobs, "sh", "-c", text)
        assert output["stdout"] == "::progress 40 half\n1\n2\n3\n4\n5\n6\n7\n8\n9\nend"
        assert len([path for path in api.made("GET") if path.endswith("/log")]) > 3

    async def test_a_second_that_no_read_can_hold_is_cut_and_the_log_goes_on(
        self, node: Kubelet, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pod_log, "READ_BYTES", 1_000)
        node.time_of = lambda number: BEGUN + (number >= 2000) * timedelta(seconds=10)
        output = await run(jobs, "sh", "-c", "seq 1 2000; echo ended")
        assert "lines are left out here" in output["stdout"]
        assert output["stdout"].endswith("ended\n")


class TestConnection:
    def test_in_a_cluster_it_is_the_one_of_the_pod(self) -> None:
        inside = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
        found = cluster_connection(ExecutorSettings(environment=inside))
        assert found.url == "https://[fd00::1]:6443"
        assert str(found.token_file) == "/var/run/secrets/kubernetes.io/serviceaccount/token"
        assert found.ca_file == "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

    def test_the_credentials_of_the_pod_go_to_no_other_server(self) -> None:
        settings = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "WORKER_KUBERNETES_URL": "https://elsewhere.test"}
        found = cluster_connection(ExecutorSettings(environment=settings))
        assert (found.url, found.token, found.token_file, found.ca_file) == ("https://elsewhere.test", "", None, None)

    async def test_a_cluster_that_nobody_named_is_not_configured(self) -> None:
        settings = ExecutorSettings.model_validate({"images": ["python:*"], "namespaces": ["jobs"]})
        jobs = JobsExecutor([K8sJobExecutor(settings)], pauses=())
        assert (await failure(jobs, "true")).kind == "not_configured"

    async def test_the_doctor_asks_for_reach_and_rights(self, api: KubeApi) -> None:
        executor = executor_for(api)
        api.denied.add(("create", "secrets"))
        found = {check.name: (check.ok, check.detail) for check in await executor.check()}
        assert found["cluster"] == (True, f"{api.url} answered 200")
        assert found["jobs"] == (False, "may not create secrets")
        assert found["namespaces"][1] == "WORKER_NAMESPACES allows jobs, team-*"
        assert api.objects == {}
        api.token = "another"
        assert not (await executor.check())[0].ok
        await executor.aclose()
