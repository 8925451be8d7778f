"""The wait of a ticket that needs no worker, and the end of that wait, in words."""

from datetime import datetime

from functions._core.explain.wording import ahead, counted, listed, plain, shown
from functions._core.records.control import Approval, OnLapse, Wait
from functions._core.records.models import Ticket
from functions._core.records.values import Waiting


def awaited(ticket: Ticket) -> str:
    """Return the thing that a WAITING ticket waits for, as the end of a sentence."""
    control = ticket.control
    if ticket.waiting is Waiting.APPROVAL:
        return _person(control.approval if control else None)
    if ticket.waiting is Waiting.EVENT:
        return _event(control.wait if control else None)
    if ticket.waiting is Waiting.CHILDREN:
        return _children(ticket)
    return "a moment to come"


def turn(ticket: Ticket) -> str:
    """Return how a PENDING child waits for its turn."""
    place = f" as number {ticket.index + 1} of its list" if ticket.index is not None else ""
    return f"its turn{place}, as only some of the children are worked on at once"


def then_awaited(ticket: Ticket, until: datetime, now: datetime, after: str) -> str:
    """Return what happens at `until` if the ticket still waits; `after` is the effect of a failure on others."""
    by = ahead(until, now)
    if ticket.waiting is Waiting.MOMENT:
        return f"At {by} it is COMPLETED."
    if ticket.waiting is Waiting.CHILDREN:
        return f"If nothing has happened by {by}, its children are looked at again."
    control = ticket.control
    wait = (control.approval or control.wait) if control else None
    goes_on = wait is not None and wait.on_timeout is OnLapse.CONTINUE
    if ticket.waiting is Waiting.APPROVAL:
        fate = "it is COMPLETED without a decision" if goes_on else f"it fails with approval_expired{after}"
        return f"If nobody has decided by {by}, {fate}."
    fate = "it is COMPLETED without one" if goes_on else f"it fails with event_missing{after}"
    return f"If no such event has come by {by}, {fate}."


def _person(approval: Approval | None) -> str:
    if approval is None or not approval.approvers:
        return "a person to approve or deny it"
    return f"the approval or denial of {' or '.join(map(plain, approval.approvers[:5]))}{_more(approval.approvers)}"


def _more(approvers: tuple[str, ...]) -> str:
    return f" or {len(approvers) - 5} others" if len(approvers) > 5 else ""  # noqa: PLR2004 as many as are named


def _event(wait: Wait | None) -> str:
    if wait is None or wait.event is None:
        return "an event"
    event = wait.event
    facts = [
        f"the {name} {shown(value)}" for name, value in (("source", event.source), ("subject", event.subject)) if value
    ]
    facts += [f"a certain value at {shown(event.correlation.at)}"] if event.correlation else []
    facts += [f"the condition {shown(event.filter)}"] if event.filter else []
    return f"an event of type {shown(event.type)}{f' with {listed(facts)}' if facts else ''}"


def _children(ticket: Ticket) -> str:
    told = ticket.children
    if told is None:
        return "its children to be made"
    failed = f", {told.failed} of them without success" if told.failed else ""
    made = f"; {told.made} are made so far" if told.made < told.total else ""
    return f"its children to end: {told.ended} of {counted(told.total, 'child', 'children')} ended{failed}{made}"
