"""Which queries of the own history a flow counts for, and what it, or its tickets, counts there. Pure.

There may be a thousand queries, and each flow that ends is compared with them: they are found by what they ask for.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from functions._core.planning.slack import missed
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import Outcome, TicketStatus, milliseconds
from functions._core.slo.definition import OF_TICKETS, HistoryQuery, Measure

NOT_COUNTED = frozenset({Outcome.REJECTED, Outcome.CANCELLED})
"""Ends that say nothing of the service: C1 refused the flow, or a person stopped it."""

Count = tuple[int, int]
"""How many there are, and how many of them are not good."""


class Selectors:
    """Queries by their keys."""

    def __init__(self, queries: Mapping[str, HistoryQuery]) -> None:
        self._queries = queries
        self.of_tickets = frozenset(key for key, query in queries.items() if query.measure in OF_TICKETS)
        self._by: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key, query in queries.items():
            self._by[_place_of(query)].append(key)

    def only(self, keys: Collection[str]) -> Self:
        """Return some of the queries."""
        if len(keys) == len(self._queries):
            return self
        return type(self)({key: self._queries[key] for key in keys})

    def wanting(self, flow: Flow) -> Sequence[str]:
        """Return the keys of the queries that an ended flow counts for, itself or by its tickets."""
        if flow.outcome in NOT_COUNTED or flow.outcome is None:
            return ()
        places = [
            ("", ""),
            ("plan", flow.plan_id or ""),
            ("tenant", flow.tenant_id or ""),
            *((f"label {name}", value) for name, value in flow.labels.items()),
        ]
        found = (key for place in places for key in self._by.get(place, ()))
        return [key for key in found if _fits(self._queries[key], flow)]

    def flow(self, key: str, flow: Flow) -> Count:
        """Return what a flow counts for a query of flows."""
        query, done = self._queries[key], flow.outcome is Outcome.COMPLETED
        if query.measure is Measure.COMPLETION_TIME:
            if not done or flow.ended_at is None:
                return 0, 0
            return 1, int(milliseconds(flow.ended_at - flow.received_at) > (query.within_ms or 0))
        return 1, int(not done or (query.measure is Measure.SLA_MET and missed(flow)))

    def tickets(self, key: str, tickets: Iterable[Ticket]) -> Count:
        """Return what the tickets of a flow count for a query of tickets."""
        query, total, bad = self._queries[key], 0, 0
        for ticket in tickets:
            if not _fits_ticket(query, ticket):
                continue
            good = _is_good(query, ticket)
            total += good is not None
            bad += good is False
        return total, bad


def _place_of(query: HistoryQuery) -> tuple[str, str]:
    """Return where a query is found: by the one thing that it asks for and that says most."""
    if query.plan_id is not None:
        return "plan", query.plan_id
    for name, value in query.labels.items():
        return f"label {name}", value
    return ("", "") if query.tenant_id is None else ("tenant", query.tenant_id)


def _fits(query: HistoryQuery, flow: Flow) -> bool:
    return (
        query.plan_id in {None, flow.plan_id}
        and query.tenant_id in {None, flow.tenant_id}
        and query.labels.items() <= flow.labels.items()
    )


def _fits_ticket(query: HistoryQuery, ticket: Ticket) -> bool:
    return (
        ticket.compensates is None
        and not ticket.skipped
        and query.task_type in {None, ticket.task_type}
        and (query.capability is None or query.capability in ticket.required_capabilities)
        and query.worker_id in {None, ticket.worker_id}
    )


def _is_good(query: HistoryQuery, ticket: Ticket) -> bool | None:
    """Whether a ticket is good by a query; None when it does not count."""
    if query.measure is Measure.QUEUE_WAIT:
        if ticket.assigned_at is None or ticket.ready_at is None:
            return None
        return milliseconds(ticket.assigned_at - ticket.ready_at) <= (query.within_ms or 0)
    if ticket.status not in {TicketStatus.COMPLETED, TicketStatus.FAILED}:
        return None
    return ticket.status is TicketStatus.COMPLETED
