"""The roles that each route asks for. A route that is not listed asks for an administrator."""

from collections.abc import Mapping

from fastapi import Request

from functions._core.errors import Rejected
from functions._core.events.envelope import type_of
from functions._core.records.principal import Principal, Role
from functions.api.access import principal_of

READ = (Role.VIEWER,)
READ_OWN = (Role.VIEWER, Role.WORKER)
COMMAND = (Role.OPERATOR,)
WORK = (Role.WORKER,)
MANAGE = (Role.ADMIN,)
EVERYBODY: tuple[Role, ...] = ()
"""Open, or authorised by more than a role: a report by its token, an event by its type, a webhook by its signature."""

ROLES: Mapping[str, tuple[Role, ...]] = {
    "POST /": EVERYBODY,
    "GET /health": EVERYBODY,
    "GET /live": EVERYBODY,
    "GET /ready": EVERYBODY,
    "GET /.well-known/jwks.json": EVERYBODY,
    "GET /.well-known/agent-card.json": EVERYBODY,
    "GET /schemas/plan.json": EVERYBODY,
    "GET /schemas/decision.json": EVERYBODY,
    "GET /schemas/slo-definition.json": EVERYBODY,
    "GET /schemas/sla-policy.json": EVERYBODY,
    "GET /api/v1/session": EVERYBODY,
    "POST /api/v1/session": EVERYBODY,
    "GET /metrics": READ,
    "GET /api/v1/flows": READ,
    "GET /api/v1/flows/resolve": READ,
    "GET /api/v1/flows/{flow_id}": READ,
    "GET /api/v1/flows/{flow_id}/tickets": READ,
    "GET /api/v1/flows/{flow_id}/history": READ,
    "GET /api/v1/flows/{flow_id}/decision": READ,
    "GET /api/v1/flows/{flow_id}/result": READ,
    "GET /api/v1/flows/{flow_id}/replay": READ,
    "GET /api/v1/flows/{flow_id}/passport": READ,
    "GET /api/v1/flows/{flow_id}/what-changed": READ,
    "GET /api/v1/passport-key": READ,
    "POST /api/v1/flows/{flow_id}/reports": EVERYBODY,
    "POST /api/v1/flows/{flow_id}/cancel": COMMAND,
    "POST /api/v1/flows/{flow_id}/approve": COMMAND,
    "POST /api/v1/flows/{flow_id}/deny": COMMAND,
    "POST /api/v1/flows/{flow_id}/pause": COMMAND,
    "POST /api/v1/flows/{flow_id}/resume": COMMAND,
    "POST /api/v1/flows/{flow_id}/redrive": COMMAND,
    "POST /api/v1/flows/{flow_id}/adjust": COMMAND,
    "POST /api/v1/flows/{flow_id}/replan": COMMAND,
    "GET /api/v1/tickets": READ,
    "POST /api/v1/tickets": COMMAND,
    "GET /api/v1/tickets/by-plan/{plan_id}": READ,
    "GET /api/v1/tickets/{ticket_id}": READ_OWN,
    "GET /api/v1/tickets/{ticket_id}/logs": READ_OWN,
    "GET /api/v1/tickets/{ticket_id}/history": READ_OWN,
    "PATCH /api/v1/tickets/{ticket_id}/status": WORK,
    "GET /api/v1/tickets/{ticket_id}/assignment": WORK,
    "GET /api/v1/tickets/{ticket_id}/token": WORK,
    "POST /api/v1/tickets/{ticket_id}/retry": COMMAND,
    "POST /api/v1/tickets/{ticket_id}/reassign": COMMAND,
    "POST /api/v1/tickets/{ticket_id}/freeze-exception": COMMAND,
    "POST /api/v1/tickets/{ticket_id}/quarantine": COMMAND,
    "POST /api/v1/tickets/{ticket_id}/skip": COMMAND,
    "GET /api/v1/tickets/{ticket_id}/approval": READ,
    "POST /api/v1/tickets/{ticket_id}/approve": READ,
    "POST /api/v1/tickets/{ticket_id}/deny": READ,
    "GET /api/v1/inbox": READ,
    "GET /api/v1/why/{record_id}": READ,
    "GET /api/v1/diagnose/{case}": READ,
    "GET /api/v1/stuck": READ,
    "GET /api/v1/predictions": READ,
    "GET /api/v1/predictions/load": READ,
    "GET /api/v1/hot-list": READ,
    "POST /api/v1/workers": WORK,
    "GET /api/v1/workers": READ,
    "POST /api/v1/workers/discover": READ,
    "GET /api/v1/workers/{worker_id}": READ_OWN,
    "DELETE /api/v1/workers/{worker_id}": WORK,
    "POST /api/v1/workers/{worker_id}/heartbeat": WORK,
    "POST /api/v1/tasks/lease": WORK,
    "POST /api/v1/agents": WORK,
    "GET /api/v1/agents": READ,
    "GET /api/v1/agents/watch": READ,
    "POST /api/v1/agents/discover": READ,
    "POST /api/v1/agents/import": COMMAND,
    "GET /api/v1/agents/{agent_id}": READ_OWN,
    "DELETE /api/v1/agents/{agent_id}": WORK,
    "POST /api/v1/agents/{agent_id}/heartbeat": WORK,
    "POST /api/v1/agents/{agent_id}/drain": WORK,
    "POST /api/v1/agents/{agent_id}/undrain": COMMAND,
    "POST /api/v1/workflows/start": COMMAND,
    "POST /api/v1/flow-c/execute": COMMAND,
    "GET /api/v1/workflows/{workflow_id}": READ,
    "POST /api/v1/workflows/{workflow_id}/query": READ,
    "POST /api/v1/workflows/{workflow_id}/query/{query_name}": READ,
    "POST /api/v1/workflows/{workflow_id}/signal": COMMAND,
    "POST /api/v1/workflows/{workflow_id}/signal/{signal_name}": COMMAND,
    "POST /api/v1/workflows/{flow_id}/pause": COMMAND,
    "POST /api/v1/workflows/{flow_id}/resume": COMMAND,
    "POST /api/v1/workflows/{flow_id}/replan": COMMAND,
    "GET /api/v1/limits": READ,
    "GET /api/v1/dead-letters": READ,
    "POST /api/v1/dead-letters/{letter_id}/replay": COMMAND,
    "GET /api/v1/dead-letters/{letter_id}": READ,
    "DELETE /api/v1/dead-letters/{letter_id}": COMMAND,
    "GET /api/v1/subscriptions": READ,
    "POST /api/v1/subscriptions": COMMAND,
    "GET /api/v1/subscriptions/{subscription_id}": READ,
    "PUT /api/v1/subscriptions/{subscription_id}": COMMAND,
    "DELETE /api/v1/subscriptions/{subscription_id}": COMMAND,
    "POST /api/v1/subscriptions/{subscription_id}/rotate-secret": COMMAND,
    "POST /api/v1/subscriptions/{subscription_id}/test": COMMAND,
    "GET /api/v1/subscriptions/{subscription_id}/deliveries": READ,
    "GET /api/v1/subscriptions/{subscription_id}/deliveries/{delivery_id}": READ,
    "POST /api/v1/subscriptions/{subscription_id}/deliveries/{delivery_id}/resend": COMMAND,
    "GET /api/v1/schedules": READ,
    "GET /api/v1/schedules/{name}": READ,
    "PUT /api/v1/schedules/{name}": COMMAND,
    "DELETE /api/v1/schedules/{name}": COMMAND,
    "GET /api/v1/schedules/{name}/runs": READ,
    "POST /api/v1/schedules/{name}/pause": COMMAND,
    "POST /api/v1/schedules/{name}/resume": COMMAND,
    "POST /api/v1/schedules/{name}/run": COMMAND,
    "POST /api/v1/schedules/{name}/backfill": COMMAND,
    "DELETE /api/v1/schedules/{name}/backfill": COMMAND,
    "GET /api/v1/slos": READ,
    "POST /api/v1/slos": COMMAND,
    "POST /api/v1/slos/import/alerts": COMMAND,
    "GET /api/v1/slos/{slo_id}": READ,
    "PUT /api/v1/slos/{slo_id}": COMMAND,
    "DELETE /api/v1/slos/{slo_id}": COMMAND,
    "POST /api/v1/slos/{slo_id}/test": COMMAND,
    "GET /api/v1/budgets": READ,
    "GET /api/v1/budgets/summary": READ,
    "GET /api/v1/budgets/{slo_id}": READ,
    "POST /api/v1/budgets/{slo_id}/recalculate": COMMAND,
    "GET /api/v1/budgets/{slo_id}/history": READ,
    "GET /api/v1/budgets/{slo_id}/burn-rate": READ,
    "GET /api/v1/policies": READ,
    "POST /api/v1/policies": COMMAND,
    "GET /api/v1/policies/freezes/active": READ,
    "GET /api/v1/policies/freezes/history": READ,
    "POST /api/v1/policies/freezes/{event_id}/resolve": COMMAND,
    "GET /api/v1/policies/{policy_id}": READ,
    "PUT /api/v1/policies/{policy_id}": COMMAND,
    "DELETE /api/v1/policies/{policy_id}": COMMAND,
    "GET /api/v1/admission-policies": READ,
    "GET /api/v1/admission-policies/{name}": READ,
    "PUT /api/v1/admission-policies/{name}": COMMAND,
    "DELETE /api/v1/admission-policies/{name}": COMMAND,
    "GET /api/v1/guard-policies": READ,
    "GET /api/v1/guard-policies/{name}": READ,
    "PUT /api/v1/guard-policies/{name}": COMMAND,
    "DELETE /api/v1/guard-policies/{name}": COMMAND,
    "GET /api/v1/freeze-status/{service}": READ,
    "GET /api/v1/flow-sla-policies": READ,
    "GET /api/v1/flow-sla-policies/{name}": READ,
    "PUT /api/v1/flow-sla-policies/{name}": COMMAND,
    "DELETE /api/v1/flow-sla-policies/{name}": COMMAND,
    "GET /api/v1/models": READ,
    "GET /api/v1/models/{model_id}": READ,
    "POST /api/v1/models/train": COMMAND,
    "POST /api/v1/models/{model_id}/promote": COMMAND,
    "POST /api/v1/models/{model_id}/rollback": COMMAND,
    "GET /api/v1/playbooks": READ,
    "GET /api/v1/playbooks/{name}": READ,
    "PUT /api/v1/playbooks/{name}": COMMAND,
    "DELETE /api/v1/playbooks/{name}": COMMAND,
    "GET /api/v1/healing-runs": READ,
    "GET /api/v1/jobs": READ,
    "POST /api/v1/healing-runs/rehearse": READ,
    "POST /api/v1/webhooks/pipeline-completed": EVERYBODY,
    "POST /webhooks/alertmanager": EVERYBODY,
    "GET /api/v1/slos/rules": READ,
    "POST /api/v1/slos/what-if": READ,
    "GET /api/v1/plans": READ,
    "GET /api/v1/plans/{name}/versions": READ,
    "GET /api/v1/plans/{name}/versions/{version}": READ,
    "PUT /api/v1/plans/{name}/versions/{version}": COMMAND,
    "DELETE /api/v1/plans/{name}/versions/{version}": MANAGE,
    "GET /api/v1/resources": READ,
    "GET /api/v1/resources/{kind}/{name}": READ,
    "PUT /api/v1/resources/{kind}/{name}": COMMAND,
    "DELETE /api/v1/resources/{kind}/{name}": COMMAND,
    "POST /api/v1/simulations": COMMAND,
    "POST /api/v1/costs": COMMAND,
    "GET /api/v1/events": READ,
    "GET /api/v1/history/flows": READ,
    "GET /api/v1/history/tickets": READ,
    "GET /api/v1/event-waits": READ,
    "GET /api/v1/kept-events": READ,
    "GET /api/v1/incidents": READ,
    "GET /api/v1/audits": READ,
    "GET /api/v1/templates": READ,
    "GET /api/v1/templates/{template_id}": READ,
    "PUT /api/v1/templates/{template_id}": MANAGE,
    "DELETE /api/v1/templates/{template_id}": MANAGE,
    "POST /api/v1/pipelines": COMMAND,
    "GET /api/v1/pipelines": READ,
    "GET /api/v1/pipelines/{pipeline_id}": READ,
    "GET /api/v1/pipelines/{pipeline_id}/artifacts": READ,
    "POST /api/v1/pipelines/{pipeline_id}/cancel": COMMAND,
    "GET /api/v1/statistics": READ,
    "GET /api/v1/tools": READ,
    "GET /api/v1/tools/{name}": READ,
    "PUT /api/v1/tools/{name}": MANAGE,
    "DELETE /api/v1/tools/{name}": MANAGE,
    "POST /api/v1/tools/{name}/call": COMMAND,
    "POST /mcp": READ,
    "POST /a2a": READ,
    "GET /api/v1/keys": MANAGE,
    "POST /api/v1/keys": MANAGE,
    "DELETE /api/v1/keys/{key_id}": MANAGE,
    "GET /api/v1/telemetry/buffer": READ,
    "POST /api/v1/telemetry/flush": COMMAND,
    "GET /api/v1/status": READ,
    "GET /api/v1/insights": READ,
    "GET /api/v1/insights/statistics": READ,
    "GET /api/v1/insights/by-tags": READ,
    "GET /api/v1/insights/by-entity/{entity_type}/{entity_id}": READ,
    "GET /api/v1/insights/{insight_id}": READ,
    "POST /api/v1/insights/query": READ,
    "POST /api/v1/analytics/query": READ,
    "POST /api/v1/analytics/anomalies": READ,
    "POST /api/v1/analytics/trends": READ,
    "POST /api/v1/analytics/correlation": READ,
    "POST /api/v1/semantics/similarity": READ,
    "POST /api/v1/semantics/search": READ,
    "POST /api/v1/semantics/cluster": READ,
    "POST /api/v1/semantics/drift": READ,
    "POST /api/v1/semantics/outliers": READ,
    "GET /api/v1/semantics/errors": READ,
    "GET /api/v1/flow-c/status": READ,
    "GET /api/v1/flow-c/rollups": READ,
    "GET /api/v1/flow-c/executions": READ,
    "GET /api/v1/flow-c/executions/{flow_id}": READ,
}
"""By method and path of a route, as /openapi.json has them; the caller needs one of the roles."""

