"""Work that was only pretended: a worker may simulate an executor whose tool or service is missing.

Its output says so, and so does a warning of the flow from then on. A flow with such a ticket counts in no SLO, and
never as a success: nothing was done. Whether a flow was simulated, its own row tells; for SLOs of flows no ticket is
read.
"""

from collections.abc import Mapping

from functions._core.records.models import Flow, Reason, Ticket

SIMULATED = "simulated"
"""The code of the warning, the cause of the ticket's end, and the member of an output that is true."""


def is_simulated(output: object) -> bool:
    """Whether the output of a ticket is one of an executor that was simulated.

    The member alone says nothing: a task of a user's own may have simulated something, and done so well.
    """
    if not isinstance(output, Mapping) or output.get(SIMULATED) is not True:
        return False
    job = output.get("job")
    return isinstance(job, Mapping) and job.get(SIMULATED) is True


def was_simulated(flow: Flow) -> bool:
    """Whether a ticket of the flow was."""
    return any(warning.code == SIMULATED for warning in flow.warnings)


def warned_of(flow: Flow, ticket: Ticket) -> tuple[Reason, ...]:
    """Return the warnings of a flow one of whose tickets was simulated; the first one is named."""
    if was_simulated(flow):
        return flow.warnings
    message = f"task {ticket.task_id} was only simulated by its worker: nothing was done, and no SLO counts the flow"
    return (*flow.warnings, Reason(code=SIMULATED, message=message))
