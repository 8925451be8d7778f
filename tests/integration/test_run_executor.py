"""The platform's own worker: jobs are begun once, looked at by wake-ups, ended when nobody wants them, never held."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Rejected
from functions._core.events import commands
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.jobs import JOB_DUE
from functions._core.jobs.records import JOBS, JobStatus, page_of_jobs
from functions._core.placement.leasing import LeaseRequest
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.ports import Ports
from functions._core.records.attempts import work_key
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._core.records.worker import OWN_WORKER
from functions._engine.settings import Settings, SettingsError
from functions._executors import ci_runs, own_jobs
from functions._executors.http import HttpExecutor
from functions._hosts.one_machine.process import running
from tests.support.gitlab_api import TOKEN, GitlabServer
from tests.support.job_service import JobService, job_parameters
from tests.support.loopback import Answer, Request, until
from tests.support.ordering import SAID
from tests.support.processes import platform_process
from tests.support.world import LocalWorld, decision, running_world, task
from tests.support.world import until as eventually

LOOPBACK = {"WORKER_NETWORKS": "loopback"}


@pytest.fixture
async def service() -> AsyncIterator[JobService]:
    async with JobService() as served:
        yield served


def own_world(folder: Path, **more: Any) -> AbstractAsyncContextManager[LocalWorld]:
    """Run a platform that does jobs itself, and looks at them often."""
    environment = LOOPBACK | more.pop("environment", {})
    settings = {"executors": "http,function", "executor_look_seconds": 0.05, **more}
    return running_world(folder, environment=environment, **settings)


async def submitted(world: LocalWorld, parameters: dict[str, Any], **more: Any) -> str:
    """Send a plan of one job, after the platform's own worker has come."""
    await present(world)
    return await world.submit(decision(task("a", parameters=parameters, required_capabilities=[], **more)))


async def present(world: LocalWorld) -> None:
    async def known() -> object:
        return await world.ports.registry.worker(OWN_WORKER)

    await eventually(known, "the platform's own worker")


async def looked_at(service: JobService, times: int = 2) -> None:
    await until(lambda: service.jobs and service.jobs["job-1"].seen >= times, "looks at the job")


async def records(ports: Ports) -> list[Any]:
    return [job for job, _ in (await page_of_jobs(ports.key_values, None, 50))[0]]


def requests(service: JobService, method: str) -> list[str]:
    return [request.path for request in service.requests if request.method == method]


async def test_a_job_is_done_without_a_worker_and_its_record_is_gone(tmp_path: Path, service: JobService) -> None:
    service.looks = 4
    async with own_world(tmp_path) as world:
        flow_id = await submitted(world, job_parameters(service.url, outputs={"rows": "/result/rows"}))
        flow = await world.ended(flow_id)
        ticket = (await world.tickets(flow_id))["a"]
        assert flow.outcome == "COMPLETED", flow.reasons
        assert (ticket.worker_id, ticket.attempt, ticket.retry_count) == (OWN_WORKER, 1, 0)
        assert ticket.output["outputs"] == {"rows": 7}
        assert ticket.output["job"]["executor"] == "http"
        assert ticket.output["job"]["id"] == "job-1"
        assert service.jobs["job-1"].key == work_key(ticket, 1)
        assert requests(service, "POST") == ["/jobs"]
        await eventually(partial(forgotten, world), "the end of its record")


async def test_a_call_that_answers_at_once_needs_no_second_look(tmp_path: Path, service: JobService) -> None:
    async with own_world(tmp_path) as world:
        flow_id = await submitted(world, {"provider": "http", "url": f"{service.url}/echo"})
        flow = await world.ended(flow_id)
        assert flow.outcome == "COMPLETED", flow.reasons
        assert requests(service, "GET") == ["/echo"]


async def test_an_event_that_comes_ten_times_begins_one_job(tmp_path: Path, service: JobService) -> None:
    service.looks, service.forgetful = None, True
    async with own_world(tmp_path) as world:
        flow_id = await submitted(world, job_parameters(service.url))
        await looked_at(service)
        ticket = (await world.tickets(flow_id))["a"]
        jobs = world.platform.companions.jobs
        due = job_due(ticket)
        await asyncio.gather(*(jobs.apply(due) for _ in range(10)))
        assert len(service.jobs) == 1
        service.looks = 1
        assert (await world.ended(flow_id)).outcome == "COMPLETED"
        await asyncio.gather(*(jobs.apply(due) for _ in range(10)))
        assert len(service.jobs) == 1


