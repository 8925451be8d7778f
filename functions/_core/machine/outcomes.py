"""The conclusions of functions: each is a plain value that knows its own transition.

Its name says that something has happened, never that something is to be done: that is in `apply`, beside the fields.
"""

from collections.abc import Callable, Sized
from typing import NamedTuple, Protocol

from functions._core.machine.step_builder import StepBuilder
from functions._core.rules import LARGE_STEP


class AnyOutcome(Protocol):
    """The conclusion of a function from one event, or from a wake-up that has come."""

    def apply(self, builder: StepBuilder) -> None:
        """Make the changes that follow; a conclusion that comes too late changes nothing."""


class Duplicate(NamedTuple):
    """The event had been handled before, or came too late: nothing changes, and that is a success."""

    def apply(self, builder: StepBuilder) -> None:
        """Change nothing."""


class Heavy(NamedTuple):
    """A conclusion that takes long to reach, for a thread where there is one; `conclude` is pure and reads no port."""

    conclude: Callable[[], AnyOutcome]

    def apply(self, builder: StepBuilder) -> None:
        """Reach the conclusion, and make its changes."""
        self.conclude().apply(builder)


def concluded(outcome: AnyOutcome) -> AnyOutcome:
    """Return the conclusion itself."""
    return outcome.conclude() if isinstance(outcome, Heavy) else outcome


def reached(conclude: Callable[[], AnyOutcome], *, heavy: bool) -> AnyOutcome:
    """Return the conclusion, or where that is `heavy` what reaches it."""
    return Heavy(conclude) if heavy else conclude()


def moving(tickets: Sized, outcome: AnyOutcome) -> AnyOutcome:
    """Return an outcome that moves `tickets`, as a heavy one when they are many."""
    return reached(lambda: outcome, heavy=len(tickets) > LARGE_STEP)
