"""In which turn a ticket waits for a slot, so that no flow keeps the slots from another one.

Free slots go to the lowest turn, within a turn to the least slack, and of equal slack to the highest priority score. A
flow has a bounded number of tickets in a
turn, so a huge one takes many turns and a small one waits for two at most. While no flow has more tickets
waiting than fit in one turn there is only one, and slack alone decides.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions._core.records.models import Ticket
from functions._core.rules import TICKETS_PER_TURN


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """Those who wait for a worker or a slot, as another ticket of a flow finds them when it begins to wait.

    They are the tickets that surely compete for the same workers: what one requires is part of what the other does.
    `current` is the turn that is being served: the lowest of each requirement's tickets, and the highest of these, as
    those whom no worker can help must not hold it back. `behind` is the latest start of who comes first after this
    turn, None when nobody waits for a later one. `own` is how many tickets with the same requirement the flow has in
    the current turn, in the one after it and in its last, counted up to `TICKETS_PER_TURN`; zeros are left out. What
    was offered still waits.
    """

    current: int = 0
    behind: datetime | None = None
    own: Mapping[int, int] = field(default_factory=dict)


def next_turn(line: QueuePosition, urgency: datetime) -> int:
    """Return the turn in which another ticket of the flow is to wait.

    A turn is closed to further flows as soon as somebody waits for a later one: it is served to its end, however
    many flows keep coming. A flow that is in it may still put in what is more urgent than all who wait for the next.
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
