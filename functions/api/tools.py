"""The catalogue of tools: registered by administrators, called by operators and by agents with their keys."""

import json
import re
from functools import partial
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
from functions.api.named_changes import delete_named, put_named
from functions.api.questions import found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Calls, Services
from functions.api.slo_changes import BODY_PROBLEMS
from functions.api.tool_calls import called, check_arguments, check_schemas
from functions.api.tool_forms import ToolAnswer, ToolCallForm

router = Routes(prefix="/api/v1/tools", tags=["tools"])

KIND = "tool"

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
    who = acting(request, requested_by)
    fields = {**dict(form), "created_by": who}
    return await put_named(services, response, TOOLS, name, fields, kind=KIND, who=who, why=why)


@router.get("")
async def list_tools(services: Services) -> ToolList:
    """Return all registered tools, by name; the platform's own are listed by MCP alone."""
    return ToolList(items=tuple(await TOOLS.all(services.ports.key_values)))


@router.get("/{name}", responses=problems(404))
async def get_tool(services: Services, name: str) -> Tool:
    """Return a registered tool."""
    return await found(KIND, name, partial(TOOLS.get, services.ports.key_values))


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_tool(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget a registered tool; calls that are under way end as they would."""
    await delete_named(services, TOOLS, name, kind=KIND, who=acting(request, requested_by), why=why)


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
    tool = await found(KIND, name, partial(TOOLS.get, services.ports.key_values))
    check_arguments(tool, form.arguments)
    calls, who = _calls(services), acting(request, requested_by)
    with services.tool_calls.one(who):
        digest = sha256(json.dumps(form.arguments, sort_keys=True).encode()).hexdigest()
        said = f"{why[:900]} (arguments sha256:{digest})"
        await record(services, "call_tool", name, who=who, why=said)
        result = await called(calls, tool, form.arguments, services.version)
    return ToolAnswer(tool=name, result=result)


def _calls(services: ApiServices) -> Calls:
    if services.calls is None:
        raise Rejected("no tools are called here", code="not_offered", status=501)
    return services.calls
