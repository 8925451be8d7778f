"""An observer's own account of a simulated world: every committed step is entered, and each invariant checked on it.

The ledger is kept apart from the store: what the store holds is believed only as far as it agrees with it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from functions._adapters.memory.state import State
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import HANDLERS
from functions._core.healing.playbooks import Playbook
from functions._core.placement.signals import signals_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus
from functions._core.records.worker import Worker
from functions._core.slo.freezing import FreezeEvent
from functions._simulator.families import Families

Invariant = Callable[[Any, "Ledger"], Iterator[str]]
"""A check: the first line of its docstring is the sentence shown, what it yields says how it was broken."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that was violated: its sentence, what happened, and when."""

    sentence: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CommittedChange:
    """One committed step and the records as they were before it."""

    step: ChangeSet
    flow: Flow | None
    tickets: Mapping[str, Ticket | None]

    def moves(self) -> Sequence[tuple[Ticket | None, Ticket]]:
        """Return every ticket of the step, before and after it."""
        return [(self.tickets[ticket.ticket_id], ticket) for ticket in self.step.tickets]


@dataclass
class Ledger:
    """Flows and tickets as committed, what workers have begun, and the invariants that were broken.

    `planned` and `compensations` count the tickets of each flow by status, those of its plan and those that undo.
    `tampered` are the ids of tickets that were changed past the platform. `signals` are the strengths of all deposits
    on the trail of a domain and worker, those of success and the others. `draining` says since when workers drain,
    `frozen` has the freezes that last, each with the moment since when; `guarding` says since when policies forbid
    providers. Of a `playbook` there are the actions that it has `healed` each incident by, with their times, and those
    by which it has `retried` tickets since a person came.
    """

    state: State
    now: Callable[[], datetime]
    step_invariants: Sequence[Invariant]
    start_invariants: Sequence[Invariant]
    flows: dict[str, Flow] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    planned: dict[str, Counter[TicketStatus]] = field(default_factory=lambda: defaultdict(Counter))
    compensations: dict[str, Counter[TicketStatus]] = field(default_factory=lambda: defaultdict(Counter))
    tampered: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    signals: dict[tuple[str, str], dict[bool, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    draining: dict[str, datetime] = field(default_factory=dict)
    guarding: dict[str, datetime] = field(default_factory=dict)
    frozen: dict[str, tuple[FreezeEvent, datetime]] = field(default_factory=dict)
    playbook: Playbook | None = None
    healed: dict[str, dict[str, datetime]] = field(default_factory=dict)
    retried: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    given: dict[tuple[str, int], str] = field(default_factory=dict)
    starts: dict[tuple[str, int], list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    families: Families = field(default_factory=Families)
    violations: list[Violation] = field(default_factory=list)
    steps: int = 0

    def committed(self, changes: ChangeSet) -> None:
        """Enter what the store has taken, and check it step by step."""
        for step in changes.outcomes:
            self._enter(step)

    def _enter(self, step: ChangeSet) -> None:
        self.steps += 1
        before = {ticket.ticket_id: self.tickets.get(ticket.ticket_id) for ticket in step.tickets}
        change = CommittedChange(step, self.flows.get(step.flow_id), before)
        for was, ticket in change.moves():
            counts = (self.planned if ticket.compensates is None else self.compensations)[ticket.flow_id]
            if was is not None:
                counts[was.status] -= 1
            counts[ticket.status] += 1
            self.families.enter(was, ticket)
            self.tickets[ticket.ticket_id] = ticket
        if step.flow is not None:
            self.flows[step.flow_id] = step.flow
        for signal in signals_of(step):
            self.signals[signal.domain, signal.worker_id][signal.trail.pos > 0] += signal.strength
        self.check(self.step_invariants, change)
        self.sent.update(event.id for event in step.events if event.event_type not in HANDLERS)

    def delivered(self, worker_id: str, event: CloudEvent) -> None:
        """Enter that a message goes to a worker, and check that an attempt is given to one worker only."""
        if event.event_type == "ticket.assigned":
            key = event.data["ticket_id"], event.data["attempt"]
            self.given.setdefault(key, worker_id)
            self.check(self.start_invariants, (*key, worker_id))

    def begun(self, worker_id: str, assignment: Mapping[str, Any]) -> None:
        """Enter that a worker has begun an attempt."""
        ticket_id, attempt = assignment["ticket_id"], assignment["attempt"]
        self.starts[ticket_id, self.redrives_of(ticket_id)].append((worker_id, attempt))
        self.check(self.start_invariants, (ticket_id, attempt, worker_id))

    def registered(self, worker: Worker) -> None:
        """Enter a worker's row as it is stored."""
        if not worker.draining:
            self.draining.pop(worker.worker_id, None)
        else:
            self.draining.setdefault(worker.worker_id, self.now())

    def clock_was_set(self) -> None:
        """Let what was noted before count from now on: times before and after cannot be compared."""
        self.draining = {worker_id: max(since, self.now()) for worker_id, since in self.draining.items()}
        self.frozen = {one: (freeze, max(since, self.now())) for one, (freeze, since) in self.frozen.items()}

    def redrives_of(self, ticket_id: str) -> int:
        """Return how often the flow of a ticket has been redriven."""
        return self.flows[self.tickets[ticket_id].flow_id].redrives

    def check(self, invariants: Sequence[Invariant], about: object) -> None:
        """Note every invariant that `about` breaks."""
        for invariant in invariants:
            for detail in invariant(about, self):
                sentence = (invariant.__doc__ or "").splitlines()[0]
                self.violations.append(Violation(sentence, detail, self.now()))

    def changed(self, ticket: Ticket) -> None:
        """Enter that somebody has changed a ticket in the store, past the platform."""
        self.tickets[ticket.ticket_id] = ticket
        self.tampered.add(ticket.ticket_id)

    def reread(self) -> None:
        """Take the records as the store has them: they were written again, with the same content."""
        self.flows = {flow.flow_id: flow for flow in self.state.flows}
        self.tickets = {ticket.ticket_id: ticket for ticket in self.state.tickets}

    @property
    def history(self) -> Sequence[HistoryEntry]:
        """Everything that has happened, in order."""
        return self.state.history
