"""How long flows, their tickets and their waits usually are, from the flows that ended before. Pure."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.rows import kind_of
from functions._core.learning.series import median
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import Outcome, Timestamp, milliseconds

ENOUGH = 5
"""Flows, or samples, from which on a median is taken for what is usual."""

MOST_ROWS = 200
"""Tickets that are looked at of one kind of work, the newest: more say the same, and a list may have thousands."""

Base = Sequence[tuple[FlowRow, Sequence[TicketRow]]]
"""Flows that ended, with their tickets."""


class BaseKind(StrEnum):
    """What a flow is compared with."""

    SAME_PLAN = "same_plan"
    """Earlier flows of the same plan, in any version of it."""
    SAME_TYPES = "same_types"
    """Earlier tickets of the same kind of work, of any plan."""
    ESTIMATES = "estimates"
    """The estimates of its own plan: there is too little history."""


class ComparedWith(Record):
    """What a flow was compared with."""

    kind: BaseKind
    """Which flows these are."""
    flows: int
    """How many flows."""
    tickets: int
    """How many tickets of them."""
    since: Timestamp | None = None
    """When the first of them ended; null without any."""
    enough: bool
    """Whether these are five flows at least, so that something is usual at all."""


class EarlierTimes(NamedTuple):
    """What is known of a kind of work, or of waiting for it: its length in earlier flows."""

    rows: tuple[TicketRow, ...] = ()
    values: tuple[int, ...] = ()
    """Milliseconds, one for each row."""
    median: int = 0
    """The middle of the values, 0 without any."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[TicketRow, int]]) -> "EarlierTimes":
        """Return what rows with their milliseconds tell."""
        known = list(pairs)
        values = tuple(value for _, value in known)
        return cls(tuple(row for row, _ in known), values, round(median(values)) if values else 0)

    def only(self, fits: Callable[[TicketRow], bool]) -> "EarlierTimes":
        """Return those whose rows fit."""
        return self.of((row, value) for row, value in zip(self.rows, self.values, strict=True) if fits(row))

    def sure(self, value: float) -> float:
        """Return how sure it is that `value` is more than usual: the share below it, less with few samples."""
        return sureness(self.values, value)


def sureness(values: Sequence[int], value: float) -> float:
    """Return how sure it is that `value` is more than usual, 0 to 1: the share below it, less with few values."""
    number = len(values)
    return sum(one < value for one in values) / number * (number / (number + 3)) if number else 0.0


class UsualTimes:
    """What is usual for one flow."""

    def __init__(self, flow: Flow, base: Base) -> None:
        """Take the flows that ended; rehearsals, the flow itself, and those that arrived after it are left out."""
        real = [
            (row, tickets)
            for row, tickets in base
            if not row.simulated and row.flow_id != flow.flow_id and row.received_at < flow.received_at
        ]
        same = [
            (row, tickets) for row, tickets in real if row.plan_id and plan_name(row.plan_id) == plan_name(flow.plan_id)
        ]
        whole = [one for one in same if one[0].outcome is Outcome.COMPLETED]
        used = same if len(whole) >= ENOUGH else real
        enough = len(used) >= ENOUGH
        self.same_plan = len(whole) >= ENOUGH
        kind = BaseKind.SAME_PLAN if self.same_plan else BaseKind.SAME_TYPES
        self.view = ComparedWith(
            kind=kind if enough else BaseKind.ESTIMATES,
            flows=len(used),
            tickets=sum(len(tickets) for _, tickets in used),
            since=min((row.ended_at for row, _ in used), default=None),
            enough=enough,
        )
        self.flows = tuple(row for row, _ in used)
        used = used if enough else []
        self.tickets = sorted((one for _, tickets in used for one in tickets), key=_newest)
        self.durations = tuple(row.duration_ms for row, _ in whole) if self.same_plan else ()
        firsts = [(row, min((one.created_at for one in found), default=row.received_at)) for row, found in used]
        self.planning = [max(0, _between(row.received_at, first)) for row, first in firsts]
        self.planning_ms = round(median(self.planning)) if self.planning else 0
        self._by_task = _grouped(self.tickets, lambda row: row.task_id) if self.same_plan else {}
        self._by_needs = _grouped(self.tickets, lambda row: (row.task_type, row.capabilities))
        self._by_type = _grouped(self.tickets, lambda row: row.task_type)
        self._known: dict[tuple[str, int], EarlierTimes] = {}

    def like(self, ticket: Ticket) -> Sequence[TicketRow]:
        """Return earlier tickets of the same work, the last to end first: of the same task of the plan, else alike."""
        same = self._by_task.get(kind_of(ticket), ())
        if same:
            return same
        needs = self._by_needs.get((ticket.task_type, tuple(sorted(ticket.required_capabilities))), ())
        return needs if len(needs) >= ENOUGH else self._by_type.get(ticket.task_type, ())

    def knows(self, ticket: Ticket) -> bool:
        """Whether earlier flows of the plan had the task; true, too, where there are none of the plan."""
        return not self.same_plan or kind_of(ticket) in self._by_task

    def work(self, ticket: Ticket) -> EarlierTimes:
        """Return how long the work took that succeeded."""
        return self._times("work", ticket, lambda row: row.actual_ms)

    def wait(self, ticket: Ticket) -> EarlierTimes:
        """Return how long a worker was waited for."""
        return self._times("wait", ticket, lambda row: row.waited_ms)

    def _times(self, what: str, ticket: Ticket, value: Callable[[TicketRow], int | None]) -> EarlierTimes:
        """Return what is known of a kind of work; it is worked out once, as a flow may have thousands of tickets."""
        rows = self.like(ticket)
        key = (what, id(rows))  # one of the groups, which live as long as this
        if key not in self._known:
            pairs = [(row, value(row)) for row in rows]
            self._known[key] = EarlierTimes.of((row, told) for row, told in pairs if told is not None)
        return self._known[key]

    def workers(self, ticket: Ticket) -> tuple[str, ...]:
        """Return who had such work, sorted."""
        return tuple(sorted({row.worker_id for row in self.like(ticket) if row.worker_id}))


def plan_name(plan_id: str | None) -> str:
    """Return the name of a plan without its version."""
    name = plan_id or ""
    return name.rpartition("@")[0] or name


def _grouped(rows: Iterable[TicketRow], key: Callable[[TicketRow], Hashable]) -> dict[Hashable, list[TicketRow]]:
    """Return the newest rows of each group; `rows` are those that ended last first."""
    groups: dict[Hashable, list[TicketRow]] = {}
    for row in rows:
        group = groups.setdefault(key(row), [])
        if len(group) < MOST_ROWS:
            group.append(row)
    return groups


def _newest(row: TicketRow) -> tuple[float, str]:
    return -row.completed_at.timestamp(), row.ticket_id


def _between(since: datetime, until: datetime) -> int:
    return milliseconds(until - since)
