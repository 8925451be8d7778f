"""What a step writes, as one statement: it is applied whole or not at all, in one round trip."""

from collections.abc import Iterable, Mapping

from functions._adapters.documents import document
from functions._adapters.sql.postgres.database import SQL
from functions._adapters.sql.postgres.rows import (
    audit_row,
    changing,
    columns,
    flow_row,
    hedge_row,
    history_row,
    key,
    ticket_row,
)
from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import ChangeSet


class Writing:
    """A statement in the making: parts, their values, and how many rows they must touch together."""

    def __init__(self, owner: str | None) -> None:
        self.values: dict[str, object] = {"owner": owner, "expected": 0}
        self._parts: list[str] = []
        self._guarded: list[str] = []

    def add(self, name: str, part: str, values: Mapping[str, object]) -> None:
        """Add a part."""
        self._parts.append(f"{name} AS ({SQL[part]})")
        self.values.update(values)

    def guard(self, name: str, part: str, values: Mapping[str, object], rows: int = 1) -> None:
        """Add a part that must touch so many rows."""
        self.add(name, part, values)
        self._guarded.append(f"(SELECT count(*) FROM {name})")  # noqa: S608 the names are ours
        self.values["expected"] = int(str(self.values["expected"])) + rows

    @property
    def sql(self) -> str:
        """The statement. Sums are made from left to right, so the first guarded part runs first."""
        checked = f"flowc_expect(:expected, {' + '.join(self._guarded)})" if self._guarded else "true"
        return f"WITH {', '.join(self._parts)} SELECT {checked}"


def writing_of(step: ChangeSet, owner: str | None) -> Writing:
    """Return the statement that writes `step`; its events are for the process `owner` to handle, or for any."""
    writing = Writing(owner)
    if step.flow or step.tickets or step.history:
        # First of all: those who write the same flow take turns, and so never wait for each other in a circle.
        writing.guard("turn", "turn", {"flow_id": step.flow_id})
    if step.flow:
        base = step.base_of(step.flow_id, step.flow.version)
        based = {"flow_base": base} if base else {}
        writing.guard("flow_written", "flow_update" if base else "flow_insert", {**flow_row(step.flow), **based})
    _add_tickets(writing, step)
    if step.seen:
        _add_seen(writing, step)
    if step.decision is not None:
        writing.add("decided", "decision_insert", {"flow_id": step.flow_id, "decision": step.decision})
    if step.history:
        writing.add("told", "history_insert", columns("history", [history_row(entry) for entry in step.history]))
    if step.audit:
        writing.add("audited", "audit_insert", columns("audit", [audit_row(audit) for audit in step.audit]))
    if step.handled is not None or step.events:
        _add_events(writing, step.events, step.handled)
    if step.telemetry:
        docs = [document(event) for event in step.telemetry]
        writing.add("buffered", "telemetry_insert", {"telemetry_doc": docs})
    return writing


def queueing(events: Iterable[CloudEvent], owner: str | None) -> Writing:
    """Return the statement that queues `events`, for the process `owner` to handle, or for any."""
    writing = Writing(owner)
    _add_events(writing, events, None)
    return writing


def _add_tickets(writing: Writing, step: ChangeSet) -> None:
    based = [(ticket, step.base_of(ticket.ticket_id, ticket.version)) for ticket in step.tickets]
    new = [ticket_row(ticket) for ticket, base in based if not base]
    rewritten = [{**ticket_row(t), "base": base} for t, base in based if base and t.ticket_id in step.rewritten]
    changed = [{**changing(t), "base": base} for t, base in based if base and t.ticket_id not in step.rewritten]
    if new:
        writing.guard("tickets_written", "ticket_insert", columns("new", new), len(new))
    if changed:
        writing.guard("tickets_changed", "ticket_update", columns("changed", changed), len(changed))
    if rewritten:
        writing.guard("tickets_rewritten", "ticket_rewrite", columns("rewritten", rewritten), len(rewritten))
    if hedged := {ticket.ticket_id: hedge_row(ticket) for ticket in step.tickets if ticket.hedge is not None}:
        if rows := [row for row in hedged.values() if row is not None]:
            writing.add("hedged", "hedges_put", columns("hedge", rows))
        if over := [ticket_id for ticket_id, row in hedged.items() if row is None]:
            writing.add("hedges_over", "hedges_delete", {"unhedged": over})


def _add_seen(writing: Writing, step: ChangeSet) -> None:
    """Let records that are not changed be at the versions that were decided on."""
    tickets = {record_id: version for record_id, version in step.seen.items() if record_id != step.flow_id}
    if len(tickets) < len(step.seen):
        writing.guard("flow_looked_at", "flow_seen", {"flow_id": step.flow_id, "flow_seen": step.seen[step.flow_id]})
    if tickets:
        values = {"seen_ids": list(tickets), "seen_versions": list(tickets.values())}
        writing.guard("tickets_looked_at", "tickets_seen", values, len(tickets))


def _add_events(writing: Writing, events: Iterable[CloudEvent], handled: str | None) -> None:
    """Let what was handled leave the queue before other events enter it."""
    writing.add("dequeued", "queue_delete", {"handled": None if handled is None else key(handled)})
    rows = [(key(event.id), document(event)) for event in events]
    if rows:
        ids, docs = zip(*rows, strict=True)
        writing.add("queued", "queue_insert", {"event_id": list(ids), "event_doc": list(docs)})
