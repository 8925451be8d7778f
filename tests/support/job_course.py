"""The course of jobs that the platform does itself, on any platform: each begun once, done or ended, none left."""

from functools import partial

from tests.support.http_world import HttpWorld
from tests.support.job_service import JobService, job_parameters
from tests.support.loopback import until
from tests.support.world import decision, task


async def does_jobs(world: HttpWorld) -> None:
    """Have one flow of two jobs done, and another one cancelled while its job runs."""
    async with JobService() as service:
        service.looks, service.forgetful = 2, True  # it would begin a job for each request
        ask = partial(task, required_capabilities=[])
        second = ask("b", "a", parameters=job_parameters(service.url))
        flow_id = await world.submit(decision(ask("a", parameters=job_parameters(service.url)), second))
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
        assert flow["status"] == "COMPLETED", flow["reasons"]
        assert {one["worker_id"] for one in tickets.values()} == {"flowc:executors"}
        assert [one["output"]["job"]["id"] for one in tickets.values()] == ["job-1", "job-2"]
        assert all((one["attempt"], one["retry_count"]) == (1, 0) for one in tickets.values())
        service.looks = None
        flow_id = await world.submit(decision(ask("c", parameters=job_parameters(service.url))))
        await until(lambda: "job-3" in service.jobs and service.jobs["job-3"].seen > 1, "looks at the third job")
        said = {"requested_by": "ada", "reason": "enough"}
        status, body = await world.call("POST", f"/api/v1/flows/{flow_id}/cancel", said)
        assert status < 300, body
        await until(lambda: service.jobs["job-3"].status == "cancelled", "the end of the third job")
        await world.ended(flow_id)
        calls = [(request.method, request.path) for request in service.requests if request.method != "GET"]
        assert calls == [("POST", "/jobs")] * 3 + [("DELETE", "/jobs/job-3")]
