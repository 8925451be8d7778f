"""The catalogue of tools: registered by administrators, called by operators and by agents with their keys."""

import json
import re
from hashlib import sha256

from fastapi import Request, Response
from fastapi.routing import APIRoute

from functions._core.errors import Rejected
from functions._core.records.values import Model
from functions._core.tool_catalogue import TOOL_NAME, TOOLS, Tool, ToolForm
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import not_found
from functions.api.questions import sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Calls, Services
from functions.api.slo_changes import BODY_PROBLEMS
from functions.api.tool_calls import called, check_arguments, check_schemas
from functions.api.tool_forms import ToolAnswer, ToolCallForm

router = Routes(prefix="/api/v1/tools", tags=["tools"])

MAX_FORM = 32 * 1024
"""Bytes of a tool as it is sent: two schemas and a few texts."""

MAX_CALL = 64 * 1024
"""Bytes of a call."""


class ToolList(Model):
    """All registered tools, by name."""

    items: tuple[Tool, ...]


@router.put(
    "/{name}",
    responses={**problems(403, 409, 501, *BODY_PROBLEMS), 201: {"model": Tool}},
    openapi_extra=json_body(ToolForm),
)
async def put_tool(
    services: Services,
    request: Request,
    response: Response,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> Tool:
    """Register a tool, or replace it.

    Its description is read by the models of all agents, so an administrator writes it. A tool has no name of an
    operation of this API. Calls carry no credentials.
    """
    if re.fullmatch(TOOL_NAME, name) is None:
        text = "the name of a tool has 1 to 64 lower-case letters, digits, `_` and `-`"
        raise Rejected(text, code="bad_name", status=422)
    if any(isinstance(route, APIRoute) and route.name == name for route in request.app.routes):
        raise Rejected(f"{name!r} is the name of an operation of the platform", code="taken_name", status=409)
    form = await read_json(request, ToolForm, limit=MAX_FORM)
    check_schemas(dict(form))
    _calls(services).check(form.url)
    entries, now = services.ports.key_values, services.ports.clock.now()
    _, version = await TOOLS.one(entries, name)
    if not version and await TOOLS.full(entries):
        text = f"there are {TOOLS.at_most} tools, which is as many as there may be"
        raise Rejected(text, code="too_many", status=409)
    who = acting(request, requested_by)
    await record(services, "put_tool", name, who=who, why=why)

    def made(known: Tool | None, _version: int) -> Tool:
        created = now if known is None else known.created_at
        return Tool(**dict(form), name=name, created_by=who, created_at=created, updated_at=now)

    tool, _ = await TOOLS.changed(entries, name, made)
    response.status_code = 200 if version else 201
    return tool


@router.get("")
async def list_tools(services: Services) -> ToolList:
    """Return all registered tools, by name; the platform's own are listed by MCP alone."""
    return ToolList(items=tuple(await TOOLS.all(services.ports.key_values)))


@router.get("/{name}", responses=problems(404))
async def get_tool(services: Services, name: str) -> Tool:
    """Return a registered tool."""
    return await _tool(services, name)


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_tool(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget a registered tool; calls that are under way end as they would."""
    sound("tool", name)
    await record(services, "delete_tool", name, who=acting(request, requested_by), why=why)
    if not await TOOLS.removed(services.ports.key_values, name):
        raise not_found("tool", name)


@router.post(
    "/{name}/call", responses=problems(403, 404, 501, 502, 503, *BODY_PROBLEMS), openapi_extra=json_body(ToolCallForm)
)
async def call_tool(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ToolAnswer:
    """Call a registered tool once: arguments and result are checked by its schemas.

    An audit names the caller and the hash of the arguments before anything is sent. 502 when the tool fails, or answers
    what is not taken; 503 when it does not answer in time, or too many calls are under way.
    """
    form = await read_json(request, ToolCallForm, limit=MAX_CALL)
    tool = await _tool(services, name)
    check_arguments(tool, form.arguments)
    calls, who = _calls(services), acting(request, requested_by)
    with services.tool_calls.one(who):
        digest = sha256(json.dumps(form.arguments, sort_keys=True).encode()).hexdigest()
        said = f"{why[:900]} (arguments sha256:{digest})"
        await record(services, "call_tool", name, who=who, why=said)
        result = await called(calls, tool, form.arguments, services.version)
    return ToolAnswer(tool=name, result=result)


async def _tool(services: ApiServices, name: str) -> Tool:
    sound("tool", name)
    found = await TOOLS.get(services.ports.key_values, name)
    if found is None:
        raise not_found("tool", name)
    return found


def _calls(services: ApiServices) -> Calls:
    if services.calls is None:
        raise Rejected("no tools are called here", code="not_offered", status=501)
    return services.calls
