"""The calls of `neural_hive.service_registry.ServiceRegistry`."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from functions._hosts.grpc.calls import Caller, RefusedCall
from functions._hosts.grpc.methods import Asked, Method, Stream, invalid, millis, segment

AGENTS = "/api/v1/agents"
PAGE, MAX_AGENTS = 500, 10_000
POLL_SECONDS = 25
STATED = ("namespace", "cluster", "version")
"""Fields of an agent that the registry keeps in its metadata."""

EVENTS: Mapping[str, str] = {"ADDED": "REGISTERED", "UPDATED": "UPDATED", "REMOVED": "DEREGISTERED"}


def agent_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent of the API in the form of `AgentInfo`."""
    metadata = {name: _text(value) for name, value in view.get("metadata", {}).items()}
    shown = {**view, "metadata": metadata, "telemetry": _telemetry(view.get("telemetry") or {})}
    shown |= {name: metadata.get(name, "") for name in STATED}
    shown |= {name: millis(view[name]) for name in ("registered_at", "last_seen") if name in view}
    return {name: value for name, value in shown.items() if value is not None}


def _telemetry(stated: Mapping[str, Any]) -> dict[str, Any]:
    rate, total = stated.get("success_rate"), stated.get("total_executions")
    duration = stated.get("avg_duration_ms")
    known = {
        "success_rate": rate,
        "total_executions": total,
        "avg_duration_ms": None if duration is None else round(duration),
        "failed_executions": None if rate is None or total is None else round(total * (1 - rate)),
    }
    return {name: value for name, value in known.items() if value is not None}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _word(asked: Asked, name: str) -> str | None:
    """Return the word of an enumeration; None where it is not set, and its number where it has no word."""
    number = getattr(asked, name)
    if not number:
        return None
    known = asked.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number
    return known[number].name if number in known else str(number)


def _stated(asked: Asked) -> dict[str, Any] | None:
    """Return the telemetry that an agent states."""
    if not asked.HasField("telemetry"):
        return None
    names = ("success_rate", "avg_duration_ms", "total_executions")
    return {name: getattr(asked.telemetry, name) for name in names if asked.telemetry.HasField(name)}


async def register(asked: Asked, caller: Caller) -> dict[str, Any]:
    """POST /api/v1/agents."""

    def form() -> dict[str, Any]:
        metadata = dict(asked.metadata) | {name: getattr(asked, name) for name in STATED if getattr(asked, name)}
        endpoint = asked.endpoint or metadata.get("endpoint", "")
        said = {
            "agent_id": asked.agent_id,
            "agent_type": _word(asked, "agent_type"),
            "endpoint": endpoint,
            "delivery": None if endpoint else "pull",
            "slots": asked.slots,
            "clearance": asked.clearance,
            "telemetry": _stated(asked),
        }
        given = {name: value for name, value in said.items() if value}
        return {**given, "capabilities": list(asked.capabilities), "metadata": metadata}

    agent = await caller.send("POST", AGENTS, form)
    return {
        **agent,
        "registration_token": agent["signing_secret"],
        "registered_at": millis(agent["registered_at"]),
    }


async def heartbeat(asked: Asked, caller: Caller) -> dict[str, Any]:
    """POST /api/v1/agents/{agent_id}/heartbeat."""

    def beat() -> dict[str, Any]:
        telemetry = _stated(asked)
        said = {"status": _word(asked, "status") or "HEALTHY"}
        return said if telemetry is None else {**said, "telemetry": telemetry}

    answer = await caller.send("POST", f"{_path(asked.agent_id)}/heartbeat", beat)
    return {**answer, "last_seen": _now()}


async def deregister(asked: Asked, caller: Caller) -> dict[str, Any]:
    """DELETE /api/v1/agents/{agent_id}; one that is not known is no error."""
    try:
        await caller.send("DELETE", _path(asked.agent_id), query={"reason": asked.reason})
    except RefusedCall as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return {"success": False}
    return {"success": True}


async def discover_agents(asked: Asked, caller: Caller) -> dict[str, Any]:
    """POST /api/v1/agents/discover; without filters only HEALTHY agents are found."""
    filters: dict[str, Any] = dict(asked.filters)
    if "exclude" in filters:
        filters["exclude"] = [name.strip() for name in filters["exclude"].split(",") if name.strip()]
    if "min_success_rate" in filters:
        try:
            filters["min_success_rate"] = float(filters["min_success_rate"])
        except ValueError:
            raise invalid("filters.min_success_rate: is no number") from None
    limit = {"limit": asked.max_results} if asked.max_results else {}
    wanted = {"capabilities": list(asked.capabilities), **limit, **({"filters": filters} if filters else {})}
    found = await caller.send("POST", f"{AGENTS}/discover", lambda: wanted)
    return {"agents": [agent_of(agent) for agent in found["agents"]], "ranked": True}


async def get_agent(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/agents/{agent_id}."""
    return {"agent": agent_of(await caller.get(_path(asked.agent_id)))}


async def list_agents(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/agents, all its pages up to 10,000 agents."""
    unknown = sorted(set(asked.filters) - {"status", "capability"})
    if unknown:
        raise invalid(f"filters: there is no {unknown[0]!r}; known are status and capability")
    agents: list[dict[str, Any]] = []
    revision: int | None = None
    cursor: str | None = None
    while True:
        query = {**asked.filters, "type": _word(asked, "agent_type"), "cursor": cursor, "limit": PAGE}
        page = await caller.get(AGENTS, **query)
        revision = page["revision"] if revision is None else revision
        agents += [agent_of(agent) for agent in page["items"]]
        cursor = page["cursor"]
        if cursor is None or len(agents) >= MAX_AGENTS:
            return {"agents": agents, "revision": revision}


async def watch_agents(asked: Asked, caller: Caller) -> AsyncIterator[dict[str, Any]]:
    """GET /api/v1/agents/watch, one poll after the other until the caller hangs up."""
    revision = asked.from_revision if asked.HasField("from_revision") else None
    kind = _word(asked, "agent_type")
    while True:
        told = await caller.get(f"{AGENTS}/watch", type=kind, from_revision=revision, timeout=POLL_SECONDS)
        for change in told["changes"]:
            gone = {"agent_id": change["agent_id"], "agent_type": change["agent_type"]}
            yield {
                "event_type": EVENTS[change["type"]],
                "agent": agent_of(change["agent"] or gone),
                "timestamp": _now(),
                "revision": change["revision"],
            }
        revision = told["revision"]


def _path(agent_id: str) -> str:
    return f"{AGENTS}/{segment('agent_id', agent_id)}"


def _now() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)


METHODS: Mapping[str, Method | Stream] = {
    "Register": register,
    "Heartbeat": heartbeat,
    "Deregister": deregister,
    "DiscoverAgents": discover_agents,
    "GetAgent": get_agent,
    "ListAgents": list_agents,
    "WatchAgents": watch_agents,
}
