"""What a worker counts of its executors, who may read it, and the span of a job."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._executors.http import HttpExecutor
from functions._executors.meter import WorkerMetrics
from functions._executors.port import CallFailed, JobContext, JobFailed, JobHandle
from functions._executors.settings import ExecutorSettings
from functions._observability.catalogue import CATALOGUE
from functions._observability.executor_metrics import BY, EXECUTOR_METRICS
from functions._observability.metric import Kind
from functions._worker import WorkerConfig, WorkerProcess
from functions._worker.jobs import JobsExecutor
from functions._worker.metrics_door import MetricsDoor, WorkerPage
from functions._worker.tasks import TaskFailed
from tests.support.job_service import JobService, job_parameters
from tests.support.jobs import HandExecutor, HandParameters, assigned, away
from tests.support.loopback import Answer, until
from tests.support.stand_in_platform import Gate, StandIn, working

WORD = {"provider": "hand", "word": "hello"}
FLOW = f"00-{'a' * 32}-{'b' * 16}-01"


class Stubborn(HandExecutor):
    """One whose service may refuse to end jobs."""

    stubborn = False

    async def cancel(self, context: JobContext[HandParameters], handle: JobHandle) -> None:
        if self.stubborn:
            raise CallFailed("no", transient=False)
        await super().cancel(context, handle)


def values(jobs: JobsExecutor, executor: str = "hand") -> dict[str, float]:
    """Return the series of an executor that are above zero, by their names with the other labels."""
    found = {}
    for line in jobs.watch.metrics.text().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if f'executor="{executor}"' in name and float(value) and "_bucket" not in name and "_created" not in name:
            found[name.replace(f'executor="{executor}",family="execute"', "").replace("{}", "").replace("{,", "{")] = (
                float(value)
            )
    return found


def test_there_are_twenty_five_for_each_family_with_names_of_their_own() -> None:
    shared = [metric for metric in EXECUTOR_METRICS if BY.keys() <= metric.labels.keys()]
    assert len(shared) >= 25
    assert all(metric.name.startswith("worker_") and metric.help for metric in shared)
    assert not {metric.name for metric in shared} & {metric.name for metric in CATALOGUE}
    shown = WorkerMetrics([("execute", "http")]).text().decode()
    for metric in shared:
        known = metric.kind is Kind.COUNTER and all(v for label, v in metric.labels.items() if label not in BY)
        assert (f'{metric.name}{{executor="http",family="execute"' in shown) or not known, metric.name


async def test_what_happens_to_jobs_is_counted() -> None:
    hand = HandExecutor()
    jobs = JobsExecutor([hand], pauses=(0.0, 0.0))
    hand.succeed("t-1-0")
    hand.faults = [away(), away(after_seconds=0.01)]
    await jobs.run(assigned(WORD))
    found = values(jobs)
    assert found["worker_retries_total"] == 2
    assert found["worker_rate_limited_total"] == 1
    assert found["worker_wait_seconds_total"] == 0.01
    assert found["worker_jobs_adopted_total"] == 1
    assert found['worker_tasks_total{status="completed"}'] == 1
    hand.jobs["t-2-0"] = JobFailed("red", "two tests failed")
    running = asyncio.create_task(jobs.run(assigned(WORD, ticket_id="t-2")))
    await until(lambda: "t-2-0" in hand.jobs and hand.calls.count("poll") > 1, "the first look")
    assert values(jobs)["worker_tasks_active"] == 1
    hand.jobs["t-2-0"] = JobFailed("red", "two tests failed")
    with pytest.raises(TaskFailed):
        await running
    with pytest.raises(TaskFailed):
        await jobs.run(assigned({"provider": "hand", "wrod": 1}))
    found = values(jobs)
    assert found["worker_jobs_started_total"] == 1
    assert found['worker_tasks_total{status="failed"}'] == 2
    assert found['worker_task_failures_total{kind="red"}'] == 1
    assert found['worker_task_failures_total{kind="bad_parameters"}'] == 1
    assert found["worker_poll_total"] == hand.calls.count("poll")
    assert found["worker_start_duration_seconds_count"] == 2
    assert found["worker_task_duration_seconds_count"] == 3


async def test_cancelled_jobs_those_that_are_left_and_time_that_is_over_are_counted() -> None:
    hand = Stubborn()
    jobs = JobsExecutor([hand], pauses=(0.0,))
    async with StandIn() as platform, working(platform, jobs) as desk:
        await desk.assign(parameters=WORD, timeout_ms=200)
        await platform.reported("FAILED")
        await desk.assign("t-2", parameters=WORD)
        await until(lambda: "t-2-0" in hand.jobs, "the second job")
        hand.stubborn = True
        await desk.cancel("t-2")
        await until(lambda: "worker_jobs_leaked_total" in values(jobs), "the job that is left")
    found = values(jobs)
    assert found["worker_timeouts_total"] == found['worker_tasks_total{status="timed_out"}'] == 1
    assert found['worker_tasks_total{status="cancelled"}'] == 1
    assert (found["worker_jobs_cancelled_total"], found["worker_jobs_leaked_total"]) == (1, 1)


async def test_calls_of_services_are_counted_by_status_and_the_job_gets_the_trace(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    settings = ExecutorSettings.model_validate({"networks": {"loopback"}, "trace_file": file})
    jobs = JobsExecutor([HttpExecutor(settings)], pauses=(0.0,), settings=settings)
    async with JobService() as service:
        service.faults.append(Answer(503, b""))
        await jobs.run(assigned(job_parameters(service.url), extensions={"traceparent": FLOW}, flow_id="f-1"))
        given = {request.headers["traceparent"] for request in service.requests}
        service.faults.append(Answer(404, b""))
        with pytest.raises(TaskFailed):
            await jobs.run(assigned(job_parameters(service.url), ticket_id="t-2", extensions={"traceparent": FLOW}))
    found = values(jobs, "http")
    assert found['worker_api_calls_total{status="503"}'] == 1
    assert found['worker_api_calls_total{status="404"}'] == 1
    assert found['worker_api_calls_total{status="202"}'] == 1
    assert found["worker_api_latency_seconds_count"] == len(service.requests)
    await jobs.aclose()
    done, failed = map(json.loads, file.read_text().splitlines())
    assert done["name"] == "job http"
    assert (done["trace_id"], done["parent_span_id"]) == ("a" * 32, "b" * 16)
    assert given == {f"00-{done['trace_id']}-{done['span_id']}-01"}, "the spans of the job are below it"
    about = done["attributes"]
    assert (about["flowc.job_id"], about["flowc.ticket_id"], about["flowc.flow_id"]) == ("job-1", "t-1", "f-1")
    assert about["flowc.job_url"] == f"{service.url}/jobs/job-1"
    assert (failed["status"], failed["error"]) == ("ERROR", "unexpected_status")


async def test_without_traces_the_job_gets_that_of_its_ticket() -> None:
    hand = HandExecutor()
    hand.succeed("t-1-0")
    await JobsExecutor([hand]).run(assigned(WORD, extensions={"traceparent": FLOW}))
    assert hand.contexts[0].traceparent == FLOW


def test_what_families_say_in_their_outputs_is_counted() -> None:
    metrics = WorkerMetrics([])
    files = {"artifacts": [{"size": 5}, {"size": 7}, "no file", {"size": "x"}]}
    metrics.meter("execute", "command").succeeded({**files, "counts": {"HIGH": 1}, "passed": 3}, rolled_back=False)
    metrics.meter("validate", "scan").succeeded(
        {"counts": {"high": 2, "LOW": 1, "odd": 9, "INFO": -1}}, rolled_back=False
    )
    said = {"passed": 10, "failed": 0, "errors": None, "skipped": 2, "coverage": 0.84}
    metrics.meter("test", "pytest").succeeded(said, rolled_back=False)
    deployed = metrics.meter("deploy", "argocd")
    for previous, back in (("", False), ("r1", False), ("r2", True)):
        deployed.succeeded({"revision": "r3", "previous_revision": previous}, rolled_back=back)
    shown = metrics.text().decode()
    for line in (
        'worker_artifacts_total{executor="command",family="execute"} 4.0',
        'worker_artifact_bytes_total{executor="command",family="execute"} 12.0',
        'worker_findings_total{executor="scan",family="validate",severity="HIGH"} 2.0',
        'worker_tests_total{executor="pytest",family="test",result="passed"} 10.0',
        'worker_coverage_ratio_bucket{executor="pytest",family="test",le="0.85"} 1.0',
        'worker_deployments_total{executor="argocd",family="deploy",result="first"} 1.0',
        'worker_deployments_total{executor="argocd",family="deploy",result="updated"} 1.0',
        'worker_deployments_total{executor="argocd",family="deploy",result="rolled_back"} 1.0',
    ):
        assert line in shown
    assert "odd" not in shown
    assert "flowc_metrics_errors_total 0.0" in shown


async def read(
    page: WorkerPage, client: str, *headers: tuple[bytes, bytes], path: str = "/metrics"
) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads the body of a stranger")

    scope = {"type": "http", "method": "GET", "path": path, "headers": list(headers), "client": (client, 1)}
    await MetricsDoor(page)(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_only_this_machine_or_a_token_may_read_them() -> None:
    made: list[bytes] = []

    def text() -> bytes:
        made.append(b"text")
        return made[-1]

    here = WorkerPage(text)
    local = (b"host", b"127.0.0.1:8081")
    assert await read(here, "127.0.0.1", local) == (200, b"text")
    assert await read(here, "::1", (b"host", b"[::1]:8081")) == (200, b"text")
    assert await read(here, "127.0.0.1", (b"host", b"localhost")) == (200, b"text")
    for client in ("10.0.0.1", "", "unknown", "::ffff:10.0.0.1"):
        assert await read(here, client, local) == (401, b"")
    for hosts in ([b"evil.test"], [b"127.0.0.1.evil.test:80"], [b"[::"], [b""], [b"localhost", b"localhost"], []):
        assert await read(here, "127.0.0.1", *((b"host", host) for host in hosts)) == (401, b"")
    assert len(made) == 3, "nothing is made for strangers, nor for a page that has led its name here"
    token = WorkerPage(lambda: b"text", "t0ken")
    bearer = (b"authorization", b"Bearer t0ken")
    assert await read(token, "10.0.0.1", bearer) == (200, b"text")
    for given in ([], [(b"authorization", b"Bearer other")], [bearer, bearer], [(b"authorization", b"t0ken")]):
        assert await read(token, "127.0.0.1", *given) == (401, b"")
    assert await read(here, "127.0.0.1", path="/") == (404, b"")
    assert "t0ken" not in repr(token)


async def test_a_worker_has_the_page_beside_its_inbox_and_one_that_pulls_where_its_owner_says() -> None:
    jobs = JobsExecutor([HandExecutor()], settings=ExecutorSettings(metrics_port=0))
    async with StandIn() as platform, httpx.AsyncClient(trust_env=False) as client:
        async with working(platform, jobs, metrics=jobs.page) as desk:
            shown = await client.get(f"{desk.worker.endpoint}metrics")
            assert (shown.status_code, "worker_tasks_total" in shown.text) == (200, True)
            assert (await client.get(f"{desk.worker.endpoint}health")).json()["status"] == "HEALTHY"
        for page, listens in ((jobs.page, True), (WorkerPage(jobs.watch.metrics.text), False), (None, False)):
            config = WorkerConfig(
                worker_id="w-2",
                platform_url=platform.url,
                capabilities=("x",),
                slots=1,
                executor=Gate(),
                pull=True,
                metrics=page,
                grace_seconds=0,
            )
            async with WorkerProcess(config) as worker:
                assert worker.metrics_port is None or listens
                if listens:
                    where = f"http://127.0.0.1:{worker.metrics_port}"
                    assert "worker_tasks_total" in (await client.get(f"{where}/metrics")).text
                    assert (await client.post(where, json={})).status_code == 404
