"""What a worker remembers of attempts that are over, so that none is done twice."""

from collections import OrderedDict
from dataclasses import dataclass

from functions._core.events.envelope import CloudEvent

REMEMBERED_TICKETS = 10_000
REMEMBERED_BYTES = 32 * 1024 * 1024
"""What ended tickets may take of memory; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over; without a report there is nothing to say about it. `size` is in bytes."""

    attempt: int
    report: CloudEvent | None = None
    size: int = 0
    task_id: str = ""


class EndedTickets:
    """The newest ended attempt of each ticket, as far back as memory allows."""

    def __init__(self, tickets: int = REMEMBERED_TICKETS, size: int = REMEMBERED_BYTES) -> None:
        self._tickets = tickets
        self._size = size
        self._used = 0
        self._ended: OrderedDict[str, Ended] = OrderedDict()

    def get(self, ticket_id: str) -> Ended | None:
        """Return what is known of a ticket, which is remembered longer for it."""
        if ticket_id in self._ended:
            self._ended.move_to_end(ticket_id)
        return self._ended.get(ticket_id)

    def put(self, ticket_id: str, ended: Ended) -> None:
        """Remember the end of an attempt, unless it or a newer one is known to be over."""
        known = self._ended.get(ticket_id)
        if known is not None:
            if known.attempt >= ended.attempt:
                return
            self._forget(ticket_id)
        self._ended[ticket_id] = ended
        self._used += ended.size
        while self._used > self._size or len(self._ended) > self._tickets:
            self._forget(next(iter(self._ended)))

    def _forget(self, ticket_id: str) -> None:
        self._used -= self._ended.pop(ticket_id).size
