"""Webhooks that tickets name: the events of a ticket with a `metadata.webhook_url` go to that URL.

There is one subscription for all tickets that name a URL of the same host, so a host has one queue and one secret. Its
id follows from the host, and the events of such a ticket carry it as an extension. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import TRANSITIONS
from functions._core.machine.step_builder import derived_id
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import format_time, name_uuid

OWNER = "ticketowner"
"""Extension of the events of a ticket that names a webhook: the id of the subscription of its host."""

READY = "ticket.ready"
"""The event that tells an owner that its ticket needs a worker."""

NAMED_BY = "webhook_url"
"""The key of a ticket's metadata that names its webhook."""

OWNERS = "5d0e8f63-6f0c-5a35-9f4e-9b1f0e6a7c12"
"""Namespace of the ids of these subscriptions; fixed, as every process has to find the same."""

SINK = r"^https?://[^\s/?#@]+([/?][^\s#]*)?$"
"""The form of a URL that events are POSTed to: without name and password, and without fragment."""

SINK_CHARACTERS = 2048


def webhook_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the URL that the metadata of a ticket names; None for none that events can be POSTed to."""
    url = metadata.get(NAMED_BY)
    return url if isinstance(url, str) and len(url) <= SINK_CHARACTERS and re.match(SINK, url) else None


def host_of(url: str) -> str:
    """Return the URL of the root of the host that a URL is on."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}/"


def owner_of(url: str) -> str:
    """Return the id of the subscription for the tickets that name a URL of this host."""
    return name_uuid(OWNERS, host_of(url))


def owner_worker(url: str) -> str:
    """Return the id of the worker that an owner is when it claims its ticket."""
    return f"webhook:{urlsplit(url).netloc.lower()}"[:255]


def owners_of(tickets: Iterable[Ticket]) -> Mapping[str, str]:
    """Return the subscriptions of those of the tickets that name a webhook, by ticket id."""
    named = ((ticket, webhook_of(ticket.metadata)) for ticket in tickets if NAMED_BY in ticket.metadata)
    return {ticket.ticket_id: owner_of(url) for ticket, url in named if url is not None}


def for_owner(event: CloudEvent, owners: Mapping[str, str]) -> CloudEvent:
    """Return an event with the subscription of the owner of its ticket, if that has one."""
    owner = owners.get(event.subject or "")
    return event if owner is None else replace(event, extensions={**event.extensions, OWNER: owner})


def ready_events(step: ChangeSet, flow: Flow, owners: Mapping[str, str]) -> Iterator[CloudEvent]:
    """Yield `ticket.ready` for each ticket of an owner that a step sends to discovery; once for each attempt."""
    tickets = {ticket.ticket_id: ticket for ticket in step.tickets if ticket.ticket_id in owners}
    for event in step.events:
        if event.event_type == "tickets.ready":
            for ticket_id in event.data["ticket_ids"]:
                if ticket_id in tickets:
                    yield for_owner(_ready(tickets[ticket_id], flow, event), owners)


def _ready(ticket: Ticket, flow: Flow, event: CloudEvent) -> CloudEvent:
    attempt = ticket.attempt + 1
    return CloudEvent(
        id=derived_id(ticket.flow_id, READY, f"{ticket.ticket_id}:{attempt}"),
        source=TRANSITIONS,
        type=type_of(READY),
        time=event.time,
        subject=ticket.ticket_id,
        data={
            "flow_id": ticket.flow_id,
            "plan_id": ticket.plan_id,
            "decision_id": flow.decision_id,
            "ticket_id": ticket.ticket_id,
            "task_id": ticket.task_id,
            "to_status": ticket.status.value,
            "attempt": attempt,
            "task_type": ticket.task_type.value,
            "priority": ticket.priority.value,
            "sla_deadline": format_time(ticket.sla.deadline),
        },
        extensions={
            "partitionkey": ticket.flow_id,
            "correlationid": ticket.correlation_id,
            "traceparent": f"00-{ticket.trace_id}-{ticket.span_id}-01",
        },
    )
