"""What a function may conclude: each conclusion is a plain value that knows what it changes.

Names say what happened, never what to do about it: that is said by `apply`, beside the fields.
"""

from dataclasses import dataclass
from typing import Protocol

from functions._core.machine.step_builder import StepBuilder


class AnyOutcome(Protocol):
    """What a function concluded from one event, or from a wake-up that has come."""

    def apply(self, builder: StepBuilder) -> None:
        """Say what follows; a conclusion that comes too late changes nothing."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The event had been handled before, or came too late: nothing changes, and that is a success."""

    def apply(self, builder: StepBuilder) -> None:
        """Change nothing."""
