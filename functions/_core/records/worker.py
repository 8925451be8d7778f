"""The record of a worker, and a worker as ranked for a ticket, or left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from functions._core.records.record import Record
from functions._core.records.values import CLEARANCES, Health, Number, SecurityLevel, Timestamp, WholeNumber, Word
from functions._core.rules import PASSING


class AssignmentMode(Word):
    """How tickets get to a worker; lower case on every wire."""

    PUSH = "push"
    PULL = "pull"


OWN_WORKER = "flowc:executors"
"""The worker that the platform is itself, for the executors of `FLOWC_EXECUTORS`; nobody else may have its id. It is
told of its tickets by events, and never silent: whether it does its work, its circuit breaker says."""

OWN_ANALYST = "flowc:analysts"
"""The agent that the platform is itself while it looks through its history; it gets no tickets."""

OWN_AGENTS = frozenset({OWN_WORKER, OWN_ANALYST})
"""Ids of agents that nobody else may have."""

NOT_ASKED_FOR = "not_asked_for"
"""Why a ticket is taken from a worker that asks for its tickets, and has not done so in time."""


class AgentType(Word):
    """What an agent is for. A WORKER and a FORGE get tickets; the others are registered to be found."""

    WORKER = "WORKER"
    SCOUT = "SCOUT"
    GUARD = "GUARD"
    ANALYST = "ANALYST"
    OPTIMIZER = "OPTIMIZER"
    QUEEN = "QUEEN"
    FORGE = "FORGE"
    """A worker that does the stages of the code forge, and nothing else."""


TAKE_TICKETS = frozenset({AgentType.WORKER, AgentType.FORGE})
"""The agents that get tickets, each those that it has the capabilities for."""


class WorkerTelemetry(Record):
    """What a worker says of its own record; unknown is None, never zero."""

    success_rate: Number | None = None
    """Share of its tasks that succeed, 0 to 1; null: unknown."""
    total_executions: WholeNumber | None = None
    """How many tasks it has done; null: unknown."""
    avg_duration_ms: Number | None = None
    """Average duration of its tasks, in milliseconds; null: unknown."""
    active_tasks: WholeNumber | None = None
    """How many tasks it is doing, by its own count; null: unknown."""
    cpu: Number | None = None
    """Share of its processors in use, 0 to 1; null: unknown."""
    memory: Number | None = None
    """Share of its memory in use, 0 to 1; null: unknown."""
    latency_ms: Number | None = None
    """How long it takes to answer, in milliseconds; null: unknown."""


class Worker(Record):
    """A registered agent. A worker gets tickets up to the security level of its `clearance`.

    Its health follows from `last_seen` and the clock, and from its own word in `reported`. The fields `failures`,
    `successes`, `suspended_until`, `doubt`, `trial` and `trial_until` are the state of its circuit breaker.
    """

    worker_id: str
    """Id of the worker, as it chose it."""
    endpoint: str
    """The URL to which assignments are POSTed; empty where the worker asks for them and names none."""
    delivery: AssignmentMode = AssignmentMode.PUSH
    """Whether assignments are POSTed to it (`push`), or it asks for them (`pull`)."""
    agent_type: AgentType = AgentType.WORKER
    """What it is for; a WORKER and a FORGE get tickets."""
    capabilities: tuple[str, ...] = ()
    """The capabilities that it offers; lower case, sorted."""
    clearance: SecurityLevel = SecurityLevel.INTERNAL
    """The highest security level of the tickets that it may get."""
    slots: int = 10
    """How many tickets it takes at once."""
    accepts_batches: bool = False
    """Whether it takes several assignments in one message."""
    metadata: Mapping[str, Any] = {}
    """Anything that the worker keeps with it; nothing here depends on it."""
    telemetry: WorkerTelemetry = WorkerTelemetry()
    """The figures that the worker states of itself."""
    reported: Health = Health.HEALTHY
    """The health that its last heartbeat stated."""
    announced: Health = Health.HEALTHY
    """The health that was announced last, so that each loss of the worker is announced once."""
    beats_owed: int = 0
    """HEALTHY heartbeats in a row that it still owes since it was UNHEALTHY; it stays UNHEALTHY until then."""
    draining: bool = False
    """Whether it gets no new tickets and only finishes those that it has."""
    failures: int = 0
    """Failures in a row that it was to blame for, beside its tasks' own errors."""
    successes: int = 0
    """Successes since its last failure; enough of them close its circuit breaker."""
    suspended_until: Timestamp | None = None
    """Until when its circuit breaker is open; it stays set while half-open, None when closed."""
    registered_at: Timestamp
    """When it registered for the first time."""
    last_seen: Timestamp
    """When it was last heard of, by the clock of the registry; its health follows from this and the clock."""
    next_wakeup_at: Timestamp
    """When it is looked at again if it stays silent."""
    version: int = 1
    """1 at first, one more with every committed change; a commit succeeds only on the version it read."""
    registration: str = ""
    """Name of the present registration: its time and version; each registration has another one."""
    doubt: str = ""
    """The cause of its last failure, as in `WorkerVerdict.why`; empty without one."""
    trial: str | None = None
    """Ticket and attempt that its half-open circuit breaker lets through; None when the place is free."""
    trial_until: Timestamp | None = None
    """Until when that attempt holds the place at most."""

    @property
    def takes_tickets(self) -> bool:
        """Whether it may get new tickets at all: it is of a type that does, and not drained."""
        return self.agent_type in TAKE_TICKETS and not self.draining

    @property
    def offers(self) -> frozenset[str]:
        """Everything that the worker offers, in the words of `Ticket.requirement`."""
        return CLEARANCES[self.clearance].union(self.capabilities)


class Candidate(Record):
    """A worker as ranked for a ticket, with the parts of its score (each 0..1)."""

    worker_id: str
    """Id of the worker."""
    score: float
    """0.4 health + 0.3 pheromone + 0.3 telemetry."""
    health_score: float
    """Its health, 0 to 1."""
    pheromone_score: float
    """How well it has done in the ticket's domain of late, 0 to 1; unknown is 0.5."""
    telemetry_score: float
    """Its success rate, 0 to 1; unknown is 0.5."""
    active: int
    """How many tickets it held when it was ranked."""
    slots: int
    """How many tickets the worker takes at once."""
    delivery: AssignmentMode = AssignmentMode.PUSH
    """Whether the assignment is POSTed to the worker (`push`), or the worker asks for it (`pull`)."""


class Refusal(Record):
    """A worker that was left out for a ticket, and why."""

    worker_id: str
    """Id of the worker."""
    reason: str
    """Why it was left out, as the end of a sentence about the worker."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a worker to a delivery."""

    status: int
    """As in HTTP; 0 for no answer."""
    detail: str = ""
    """What the worker, or the network, said of a refusal."""
    reached: bool = True
    """False only when it is certain that the worker never got the message."""
    suspended: bool = False
    """Whether nothing was sent, because the worker's circuit breaker lets nothing through."""
    registration: str = ""
    """The registration of the worker's row."""

    @property
    def accepted(self) -> bool:
        """Whether the worker has taken the ticket: the status line alone decides, not the body."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def busy(self) -> bool:
        """Whether the worker has no free slot."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS

    @property
    def refused(self) -> bool:
        """Whether asking the same worker again is pointless."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR and self.status not in PASSING
