"""What agents and those who look for them say to the registry, and what they get to see of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import uuid5

from fastapi import Query
from pydantic import BeforeValidator, ConfigDict, Field

from functions._core.errors import Rejected
from functions._core.placement.agents import ChangeKind
from functions._core.placement.discovery import Match
from functions._core.placement.ranking import Breaker, breaker_of, health_of
from functions._core.placement.workers import MAX_CAPABILITIES, Registration
from functions._core.records.record import Record
from functions._core.records.set_aside import UnreadableRecord
from functions._core.records.values import (
    NAMESPACE,
    Health,
    Model,
    SecurityLevel,
    Texts,
    Timestamp,
    WholeNumber,
    a_number,
)
from functions._core.records.worker import AgentType, AssignmentMode, Refusal, Worker, WorkerTelemetry
from functions._core.rules import CANDIDATES_PER_TICKET, Rules

MAX_FOUND = 100
"""Agents that one discovery names at most."""

MAX_EXCLUDED = 1000
"""Agents that one discovery may leave out by name."""

AgentId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.:-]+$")]


OfType = Annotated[AgentType | None, Query(alias="type", description="Agents of this type; in any letter case")]
"""The type of agents that a request asks for."""


def agent_id_of(endpoint: str) -> str:
    """Return the id of an agent that names none."""
    return str(uuid5(NAMESPACE, f"agent/{endpoint}"))


class AgentForm(Registration):
    """An agent that registers. It names its `agent_id`, or has one that follows from its endpoint."""

    worker_id: str = Field("", max_length=255, pattern=r"^[A-Za-z0-9_.:-]*$", alias="agent_id")
    """Id of the agent; registering again replaces what is known of it. Left out, it follows from the endpoint."""

    @property
    def registration(self) -> Registration:
        """The registration of the agent, whose id is known now."""
        if not self.worker_id and not self.endpoint:
            raise Rejected("agent_id: needed where there is no endpoint", code="invalid_data", status=422)
        known = {name: getattr(self, name) for name in Registration.model_fields}
        known["worker_id"] = self.worker_id or agent_id_of(self.endpoint)
        return Registration.model_construct(**known)


class AgentFilters(Model):
    """What agents have to be like. A filter that is left out asks for nothing. One that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Health | None = None
    """Their health, in any letter case."""
    type: AgentType | None = None
    """What they are for."""
    region: str | None = Field(None, max_length=255)
    """The `region` that they state in their metadata."""
    version: str | None = Field(None, max_length=255)
    """The `version` that they state in their metadata."""
    min_success_rate: Annotated[float, Field(ge=0, le=1), BeforeValidator(a_number)] | None = None
    """The lowest success rate that will do; an agent that states none does not."""
    exclude: tuple[AgentId, ...] = Field((), max_length=MAX_EXCLUDED)
    """Ids of agents that are not wanted."""
    match: Match = "all"
    """Whether an agent has to offer all of the capabilities, or any of them."""


class AgentsWanted(Model):
    """What is looked for. Without `filters` only HEALTHY agents fit; with `{}` those of any health do.

    A field that is not known is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capabilities: Texts = Field(default=(), max_length=MAX_CAPABILITIES)
    """Capabilities that an agent has to offer; none: any agent will do."""
    filters: AgentFilters | None = None
    """What agents have to be like; left out: HEALTHY."""
    domain: str | None = Field(None, min_length=1, max_length=64)
    """The domain of the work, in which the pheromone score is looked up: a plan's `original_domain` or a task type."""
    limit: WholeNumber = Field(CANDIDATES_PER_TICKET, ge=1, le=MAX_FOUND)
    """How many agents are named at most."""


class CardForm(Model):
    """The agent whose A2A card is to be imported. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(min_length=1, max_length=2000, pattern=r"^https?://[^\s/?#]+")
    """Where the agent is; its card is at `/.well-known/agent-card.json` there."""
    agent_id: AgentId | None = None
    """Id that it gets; left out, it follows from its endpoint."""
    agent_type: AgentType = AgentType.WORKER
    """What it is for; a WORKER has to take Flow C's assignments at its endpoint."""


