"""The one entry to the state machines: an outcome and the loaded records in, a change set out."""

from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.step_builder import StepBuilder
from functions._core.records.change_set import ChangeSet


def advance(context: Context, outcome: AnyOutcome) -> ChangeSet:
    """Return the changes of `outcome`. A duplicate, or an outcome that comes too late, changes nothing."""
    builder = StepBuilder(context)
    outcome.apply(builder)
    return builder.step()
