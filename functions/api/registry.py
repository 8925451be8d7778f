"""What both faces of the registry do: `/api/v1/workers` and `/api/v1/agents` are one set of records."""

from typing import Any

from fastapi import Request

from functions._core.engine import ReportResult
from functions._core.errors import Unreadable
from functions._core.placement.pheromones import NO_TRAILS, Trails
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.records.worker import Worker
from functions.api.access import principal_of
from functions.api.actions import NO_REASON, record
from functions.api.bodies import read_json
from functions.api.problems import not_found
from functions.api.questions import found, sound
from functions.api.roles import check_worker
from functions.api.services import ApiServices, services_of


async def registered(services: ApiServices, request: Request, registration: Registration) -> Worker:
    """Register for the caller, who may be allowed to act for one worker only."""
    check_worker(principal_of(request), registration.worker_id)
    return await services.engine.register(registration)


async def trails_in(services: ApiServices, domain: str | None) -> Trails:
    """Return the pheromone trails of a domain; none without one."""
    return await services.ports.pheromones.trails(domain) if domain is not None else NO_TRAILS


def membership(services: ApiServices, worker: Worker) -> dict[str, Any]:
    """Return what a worker is told when it registers, beside what it has said itself."""
    return {
        "heartbeat_interval_seconds": services.rules.heartbeat.total_seconds(),
        "signing_secret": services.ports.tokens.worker_secret(worker.worker_id, worker.registration),
        "callback_base_url": services.base_url,
    }


async def heard(request: Request, what: str, worker_id: str) -> tuple[Heartbeat, ReportResult]:
    """Take in the heartbeat that a request brings; return it, and what the worker is told."""
    heartbeat = await read_json(request, Heartbeat)
    return heartbeat, await services_of(request).engine.heartbeat(sound(what, worker_id), heartbeat)


async def deregistered(services: ApiServices, what: str, worker_id: str, *, who: str, why: str | None) -> None:
    """Forget a worker; who wants it and why is kept. Raises `Rejected`, status 404, when there is none."""
    readable = True
    try:
        await found(what, worker_id, services.ports.registry.worker)
    except Unreadable:  # who cannot be read can be forgotten all the same
        readable = False
    await record(services, "deregister_worker", worker_id, who=who, why=why or NO_REASON)
    if not await services.engine.deregister(worker_id, why or "") and readable:
        raise not_found(what, worker_id)