WORKER_IDS = frozenset({"worker_id", "agent_id"})
"""Parts of a path that name a worker: a key for one worker opens its own alone."""

REPORT = type_of("ticket.reported")
OF_WORKERS = frozenset(
    type_of(name) for name in ("worker.registered", "worker.heartbeat", "worker.deregistered", "ticket.claim_requested")
)
OF_APPROVERS = frozenset(type_of(name) for name in ("ticket.approval_granted", "ticket.approval_denied"))
"""Events that everybody who may read may send: the ticket says who of them may decide, see `approvals`."""


def area_of(path: str) -> str:
    """Return the area of the API that the path of a route is in, for scopes: `flows`, `metrics`; `events` for `/`."""
    parts = path.removeprefix("/api/v1").split("/")
    return parts[1] or "events"


AREAS = frozenset(area_of(route.partition(" ")[2]) for route, roles in ROLES.items() if roles) | {"events"}
"""All areas, which are the scopes that a key may have."""


async def allowed(request: Request) -> None:
    """Raise `Rejected`, status 403, when the caller may not use the route of `request`.

    The route is the one that the router has found, so no path means one thing here and another there.
    """
    principal = principal_of(request)
    if principal is not None:
        check(principal, request)


def check(principal: Principal, request: Request) -> None:
    """Raise `Rejected`, status 403, when `principal` may not use the route of `request`."""
    path = request.scope["route"].path_format
    needed = ROLES.get(f"{request.method} {path}", MANAGE)
    if not needed:
        return
    if principal.ticket_id not in {None, request.path_params.get("ticket_id")}:
        raise Rejected("the token was made for another ticket", code="foreign_token", status=403)
    demand(principal, area_of(path), needed)
    for name in WORKER_IDS & request.path_params.keys():
        check_worker(principal, request.path_params[name])


