"""How the functions that learn are doing, as the one that ran last has left it: for people who look for a fault."""

from msgspec import DecodeError

from functions._core.errors import Conflict
from functions._core.ports import KeyValues
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp

LEARNING = "learning"
"""The space of key-values in which the state is, beside what the functions keep there themselves."""

LEARN, ANALYZE = "learn", "analyze"
"""The two functions."""

LONGEST_ERROR = 500
"""Characters of an error that are kept."""


class TrainingFailed(Exception):
    """A training has come to nothing, and is tried again; all else of the round is done.

    It reads for a minute and computes for another one, and what is wrong with it seldom passes: the next round is the
    regular one.
    """


class LearningState(Record):
    """How the last round of one of the two functions went."""

    function: str
    """Which of the two, by its name."""
    at: Timestamp
    """When the round ended."""
    error: str | None = None
    """Why it failed; None for one that did not."""
    library: bool = False
    """Whether scikit-learn is there where it ran: without it, tables are learnt and no trees."""


async def learning_state(entries: KeyValues, function: str) -> LearningState | None:
    """Return how a function is doing, None where it has never run or what it has left cannot be read."""
    entry = await entries.get(LEARNING, _key(function))
    if entry is None:
        return None
    try:
        return decode(LearningState, entry.value)
    except DecodeError:
        return None


async def keep_state(entries: KeyValues, state: LearningState) -> None:
    """Store how a function is doing; what another process stores at the same time is as good."""
    entry = await entries.get(LEARNING, _key(state.function))
    short = None if state.error is None else state.error[:LONGEST_ERROR]
    try:
        version = 0 if entry is None else entry.version
        await entries.put(LEARNING, _key(state.function), encode(state.but(error=short)), version=version)
    except Conflict:
        return


def _key(function: str) -> str:
    return f"state:{function}"
