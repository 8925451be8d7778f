"""The operations of the platform that agents get as tools of MCP, each made of /openapi.json and of its roles.

What is listed below is which operations make sense for an agent, and which of them are confirmed; everything else about
a tool is said by its route.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from functions._core.errors import Rejected
from functions._core.records.principal import Principal, Role
from functions._core.tool_catalogue import CONFIRM, Tool
from functions.api.roles import COMMAND, MANAGE, ROLES, area_of, demand

Document = Mapping[str, Any]

READING = (
    "list_flows",
    "resolve_flow",
    "get_flow",
    "list_tickets_of_flow",
    "get_history",
    "get_result",
    "get_passport",
    "get_ticket",
    "get_logs",
    "get_approval",
    "read_inbox",
    "why",
    "list_stuck",
    "list_hot",
    "list_limits",
    "list_workers",
    "list_incidents",
    "list_healing_runs",
    "list_audits",
    "list_dead_letters",
    "list_schedules",
    "list_plans",
    "get_plan",
    "list_budgets",
    "get_budget",
    "get_freeze_status",
    "list_active_freezes",
    "get_plan_schema",
    "list_pipelines",
    "get_pipeline",
    "list_templates",
)
"""Operations that change nothing."""

CHANGING = (
    "execute_flow",
    "create_ticket",
    "simulate_plan",
    "price_plan",
    "pause_flow",
    "resume_flow",
    "adjust_flow",
    "retry_ticket",
    "run_schedule",
    "begin_pipeline",
)
"""Operations that begin something, or that another one takes back."""

CONFIRMED = (
    "cancel_flow",
    "cancel_pipeline",
    "approve_flow",
    "deny_flow",
    "redrive_flow",
    "replan_flow",
    "skip_ticket",
    "approve_ticket",
    "deny_ticket",
)
"""Operations that decide, or that nothing takes back: a call repeats the id of what it is about."""

KEY = "idempotency-key"
"""The one header that is an argument, under the name `idempotency_key`."""

REFERENCE = "#/components/schemas/"
WAIT, LONGEST_WAIT = "wait_seconds", 10
"""Seconds that a call waits for the end of a flow: 0 unless it asks for more. An agent asks again instead."""

PART = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,255}")
"""A value in a path. A slash would lead to another route."""

KEY_TEXT = re.compile(r"[\x20-\x7e]{1,255}")
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class OwnTool:
    """An operation as a tool; `parameters` are the places (path, query, header) of its arguments but the body."""

    name: str
    method: str
    path: str
    shown: Document
    parameters: Mapping[str, str]
    roles: tuple[Role, ...]
    confirmed: str | None
    has_body: bool

    def check(self, principal: Principal | None) -> None:
        """Raise `Rejected`, status 403, when a caller may not use it."""
        if principal is not None and self.roles:
            demand(principal, area_of(self.path), self.roles)

    def request(self, arguments: Mapping[str, Any]) -> "InnerRequest":
        """Return the request that a call stands for; raise `Rejected`, status 422, for arguments that make none."""
        known = {*self.parameters, *(["body"] if self.has_body else []), *([CONFIRM] if self.confirmed else [])}
        unknown = [name[:60] for name in arguments if name not in known]
        if unknown:
            raise _wrong(f"arguments that are not known here: {', '.join(unknown[:MAX_NAMED])}")
        if self.confirmed:
            confirm(self.confirmed, arguments.get(self.confirmed), arguments)
        path, query, headers = self.path, list[tuple[str, str]](), dict[str, str]()
        for name, place in self.parameters.items():
            value = arguments.get(name, 0 if name == WAIT else None)
            if place == "path":
                path = path.replace(f"{{{name}}}", _part(name, value))
            elif name == WAIT and not (isinstance(value, int | float) and 0 <= value <= LONGEST_WAIT):
                raise _wrong(f"{name}: a number from 0 to {LONGEST_WAIT} is needed")
            elif value is not None and place == "query":
                query += [(name, _plain(name, one)) for one in (value if isinstance(value, list) else [value])]
            elif value is not None:
                if not isinstance(value, str) or not KEY_TEXT.fullmatch(value):
                    raise _wrong(f"{name}: 1 to 255 printable characters are needed")
                headers[KEY] = value
        return InnerRequest(self.method, path, urlencode(query), headers, arguments.get("body"))


@dataclass(frozen=True, slots=True)
class InnerRequest:
    """A request to the API in this process; `body` is a JSON value, None for none."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: object


def confirm(what: str, target: object, arguments: Mapping[str, Any]) -> None:
    """Raise `Rejected`, status 422, for a call that does not confirm its `target`, called `what`."""
    if target is None or arguments.get(CONFIRM) != target:
        text = f"this decides or cannot be taken back: repeat {what} as {CONFIRM!r} to confirm that it is meant"
        raise Rejected(text, code="not_confirmed", status=422)


