"""Flows, tickets and everything else that a step changes."""

from collections.abc import Collection, Mapping, Sequence

from functions._adapters.memory.state import State, expect
from functions._core.errors import Unavailable
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket


class MemoryFlows:
    """The `FlowStore`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def flow(self, flow_id: str) -> Flow | None:
        """Return the flow's row, or None."""
        return self._state.flows.get(flow_id)

    async def tickets(
        self,
        ticket_ids: Collection[str],
        flow_id: str | None = None,  # noqa: ARG002 ids are enough here
    ) -> Mapping[str, Ticket]:
        """Return those of the named tickets that exist, by id."""
        found = ((ticket_id, self._state.tickets.get(ticket_id)) for ticket_id in ticket_ids)
        return {ticket_id: ticket for ticket_id, ticket in found if ticket}

    async def decision(self, flow_id: str) -> bytes:
        """Return the stored decision as JSON text."""
        try:
            return self._state.decisions[flow_id]
        except KeyError:
            raise Unavailable(f"The decision of flow {flow_id} is not visible yet.") from None

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """Return the tickets of a flow in the order of the plan."""
        chosen = self._state.live.get(flow_id, {}) if live_only else None
        return [
            ticket
            for ticket_id in self._state.plans.get(flow_id, ())
            if (chosen is None or ticket_id in chosen) and (ticket := self._state.tickets.get(ticket_id))
        ]

    def _expect(self, step: ChangeSet) -> None:
        state = self._state
        if step.flow:
            expect(state.flows.get(step.flow_id), step.base_of(step.flow_id, step.flow.version))
        for ticket in step.tickets:
            expect(state.tickets.get(ticket.ticket_id), step.base_of(ticket.ticket_id, ticket.version))
        for record_id, version in step.seen.items():
            expect(state.flows.get(record_id) or state.tickets.get(record_id), version)

    async def commit(self, step: ChangeSet) -> None:
        """Apply `step`, or raise `Conflict` and change nothing."""
        state = self._state
        self._expect(step)
        if step.flow:
            state.flows.put(step.flow_id, step.flow)
            state.wake("flow", step.flow_id, step.flow_id, step.flow.next_wakeup_at)
        for ticket in step.tickets:
            self._put_ticket(ticket)
        if step.decision is not None:
            state.decisions.setdefault(step.flow_id, step.decision)
        for entry in step.history:
            state.transitions += 1
            state.history.append(entry.but(seq=state.transitions))
        state.audits.extend(step.audit)
        if step.handled is not None:
            state.queue.pop(step.handled)
        for event in step.events:
            state.enqueue(event)
        for event in step.telemetry:
            state.buffer(event)

    def _put_ticket(self, ticket: Ticket) -> None:
        state, ticket_id = self._state, ticket.ticket_id
        if state.tickets.get(ticket_id) is None:
            state.plans[ticket.flow_id].append(ticket_id)
        state.tickets.put(ticket_id, ticket)
        state.wake("ticket", ticket_id, ticket.flow_id, ticket.next_wakeup_at)
        state.offered_until.pop(ticket_id, None)
        if ticket.live:
            state.live[ticket.flow_id][ticket_id] = ticket
        else:
            state.live[ticket.flow_id].pop(ticket_id, None)
