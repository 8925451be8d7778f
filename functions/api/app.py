"""The HTTP function, put together."""

from collections.abc import Iterable, Mapping
from functools import partial

from fastapi import Depends, FastAPI
from starlette.routing import BaseRoute, Route

from functions.api import (
    agent_watch,
    agents,
    aggregates,
    approvals,
    console_files,
    dead_letters,
    diagnose,
    event_waits,
    flows,
    history,
    keys,
    leases,
    limits,
    orders,
    plans,
    problems,
    rollups,
    schedules,
    schemas,
    session,
    signals,
    subscriptions,
    system,
    telemetry,
    ticket_changes,
    tickets,
    tokens,
    webhooks,
    why,
    workers,
    workflows,
)
from functions.api.access import FrontDoor
from functions.api.credentials import credentials
from functions.api.documents import BINARY, TAKEN, Api, avro_too, batch_problem, events_body, path_parameter
from functions.api.documents import problems as problem_answers
from functions.api.hot_routes import HotRoute, HotRoutes
from functions.api.ingress import BatchTaken, Taken, receive_events
from functions.api.questions import known_parameters
from functions.api.rate_limits import RateLimits, stranger_slowed_down
from functions.api.reports import ReportAnswer, receive_report
from functions.api.roles import allowed
from functions.api.services import ApiServices

DESCRIPTION = """
Turns a decision into done work inside its SLA. POST a consolidated decision to `/` as a CloudEvent, follow its
flow under `/api/v1/flows/{flow_id}`, and ask `/api/v1/why/{id}` when something takes long.
"""

MODULES = (
    flows,
    tickets,
    tokens,
    ticket_changes,
    orders,
    approvals,
    why,
    diagnose,
    workers,
    leases,
    agent_watch,
    agents,
    workflows,
    signals,
    dead_letters,
    history,
    event_waits,
    limits,
    telemetry,
    keys,
    session,
    aggregates,
    rollups,
    subscriptions,
    schedules,
    webhooks,
    plans,
    schemas,
    system,
)


def create_app(services: ApiServices) -> FastAPI:
    """Return the ASGI application over `services`."""
    app = Api(
        title="Flow C",
        version=services.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=problem_answers(),
        dependencies=[Depends(allowed), Depends(known_parameters)],
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the platform has its own
    )
    app.state.services = services
    problems.install(app)
    _add_hot_routes(app)
    routes = [*app.routes]
    for module in MODULES:
        app.include_router(module.router)
        routes += module.router.routes
    app.state.methods = _methods(routes)
    console_files.install(app)
    app.add_middleware(HotRoutes, routes=[route for route in routes if isinstance(route, HotRoute)])
    limiter = services.limiter
    if limiter is not None:
        app.add_middleware(RateLimits, limiter=limiter)
    app.add_middleware(
        FrontDoor,
        authenticate=credentials(services),
        hosts=services.hosts,
        origins=services.origins,
        off=services.identify is None,
        slow_down=None if limiter is None else partial(stranger_slowed_down, limiter),
    )
    return app


def _methods(routes: Iterable[BaseRoute]) -> Mapping[str, frozenset[str]]:
    """Return the methods of each path; the document would say the same, but takes long to make."""
    methods: dict[str, frozenset[str]] = {}
    for route in routes:
        if isinstance(route, Route):
            methods[route.path_format] = methods.get(route.path_format, frozenset()) | frozenset(route.methods or ())
    return methods


def _add_hot_routes(app: FastAPI) -> None:
    """Add what every step of a flow goes through; first, so that it is found first."""
    reports = events_body("ticket.reported", batch=False)
    reports["parameters"].append(path_parameter("flow_id"))
    plain = "A report as plain JSON; with the ce- headers, data alone of the binary form"
    reports["requestBody"]["content"][BINARY]["schema"]["description"] = plain
    app.router.add_api_route(
        "/api/v1/flows/{flow_id}/reports",
        receive_report,
        methods=["POST"],
        tags=["reports"],
        response_model=None,
        responses={**problem_answers(400, 401, 403, 404, 413, 415, 422, 503), 200: {"model": ReportAnswer}},
        openapi_extra={**reports, "security": [{"assignment": []}]},
        route_class_override=HotRoute,
    )
    app.router.add_api_route(
        "/",
        receive_events,
        methods=["POST"],
        tags=["ingress"],
        status_code=202,
        response_model=None,
        responses={
            **problem_answers(401, 403, 404, 413, 415, 422, 503),
            **batch_problem(),
            202: {"model": Taken | BatchTaken},
        },
        openapi_extra={
            **avro_too(
                events_body(*(entry.event_type for entry in TAKEN), batch=True),
                "events/decision.consolidated.v1.avsc",
            ),
            "security": [{}, {"assignment": []}],
        },
        route_class_override=HotRoute,
    )