class DrainForm(Model):
    """Why an agent is drained. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str = Field("no reason given", max_length=1000)
    """Why, for the list of actions."""


class AgentView(Record):
    """An agent as it is now."""

    agent_id: str
    """Its id."""
    agent_type: AgentType
    """What it is for; a WORKER and a FORGE get tickets."""
    capabilities: tuple[str, ...]
    """What it offers; lower case, sorted."""
    endpoint: str
    """Where it is reached; may be empty for one that asks for its tickets."""
    delivery: AssignmentMode
    """Whether tickets are POSTed to it (`push`), or it asks for them (`pull`)."""
    metadata: Mapping[str, Any]
    """Anything that it keeps with its registration, such as its version."""
    status: Health
    """Its health now."""
    breaker: Breaker
    """The state of its circuit breaker: all attempts pass, none, or one at a time."""
    draining: bool
    """Whether it gets no new tickets and only finishes those that it has."""
    telemetry: WorkerTelemetry
    """The figures that it states of itself."""
    clearance: SecurityLevel
    """The highest security level of the tickets that it may get."""
    slots: int
    """How many tickets it takes at once."""
    active_tickets: int | None
    """How many tickets it holds; null in a watch, which does not count them."""
    registered_at: Timestamp
    """When it registered for the first time."""
    last_seen: Timestamp
    """When it was last heard of, by the clock of the registry."""
    version: int
    """Version of its record: each heartbeat makes another one."""


class RegisteredAgent(AgentView):
    """The answer to a registration; messages to the agent are signed by `signing_secret` (Standard Webhooks)."""

    heartbeat_interval_seconds: float
    """How often it has to be heard of."""
    ttl_seconds: float
    """Silence after which it is forgotten."""
    signing_secret: str
    """Signs messages to it; it is told here and nowhere else, and each registration has another one."""
    callback_base_url: str
    """Reports go to addresses below this."""


class AgentHeard(Record):
    """The answer to a heartbeat: the agent's health by the registry, and the tickets that it should stop."""

    accepted: bool
    status: Health
    cancel: tuple[str, ...]


class AgentPage(Record):
    """Agents by id; `cursor` asks for the next page, null means that there is none.

    A watch continues behind `revision`: what has changed since is told there. `unreadable` are agents, of all pages,
    whose stored records cannot be read.
    """

    items: tuple[AgentView, ...]
    cursor: str | None
    revision: int
    unreadable: tuple[UnreadableRecord, ...] = ()


class RankedAgent(Record):
    """An agent that fits, with the parts of its score, each 0 to 1."""

    agent_id: str
    agent_type: AgentType
    endpoint: str
    capabilities: tuple[str, ...]
    status: Health
    breaker: Breaker
    health_score: float
    pheromone_score: float
    telemetry_score: float
    composite_score: float
    active_tickets: int


class AgentDiscovery(Record):
    """The agents that fit, the best first; `evaluated` were looked at, `matched` fit, also those beyond the limit.

    `refusals` says of some of the others why they do not fit.
    """

    agents: tuple[RankedAgent, ...]
    evaluated: int
    matched: int
    refusals: tuple[Refusal, ...]


class AgentChangeView(Record):
    """An agent that has changed, as it is now; `agent` is null when it is gone."""

    type: ChangeKind
    agent_id: str
    agent_type: AgentType
    agent: AgentView | None
    revision: int


class AgentChanges(Record):
    """Changes in order; the next watch continues behind `revision`."""

    changes: tuple[AgentChangeView, ...]
    revision: int


def agent_view(agent: Worker, active: Mapping[str, int] | None, now: datetime, rules: Rules) -> AgentView:
    """Return an agent as it stands at `now`; `active` is how many tickets each holds, None: not counted."""
    return AgentView(**_fields(agent, active, now, rules))


def _fields(agent: Worker, active: Mapping[str, int] | None, now: datetime, rules: Rules) -> dict[str, Any]:
    same = set(AgentView.__struct_fields__) & set(Worker.__struct_fields__)
    return {
        **{name: getattr(agent, name) for name in same},
        "agent_id": agent.worker_id,
        "status": health_of(agent, now, rules),
        "breaker": breaker_of(agent, now),
        "active_tickets": None if active is None else active.get(agent.worker_id, 0),
    }


def registered_view(
    agent: Worker, active: Mapping[str, int], now: datetime, rules: Rules, membership: Mapping[str, Any]
) -> RegisteredAgent:
    """Return what an agent is told that has registered; `membership` is what only the platform knows."""
    ttl = rules.removed.total_seconds()
    return RegisteredAgent(**_fields(agent, active, now, rules), ttl_seconds=ttl, **membership)
