"""Agents: the registry in the words of its users. Each agent is a record of `/api/v1/workers`, too."""

from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.errors import Rejected, Unavailable
from functions._core.placement.agent_card import CARD_BYTES, card_url, stated_by
from functions._core.placement.agent_log import newest
from functions._core.placement.discovery import Query as Asked
from functions._core.placement.discovery import discover
from functions._core.placement.ranking import breaker_of, health_of
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.planning.planned_work import capabilities
from functions._core.records.json_text import parse_json
from functions._core.records.set_aside import LISTED, RecordKind
from functions._core.records.values import Health
from functions._core.records.worker import Worker
from functions.api.access import acting
from functions.api.actions import NOBODY, RequestedBy, record
from functions.api.agent_forms import (
    AgentDiscovery,
    AgentForm,
    AgentHeard,
    AgentPage,
    AgentsWanted,
    AgentView,
    CardForm,
    DrainForm,
    OfType,
    RankedAgent,
    RegisteredAgent,
    agent_id_of,
    agent_view,
    registered_view,
)
from functions.api.bodies import json_answer, read_json
from functions.api.documents import json_body, path_parameter, problems
from functions.api.hot_routes import HotRoute
from functions.api.problems import checked
from functions.api.questions import DEFAULT_LIMIT, Id, Limit, found
from functions.api.registry import deregistered, heard, membership, registered, trails_in
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/agents", tags=["agents"])

BODY_PROBLEMS = (400, 413, 415, 422)
CARD_SECONDS = 5.0

Capability = Annotated[str | None, Query(max_length=255, description="A capability that they offer")]
AfterAgent = Annotated[str | None, Query(max_length=255, description="The `cursor` of the page before")]


@router.post(
    "",
    status_code=201,
    responses=problems(409, *BODY_PROBLEMS) | {200: {"model": RegisteredAgent, "description": "Known before"}},
    openapi_extra=json_body(AgentForm),
)
async def register_agent(services: Services, request: Request, response: Response) -> RegisteredAgent:
    """Register an agent, or what is new about it: 201 when it was not known. Its type stays what it is."""
    form = await read_json(request, AgentForm)
    return await _registered(services, request, response, form.registration)


async def _registered(
    services: ApiServices, request: Request, response: Response, registration: Registration
) -> RegisteredAgent:
    agent = await registered(services, request, registration)
    response.status_code = 201 if agent.version == 1 else 200
    active, now = await services.ports.ticket_counts.active(), services.ports.clock.now()
    return registered_view(agent, active, now, services.rules, membership(services, agent))


@router.get("", responses=problems(400, 422))
async def list_agents(
    services: Services,
    agent_type: OfType = None,
    status: Annotated[Health | None, Query(description="Their health now; in any letter case")] = None,
    capability: Capability = None,
    cursor: AfterAgent = None,
    limit: Limit = DEFAULT_LIMIT,
) -> AgentPage:
    """Return agents by id, of every health unless one is asked for; a watch continues behind `revision`."""
    revision = await newest(services.ports.key_values)  # before the agents: what changes in between is told again
    agents, active = await services.ports.registry.workers(), await services.ports.ticket_counts.active()
    now, wanted = services.ports.clock.now(), capability.strip().lower() if capability else None
    asked = [
        agent
        for agent in agents
        if (cursor is None or agent.worker_id > cursor)
        and agent_type in {None, agent.agent_type}
        and status in {None, health_of(agent, now, services.rules)}
        and (wanted is None or wanted in agent.capabilities)
    ]
    return AgentPage(
        items=tuple(agent_view(agent, active, now, services.rules) for agent in asked[:limit]),
        cursor=asked[limit - 1].worker_id if len(asked) > limit else None,
        revision=revision,
        unreadable=tuple(services.ports.set_aside.records(RecordKind.WORKER)[:LISTED]),
    )


@router.post("/discover", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(AgentsWanted, required=False))
async def discover_agents(services: Services, request: Request) -> AgentDiscovery:
    """Return the agents that offer what is asked for, the best first, each with the parts of its score."""
    asked = await read_json(request, AgentsWanted)
    agents = {agent.worker_id: agent for agent in await services.ports.registry.workers()}
    active, now = await services.ports.ticket_counts.active(), services.ports.clock.now()
    trails = await trails_in(services, asked.domain)
    fitting = discover(_query(asked), [*agents.values()], active, now, services.rules, trails)
    return AgentDiscovery(
        agents=tuple(
            RankedAgent(
                agent_id=one.worker_id,
                agent_type=agents[one.worker_id].agent_type,
                endpoint=agents[one.worker_id].endpoint,
                capabilities=agents[one.worker_id].capabilities,
                status=health_of(agents[one.worker_id], now, services.rules),
                breaker=breaker_of(agents[one.worker_id], now),
                health_score=one.health_score,
                pheromone_score=one.pheromone_score,
                telemetry_score=one.telemetry_score,
                composite_score=one.score,
                active_tickets=one.active,
            )
            for one in fitting.candidates[: asked.limit]
        ),
        evaluated=len(agents),
        matched=len(fitting.candidates),
        refusals=tuple(fitting.refusals[:LISTED]),
    )