def job_due(ticket: Ticket) -> CloudEvent:
    """Return `job.due` as the machine sends it."""
    data = {"flow_id": ticket.flow_id, "ticket_id": ticket.ticket_id, "attempt": max(1, ticket.attempt)}
    return CloudEvent(id="e-1", source="/flowc/assign", type=type_of(JOB_DUE), time=datetime.now(UTC), data=data)


async def test_two_platforms_over_one_store_begin_one_job_and_end_it_once(tmp_path: Path, service: JobService) -> None:
    service.looks, service.forgetful = None, True
    stores = MemoryStore().stores
    async with own_world(tmp_path / "a", stores=stores) as one, own_world(tmp_path / "b", stores=stores) as two:
        flow_id = await submitted(one, job_parameters(service.url))
        await looked_at(service, 4)
        ticket = (await one.tickets(flow_id))["a"]
        due = job_due(ticket)
        await asyncio.gather(*(each.platform.companions.jobs.apply(due) for each in (one, two) * 10))
        assert len(service.jobs) == 1
        await one.cancel(flow_id)
        await asyncio.gather(*(each.platform.companions.jobs.apply(due) for each in (one, two) * 10))
        await until(lambda: service.jobs["job-1"].status == "cancelled", "the end of the job")
        await one.ended(flow_id)
        assert requests(service, "DELETE") == ["/jobs/job-1"]


class TestEnds:
    async def test_the_job_of_a_cancelled_flow_is_cancelled_once(self, tmp_path: Path, service: JobService) -> None:
        service.looks = None
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url))
            await looked_at(service)
            await world.cancel(flow_id)
            await until(lambda: service.jobs["job-1"].status == "cancelled", "the end of the job")
            await eventually(partial(forgotten, world), "the end of its record")
        assert requests(service, "DELETE") == ["/jobs/job-1"]

    async def test_the_job_of_an_attempt_that_times_out_is_cancelled_and_the_next_one_is_another(
        self, tmp_path: Path, service: JobService
    ) -> None:
        service.looks = None
        async with own_world(tmp_path, limits={"grace": timedelta(0)}) as world:
            flow_id = await submitted(
                world, job_parameters(service.url), timeout_ms=400, retry={"max_retries": 1, "initial_ms": 10}
            )
            await until(lambda: len(service.jobs) == 2, "a second job")
            await until(lambda: service.jobs["job-1"].status == "cancelled", "the end of the first job")
            service.looks = 1
            flow = await world.ended(flow_id)
        assert flow.outcome == "COMPLETED", flow.reasons
        assert "/jobs/job-2" not in requests(service, "DELETE")
        assert service.jobs["job-2"].key == service.jobs["job-1"].key.removesuffix("-0") + "-1"

    async def test_a_job_that_fails_fails_its_ticket(self, tmp_path: Path, service: JobService) -> None:
        service.looks, service.ends_as = 1, "failed"
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url), retry={"max_retries": 0})
            flow = await world.ended(flow_id)
            ticket = (await world.tickets(flow_id))["a"]
            assert flow.outcome == "FAILED"
            assert (ticket.reason and ticket.reason.code) == "job_failed"
            await eventually(partial(forgotten, world), "the end of its record")

    async def test_a_pause_of_the_flow_keeps_nobody_from_hearing_the_end(
        self, tmp_path: Path, service: JobService
    ) -> None:
        service.looks = None
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url))
            await looked_at(service)
            await world.platform.order(commands.PauseRequest(flow_id=flow_id, **SAID))
            service.looks = 1
            await world.ticket(flow_id, lambda one: one.status is TicketStatus.COMPLETED, "is done in the pause")

    async def test_a_redrive_begins_a_job_of_its_own(self, tmp_path: Path, service: JobService) -> None:
        service.looks, service.ends_as = 1, "failed"
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url), retry={"max_retries": 0})
            await world.ended(flow_id)
            service.ends_as = "done"
            await world.platform.order(commands.RedriveRequest(flow_id=flow_id, **SAID))
            flow = await world.reached(flow_id, "COMPLETED")
            assert flow.outcome == "COMPLETED"
        assert [job.key.removeprefix(job.key[:36]) for job in service.jobs.values()] == ["-0", "-0-1"]


