"""The end of a wait by the event that a ticket waited for."""

from dataclasses import dataclass

from functions._core.machine.ending import complete
from functions._core.machine.related_tickets import NONE_RELATED, RelatedTickets
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.records.models import Ticket
from functions._core.records.values import JsonObject, TicketStatus, Waiting


@dataclass(frozen=True, slots=True)
class Arrived:
    """C5: the event that a ticket waits for is here; it becomes the output of the ticket."""

    ticket_id: str
    event: JsonObject
    around: RelatedTickets = NONE_RELATED

    def apply(self, builder: StepBuilder) -> None:
        """C5: the wait is over; an event that comes after its end changes nothing."""
        ticket = builder.context.tickets.get(self.ticket_id)
        if ticket is not None and waits_for_event(ticket):
            output = dict(self.event)
            builder.ready(complete(builder, ticket, output, self.around, trigger=TicketTrigger.ARRIVE))


def waits_for_event(ticket: Ticket) -> bool:
    """Whether a ticket waits for an event now."""
    return ticket.status is TicketStatus.WAITING and ticket.waiting is Waiting.EVENT
