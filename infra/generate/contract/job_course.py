"""A course on which the jobs of a ticket are looked at, and one goes on that nobody wants."""

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.jobs import JOB_DUE, JobDue
from functions._core.jobs.records import JobRecord, JobStatus, leaked_event
from functions._core.machine.step_builder import derived_id
from functions._core.records.attempts import work_key
from infra.generate.contract.beginnings import begun
from infra.generate.contract.scenario import Scenario


async def leaked() -> Scenario:
    """The build is a job of a service; its worker is lost, and nobody says that the job has ended."""
    course = await begun()
    ticket = next(one for one in await course.ports.store.tickets_of(course.flow_id) if one.task_id == "build")
    due = JobDue(flow_id=course.flow_id, ticket_id=ticket.ticket_id, attempt=ticket.attempt)
    course.sent.append(
        CloudEvent(
            id=derived_id(course.flow_id, JOB_DUE, f"{ticket.ticket_id}:{ticket.attempt}:{ticket.version}:due"),
            source="/flowc/assign",
            type=type_of(JOB_DUE),
            time=course.time,
            subject=course.flow_id,
            data=due.model_dump(mode="json"),
            extensions={
                "partitionkey": course.flow_id,
                "correlationid": ticket.correlation_id,
                "traceparent": f"00-{ticket.trace_id}-{ticket.span_id}-01",
            },
        )
    )
    job = JobRecord(
        flow_id=course.flow_id,
        ticket_id=ticket.ticket_id,
        task_id=ticket.task_id,
        attempt=ticket.attempt,
        key=work_key(ticket, ticket.attempt),
        worker_id="forge-1",
        executor="http",
        status=JobStatus.LEAKED,
        job_id="4711",
        url="https://ci.example/jobs/4711",
        begun_at=course.time,
        look_at=course.time,
        why="worker forge-1 has not said that it has ended it",
    )
    await course.later(60)
    course.sent.append(leaked_event(job, course.time, await course.ports.store.flow(course.flow_id)))
    return course
