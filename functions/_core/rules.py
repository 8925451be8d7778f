"""The numbers that decide when something is waited for, tried again or given up, each with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from zlib import crc32

from functions._core.records.policies import RetryPolicy
from functions._core.records.values import time_span

TICKETS_PER_EVENT = 25
"""Ticket ids in one chain event: keeps it far below the smallest broker limit (64 KiB) with 5 candidates each."""

LARGE_DECISION = 64 * 1024
"""Bytes of a decision beyond which reading its plan takes so long that an event loop should not wait for it."""

LARGE_STEP = 200
"""Tickets beyond which to move them all takes so long that an event loop should not wait for it."""

MAX_TICKETS = 100_000
"""Tickets of one flow: lists in sub-flows of lists multiply, and a flow has to fit into one process's memory."""

COPIED_BYTES = 64 * 1024 * 1024
"""Bytes of parameters, as JSON, that the items of one list copy: a short plan can repeat a long text 10,000 times."""

DEFAULT_SLA = timedelta(hours=4)
"""The deadline of a decision that brings none, from its arrival."""

TICKETS_PER_TURN = 25
"""Tickets of one flow, with one requirement, in one turn for free slots: those of one event wait in one turn, and a
flow that never has more of them waiting is ordered by slack alone."""

REFERENCES_BYTES = 1024 * 1024
"""Bytes of upstream outputs, as JSON, that the references of one ticket may stand for: four outputs of the largest
size. More belongs in a place that both tasks can reach."""

OUTPUT_BYTES = 256 * 1024
"""Bytes of the outputs of children, as JSON, that become the output of their parent; more stay with the children."""

PASSING = frozenset({408, 409, 425, 429})
"""Refusals by a worker or a webhook after which the same request may succeed later; any other 4xx is final."""

CANDIDATES_PER_TICKET = 5
"""How many ranked workers discovery hands on: enough to spread and to fall back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightLimits:
    """How many flows and tickets may be in flight at once, of all and of one tenant; None: any number.

    A flow is in flight from its tickets on to its end, a ticket while a worker has it.
    """

    flows: int | None = None
    """Flows of all tenants."""
    tickets: int | None = None
    """Tickets of all flows."""
    tenant_flows: int | None = None
    """Flows of one tenant; only where `flows` is set."""
    tenant_tickets: int | None = None
    """Tickets of one tenant; only where `tickets` is set."""

    def of(self, kind: str) -> tuple[int | None, int | None]:
        """Return the limits of `tickets` or, of any other kind, of `flows`: of all, and of one tenant."""
        return (self.tickets, self.tenant_tickets) if kind == "tickets" else (self.flows, self.tenant_flows)

    def told(self, kind: str) -> str:
        """Return the limit of a kind as the beginning of a sentence."""
        of_all, of_tenant = self.of(kind)
        own = f", {of_tenant} of one tenant" if of_tenant is not None else ""
        return f"as many {kind} are in flight as the platform allows ({of_all}{own})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits of every wait. The defaults are those of the documents; settings may change some of them."""

    default_sla: timedelta = DEFAULT_SLA
    """The time of a flow whose decision names no deadline."""
    least_timeout_ms: int = 60_000
    """Milliseconds that an attempt may take at least: lower limits took many slow attempts for lost ones."""
    reemit: timedelta = timedelta(seconds=30)
    """A chain event that had no effect is sent again after this, then after twice as long, and so on."""
    reemit_most: timedelta = timedelta(minutes=16)
    """The longest of these waits: a lost event costs no more than that."""
    failures: int = 3
    """Answered errors of one step before the flow is given up."""
    redeliver: timedelta = timedelta(seconds=5)
    """An assignment that was not acknowledged is delivered again to the same worker."""
    unreachable: timedelta = timedelta(seconds=30)
    """A worker that has not answered for so long loses the assignment to the next candidate."""
    freeze_look: timedelta = timedelta(seconds=60)
    """A ticket that a freeze holds back, or a flow that a spent budget holds, is looked at again after this."""
    no_worker: timedelta = timedelta(minutes=10)
    """How long a ticket waits for a capable worker to register."""
    settle: timedelta = timedelta(seconds=5)
    """After this the end of a last ticket is looked at again, in case the outcome was not recorded with it."""
    event_retention: timedelta = timedelta(hours=1)
    """How long an event of a user is kept for a ticket that waits for it."""
    sink: timedelta = timedelta(seconds=60)
    """How long the end of a flow waits for the telemetry sink."""
    approval: timedelta = timedelta(hours=24)
    """How long a flow waits for somebody to approve it."""
    pause: timedelta = timedelta(hours=24)
    """How long a flow stays paused before it continues automatically."""
    compensation: timedelta = timedelta(hours=1)
    """How long undoing may take in all."""
    at_risk_share: float = 0.8
    """The part of the SLA after which a flow that still works is at risk."""
    refuse_impossible: bool = False
    """Whether C1 refuses a plan whose critical path does not fit into its SLA; else it is at risk from the start."""
    in_flight: InFlightLimits | None = None
    """How many flows and tickets may be in flight at once; None: any number, and nothing is counted."""
    tenant_weights: Mapping[str, int] = field(default_factory=dict)
    """Weights of tenants, by which they share slots that are short; empty: flows take turns, whosever they are."""
    breaker_failures: int = 5
    """Failures in a row of one worker, beside its tasks' own errors, after which it gets nothing for a while."""
    breaker_pause: timedelta = timedelta(seconds=30)
    """How long the circuit breaker of such a worker stays open."""
    breaker_successes: int = 2
    """Successes after that pause with which a worker is trusted again."""
    references_bytes: int = REFERENCES_BYTES
    """Bytes of upstream outputs, as JSON, that the references of one ticket may stand for in all."""
    job_look: timedelta = timedelta(seconds=10)
    """How often the platform looks at a job of its own worker."""
    heartbeat: timedelta = timedelta(seconds=30)
    """The interval at which workers send heartbeats."""
    grace: timedelta = timedelta(seconds=15)
    """After the platform was down, workers have this long to repeat their reports before a ticket times out."""

    @property
    def degraded(self) -> timedelta:
        """Silence after which a worker is DEGRADED: two heartbeats."""
        return 2 * self.heartbeat

    @property
    def unhealthy(self) -> timedelta:
        """Silence after which a worker is UNHEALTHY and loses its tickets: three heartbeats."""
        return 3 * self.heartbeat

    @property
    def removed(self) -> timedelta:
        """Silence after which a worker is forgotten: ten heartbeats."""
        return 10 * self.heartbeat

    def reemit_after(self, emissions: int) -> timedelta:
        """Return how long to wait after the event was sent `emissions` times before: doubling, capped."""
        return min(self.reemit * (1 << min(emissions, 20)), self.reemit_most)


def retry_after(policy: RetryPolicy, ticket_id: str, retries: int) -> timedelta:
    """Return the backoff before retry number `retries` + 1: growing, capped, with jitter.

    The jitter is a function of ticket and retry, so that the decision stays reproducible.
    """
    backoff = min(policy.initial_ms * policy.coefficient ** min(retries, 60), policy.max_ms)
    share = crc32(f"{ticket_id}/{retries}".encode()) / 2**32
    return time_span(backoff * (1 + policy.jitter * (2 * share - 1)))
