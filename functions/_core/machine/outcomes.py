"""The conclusions of functions: each is a plain value that knows its own transition.

Its name says that something has happened, never that something is to be done: that is in `apply`, beside the fields.
"""

from typing import NamedTuple, Protocol

from functions._core.machine.step_builder import StepBuilder


class AnyOutcome(Protocol):
    """The conclusion of a function from one event, or from a wake-up that has come."""

    def apply(self, builder: StepBuilder) -> None:
        """Make the changes that follow; a conclusion that comes too late changes nothing."""


class Duplicate(NamedTuple):
    """The event had been handled before, or came too late: nothing changes, and that is a success."""

    def apply(self, builder: StepBuilder) -> None:
        """Change nothing."""
