"""The signals that the ends of attempts deposit on the trails of their workers.

    SUCCESS  1.0 on pos    the ticket is COMPLETED
    FAILURE  1.0 on neg    the ticket is FAILED by its work, or the attempt timed out or lost its heartbeat
    WARNING  0.5 on neg    the worker reported a failure, and the ticket is tried again, or another attempt goes on

An attempt that a worker never got, or was not asked to end, says nothing of its work.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from functions._core.machine.tables import TicketTrigger
from functions._core.placement.breaker import BLAMED, DELIVERY
from functions._core.placement.pheromones import Trail, domain_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import HELD_TICKETS
from functions._core.records.simulated import SIMULATED
from functions._core.records.values import Model, TaskType, Word

NOT_ITS_WORK = DELIVERY | {
    "worker_busy",
    "worker_suspended",
    "worker_lost",
    "ticket_corrupted",
    "unresolved_reference",
    "references_too_large",
}
"""Reasons of a FAILED ticket that lie in its delivery, in its worker's absence or in the ticket itself."""


DEPOSITED = "pheromone.deposited"
"""Type of the event that tells of a signal; it is made where somebody asks for it by name."""


class SignalKind(Word):
    """What a signal says."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    WARNING = "WARNING"


STRENGTHS = {SignalKind.SUCCESS: 1.0, SignalKind.FAILURE: 1.0, SignalKind.WARNING: 0.5}
"""How much a signal adds to its side of the trail."""


class PheromoneDeposited(Model):
    """Data of `pheromone.deposited`: the end of an attempt has left a signal on the trail of its worker."""

    domain: str
    """The domain of the ticket's plan, else the type of the task."""
    worker_id: str
    """Id of the worker that had the attempt."""
    kind: SignalKind
    """SUCCESS, FAILURE, or WARNING for a failure after which the ticket is tried again."""
    strength: float
    """How much it adds to the trail: 1 for a success or failure, 0.5 for a warning."""
    task_type: TaskType
    """The type of the task."""
    flow_id: str
    """Id of the flow."""
    ticket_id: str
    """Id of the ticket."""
    attempt: int
    """The attempt that ended."""
    cause: str
    """The cause of the end, as the history has it."""


class Signal(NamedTuple):
    """One deposit on a trail."""

    domain: str
    worker_id: str
    kind: SignalKind
    task_type: TaskType
    entry: HistoryEntry
    """The transition that it comes from."""

    @property
    def strength(self) -> float:
        """How much it adds."""
        return STRENGTHS[self.kind]

    @property
    def trail(self) -> Trail:
        """A trail of this signal alone."""
        at: datetime = self.entry.at
        if self.kind is SignalKind.SUCCESS:
            return Trail(pos=self.strength, neg=0.0, updated_at=at)
        return Trail(pos=0.0, neg=self.strength, updated_at=at)

    @property
    def told(self) -> PheromoneDeposited:
        """The signal as subscribers get it."""
        entry = self.entry
        return PheromoneDeposited(
            domain=self.domain,
            worker_id=self.worker_id,
            kind=self.kind,
            strength=self.strength,
            task_type=self.task_type,
            flow_id=entry.flow_id,
            ticket_id=entry.ticket_id or "",
            attempt=entry.attempt or 0,
            cause=entry.cause,
        )


def signals_of(step: ChangeSet) -> Iterator[Signal]:
    """Yield the signals of the attempts that ended in a step."""
    ended = [entry for entry in step.history if entry.worker_id is not None and entry.from_status in HELD_TICKETS]
    tickets = {ticket.ticket_id: ticket for ticket in step.tickets} if ended else {}
    for entry in ended:
        kind, ticket = _kind_of(entry), tickets.get(entry.ticket_id or "")
        if kind is not None and ticket is not None and entry.worker_id is not None:
            yield Signal(domain_of(ticket), entry.worker_id, kind, ticket.task_type, entry)


def _kind_of(entry: HistoryEntry) -> SignalKind | None:
    if entry.type == "ticket.completed":
        return None if entry.cause in {TicketTrigger.SKIP, SIMULATED} else SignalKind.SUCCESS
    if entry.cause in BLAMED:
        return SignalKind.FAILURE
    if entry.type == "ticket.failed" and entry.cause not in NOT_ITS_WORK:
        return SignalKind.FAILURE
    reported = entry.type == "ticket.hedge_ended" and entry.cause not in NOT_ITS_WORK
    return SignalKind.WARNING if reported or entry.type == "ticket.retried" else None
