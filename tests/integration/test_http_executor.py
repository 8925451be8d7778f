"""Calls as jobs: what they send, what answers mean, how a job is followed, found again and ended, where none goes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions._executors.calls import ANSWER_BYTES
from functions._executors.function import FunctionExecutor
from functions._executors.http import HttpExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.job_service import JobService, job_parameters
from tests.support.jobs import assigned
from tests.support.loopback import Answer, Request, until
from tests.support.processes import running_platform, worker_process
from tests.support.stand_in_platform import StandIn, working
from tests.support.world import decision, task

HERE = ExecutorSettings.model_validate({"networks": ["loopback"]})


@pytest.fixture
async def service() -> AsyncIterator[JobService]:
    async with JobService() as served:
        yield served


@pytest.fixture
async def jobs() -> AsyncIterator[JobsExecutor]:
    made = JobsExecutor([HttpExecutor(HERE), FunctionExecutor(HERE)], pauses=(0.0, 0.0, 0.0))
    yield made
    await made.aclose()


async def run(jobs: JobsExecutor, parameters: dict[str, Any], **changes: Any) -> dict[str, Any]:
    output = await jobs.run(assigned(parameters, **changes))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, parameters: dict[str, Any], **changes: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await jobs.run(assigned(parameters, **changes))
    return failed.value


def looked_up(url: str) -> dict[str, Any]:
    return {"poll": {"lookup": f"{url}/jobs?key={{key}}", "found": "$.items[0].id"}}


class TestCall:
    @pytest.mark.parametrize(
        ("auth", "header", "value"),
        [
            ({"bearer": "t-o-k"}, "authorization", "Bearer t-o-k"),
            ({"username": "u", "password": "p:w"}, "authorization", "Basic dTpwOnc="),
            ({"header": "X-Api-Key", "value": "k"}, "x-api-key", "k"),
        ],
    )
    async def test_a_call_carries_what_the_plan_says(
        self, jobs: JobsExecutor, service: JobService, auth: dict[str, str], header: str, value: str
    ) -> None:
        output = await run(
            jobs,
            {
                "provider": "http",
                "url": f"{service.url}/echo?a=1",
                "query": {"b": "x y&c=2", "yes": True},
                "headers": {"X-Colour": "green"},
                "auth": auth,
                "outputs": {"colour": "$.headers['x-colour']"},
            },
            correlation_id="c-1",
        )
        assert output["status"] == 200
        assert output["value"]["query"] == {"a": "1", "b": "x y&c=2", "yes": "true"}
        assert output["value"]["headers"][header] == value
        assert output["outputs"] == {"colour": "green"}
        assert service.requests[0].headers["idempotency-key"] == "t-1-0"

    async def test_a_call_fails_twice_and_then_works(self, jobs: JobsExecutor, service: JobService) -> None:
        service.faults.extend([Answer(503), Answer(429)])
        assert (await run(jobs, {"provider": "http", "url": f"{service.url}/echo"}))["status"] == 200
        assert len(service.requests) == 3

    async def test_a_post_that_must_not_be_repeated_is_not_where_it_may_have_been_carried_out(
        self, jobs: JobsExecutor, service: JobService
    ) -> None:
        given = {"provider": "http", "method": "POST", "url": f"{service.url}/jobs", "idempotent": False}
        service.faults.append(Answer(502))
        failed = await failure(jobs, given)
        assert (failed.kind, failed.retryable, len(service.requests)) == ("unexpected_status", False, 1)
        service.faults.append(Answer(503))
        assert (await run(jobs, given))["status"] == 202

    @pytest.mark.parametrize("status", [400, 401, 302, 404])
    async def test_another_status_fails_the_task_and_its_text_is_not_repeated(
        self, jobs: JobsExecutor, service: JobService, status: int
    ) -> None:
        service.faults.append(Answer(status, b"token hunter2 is wrong", {"location": "http://169.254.169.254/"}))
        failed = await failure(jobs, {"provider": "http", "url": f"{service.url}/echo"})
        assert (failed.kind, failed.retryable) == ("unexpected_status", False)
        assert failed.message == f"127.0.0.1 answered {status} to GET"
        assert len(service.requests) == 1

    async def test_a_status_that_is_expected_is_success(self, jobs: JobsExecutor, service: JobService) -> None:
        given = {"provider": "http", "url": f"{service.url}/none", "expected_status": [404, 410]}
        assert (await run(jobs, given))["value"] == {"error": "no such thing"}

    async def test_an_answer_that_is_too_long_or_lacks_an_output_fails_the_task(
        self, jobs: JobsExecutor, service: JobService
    ) -> None:
        service.faults.append(Answer(200, b"x" * (ANSWER_BYTES + 1)))
        assert (await failure(jobs, {"provider": "http", "url": f"{service.url}/echo"})).kind == "answer_too_large"
        given = {"provider": "http", "url": f"{service.url}/echo", "outputs": {"x": "/none"}}
        assert (await failure(jobs, given)).message == "the answer has nothing at /none"

    async def test_an_answer_that_is_no_json_is_text(self, jobs: JobsExecutor, service: JobService) -> None:
        service.faults.append(Answer(200, b"plain \xff"))
        output = await run(jobs, {"provider": "http", "url": f"{service.url}/echo"})
        assert (output["text"], output.get("value")) == ("plain �", None)


class TestWhereCallsGo:
    @pytest.mark.parametrize(
        "url",
        [
            *("http://127.0.0.1:1/", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://localhost/"),
            *("http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/"),
            *("file:///etc/passwd", "gopher://x.test/", "http://user:word@8.8.8.8/", "http://a\r\nhost: b/"),
        ],
    )
    async def test_no_call_goes_where_the_owner_does_not_allow(self, url: str) -> None:
        jobs = JobsExecutor([HttpExecutor(ExecutorSettings()), FunctionExecutor(ExecutorSettings())])
        for provider in ("http", "function"):
            failed = await failure(jobs, {"provider": provider, "url": url})
            assert failed.kind in {"forbidden_address", "bad_address"}
            assert not failed.retryable
        await jobs.aclose()

    @pytest.mark.parametrize("header", ["Host", "Content-Length", "Transfer-Encoding", "a b", "x\r\ny"])
    async def test_no_header_changes_where_a_call_ends(
        self, jobs: JobsExecutor, service: JobService, header: str
    ) -> None:
        failed = await failure(jobs, {"provider": "http", "url": f"{service.url}/echo", "headers": {header: "1"}})
        assert failed.kind == "bad_request"
        assert service.requests == []

    async def test_a_value_does_not_become_a_header_of_its_own(self, jobs: JobsExecutor, service: JobService) -> None:
        given = {"provider": "http", "url": f"{service.url}/echo", "headers": {"x-a": "1\r\nx-b: 2"}}
        assert not (await failure(jobs, given)).retryable
        assert service.requests == []

    async def test_credentials_do_not_follow_an_answer_to_another_server(
        self, jobs: JobsExecutor, service: JobService
    ) -> None:
        async with JobService() as other:
            location = {"location": f"{other.url}/jobs/job-1"}
            service.faults.append(Answer(202, b'{"id": "job-1"}', location))
            given = job_parameters(service.url, auth={"bearer": "hunter2"})
            del given["poll"]["url"], given["poll"]["id"]
            assert (await failure(jobs, given)).kind == "foreign_location"
            assert other.requests == []

    async def test_an_id_of_an_answer_does_not_change_the_path(self, jobs: JobsExecutor, service: JobService) -> None:
        service.faults.append(Answer(202, json.dumps({"id": "../admin?x=1#"}).encode()))
        assert (await failure(jobs, job_parameters(service.url))).kind == "unexpected_status"
        assert [request.path for request in service.requests[1:2]] == ["/jobs/../admin?x=1#"]


class TestJob:
    async def test_a_job_is_followed_to_its_end(self, service: JobService) -> None:
        service.looks = 4
        async with StandIn() as platform, working(platform, JobsExecutor([HttpExecutor(HERE)])) as desk:
            await desk.assign(parameters=job_parameters(service.url, outputs={"rows": "/result/rows"}))
            await until(lambda: "COMPLETED" in platform.statuses, "the end")
            report = platform.reports[-1].data
        assert report["output"]["outputs"] == {"rows": 7}
        assert report["output"]["job"] == {
            "executor": "http",
            "id": "job-1",
            "adopted": False,
            "url": f"{service.url}/jobs/job-1",
        }
        assert report["log"] == "it is running\n"
        assert [job.body for job in service.jobs.values()] == [{"n": 1}]

    async def test_a_location_says_where_a_job_is(self, jobs: JobsExecutor, service: JobService) -> None:
        given = job_parameters(service.url)
        del given["poll"]["url"], given["poll"]["id"]
        assert (await run(jobs, given))["value"]["status"] == "done"

    async def test_a_job_that_fails_fails_its_ticket(self, jobs: JobsExecutor, service: JobService) -> None:
        service.ends_as = "failed"
        failed = await failure(jobs, job_parameters(service.url))
        assert (failed.kind, failed.message, failed.retryable) == ("job_failed", "it is failed", True)

    async def test_a_service_that_is_away_for_a_while_loses_no_job(
        self, jobs: JobsExecutor, service: JobService
    ) -> None:
        service.looks = 3
        running = asyncio.create_task(run(jobs, job_parameters(service.url)))
        await until(lambda: service.jobs and service.jobs["job-1"].seen, "the first look")
        await service.stop()
        await asyncio.sleep(0.3)
        await service.start()
        assert (await running)["value"]["status"] == "done"
        assert len(service.jobs) == 1

    async def test_a_cancelled_job_is_ended_at_the_service(self, jobs: JobsExecutor, service: JobService) -> None:
        service.looks = None
        running = asyncio.create_task(run(jobs, job_parameters(service.url)))
        await until(lambda: service.jobs and service.jobs["job-1"].seen, "the first look")
        running.cancel()
        await asyncio.wait({running})
        assert service.jobs["job-1"].status == "cancelled"

    async def test_a_job_whose_time_is_over_is_ended_even_by_a_service_that_takes_its_time(
        self, service: JobService
    ) -> None:
        service.looks = None
        answer = service.answer
        refused: list[Request] = []

        async def slow(request: Request) -> Answer:
            if request.method == "DELETE":
                await asyncio.sleep(0.3)
                if not refused:
                    refused.append(request)
                    return Answer(503)
            return await answer(request)

        service.answer = slow
        async with StandIn() as platform, working(platform, JobsExecutor([HttpExecutor(HERE)], (0.1,))) as desk:
            await desk.assign(parameters=job_parameters(service.url), timeout_ms=500)
            await until(lambda: refused, "a first call that ends the job")
        assert platform.reports[-1].data["error"]["type"] in {"timeout", "worker_stopped"}
        assert service.jobs["job-1"].status == "cancelled"

    @pytest.mark.parametrize(("found_again", "status"), [(True, "running"), (False, "cancelled")])
    async def test_a_worker_that_stops_leaves_a_job_that_the_plan_finds_again(
        self, service: JobService, found_again: bool, status: str
    ) -> None:
        service.looks = None
        more = looked_up(service.url) if found_again else {}
        async with StandIn() as platform, working(platform, JobsExecutor([HttpExecutor(HERE)])) as desk:
            await desk.assign(parameters=job_parameters(service.url, **more), idempotent=True)
            await until(lambda: service.jobs and service.jobs["job-1"].seen, "the first look at the job")
        assert service.jobs["job-1"].status == status
        assert ("FAILED" in platform.statuses) is not found_again

    async def test_an_answer_that_is_lost_begins_no_second_job(self, jobs: JobsExecutor, service: JobService) -> None:
        answer = service.answer
        lost: list[Request] = []

        async def lose_one(request: Request) -> Answer:
            told = await answer(request)
            if request.method == "POST" and not lost:
                lost.append(request)
                return Answer(504)
            return told

        service.answer = lose_one
        await run(jobs, job_parameters(service.url))
        assert len(service.jobs) == 1

    async def test_a_service_that_knows_no_keys_is_asked_for_the_job_first(
        self, jobs: JobsExecutor, service: JobService
    ) -> None:
        service.forgetful = True
        given = job_parameters(service.url, **looked_up(service.url))
        first = await run(jobs, given)
        second = await run(jobs, given, attempt=2)
        assert (first["job"]["adopted"], second["job"]["adopted"]) == (False, True)
        assert len(service.jobs) == 1
        await run(jobs, given, attempt=3, retry_count=1)
        assert [job.key for job in service.jobs.values()] == ["t-1-0", "t-1-1"]


class TestFunction:
    async def test_a_function_gets_an_event_and_answers_with_the_result(
        self, jobs: JobsExecutor, service: JobService
    ) -> None:
        async def double(request: Request) -> Answer:
            return Answer(200, json.dumps({"n": request.json["n"] * 2}).encode())

        service.answer = double
        given = {"provider": "function", "url": f"{service.url}/f", "data": {"n": 21}, "outputs": {"n": "/n"}}
        output = await run(jobs, given, flow_id="f-1", correlation_id="c-1")
        assert (output["value"], output["outputs"]) == ({"n": 42}, {"n": 42})
        [request] = service.requests
        about = {name: request.headers[f"ce-{name}"] for name in ("id", "type", "subject", "correlationid")}
        assert about == {
            "id": "t-1-0",
            "type": "io.neuralhive.task.requested.v1",
            "subject": "t-1",
            "correlationid": "c-1",
        }


class TestKill:
    @pytest.mark.parametrize("forgetful", [False, True], ids=["keys", "lookup"])
    async def test_the_job_of_a_worker_that_is_killed_is_started_once(
        self, tmp_path: Any, service: JobService, forgetful: bool
    ) -> None:
        service.looks, service.forgetful = None, forgetful
        more = looked_up(service.url) if forgetful else {}
        plan = decision(task("a", parameters=job_parameters(service.url, **more), required_capabilities=[]))
        async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
            for name in ("doomed", "other"):
                worker = worker_process(tmp_path, platform.url, name, "--executor", "http,command")
                worker.environment = {"WORKER_NETWORKS": "loopback"}
                platform.hired.append(worker)
            platform.hired[0].start()
            flow_id = await platform.submit(plan)
            await until(lambda: service.jobs and service.jobs["job-1"].seen, "the first look at the job")
            platform.hired[0].kill()
            platform.hired[1].start()
            seen = service.jobs["job-1"].seen
            await until(lambda: service.jobs["job-1"].seen > seen + 2, "looks of another worker at the same job")
            service.looks = 1
            flow = await platform.ended(flow_id)
            tickets = await platform.tickets(flow_id)
        assert flow["status"] == "COMPLETED", flow["reasons"]
        assert len(service.jobs) == 1
        assert (tickets["a"]["worker_id"], tickets["a"]["retry_count"]) == ("other", 0)
        assert tickets["a"]["output"]["job"]["id"] == "job-1"