async def forgotten(world: LocalWorld) -> bool | None:
    return await records(world.ports) == [] or None


class TestKill:
    async def test_the_platform_is_killed_at_every_moment_of_a_job_and_it_is_begun_once(
        self, tmp_path: Path, service: JobService
    ) -> None:
        service.looks = None
        plan = decision(task("a", parameters=job_parameters(service.url), required_capabilities=[]))
        chosen = {"executors": "http", "executor_look_seconds": 0.2}
        platform = platform_process(tmp_path, **chosen)
        platform.environment = {**platform.environment, **LOOPBACK}
        held, answer = asyncio.Event(), service.answer

        async def begun_and_silent(request: Request) -> Answer:
            answered = await answer(request)  # the job is there, and nobody hears of it
            await held.wait()
            return answered

        async def killed() -> None:
            platform.kill()
            platform.start()
            await platform.ready()

        try:
            platform.start()
            await platform.ready()
            service.answer = begun_and_silent
            flow_id = await platform.submit(plan)
            await until(lambda: service.jobs, "the job")
            platform.kill()
            service.answer = answer
            held.set()
            platform.start()
            await platform.ready()
            await looked_at(service)
            for _ in range(2):
                await killed()
                await looked_at(service, service.jobs["job-1"].seen + 1)
            assert list(service.jobs) == ["job-1"]
            assert {request.headers["idempotency-key"] for request in service.requests} == {service.jobs["job-1"].key}
            platform.kill()
            service.looks = 1
            platform.start()
            await platform.ready()
            flow = await platform.ended(flow_id)
            assert flow["status"] == "COMPLETED", flow["reasons"]
            service.looks = None
            again = await platform.submit({**plan, "decision_id": "another"})
            await until(lambda: "job-2" in service.jobs, "the second job")
            status, body = await platform.call(
                "POST", f"/api/v1/flows/{again}/cancel", {"requested_by": "ada", "reason": "enough"}
            )
            assert status < 300, body
            await killed()
            await until(lambda: service.jobs["job-2"].status == "cancelled", "the end of the second job")
            assert [job.status for job in service.jobs.values()] == ["done", "cancelled"]
        finally:
            platform.kill()


