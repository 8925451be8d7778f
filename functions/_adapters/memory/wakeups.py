"""The wake-ups of all live records, and the tickets that wait for a worker."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions._adapters.memory.state import State
from functions._adapters.worker_claims import in_one_line, waits_for_a_worker
from functions._core.placement.fair_queue import QueuePosition
from functions._core.ports import Due
from functions._core.records.models import Ticket
from functions._core.rules import TICKETS_PER_TURN


class MemoryWakeups:
    """The `Wakeups`. A claim moves the wake-up, not the record; the record's next commit sets it again."""

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
        self, offers: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` waiting tickets whose requirement `offers` cover, by turn, slack and precedence."""
        offered_until = self._state.offered_until
        waiting = [
            ticket
            for ticket in self._waiting()
            if offers is None or ticket.requirement <= set(offers)
            if offered_until.get(ticket.ticket_id, now) <= now
        ]
        claimed = sorted(waiting, key=lambda ticket: (ticket.turn or 0, *ticket.order))[:limit]
        offered_until.update((ticket.ticket_id, now + lease) for ticket in claimed)
        return claimed

    async def line(self, flow_id: str, requirement: Collection[str]) -> QueuePosition:
        """Return the line in which a ticket of the flow with this `requirement` is to wait."""
        required = frozenset(requirement)
        own: Counter[int] = Counter()
        lowest: dict[frozenset[str], int] = {}
        order: list[tuple[int, datetime]] = []
        for ticket in self._waiting():
            other, turn = ticket.requirement, ticket.turn or 0
            if in_one_line(required, other):
                lowest[other] = min(turn, lowest.get(other, turn))
                order.append((turn, ticket.urgency))
                own[turn] += ticket.flow_id == flow_id and other == required
        current = max(lowest.values(), default=0)
        behind = min(((turn, start) for turn, start in order if turn > current), default=None)
        turns = {current, current + 1, max(+own, default=current)}
        taken = {turn: min(own[turn], TICKETS_PER_TURN) for turn in turns if own[turn]}
        return QueuePosition(current, behind[1] if behind else None, taken)

    def _waiting(self) -> Iterator[Ticket]:
        return filter(waits_for_a_worker, self._state.live_tickets())
