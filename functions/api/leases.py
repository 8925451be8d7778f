"""Pull mode: workers that cannot be reached ask for their tickets."""

from fastapi import Request, Response

from functions._core.placement.leasing import LeaseRequest
from functions.api.access import principal_of
from functions.api.bodies import json_answer, read_json
from functions.api.documents import json_body, problems
from functions.api.hot_routes import HotRoute
from functions.api.questions import sound
from functions.api.roles import check_worker
from functions.api.routes import Routes
from functions.api.services import services_of
from functions.api.views import LeaseAnswer, event_view

router = Routes(prefix="/api/v1/tasks", tags=["workers"])

MAX_REQUEST = 256 * 1024
"""Bytes of a request: as many tickets as a worker has slots, each named in less than 200."""


async def lease_tasks(request: Request) -> Response:
    """Give a worker that asks for its tickets some of them, each as the event that others are sent; wait for the first.

    It counts as a heartbeat. A 404 says that the worker is not known (any more) and has to register. Of several
    requests of a worker the newest waits, the others are answered without tickets.
    """
    services = services_of(request)
    asked = await read_json(request, LeaseRequest, limit=MAX_REQUEST)
    check_worker(principal_of(request), sound("worker", asked.worker_id))
    patient = asked.but(wait_seconds=min(asked.wait_seconds, services.longest_wait))
    leased = await services.engine.lease(patient, request.is_disconnected)
    assignments = [event_view(event).model_dump(mode="json") for event in leased.assignments]
    answer = json_answer(200, {"assignments": assignments, "cancel": list(leased.cancel)})
    answer.headers["cache-control"] = "no-store"
    return answer


router.add_api_route(
    "/lease",
    lease_tasks,
    methods=["POST"],
    response_model=None,
    responses={**problems(400, 403, 404, 409, 413, 415, 422, 503), 200: {"model": LeaseAnswer}},
    openapi_extra=json_body(LeaseRequest),
    route_class_override=HotRoute,
)
