"""The service registry: who is there, what they can do, how they fare."""

from collections.abc import Mapping, Sequence
from typing import Any

from flowc.client.calls import Steps, read
from flowc.client.errors import BadAnswer, NotFound
from flowc.client.models import AgentChanges, AgentInfo, AgentRegistration, HealthStatus, HeartbeatTaken
from flowc.client.service import AsyncServiceClient, Operation, ServiceClient, SyncServiceClient, in_path

AGENTS = "/api/v1/agents"
WATCH_SECONDS = 25.0
MARGIN_SECONDS = 15.0
"""How much longer than it waits the answer of a watch may take."""

REGISTERED = ("agent_id", "agent_type", "capabilities", "endpoint", "metadata")


class RegistryOperations(ServiceClient):
    """What both clients of the registry can do."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        **settings: Any,  # noqa: ANN401 - those of `ServiceClient`
    ) -> None:
        """Take an address, or the host and port of a registry that is served over HTTP."""
        if host is not None:
            base_url = f"http://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"
        super().__init__(base_url, **settings)

    @Operation
    def register_agent(self, agent: AgentInfo, /, **more: Any) -> Steps[AgentRegistration]:  # noqa: ANN401 - JSON
        """Register an agent, or again what is new about it; `more` are further fields, such as `slots`.

        An agent without an endpoint is registered as one that asks (`delivery` is `pull`); it needs an id.
        """
        said = agent.model_dump(mode="json", include={*REGISTERED, *(agent.model_extra or {})})
        body = {name: value for name, value in said.items() if value not in ("", [], {})} | more
        if "endpoint" not in body:
            body.setdefault("delivery", "pull")
        return (yield from self._call("POST", AGENTS, body, repeatable=True)).as_a(AgentRegistration)

    @Operation
    def discover_agents(
        self, capabilities: Sequence[str] = (), filters: Mapping[str, Any] | None = None, limit: int = 5
    ) -> Steps[list[AgentInfo]]:
        """Return agents that offer all `capabilities`, the best first.

        Without filters they are healthy ones; an empty mapping of filters asks for all.
        """
        asked: dict[str, Any] = {"capabilities": list(capabilities), "limit": limit}
        if filters is not None:
            asked["filters"] = dict(filters)
        found = (yield from self._call("POST", f"{AGENTS}/discover", asked, repeatable=True)).document()
        return _agents(found.get("agents"))

    @Operation
    def update_health(
        self,
        agent_id: str,
        health: HealthStatus | None = None,
        *,
        running: Sequence[Mapping[str, Any]] | None = None,
    ) -> Steps[HeartbeatTaken]:
        """Send a heartbeat; raises `NotFound` when the registry does not know the agent (any more).

        `running` are the tickets that a worker holds; what it holds by the platform's records and does not name goes
        to others.
        """
        health = health or HealthStatus()
        body: dict[str, Any] = {"status": health.status.upper(), "telemetry": health.metrics.stated()}
        if running is not None:
            body["running"] = [dict(each) for each in running]
        reply = yield from self._call("POST", f"{AGENTS}/{in_path(agent_id)}/heartbeat", body, repeatable=True)
        return reply.as_a(HeartbeatTaken)

    @Operation
    def deregister_agent(self, agent_id: str, reason: str = "") -> Steps[bool]:
        """Remove an agent; return whether it was known. Tickets of a worker go to others."""
        try:
            yield from self._call("DELETE", f"{AGENTS}/{in_path(agent_id)}", parameters={"reason": reason or None})
        except NotFound:
            return False
        return True

    @Operation
    def drain_agent(self, agent_id: str, reason: str | None = None, *, undo: bool = False) -> Steps[AgentInfo]:
        """Give a worker no new tickets, so that it finishes those that it has; `undo`: give it tickets again."""
        path = f"{AGENTS}/{in_path(agent_id)}/{'undrain' if undo else 'drain'}"
        body = {} if reason is None else {"reason": reason}
        return (yield from self._call("POST", path, body, repeatable=True)).as_a(AgentInfo)

    @Operation
    def watch_agents(
        self, from_revision: int, timeout_seconds: float = WATCH_SECONDS, *, agent_type: str | None = None
    ) -> Steps[AgentChanges]:
        """Wait for changes that follow a revision, and return them with the revision to go on from.

        Nothing is missed as long as each call goes on where the one before has ended. Raises `Refused` with status 410
        when the revision is too old: `list_agents` then, and begin again.
        """
        asked = {"from_revision": from_revision, "timeout": timeout_seconds, "type": agent_type}
        seconds = timeout_seconds + MARGIN_SECONDS
        return (yield from self._call("GET", f"{AGENTS}/watch", parameters=asked, seconds=seconds)).as_a(AgentChanges)

    @Operation
    def get_agent(self, agent_id: str) -> Steps[AgentInfo]:
        """Return an agent; raises `NotFound`."""
        return (yield from self._call("GET", f"{AGENTS}/{in_path(agent_id)}")).as_a(AgentInfo)

    @Operation
    def list_agents(
        self, *, agent_type: str | None = None, status: str | None = None, capability: str | None = None
    ) -> Steps[list[AgentInfo]]:
        """Return all agents, healthy or not, or those that fit; over as many pages as it takes."""
        asked = {"type": agent_type, "status": status, "capability": capability}
        agents: list[AgentInfo] = []
        cursor: str | None = None
        while True:
            page = (yield from self._call("GET", AGENTS, parameters={**asked, "cursor": cursor})).document()
            agents += _agents(page.get("items"))
            following = page.get("cursor")
            if following is None:
                return agents
            if not isinstance(following, str) or (cursor is not None and following <= cursor):
                raise BadAnswer("the pages of the answer do not end")
            cursor = following


def _agents(listed: object) -> list[AgentInfo]:
    if not isinstance(listed, list):
        raise BadAnswer("the answer lists no agents")
    return [read(AgentInfo, each) for each in listed]


class ServiceRegistryClient(RegistryOperations, AsyncServiceClient):
    """The service registry, by coroutines: register, discover, beat, leave."""


class SyncServiceRegistryClient(RegistryOperations, SyncServiceClient):
    """The service registry, by plain calls."""
