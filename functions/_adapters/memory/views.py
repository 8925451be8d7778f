"""Pages for people."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from operator import attrgetter

from functions._adapters.memory.state import State
from functions._adapters.pages import (
    MAX_POSITION,
    flow_status,
    label_words,
    page,
    position_of,
    ticket_filters,
    wanted_labels,
)
from functions._core.records.audits import AnyAudit, AuditKind, AuditRecord
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket


class MemoryViews:
    """The `Views`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def flows(
        self, *, status: str | None, cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Flow], str | None]:
        """Return flows, the newest first."""
        wanted, marked = flow_status(status), set(wanted_labels(labels))
        rows = self._state.flows.before(position_of(cursor, start=MAX_POSITION))
        fitting = (
            (position, flow)
            for position, flow in rows
            if (wanted is None or flow.status == wanted) and marked.issubset(label_words(flow.labels))
        )
        return page(list(islice(fitting, limit + 1)), limit)

    async def find_tickets(
        self, filters: Mapping[str, str], cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Ticket], str | None]:
        """Return tickets that all `filters` fit, oldest first."""
        wanted, marked = ticket_filters(filters).items(), set(wanted_labels(labels))
        rows = self._state.tickets.after(position_of(cursor, start=0))
        fitting = (
            (position, ticket)
            for position, ticket in rows
            if all(getattr(ticket, name) == value for name, value in wanted)
            and marked.issubset(label_words(ticket.labels))
        )
        return page(list(islice(fitting, limit + 1)), limit)

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return transitions with `seq` above `after`, in order."""
        history = self._state.history
        entries = islice(history, bisect_right(history, after, key=attrgetter("seq")), None)
        return list(islice((entry for entry in entries if flow_id in {None, entry.flow_id}), limit))

    async def last_seq(self) -> int:
        """Return the number behind which the history of all flows has only what comes from now on."""
        return self._state.history[-1].seq if self._state.history else 0

    async def audits(
        self, flow_id: str | None, limit: int, *, kind: AuditKind | None = None, valid: bool | None = None
    ) -> Sequence[AnyAudit]:
        """Return audits that all filters fit, the newest first."""
        fitting = (
            audit
            for audit in reversed(self._state.audits)
            if flow_id in {None, audit.flow_id}
            and kind in {None, audit.kind}
            and (valid is None or (isinstance(audit, AuditRecord) and audit.valid == valid))
        )
        return list(islice(fitting, limit))

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many flows and tickets there are by status."""
        return {
            "flows": Counter(flow.status.value for flow in self._state.flows),
            "tickets": Counter(ticket.status.value for ticket in self._state.tickets),
        }