def own_tools(document: Document) -> Mapping[str, OwnTool]:
    """Return the tools that operations of an OpenAPI document are, by name."""
    wanted = {*READING, *CHANGING, *CONFIRMED}
    found = {
        operation["operationId"]: (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation["operationId"] in wanted
    }
    schemas = document["components"]["schemas"]
    return {name: _tool(*found[name], schemas) for name in sorted(wanted)}


def catalogue_tool(tool: Tool) -> dict[str, Any]:
    """Return a registered tool as MCP lists it."""
    schema = dict(tool.input_schema)
    text = tool.description
    if tool.destructive:
        schema["properties"] = {**schema.get("properties", {}), CONFIRM: {"const": tool.name}}
        schema["required"] = [*schema.get("required", ()), CONFIRM]
    hints = {"readOnlyHint": False, "destructiveHint": tool.destructive, "idempotentHint": False, "openWorldHint": True}
    return {"name": tool.name, "description": text, "inputSchema": schema, "annotations": hints}


def _tool(method: str, path: str, operation: Document, schemas: Mapping[str, Any]) -> OwnTool:
    name = operation["operationId"]
    roles = ROLES.get(f"{method} {path}", MANAGE)
    reads = name in READING
    if not reads and Role.VIEWER in roles:
        roles = COMMAND  # the key of an agent that reads decides nothing, whomever a ticket asks
    parameters = [part for part in operation.get("parameters", ()) if part["in"] != "header" or part["name"] == KEY]
    places = {part["name"].replace("-", "_"): part["in"] for part in parameters}
    confirmed = next(part for part, place in places.items() if place == "path") if name in CONFIRMED else None
    text = operation.get("description") or operation["summary"]
    if confirmed:
        text = f"{text}\n\nNeeds `{CONFIRM}`: the value of {confirmed} once more."
    hints = {
        "title": operation["summary"],
        "readOnlyHint": reads,
        "destructiveHint": confirmed is not None,
        "idempotentHint": reads or KEY in [part["name"] for part in parameters],
        "openWorldHint": False,
    }
    body = operation.get("requestBody")
    shown = {
        "name": name,
        "description": text,
        "inputSchema": _input_schema(parameters, body, confirmed, schemas),
        "annotations": hints,
    }
    return OwnTool(name, method, path, shown, places, roles, confirmed, body is not None)


def _input_schema(
    parameters: Sequence[Document], body: Document | None, confirmed: str | None, schemas: Mapping[str, Any]
) -> Document:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in parameters:
        name = part["name"].replace("-", "_")
        limits = {"default": 0, "maximum": LONGEST_WAIT} if name == WAIT else {}
        properties[name] = {**part["schema"], **limits}
        required += [name] if part.get("required") else []
    if body is not None:
        properties["body"] = body["content"]["application/json"]["schema"]
        required += ["body"] if body.get("required") else []
    if confirmed:
        properties[CONFIRM] = {"type": "string", "description": f"The value of {confirmed} once more"}
        required.append(CONFIRM)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    parts = _needed(schema, schemas)
    own: Document = _own(schema | ({"$defs": parts} if parts else {}))
    return own


def _needed(schema: object, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components that a schema refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    names = list(_references(schema))
    while names:
        name = names.pop()
        if name not in found:
            found[name] = schemas[name]
            names += _references(schemas[name])
    return dict(sorted(found.items()))


def _references(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        target = value.get("$ref")
        if isinstance(target, str):
            yield target.removeprefix(REFERENCE)
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _references(inner)


def _own(value: Any) -> Any:  # noqa: ANN401 any JSON value
    """Return a schema whose references lead to its own `$defs`."""
    if isinstance(value, Mapping):
        return {
            name: inner.replace(REFERENCE, "#/$defs/") if name == "$ref" and isinstance(inner, str) else _own(inner)
            for name, inner in value.items()
            if name != "discriminator"  # of OpenAPI; its references mean nothing here
        }
    return [_own(inner) for inner in value] if isinstance(value, list) else value


def _part(name: str, value: object) -> str:
    """Return a value as a part of a path."""
    text = str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or not PART.fullmatch(text) or text in {".", ".."}:
        raise _wrong(f"{name}: a text without slashes, of 1 to 255 characters, is needed")
    return quote(text, safe="")


def _plain(name: str, value: object) -> str:
    """Return a value as the text of a query."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _wrong(f"{name}: a text, a number, true or false is needed, or a list of them")


def _wrong(text: str) -> Rejected:
    return Rejected(text, code="bad_arguments", status=422)
