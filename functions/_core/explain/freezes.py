"""What holds a ticket back that a freeze blocks, and what ends it, in words."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions._core.explain.wording import ago, ahead, plain, said
from functions._core.records.models import Ticket
from functions._core.records.values import Waiting, add_time
from functions._core.slo.freezing import FreezeEvent, FreezePolicy
from functions._core.slo.gate import frozen_thing


def freeze_awaited(ticket: Ticket) -> str:
    """Return the wait of a ticket for the end of a freeze, as the end of a sentence."""
    return f"the end of a freeze: {said(ticket.reason)}" if ticket.reason is not None else "the end of a freeze"


def about_freezes(ticket: Ticket) -> list[str]:
    """Return what a person may do, or has done, about freezes."""
    if ticket.freeze_exception and ticket.live:
        return ["A person lets it pass every freeze."]
    if ticket.waiting is not Waiting.FREEZE:
        return []
    return [f"A person can let it pass with `flowc freeze-exception {ticket.ticket_id} --reason …`."]


def told_of_freezes(freezes: Sequence[FreezeEvent], policy: FreezePolicy | None, now: datetime) -> list[str]:
    """Return which freeze, the first of those that block a ticket, and what ends it; `policy` is that of the freeze."""
    freeze = next(iter(freezes), None)
    if freeze is None:
        return ["That freeze has ended; the ticket goes on when it is looked at."]
    what, by = plain(frozen_thing(freeze)), plain(freeze.policy_name)
    sentences = [f"{what[0].upper()}{what[1:]} is frozen since {ago(freeze.triggered_at, now)} by policy {by}."]
    others = len(freezes) - 1
    resolve = f"a person resolves it (freeze {freeze.event_id})"
    if policy is None or not policy.auto_unfreeze:
        sentences.append(f"It ends when {resolve}; it does not end by itself.")
    else:
        until = add_time(freeze.triggered_at, timedelta(seconds=policy.min_duration_seconds))
        least = f", not before {ahead(until, now)}" if until > now else ""
        percent = f"{policy.unfreeze_threshold_percent:g} %"
        sentences.append(f"It ends when at least {percent} of each error budget is left{least}, or when {resolve}.")
    if others:
        sentences.append(f"{others} more freeze{'s' if others > 1 else ''} would hold it back after that.")
    return sentences
