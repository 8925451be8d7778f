"""Which queries of the own history a flow counts for, and what it, or its tickets, counts there. Pure.

There may be a thousand queries, and each flow that ends is compared with them: they are found by what they ask for.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from functions._core.planning.slack import missed
from functions._core.records.models import Flow, Ticket
from functions._core.records.simulated import was_simulated
from functions._core.records.values import Outcome, TaskType, TicketStatus, milliseconds
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
        if flow.outcome in NOT_COUNTED or flow.outcome is None or was_simulated(flow):
            return ()
        places = [
            ("", ""),
            ("plan", flow.plan_id or ""),
            ("tenant", flow.tenant_id or ""),
            *((f"label {name}", value) for name, value in flow.labels.items()),
        ]
        found = (key for place in places for key in self._by.get(place, ()))
        return [key for key in found if _fits(self._queries[key], flow)]

    def flow(self, keys: Iterable[str], flow: Flow) -> Iterable[tuple[str, Count]]:
        """Yield what a flow counts for queries of flows; nothing for one in which it does not count."""
        queries, done = self._queries, flow.outcome is Outcome.COMPLETED
        took = milliseconds(flow.ended_at - flow.received_at) if flow.ended_at is not None else None
        late = missed(flow)
        for key in keys:
            query = queries[key]
            if query.measure is not Measure.COMPLETION_TIME:
                yield key, (1, int(not done or (late and query.measure is Measure.SLA_MET)))
            elif done and took is not None:
                yield key, (1, int(took > (query.within_ms or 0)))

    def tickets(self, keys: Iterable[str], tickets: Iterable[Ticket]) -> Iterable[tuple[str, Count]]:
        """Yield what the tickets of a flow count for queries of tickets, likewise."""
        by_type: dict[TaskType | None, list[Ticket]] = {None: []}
        for ticket in tickets:
            if ticket.compensates is None and not ticket.skipped:
                by_type[None].append(ticket)
                by_type.setdefault(ticket.task_type, []).append(ticket)
        for key in keys:
            query, total, bad = self._queries[key], 0, 0
            for ticket in by_type.get(query.task_type, ()):
                good = _is_good(query, ticket) if _fits_ticket(query, ticket) else None
                total += good is not None
                bad += good is False
            if total:
                yield key, (total, bad)


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
    return (query.capability is None or query.capability in ticket.required_capabilities) and (
        query.worker_id is None or query.worker_id == ticket.worker_id
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
