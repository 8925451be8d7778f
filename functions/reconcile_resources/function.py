"""Compare all documents of SLOs and freeze policies with what they make, and repair what differs.

Consumes clock.ticked; of the ticks, and of the processes that get one, one in five minutes leads to a look. Emits
nothing: a changed budget or freeze is told by those who calculate and enforce.
Gives up on a document that cannot be read or made, until the next look: its status says why, and the others go on.
"""

from functions._core.ports import Ports
from functions._core.slo.resources import Reconciled, reconcile_when_due


async def reconcile_resources(ports: Ports) -> Reconciled | None:
    """Look at all documents if nobody has within five minutes; None when somebody has, or does."""
    return await reconcile_when_due(ports.key_values, ports.clock.now())