def _query(asked: AgentsWanted) -> Asked:
    required, filters = capabilities(asked.capabilities), asked.filters
    if filters is None:
        return Asked(capabilities=required)
    return Asked(
        capabilities=required,
        match=filters.match,
        status=filters.status,
        agent_type=filters.type,
        region=filters.region,
        version=filters.version,
        min_success_rate=filters.min_success_rate,
        exclude=frozenset(filters.exclude),
    )


@router.post(
    "/import",
    status_code=201,
    responses=problems(403, 409, 501, *BODY_PROBLEMS)
    | {200: {"model": RegisteredAgent, "description": "Known before"}},
    openapi_extra=json_body(CardForm),
)
async def import_agent(services: Services, request: Request, response: Response) -> RegisteredAgent:
    """Register the A2A agent at `url` by its card: its skills are its capabilities.

    It sends no heartbeats by itself: unless it is taught to, or the platform probes agents, it is forgotten.
    """
    form = await read_json(request, CardForm)
    stated = stated_by(await _card(services, form.url), form.url)
    agent_id = form.agent_id or agent_id_of(stated["endpoint"])
    registration = checked(Registration, {**stated, "worker_id": agent_id, "agent_type": form.agent_type}, "card")
    return await _registered(services, request, response, registration)


async def _card(services: ApiServices, url: str) -> object:
    if services.calls is None:
        raise Rejected("agent cards are not fetched here", code="not_offered", status=501)
    try:
        answer = await services.calls.request("GET", card_url(url), timeout=CARD_SECONDS, limit=CARD_BYTES)
    except Unavailable as away:
        raise Rejected(f"there is no agent card: {away}", code="no_card", status=422) from away
    if answer.status != 200:  # noqa: PLR2004 a redirect is none, either
        raise Rejected(f"there is no agent card: {card_url(url)} answers {answer.status}", code="no_card", status=422)
    if not answer.complete:
        raise Rejected(f"an agent card has at most {CARD_BYTES} bytes", code="bad_card", status=422)
    return parse_json(answer.body)


@router.get("/{agent_id}", responses=problems(404))
async def get_agent(services: Services, agent_id: str) -> AgentView:
    """Return an agent."""
    agent = await found("agent", agent_id, services.ports.registry.worker)
    return await _view(services, agent)


async def _view(services: ApiServices, agent: Worker) -> AgentView:
    active = await services.ports.ticket_counts.active()
    return agent_view(agent, active, services.ports.clock.now(), services.rules)


async def take_agent_heartbeat(request: Request) -> Response:
    """Take in a heartbeat. A 404 says that the agent is not known (any more) and has to register."""
    heartbeat, told = await heard(request, "agent", request.path_params["agent_id"])
    return json_answer(200, {"accepted": True, "status": heartbeat.status, "cancel": told.cancel})


router.add_api_route(
    "/{agent_id}/heartbeat",
    take_agent_heartbeat,
    methods=["POST"],
    response_model=None,
    responses={**problems(404, *BODY_PROBLEMS), 200: {"model": AgentHeard}},
    openapi_extra={
        "parameters": [path_parameter("agent_id", title="Agent Id")],
        **json_body(Heartbeat, required=False),
    },
    route_class_override=HotRoute,
)


DRAIN_PROBLEMS, DRAIN_BODY = problems(404, *BODY_PROBLEMS), json_body(DrainForm, required=False)


@router.post("/{agent_id}/drain", responses=DRAIN_PROBLEMS, openapi_extra=DRAIN_BODY)
async def drain_agent(services: Services, request: Request, agent_id: str) -> AgentView:
    """Give an agent no new tickets; it finishes those that it has. That stays so until it is undone or leaves."""
    return await _drained(services, request, agent_id, draining=True)


@router.post("/{agent_id}/undrain", responses=DRAIN_PROBLEMS, openapi_extra=DRAIN_BODY)
async def undrain_agent(services: Services, request: Request, agent_id: str) -> AgentView:
    """Give an agent tickets again; those that wait for it are released."""
    return await _drained(services, request, agent_id, draining=False)


async def _drained(services: ApiServices, request: Request, agent_id: str, *, draining: bool) -> AgentView:
    form = await read_json(request, DrainForm)
    await found("agent", agent_id, services.ports.registry.worker)
    action = "drain_worker" if draining else "undrain_worker"
    await record(services, action, agent_id, who=acting(request, NOBODY), why=form.reason)
    return await _view(services, await services.engine.drain(agent_id, draining=draining))


@router.delete("/{agent_id}", status_code=204, responses=problems(404, 422))
async def deregister_agent(
    services: Services, request: Request, agent_id: str, reason: Id = None, requested_by: RequestedBy = NOBODY
) -> None:
    """Forget an agent; its tickets are given to others. Who wants it and why is kept."""
    await deregistered(services, "agent", agent_id, who=acting(request, requested_by), why=reason)
