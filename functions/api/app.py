"""The HTTP function, put together."""

from functools import partial

from fastapi import FastAPI

from functions.api import (
    a2a,
    admission_policies,
    agent_watch,
    agents,
    aggregates,
    alerts,
    analytics,
    approvals,
    budgets,
    calculations,
    console_files,
    dead_letters,
    diagnose,
    event_waits,
    flow_policies,
    flows,
    freeze_gate,
    freeze_policies,
    guard_policies,
    history,
    history_rows,
    hot_list,
    insights,
    jobs,
    keys,
    leases,
    limits,
    load_forecasts,
    mcp,
    models,
    orders,
    passports,
    pipeline_statistics,
    pipelines,
    plans,
    playbooks,
    predictions,
    problems,
    resources,
    rollups,
    schedules,
    schemas,
    semantics,
    session,
    signals,
    slo_rules,
    slos,
    status,
    stuck,
    subscriptions,
    system,
    telemetry,
    templates,
    ticket_changes,
    tickets,
    tokens,
    tools,
    webhooks,
    what_changed,
    what_if,
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
from functions.api.rate_limits import RateLimits, stranger_slowed_down
from functions.api.reports import ReportAnswer, receive_report
from functions.api.routes import Routes, methods_of, routes_of
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
    passports,
    approvals,
    why,
    what_changed,
    predictions,
    load_forecasts,
    diagnose,
    stuck,
    hot_list,
    workers,
    leases,
    agent_watch,
    agents,
    workflows,
    signals,
    dead_letters,
    history,
    history_rows,
    event_waits,
    limits,
    telemetry,
    keys,
    session,
    aggregates,
    rollups,
    subscriptions,
    schedules,
    slo_rules,
    what_if,
    slos,
    budgets,
    freeze_policies,
    admission_policies,
    freeze_gate,
    guard_policies,
    flow_policies,
    webhooks,
    alerts,
    jobs,
    models,
    playbooks,
    plans,
    resources,
    calculations,
    schemas,
    system,
    tools,
    mcp,
    templates,
    pipelines,
    pipeline_statistics,
    insights,
    analytics,
    semantics,
    status,
    a2a,
)


def _hot_routes() -> Routes:
    """Return what every step of a flow goes through."""
    hot = Routes()
    reports = events_body("ticket.reported", batch=False)
    reports["parameters"].append(path_parameter("flow_id"))
    plain = "A report as plain JSON; with the ce- headers, data alone of the binary form"
    reports["requestBody"]["content"][BINARY]["schema"]["description"] = plain
    hot.add_api_route(
        "/api/v1/flows/{flow_id}/reports",
        receive_report,
        methods=["POST"],
        tags=["reports"],
        response_model=None,
        responses={**problem_answers(400, 401, 403, 404, 413, 415, 422, 503), 200: {"model": ReportAnswer}},
        openapi_extra={**reports, "security": [{"assignment": []}]},
        route_class_override=HotRoute,
    )
    hot.add_api_route(
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
    return hot


ROUTES = [route for routes in (_hot_routes(), *(module.router for module in MODULES)) for route in routes_of(routes)]
"""What every app serves; the hot ones first, so that they are found first."""

METHODS = methods_of(ROUTES)


def create_app(services: ApiServices) -> FastAPI:
    """Return the ASGI application over `services`."""
    app = Api(
        title="Flow C",
        version=services.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the platform has its own
    )
    app.state.services = services
    problems.install(app)
    app.state.methods = {**methods_of(app.routes), **METHODS}  # the document, and all that it lists
    app.router.routes += ROUTES
    console_files.install(app)
    app.add_middleware(HotRoutes, routes=[route for route in ROUTES if isinstance(route, HotRoute)])
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
