"""What a guard holds back, and what ends that, in words."""

from functions._core.explain.wording import said
from functions._core.guards.gate import POLICY_UNAVAILABLE
from functions._core.records.models import Ticket
from functions._core.records.values import Waiting


def guard_awaited(ticket: Ticket) -> str:
    """Return the wait of a ticket that a guard holds back, as the end of a sentence; empty for every other one."""
    if ticket.waiting is Waiting.QUARANTINE:
        because = f": {said(ticket.reason)}" if ticket.reason is not None else ""
        return f"a person to release it from quarantine{because}"
    if ticket.waiting is Waiting.RETRY and ticket.reason is not None and ticket.reason.code == POLICY_UNAVAILABLE:
        return f"a verdict of the policy server: {said(ticket.reason)}"
    return ""


def about_guards(ticket: Ticket) -> list[str]:
    """Return what a person may do, or has done, about a quarantine."""
    if ticket.waiting is Waiting.QUARANTINE:
        one = f"{ticket.ticket_id} --reason …"
        return [f"Release it with `flowc guard release {one}`, or let it fail with `flowc guard reject {one}`."]
    if ticket.guard_release and ticket.live:
        return ["A person has released it from quarantine."]
    return []


def held_back(ticket: Ticket) -> bool:
    """Whether its reason tells what it waits for now, and not how an attempt has ended."""
    return ticket.waiting is Waiting.FREEZE or bool(guard_awaited(ticket))
