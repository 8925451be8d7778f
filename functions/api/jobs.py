"""Jobs of executors: those that are under way, and those that nobody could end."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from functions._core.errors import Rejected
from functions._core.jobs.records import JobRecord, JobStatus, jobs_of, page_of_jobs
from functions._core.records.record import Record, encode
from functions._core.records.values import Timestamp
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, Id, Limit
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/jobs", tags=["flows"])

PAGES = 10
"""Pages that one request looks through for jobs of a status."""

JobCursor = Annotated[
    str | None, Query(max_length=512, pattern=r"^[!-~]+$", description="The `cursor` of the page before")
]


class JobView(Record):
    """A job of an executor. `status` STARTING: nobody knows its id yet; LEAKED: it goes on, and nobody could end it."""

    flow_id: str
    ticket_id: str
    task_id: str
    attempt: int
    key: str
    worker_id: str
    executor: str
    status: JobStatus
    job_id: str | None
    url: str
    adopted: bool
    begun_at: Timestamp
    percent: float | None
    faults: int
    unwanted_at: Timestamp | None
    why: str


class JobList(Record):
    """Jobs by flow and ticket; `cursor` asks for the next page, null: nothing follows."""

    items: tuple[JobView, ...]
    cursor: str | None = None


@router.get("", response_model=None, responses={**problems(400, 422, 503), 200: {"model": JobList}})
async def list_jobs(
    services: Services,
    flow_id: Id = None,
    ticket_id: Id = None,
    status: JobStatus | None = None,
    cursor: JobCursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Response:
    """Return the jobs of executors that are not known to be over, of a ticket or of all; leaked ones for 30 days.

    A page may have fewer than `limit`, or none, and yet a cursor: a request looks through a bounded number.
    """
    entries = services.ports.key_values
    if (flow_id is None) is not (ticket_id is None):
        raise Rejected("flow_id and ticket_id go together", code="invalid_query", status=422)
    found: list[JobRecord] = []
    if flow_id is not None and ticket_id is not None:
        found, cursor = [job for job, _ in await jobs_of(entries, ticket_id, flow_id)], None
        return _listed([job for job in found if status in {None, job.status}][:limit], None)
    for _ in range(PAGES):
        page, cursor = await page_of_jobs(entries, cursor, limit - len(found))
        found += [job for job, _ in page if status in {None, job.status}]
        if cursor is None or len(found) >= limit:
            break
    return _listed(found, cursor)


def _listed(jobs: list[JobRecord], cursor: str | None) -> Response:
    items = tuple(JobView(**{name: getattr(job, name) for name in JobView.__struct_fields__}) for job in jobs)
    return Response(encode(JobList(items=items, cursor=cursor)), media_type="application/json")
