"""Keep an event that could not be handled, for a person to read, replay or drop.

Consumes any event that was refused or failed too often. Emits nothing.
Gives up never: a letter stays until a person drops it or its retention ends.
"""

from functions._core.events.envelope import CloudEvent
from functions._core.ports import Ports
from functions._core.records.dead_letters import DeadLetter, letter_of
from functions._core.records.models import Reason


async def dead_letter(
    event: CloudEvent,
    function: str,
    reason: Reason,
    ports: Ports,
    *,
    attempts: int = 1,
    letter_id: str | None = None,
) -> DeadLetter:
    """Store the letter of an event and return it; the same event again replaces its letter."""
    letter = letter_of(event, function, reason, attempts, ports.clock.now(), letter_id=letter_id)
    await ports.dead_letters.put(letter)
    return letter
