"""The registry as others follow it: which changes of an agent are told, and in which words.

A change is told when it is more than a sign of life: an agent is new or gone, has registered again, has another
health, is drained or not, or its circuit breaker has another state. Telemetry alone and `last_seen` are not told.
"""

from datetime import datetime

from functions._core.events.data import AgentChanged
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import derived_id
from functions._core.placement.ranking import breaker_of, health_of
from functions._core.records.record import Record
from functions._core.records.values import NAMESPACE, Timestamp, Word
from functions._core.records.worker import AgentType, Worker
from functions._core.rules import Rules


class ChangeKind(Word):
    """The kind of a change of the registry."""

    ADDED = "ADDED"
    UPDATED = "UPDATED"
    REMOVED = "REMOVED"


class AgentChange(Record):
    """A change of one agent: a reason to look at it, not a copy of it."""

    kind: ChangeKind
    """What has happened."""
    agent_id: str
    """Id of the agent."""
    agent_type: AgentType
    """What it is for; the type of an agent never changes."""


class Changes(Record):
    """The changes of one revision."""

    at: Timestamp
    """When they were told."""
    changes: tuple[AgentChange, ...]
    """Each agent comes once."""


def mark_of(worker: Worker, now: datetime, rules: Rules) -> str:
    """Return a text that differs whenever a change of the agent is to be told.

    Whatever an agent states of itself beside its telemetry it states by registering.
    """
    drained = "draining" if worker.draining else ""
    return f"{worker.registration} {health_of(worker, now, rules)} {breaker_of(worker, now)} {drained}"


def agent_event(change: AgentChange, worker: Worker | None, revision: int, now: datetime, rules: Rules) -> CloudEvent:
    """Return a change as an event for subscribers; `worker` is the agent as it is, None when it is gone.

    The same change of the same revision has the same id.
    """
    event_type = f"registry.agent.{change.kind.lower()}"
    said = AgentChanged(revision=revision, agent_id=change.agent_id, agent_type=change.agent_type)
    if worker is not None:
        said = said.but(
            status=health_of(worker, now, rules),
            breaker=breaker_of(worker, now),
            draining=worker.draining,
            endpoint=worker.endpoint,
            capabilities=worker.capabilities,
        )
    return CloudEvent(
        id=derived_id(str(NAMESPACE), event_type, f"{revision}:{change.agent_id}"),
        source="/flowc",
        type=type_of(event_type),
        time=now,
        subject=change.agent_id,
        data=said.model_dump(mode="json"),
        extensions={"partitionkey": change.agent_id},
    )
