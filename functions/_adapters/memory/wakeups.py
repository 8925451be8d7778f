"""The wake-ups of all live records, and the tickets that wait for a worker."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions._adapters.memory.state import State
from functions._adapters.standing import waits_for_a_worker
from functions._core.models import Ticket
from functions._core.ports import Due


class MemoryWakeups:
    """The `Wakeups`. A claim moves the wake-up, not the record; the record's next commit sets it anew."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def claim_due(self, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        """Return up to `limit` records due at `now`, the oldest first; they come due again after `lease`."""
        due = [due for due in self._state.wakeups.values() if due.at <= now]
        claimed = sorted(due, key=lambda due: (due.at, due.kind, due.record_id))[:limit]
        for one in claimed:
            self._state.wakeups[one.kind, one.record_id] = replace(one, at=now + lease)
        return claimed

    async def next_due(self) -> datetime | None:
        """Return the earliest wake-up, or None when no record is live."""
        return min((due.at for due in self._state.wakeups.values()), default=None)

    async def claim_waiting(
        self, capabilities: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` waiting tickets that `capabilities` cover, least slack first."""
        offered_until = self._state.offered_until
        waiting = [
            ticket
            for ticket in self._state.live_tickets()
            if waits_for_a_worker(ticket)
            if capabilities is None or set(ticket.required_capabilities) <= set(capabilities)
            if offered_until.get(ticket.ticket_id, now) <= now
        ]
        claimed = sorted(waiting, key=lambda ticket: (ticket.latest_start, ticket.ticket_id))[:limit]
        offered_until.update((ticket.ticket_id, now + lease) for ticket in claimed)
        return claimed
