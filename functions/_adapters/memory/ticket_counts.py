"""Counts over the tickets."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from functions._adapters.memory.state import State
from functions._adapters.pages import label_words, ticket_filters, wanted_labels
from functions._adapters.worker_claims import held_since
from functions._core.records.attempts import held_as, other_of
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus


class MemoryTicketCounts:
    """The `TicketCounts`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def by_status(self, flow_id: str) -> Mapping[str, int]:
        """Return how many tickets of the flow's plan are in each status, zeros included."""
        tickets = (self._state.tickets.get(ticket_id) for ticket_id in self._state.plans.get(flow_id, ()))
        found = Counter(ticket.status for ticket in tickets if ticket and ticket.compensates is None)
        return {status.value: found[status] for status in TicketStatus}

    async def live(self, flow_id: str, at_most: int) -> int:
        """Return how many tickets of the flow are live, counting no further than `at_most`."""
        return min(len(self._state.live.get(flow_id, ())), at_most)

    async def active(self) -> Mapping[str, int]:
        """Return how many tickets each worker holds."""
        return Counter(ticket.worker_id for _, ticket in self._held() if ticket.worker_id)

    async def held_by(self, worker_id: str, limit: int) -> Sequence[Ticket]:
        """Return tickets that the worker holds, the oldest assignment first."""
        held = sorted(
            (since, ticket.ticket_id, ticket) for since, ticket in self._held() if ticket.worker_id == worker_id
        )
        return [ticket for _, _, ticket in held[:limit]]

    async def fitting(self, filters: Mapping[str, str], at_most: int, labels: Collection[str] = ()) -> int:
        """Return how many tickets all `filters` fit, counting no further than `at_most`."""
        wanted, marked = ticket_filters(filters).items(), set(wanted_labels(labels))
        fitting = (
            ticket
            for ticket in self._state.tickets
            if all(getattr(ticket, name) == value for name, value in wanted)
            and marked.issubset(label_words(ticket.labels))
        )
        return sum(1 for _ in islice(fitting, at_most))

    def _held(self) -> Iterator[tuple[datetime, Ticket]]:
        """Yield the tickets that workers have, each as its worker sees it: one with two attempts twice."""
        for ticket in self._state.live_tickets():
            if since := held_since(ticket):
                yield since, ticket
                if (other := other_of(ticket)) is not None:
                    yield other.assigned_at, held_as(ticket, other.worker_id)