def check_worker(principal: Principal | None, worker_id: object) -> None:
    """Raise `Rejected`, status 403, when the caller may act for another worker only."""
    if principal is not None and principal.worker_id not in {None, worker_id}:
        text = f"the key {principal.name[:100]!r} is for worker {principal.worker_id} alone"
        raise Rejected(text, code="foreign_worker", status=403)


def check_event(principal: Principal, event_type: str) -> None:
    """Raise `Rejected`, status 403, when `principal` may not send events of this type."""
    if event_type == REPORT:
        return  # by the token of its assignment
    if principal.ticket_id is not None:
        raise Rejected("the token of a ticket is taken with its reports alone", code="foreign_token", status=403)
    demand(principal, "events", WORK if event_type in OF_WORKERS else READ if event_type in OF_APPROVERS else COMMAND)


def demand(principal: Principal, area: str, any_of: tuple[Role, ...]) -> None:
    """Raise `Rejected`, status 403, when `principal` has none of the roles, or no scope for the area."""
    if not principal.may(*any_of):
        text = f"this takes the role {' or '.join(any_of)}, which {principal.name[:100]!r} does not have"
        raise Rejected(text, code="insufficient_role", status=403)
    if principal.scopes and area not in principal.scopes:
        text = f"the key {principal.name[:100]!r} has no scope for {area}"
        raise Rejected(text, code="insufficient_scope", status=403)
