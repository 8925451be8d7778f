"""Workers: how they register and stay known, and who could take a ticket."""

from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.placement.ranking import health_of, rank_for
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.planning.planned_work import capabilities
from functions._core.records.record import fields_of
from functions._core.records.set_aside import LISTED, RecordKind
from functions._core.records.values import Health
from functions.api.access import acting
from functions.api.actions import NOBODY, RequestedBy
from functions.api.bodies import json_answer, read_json
from functions.api.documents import json_body, path_parameter, problems
from functions.api.forms import Wanted
from functions.api.hot_routes import HotRoute
from functions.api.questions import Id, found
from functions.api.registry import deregistered, heard, membership, registered, trails_in
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.views import (
    Discovery,
    HeartbeatAnswer,
    RankedWorker,
    RegisteredWorker,
    WorkerList,
    WorkerView,
    worker_view,
)

router = Routes(prefix="/api/v1/workers", tags=["workers"])

BODY_PROBLEMS = (400, 413, 415, 422)

Domain = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="The domain of work in which `pheromone` is looked up"),
]
"""A plan's `original_domain`, or a type of tasks."""


@router.post(
    "",
    status_code=201,
    responses=problems(409, *BODY_PROBLEMS) | {200: {"model": RegisteredWorker, "description": "Known before"}},
    openapi_extra=json_body(Registration),
)
async def register_worker(services: Services, request: Request, response: Response) -> RegisteredWorker:
    """Register a worker, or what is new about it: 201 when it was not known. Tickets that wait for it are released."""
    registration = await read_json(request, Registration)
    worker = await registered(services, request, registration)
    response.status_code = 201 if worker.version == 1 else 200
    active = await services.ports.ticket_counts.active()
    view = worker_view(worker, active, services.ports.clock.now(), services.rules)
    return RegisteredWorker(**fields_of(view), **membership(services, worker))


@router.get("", responses=problems(400, 422))
async def list_workers(
    services: Services,
    status: Annotated[Health | None, Query(description="Their health now; in any letter case")] = None,
    domain: Domain = None,
) -> WorkerList:
    """Return all workers, or those of one health, by id; `unreadable` names those whose records cannot be read."""
    workers, active = await services.ports.registry.workers(), await services.ports.ticket_counts.active()
    now = services.ports.clock.now()
    left_out = services.ports.set_aside.records(RecordKind.WORKER)
    asked = [worker for worker in workers if status in {None, health_of(worker, now, services.rules)}]
    trails = None if domain is None else await trails_in(services, domain)
    return WorkerList(
        items=tuple(worker_view(worker, active, now, services.rules, trails) for worker in asked),
        unreadable=tuple(left_out[:LISTED]),
    )


@router.post("/discover", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(Wanted, required=False))
async def discover_workers(services: Services, request: Request) -> Discovery:
    """Rank the workers that offer all `capabilities`, as C3 would for a ticket of this `security_level` now."""
    asked = await read_json(request, Wanted)
    required = capabilities(asked.capabilities)
    workers = {worker.worker_id: worker for worker in await services.ports.registry.workers()}
    now = services.ports.clock.now()
    active = await services.ports.ticket_counts.active()
    trails = await trails_in(services, asked.domain)
    ranking = rank_for(
        required, [*workers.values()], active, now, services.rules, level=asked.security_level, trails=trails
    )
    return Discovery(
        items=tuple(
            RankedWorker(
                **fields_of(candidate),
                endpoint=workers[candidate.worker_id].endpoint,
                capabilities=workers[candidate.worker_id].capabilities,
                clearance=workers[candidate.worker_id].clearance,
                health=health_of(workers[candidate.worker_id], now, services.rules),
            )
            for candidate in ranking.candidates[: asked.limit]
        ),
        refusals=ranking.refusals,
    )


@router.get("/{worker_id}", responses=problems(404, 422))
async def get_worker(services: Services, worker_id: str, domain: Domain = None) -> WorkerView:
    """Return a worker."""
    worker = await found("worker", worker_id, services.ports.registry.worker)
    active = await services.ports.ticket_counts.active()
    trails = None if domain is None else await trails_in(services, domain)
    return worker_view(worker, active, services.ports.clock.now(), services.rules, trails)


async def take_heartbeat(request: Request) -> Response:
    """Take in a heartbeat. A 404 says that the worker is not known (any more) and has to register."""
    heartbeat, told = await heard(request, "worker", request.path_params["worker_id"])
    return json_answer(200, {"status": heartbeat.status, "cancel": told.cancel})


router.add_api_route(
    "/{worker_id}/heartbeat",
    take_heartbeat,
    methods=["POST"],
    response_model=None,
    responses={**problems(404, *BODY_PROBLEMS), 200: {"model": HeartbeatAnswer}},
    openapi_extra={
        "parameters": [path_parameter("worker_id", title="Worker Id")],
        **json_body(Heartbeat, required=False),
    },
    route_class_override=HotRoute,
)


@router.delete("/{worker_id}", status_code=204, responses=problems(404, 422))
async def deregister_worker(
    services: Services, request: Request, worker_id: str, reason: Id = None, requested_by: RequestedBy = NOBODY
) -> None:
    """Forget a worker; its tickets are given to others. Who wants it and why is kept."""
    await deregistered(services, "worker", worker_id, who=acting(request, requested_by), why=reason)
