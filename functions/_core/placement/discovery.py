"""Discovery: the agents that can do something, by filters of the caller, the best first.

    composite score = 0.4 health + 0.3 pheromone + 0.3 telemetry        each part 0..1, unknown counts as 0.5

It answers who could do it, not who has a slot right now: that is the ranking of tickets (`ranking`). Agents of equal
score are in the order of their active tasks, then of their ids.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from functions._core.placement.pheromones import NO_TRAILS, Trails
from functions._core.placement.ranking import candidate_of, health_of, unhealthy
from functions._core.records.values import Health
from functions._core.records.worker import AgentType, Candidate, Refusal, Worker
from functions._core.rules import Rules

Match = Literal["all", "any"]
"""How many of the capabilities asked for an agent has to offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What agents have to be like; None and empty collections ask for nothing."""

    capabilities: Collection[str] = ()
    match: Match = "all"
    status: Health | None = Health.HEALTHY
    agent_type: AgentType | None = None
    region: str | None = None
    version: str | None = None
    min_success_rate: float | None = None
    exclude: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The agents that fit, the best first, and those that were left out, each with the reason."""

    candidates: Sequence[Candidate]
    refusals: Sequence[Refusal]


def discover(
    query: Query,
    agents: Sequence[Worker],
    active: Mapping[str, int],
    now: datetime,
    rules: Rules,
    trails: Trails = NO_TRAILS,
) -> Found:
    """Return which of `agents` fit; `active` is how many tickets each holds, `trails` are theirs in one domain."""
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for agent in agents:
        refusal = _refusal(query, agent, now, rules)
        if refusal is None:
            candidates.append(
                candidate_of(agent, active.get(agent.worker_id, 0), now, rules, trails.get(agent.worker_id))
            )
        else:
            refusals.append(Refusal(worker_id=agent.worker_id, reason=refusal))
    candidates.sort(key=lambda one: (-one.score, one.active, one.worker_id))
    return Found(candidates, refusals)


def _refusal(query: Query, agent: Worker, now: datetime, rules: Rules) -> str | None:
    """Return why an agent does not fit."""
    if agent.worker_id in query.exclude:
        return "is excluded by the request"
    if query.agent_type is not None and agent.agent_type is not query.agent_type:
        return f"is of type {agent.agent_type}"
    missing = [capability for capability in query.capabilities if capability not in agent.capabilities]
    if missing and (query.match == "all" or len(missing) == len(query.capabilities)):
        return f"does not offer {', '.join(missing)}"
    if agent.draining:
        return "is draining: it finishes its tickets and gets no new ones"
    health = health_of(agent, now, rules)
    if query.status is not None and health is not query.status:
        return unhealthy(agent, now, rules) if health is Health.UNHEALTHY else f"is {health}"
    return _stated_otherwise(query, agent)


def _stated_otherwise(query: Query, agent: Worker) -> str | None:
    """Return what an agent states of itself that does not fit."""
    for name, wanted in (("region", query.region), ("version", query.version)):
        stated = agent.metadata.get(name)
        if wanted is not None and stated != wanted:
            return f"states no {name}" if stated is None else f"states another {name}"
    rate = agent.telemetry.success_rate
    if query.min_success_rate is not None and (rate is None or rate < query.min_success_rate):
        return "states no success rate" if rate is None else f"has a success rate of {rate:g} only"
    return None