class TestFaults:
    async def test_a_service_that_is_away_for_a_while_loses_no_job(self, tmp_path: Path, service: JobService) -> None:
        service.looks = None
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url))
            await looked_at(service)
            service.faults.extend(Answer(503) for _ in range(6))
            await until(lambda: not service.faults, "six faults")
            service.looks = 1
            flow = await world.ended(flow_id)
        assert flow.outcome == "COMPLETED", flow.reasons
        assert requests(service, "POST") == ["/jobs"]

    async def test_a_job_that_cannot_be_begun_fails_after_four_tries(self, tmp_path: Path, service: JobService) -> None:
        service.faults.extend(Answer(503) for _ in range(4))
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url), retry={"max_retries": 0})
            flow = await world.ended(flow_id)
            ticket = (await world.tickets(flow_id))["a"]
        assert (flow.outcome, ticket.reason and ticket.reason.code) == ("FAILED", "unexpected_status")
        assert len(requests(service, "POST")) == 4

    async def test_a_task_that_must_not_be_begun_twice_fails_when_its_beginning_was_cut_off(
        self, tmp_path: Path, service: JobService
    ) -> None:
        stores = MemoryStore().stores
        answer, held = service.answer, asyncio.Event()

        async def silent(request: Request) -> Answer:
            answered = await answer(request)
            await held.wait()
            return answered

        service.answer = silent
        limits = {"grace": timedelta(0)}
        async with own_world(tmp_path / "a", stores=stores) as world:
            flow_id = await submitted(world, job_parameters(service.url), idempotent=False)
            await until(lambda: service.jobs, "the job")
        service.answer = answer
        held.set()
        async with own_world(tmp_path / "b", stores=stores, limits=limits) as world:
            flow = await world.ended(flow_id)
            ticket = (await world.tickets(flow_id))["a"]
            assert (flow.outcome, ticket.reason and ticket.reason.code) == ("FAILED", "unknown_outcome")

            async def leaked() -> Any:
                [job] = await records(world.ports)
                return job if job.status is JobStatus.LEAKED else None

            assert (await eventually(leaked, "the job to be named")).key == service.jobs["job-1"].key
        assert len(service.jobs) == 1

    async def test_an_executor_that_breaks_fails_its_ticket_and_nothing_else(
        self, tmp_path: Path, service: JobService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_arguments: object) -> None:
            raise KeyError("no such thing")

        monkeypatch.setattr(HttpExecutor, "poll", broken)
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url))
            flow = await world.ended(flow_id)
            ticket = (await world.tickets(flow_id))["a"]
            assert (flow.outcome, ticket.reason and ticket.reason.code) == ("FAILED", "KeyError")
            await until(lambda: service.jobs["job-1"].status == "cancelled", "the end of the job")

    async def test_a_job_that_cannot_be_cancelled_is_named(self, tmp_path: Path, service: JobService) -> None:
        service.looks = None
        async with own_world(tmp_path, subscriber_url="http://127.0.0.1:1", subscriber_events="job.leaked") as world:
            flow_id = await submitted(world, job_parameters(service.url))
            await looked_at(service)
            service.answer = refused
            world.platform.outbox.subscriber = told = Told()
            await world.cancel(flow_id)

            async def leaked() -> Any:
                return next((one for one in await records(world.ports) if one.status is JobStatus.LEAKED), None)

            job = await eventually(leaked, "the leaked job")
            assert (job.executor, job.job_id) == ("http", "job-1")
            assert job.why == "it could not be cancelled: the job could not be cancelled: 403"
            await until(lambda: told.events, "word of it")
            assert [(one.event_type, one.data["job_id"]) for one in told.events] == [("job.leaked", "job-1")]

    async def test_parameters_that_no_executor_reads_fail_at_once(self, tmp_path: Path, service: JobService) -> None:
        async with own_world(tmp_path, environment={"T": "x"}) as world:
            parameters = {"provider": "http", "url": {"$ref": "nowhere"}}
            await present(world)
            flow = await world.run(task("a", parameters=parameters, required_capabilities=[]))
        assert flow.outcome != "COMPLETED"
        assert service.requests == []


