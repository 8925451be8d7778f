"""Begin and end freezes as the budgets of SLOs ask for them.

Consumes sla.budget.updated, for the policies that look at the SLO, and clock.ticked, for all of them: a tick also ends
freezes whose time has come, and finishes what a crash, or a target that was away, has left half done.
Emits sla.freeze.activated and sla.freeze.resolved, each once it is stored and its target knows it.
Gives up on nothing: a freeze that its target does not take is told again with each tick.
"""

from collections.abc import Sequence

from functions._core.ports import Ports
from functions._core.slo.enforcing import Tell, enforce, resolve
from functions._core.slo.freezing import FreezeEvent

__all__ = ["enforce_freezes", "resolve"]


async def enforce_freezes(ports: Ports, slo_id: str | None, tell: Tell) -> Sequence[FreezeEvent]:
    """Begin and end the freezes that the policies of an SLO (None: all) ask for; return those that began or ended."""
    return await enforce(ports, slo_id, tell)
