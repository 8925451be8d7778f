"""The turns in which tickets wait for a slot, so that no flow keeps the slots from another one.

Free slots go to the lowest turn, within a turn to the least slack, and of equal slack to the highest priority score.
A flow has a bounded number of tickets in a turn: a huge flow takes many turns, a small one waits for two at most.
While no flow has more waiting tickets than fit in one turn, there is only one turn, and slack alone decides.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions._core.records.models import Ticket
from functions._core.rules import TICKETS_PER_TURN


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The tickets that wait for a worker or a slot, as another ticket finds them when it begins to wait.

    Only tickets count that surely compete for the same workers: the requirement of one is part of that of the other.
    A ticket that was offered to a worker still waits.
    """

    current: int = 0
    """The turn that is served now: the highest among the lowest turns of each requirement.

    Tickets that no worker can take must not hold it back.
    """
    behind: datetime | None = None
    """The latest start of the first ticket after this turn; None when no ticket waits for a later turn."""
    own: Mapping[int, int] = field(default_factory=dict)
    """How many tickets with the same requirement the flow has in the current turn, in the next one and in its last.

    Counted up to `TICKETS_PER_TURN`; zeros are left out.
    """


def next_turn(line: QueuePosition, urgency: datetime) -> int:
    """Return the turn in which another ticket of the flow is to wait.

    A turn is closed to further flows as soon as a ticket waits for a later one: it is served to its end, however many
    flows keep coming. A flow in it may still add a ticket that is more urgent than all that wait for the next turn.
    """
    last = max(line.own, default=line.current)
    more_urgent = line.behind is None or (line.current in line.own and urgency < line.behind)
    first = line.current if more_urgent else line.current + 1
    return next(turn for turn in (first, max(first, last), last + 1) if line.own.get(turn, 0) < TICKETS_PER_TURN)


class FairQueue:
    """Gives out turns to the tickets of one event, which are not in the store yet when the next one asks."""

    def __init__(self, line: Callable[[str, Collection[str]], Awaitable[QueuePosition]]) -> None:
        """Ask `Wakeups.line` once for each requirement."""
        self._line = line
        self._lines: dict[frozenset[str], QueuePosition] = {}

    async def of(self, ticket: Ticket) -> int:
        """Return the turn in which `ticket` is to wait; one that has a turn keeps it."""
        if ticket.turn is not None:
            return ticket.turn
        required = ticket.requirement
        line = self._lines.get(required) or await self._line(ticket.flow_id, required)
        turn = next_turn(line, ticket.urgency)
        self._lines[required] = replace(line, own=Counter(line.own) + Counter([turn]))
        return turn
