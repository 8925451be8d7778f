"""What is found wrong with a flow's records before it ends."""

from collections.abc import Callable

import pytest

from functions._core.machine.integrity import findings_of
from functions._core.planning.tickets import generate_tickets
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus
from functions._core.rules import Rules
from tests.support.builders import seconds
from tests.support.decisions import NOW, a_decision, a_flow, a_task


def ended() -> tuple[Flow, dict[str, Ticket]]:
    """Return a flow of two tickets, one after the other, as they should be at the end."""
    decision = a_decision(a_task("a"), a_task("b", "a"))
    flow = a_flow(decision).but(tickets_generated=2)
    tickets = {ticket.task_id: ticket for ticket in generate_tickets(flow, decision, NOW, Rules())}
    for at, name in enumerate(("a", "b")):
        times = {"started_at": NOW + seconds(at), "completed_at": NOW + seconds(at + 1)}
        tickets[name] = tickets[name].but(status=TicketStatus.COMPLETED, **times)
    return flow, tickets


def test_nothing_is_wrong_with_a_flow_that_took_its_course() -> None:
    flow, tickets = ended()
    assert findings_of(flow, list(tickets.values())) == ()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda t: t.pop("b"), "C2 made 2 tickets, 1 are there"),
        (lambda t: t.update(b=t["b"].but(completed_at=None)), "ticket b is COMPLETED and has no time of its end"),
        (lambda t: t.update(b=t["b"].but(completed_at=NOW + seconds(0.5))), "ticket b ended before it began"),
        (lambda t: t.update(b=t["b"].but(started_at=NOW)), "ticket b began before a, which it depends on, had ended"),
        (lambda t: t.update(a=t["a"].but(retry_count=9)), "ticket a was tried again 9 times, 2 are allowed"),
        (lambda t: t.update(a=t["a"].but(parameters={"x": 1})), "ticket a was changed in what must not change"),
    ],
)
def test_damage_is_found_and_named(damage: Callable[[dict[str, Ticket]], object], finding: str) -> None:
    flow, tickets = ended()
    damage(tickets)
    found = findings_of(flow, list(tickets.values()))
    assert any(one.startswith(finding) for one in found), found


def test_compensations_are_not_tickets_too_many() -> None:
    flow, tickets = ended()
    extra = tickets["a"].but(ticket_id="other", compensates=tickets["a"].ticket_id)
    assert not any("C2 made" in one for one in findings_of(flow, [*tickets.values(), extra]))
