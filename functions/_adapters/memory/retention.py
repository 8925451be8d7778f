"""Removing what has been kept long enough."""

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import TypeVar

from functions._adapters.key_values import is_there
from functions._adapters.memory.state import State
from functions._core.records.audits import ActionRecord, AnyAudit
from functions._core.records.models import Flow

R = TypeVar("R")


class MemoryRetention:
    """The `Retention`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def forget_ended(self, before: datetime, limit: int) -> int:
        """Remove records of flows that ended, and actions on no flow that were taken, before `before`."""
        ended = [(flow.ended_at, flow) for flow in self._state.flows if flow.ended_at and flow.ended_at < before]
        left = limit
        for _, flow in sorted(ended, key=lambda entry: entry[0]):
            if left == 0:
                break
            left -= self._forget(flow, left)
        left -= _remove(self._state.audits, lambda audit: _is_old_action(audit, before), left)
        return limit - left

    async def drop_letters(self, keep: int, limit: int) -> int:
        """Drop the oldest letters beyond `keep`."""
        excess = max(0, min(len(self._state.letters) - keep, limit))
        for letter in list(islice(self._state.letters, excess)):
            self._state.letters.pop(letter.letter_id)
        return excess

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Remove deliveries to webhooks that were made before `before`."""
        old = [delivery for delivery in self._state.deliveries if delivery.created_at < before][:limit]
        for delivery in old:
            name = f"{delivery.subscription_id} {delivery.delivery_id}"
            self._state.deliveries.pop(name)
            self._state.deliveries_due.pop(name, None)
        return len(old)

    async def forget_expired(self, now: datetime, limit: int) -> int:
        """Remove small records that have expired."""
        entries = self._state.entries
        expired = list(islice((name for name, entry in entries.items() if not is_there(entry, now)), limit))
        for name in expired:
            del entries[name]
        return len(expired)

    def _forget(self, flow: Flow, limit: int) -> int:
        """Remove up to `limit` records of a flow, its own last."""
        state, flow_id, left = self._state, flow.flow_id, limit
        tickets = state.plans.pop(flow_id, [])
        if tickets[left:]:
            state.plans[flow_id] = tickets[left:]
        for ticket_id in tickets[:left]:
            state.tickets.pop(ticket_id)
            state.live[flow_id].pop(ticket_id, None)
            state.wake("ticket", ticket_id, flow_id, None)
            left -= 1
        left -= _remove(state.history, lambda entry: entry.flow_id == flow_id, left)
        left -= _remove(state.audits, lambda audit: audit.flow_id == flow_id, left)
        for letter in [letter for letter in state.letters if letter.flow_id == flow_id][:left]:
            left -= state.letters.pop(letter.letter_id)
        if left and state.decisions.pop(flow_id, None) is not None:
            left -= 1
        if left:
            state.live.pop(flow_id, None)
            state.wake("flow", flow_id, flow_id, None)
            left -= state.flows.pop(flow_id)
        return limit - left


def _is_old_action(audit: AnyAudit, before: datetime) -> bool:
    return isinstance(audit, ActionRecord) and not audit.flow_id and audit.at < before


def _remove(records: list[R], chosen: Callable[[R], bool], limit: int) -> int:
    """Remove up to `limit` of the chosen records, the oldest first; return how many."""
    gone = set(islice((place for place, record in enumerate(records) if chosen(record)), limit))
    records[:] = [record for place, record in enumerate(records) if place not in gone]
    return len(gone)
