"""Where committed events go: to functions in this process, or to a broker."""

from collections.abc import Iterable
from typing import Protocol

from functions._core.events.envelope import CloudEvent
from functions._core.ports import Broker


class EventOutbox(Protocol):
    """Takes what was committed, and is done with it at some time; until then each event is in the store's queue.

    `subscriber` takes the events that no function handles; they are dropped while there is none.
    """

    subscriber: Broker | None
    handles: bool | None
    """Whether events are handled in this process, now: None where they go to a broker."""

    @property
    def held(self) -> int:
        """How many events are in memory."""

    def take(self, events: Iterable[CloudEvent]) -> None:
        """Send events that were committed just now; those that are on their way already not again."""

    async def recover(self) -> None:
        """Take up what was left in the queue."""

    async def close(self) -> None:
        """Stop; what is left is in the queue."""