class Told:
    """A subscriber."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        self.events += events


async def refused(_request: object) -> Answer:
    return Answer(403)


async def test_secrets_are_read_for_each_call_and_kept_nowhere(tmp_path: Path, service: JobService) -> None:
    service.looks = None
    kept = tmp_path / "token"
    kept.write_text("first-secret-value")
    kept.chmod(0o600)
    given = job_parameters(service.url, auth={"bearer": {"$secret": "token"}})
    async with own_world(tmp_path, task_secrets=f"token=file:{kept}") as world:
        flow_id = await submitted(world, given)
        await looked_at(service)
        stored = await world.ports.key_values.page(JOBS, None, 1)
        assert b"first-secret-value" not in stored[0].value
        assert {one.headers["authorization"] for one in service.requests} == {"Bearer first-secret-value"}
        service.looks = 1
        flow = await world.ended(flow_id)
        ticket = (await world.tickets(flow_id))["a"]
    assert flow.outcome == "COMPLETED", flow.reasons
    assert "first-secret-value" not in repr(ticket)


class TestPlace:
    async def test_tickets_without_an_executor_are_for_workers(self, tmp_path: Path) -> None:
        async with own_world(tmp_path) as world:
            await present(world)
            flow_id = await world.submit(decision(task("a", required_capabilities=[])))
            await world.ticket(flow_id, lambda one: one.waiting is Waiting.WORKER, "waits for a worker")
            await world.register("w1")
            assert (await world.ended(flow_id)).outcome == "COMPLETED"

    async def test_nobody_else_is_the_platforms_own_worker(self, tmp_path: Path, service: JobService) -> None:
        service.looks = None
        async with own_world(tmp_path) as world:
            flow_id = await submitted(world, job_parameters(service.url))
            await looked_at(service)
            ticket = (await world.tickets(flow_id))["a"]
            claim = commands.ClaimRequest(flow_id=flow_id, ticket_id=ticket.ticket_id, worker_id=OWN_WORKER, **SAID)
            words = [
                world.platform.register(Registration(worker_id=OWN_WORKER, endpoint="http://127.0.0.1:1/x")),
                world.platform.heartbeat(OWN_WORKER, Heartbeat(running=())),
                world.platform.deregister(OWN_WORKER, "gone"),
                world.platform.lease(LeaseRequest(worker_id=OWN_WORKER), gone),
                world.platform.order(claim),
            ]
            for word in words:
                with pytest.raises(Rejected) as refusal:
                    await word
                assert refusal.value.code in {"reserved_worker", "not_pulling"}
            seen = service.jobs["job-1"].seen
            await until(lambda: service.jobs["job-1"].seen > seen, "another look")

    async def test_it_leaves_when_no_setting_names_an_executor(self, tmp_path: Path) -> None:
        stores = MemoryStore().stores
        async with own_world(tmp_path / "a", stores=stores) as world:
            await present(world)
        async with own_world(tmp_path / "b", stores=stores, executors="") as world:

            async def left() -> bool | None:
                return await world.ports.registry.worker(OWN_WORKER) is None or None

            await eventually(left, "the end of the platform's own worker")

    @pytest.mark.parametrize("name", ["command", "python", "nothing-like-it"])
    async def test_an_executor_whose_jobs_end_with_the_process_is_refused_at_the_start(
        self, tmp_path: Path, name: str
    ) -> None:
        settings = Settings.from_mapping({}, port=0, data=tmp_path, log_level="error", executors=f"http,{name}")
        with pytest.raises(SettingsError, match=f"FLOWC_EXECUTORS: .*{name}"):
            async with running(settings):
                pass


async def gone() -> bool:
    return False


async def test_a_job_has_the_time_of_its_attempt_and_each_call_a_part_of_a_look(
    tmp_path: Path, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    def heard(call: Any) -> Any:
        async def timed(self: HttpExecutor, context: Any, *more: Any) -> Any:
            left.append(context.seconds_left)
            assert context.call_seconds < 20
            return await call(self, context, *more)

        return timed

    for name in ("start", "poll"):
        monkeypatch.setattr(HttpExecutor, name, heard(getattr(HttpExecutor, name)))
    async with own_world(tmp_path) as world:
        flow_id = await submitted(world, job_parameters(service.url), timeout_ms=600_000)
        assert (await world.ended(flow_id)).outcome == "COMPLETED"
    assert 500 < min(left) <= max(left) <= 600


async def test_a_run_of_a_ci_server_whose_beginning_was_cut_off_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_jobs, "SECONDS", 0.5)
    monkeypatch.setattr(ci_runs, "PATIENCE", (0.02,) * 5)
    asked, held = list[Request](), asyncio.Event()
    async with GitlabServer() as gitlab:
        answer = gitlab.answer

        async def silent(request: Request) -> Answer:
            answered = await answer(request)
            if request.method == "POST" and not asked:
                asked.append(request)
                await held.wait()
            return answered

        gitlab.answer = silent
        environment = {
            "WORKER_GITLAB_URL": gitlab.url,
            "WORKER_GITLAB_TOKEN": TOKEN,
            "WORKER_REPOSITORIES": "acme/**",
            "WORKER_POLL_SECONDS": "0.05",
        }
        async with own_world(tmp_path, executors="gitlab_ci", environment=environment) as world:
            given = {"provider": "gitlab_ci", "project": "acme/web/shop", "ref": "main"}
            flow_id = await submitted(world, given, task_type="TEST")
            flow = await world.ended(flow_id)
            output = (await world.tickets(flow_id))["a"].output
            held.set()
        assert flow.outcome == "COMPLETED", flow.reasons
        assert (len(gitlab.pipelines), output["job"]["adopted"]) == (1, True)
