"""What people see of jobs: `GET /api/v1/jobs` and `flowc jobs`."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from functions._core.jobs.records import JobRecord, JobStatus, put_job
from tests.support.command_line import flowc
from tests.support.http_api import Api, running_api
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import task

pytestmark = pytest.mark.timeout(120)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
NAMES = ("a", "b", "c")


def record(task_id: str, **changes: Any) -> JobRecord:
    about: dict[str, Any] = {"flow_id": "f-1", "ticket_id": f"t-{task_id}", "task_id": task_id, "key": f"t-{task_id}-0"}
    return JobRecord(
        **about, attempt=1, worker_id="w1", executor="http", begun_at=NOW, look_at=NOW, data={"secretive": 1}, log="x"
    ).but(**changes)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        for name in NAMES:
            leaked = {"status": JobStatus.LEAKED, "job_id": "4711", "why": "nobody could end it"}
            job = record(name, **(leaked if name == "b" else {}))
            await put_job(running.world.ports.key_values, job, 0, datetime.now(UTC))
        yield running


async def test_jobs_are_listed_page_by_page_without_what_is_the_executors_own(api: Api) -> None:
    first = await api.get("/api/v1/jobs?limit=2")
    second = await api.get(f"/api/v1/jobs?limit=2&cursor={first['cursor']}")
    assert [job["task_id"] for job in (*first["items"], *second["items"])] == ["a", "b", "c"]
    assert second["cursor"] is None
    assert not {"data", "log", "held_until"} & first["items"][0].keys()


async def test_jobs_of_a_status_or_of_a_ticket_are_found(api: Api) -> None:
    [leaked] = (await api.get("/api/v1/jobs?status=LEAKED"))["items"]
    assert (leaked["task_id"], leaked["why"]) == ("b", "nobody could end it")
    [job] = (await api.get("/api/v1/jobs?flow_id=f-1&ticket_id=t-c"))["items"]
    assert (job["task_id"], job["status"]) == ("c", "STARTING")


async def test_why_names_the_jobs_of_a_ticket(api: Api) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"))
    ticket = (await api.world.tickets(flow.flow_id))["a"]
    about = {"flow_id": flow.flow_id, "ticket_id": ticket.ticket_id}
    leaked = {"status": JobStatus.LEAKED, "job_id": "4711", "why": "nobody could end it", "url": "https://ci.example/"}
    for number, more in enumerate(({}, leaked)):
        job = record("a", **about, key=f"{ticket.ticket_id}-{number}", **more)
        await put_job(api.world.ports.key_values, job, 0, datetime.now(UTC))
    first, second = (await api.get(f"/api/v1/why/{ticket.ticket_id}"))["details"][-2:]
    assert first.startswith("Job 4711 of executor http (https://ci.example/), begun at ")
    assert first.endswith(f"goes on and nobody wants it: nobody could end it. Its key is {ticket.ticket_id}-1.")
    assert second.startswith("Job of executor http, begun at ")
    assert second.endswith(" by w1, is not known to be over.")


@pytest.mark.parametrize("query", ["status=GONE", "flow_id=f-1", "cursor=%00", "limit=0", f"cursor={'x' * 513}"])
async def test_a_question_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    assert (await api.client.get(f"/api/v1/jobs?{query}")).status_code == 422


async def test_nobody_sends_the_event_that_looks_at_jobs(api: Api) -> None:
    data = {"flow_id": "f-1", "ticket_id": "t-a", "attempt": 1}
    event = {"specversion": "1.0", "id": "1", "source": "/me", "type": "io.neuralhive.job.due.v1", "data": data}
    answer = await api.client.post("/", json=event, headers={"content-type": "application/cloudevents+json"})
    assert answer.status_code == 403
    assert await api.get("/api/v1/jobs?flow_id=f-1&ticket_id=t-a") != {"items": [], "cursor": None}


async def test_the_command_line_names_jobs_that_nobody_could_end(api: Api) -> None:
    async def answered(request: Request) -> Answer:
        reply = await api.client.get(request.path, params=request.query)
        return Answer(reply.status_code, reply.content, {"content-type": "application/json"})

    async with Loopback() as server:
        server.answer = answered
        listed = await asyncio.to_thread(flowc, "jobs", "--url", server.url)
        leaked = await asyncio.to_thread(flowc, "jobs", "--leaked", "--json", "--url", server.url)
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["STATUS", "STARTING", "LEAKED", "STARTING"]
    assert "nobody could end it" in listed.stdout
    assert [job["job_id"] for job in json.loads(leaked.stdout)] == ["4711"]
