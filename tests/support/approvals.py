"""Tickets that wait for the decision of a person."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from functions._core.errors import Conflict
from functions._core.machine.context import Context
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.records.control import Approval, Control
from functions._core.records.models import Ticket
from functions._core.records.record import from_json
from functions._core.records.values import Waiting
from functions._core.rules import Rules
from tests.support.ordering import ticket_at
from tests.support.world import LocalWorld, Task, decision, task

FORM: Mapping[str, Any] = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer", "maximum": 100}, "to": {"type": "string", "pattern": "^[A-Z]{2}$"}},
    "additionalProperties": False,
}
"""A form as people have it."""


async def asking(world: LocalWorld, *more: Task, after_s: float = 3600, **approval: Any) -> Ticket:
    """Let the first ticket, `ask`, of a flow wait for a person; `b` depends on it."""
    nobody = task("ask", required_capabilities=["nobody"])
    flow_id = await world.submit(decision(nobody, task("b", "ask"), *more))
    while True:
        ticket = await ticket_at(world, flow_id, "ask", waiting=Waiting.WORKER)
        flow = await world.flow(flow_id)
        assert flow is not None
        now = world.ports.clock.now()
        context = Context(
            flow=flow, tickets={ticket.ticket_id: ticket}, now=now, rules=Rules(), function="discover", cause="test"
        )
        builder = StepBuilder(context)
        builder.rewrite([ticket.ticket_id])
        builder.move_ticket(
            ticket,
            TicketTrigger.BEGIN,
            control=Control(approval=from_json(Approval, approval)),
            waiting=Waiting.APPROVAL,
            waiting_since=now,
            until=now + timedelta(seconds=after_s),
        )
        try:
            await world.ports.store.commit(builder.step())
        except Conflict:
            continue
        return (await world.tickets(flow_id))["ask"]
