"""Bring events to the webhooks that have subscribed to them.

Consumes the transitions, events with the source /flowc. Emits nothing: each delivery is a POST to a subscriber.
Gives up on a delivery that is refused for good or was tried ten times: a dead letter; and on a subscriber that answers
410: its subscription is disabled.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from functions._core.errors import Conflict, Rejected
from functions._core.events.assignment import TOKEN_GRACE
from functions._core.events.envelope import CloudEvent
from functions._core.events.signatures import plain_signature, signature_headers
from functions._core.ports import Ports
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import TicketStatus, add_time
from functions._core.webhooks.bodies import body_of
from functions._core.webhooks.delivery import (
    DeliveryStatus,
    WebhookAnswer,
    WebhookDelivery,
    attempted,
    delivery_of,
)
from functions._core.webhooks.filters import attributes_of
from functions._core.webhooks.owners import OWNER, READY, host_of, owner_worker, webhook_of
from functions._core.webhooks.stored import changed, put_new, subscription, subscriptions
from functions._core.webhooks.subscription import (
    MAX_SUBSCRIPTIONS,
    Subscription,
    SubscriptionStatus,
    subscription_of_host,
)

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
"""Events are sent in the structured form, so that the signature of the body covers every attribute."""

FUNCTION = "notify"

Send = Callable[[str, Mapping[str, str], bytes], Awaitable[WebhookAnswer]]
"""POSTs a body with headers to a URL; whatever goes wrong is an answer, too."""


async def notify(
    event: CloudEvent,
    subscriptions: Collection[Subscription],
    ports: Ports,
    *,
    claims: Collection[str],
    lease: timedelta,
) -> Sequence[WebhookDelivery]:
    """Put an event into the queue of each subscriber that wants it, durable before return; return what is new.

    Of the subscriptions in `claims` it is claimed by whoever calls: it comes due for others after `lease`.
    """
    attributes, now = attributes_of(event), ports.clock.now()
    wanting = [one for one in subscriptions if one.wants(event, attributes)]
    made = [delivery_of(event, one.id, now, now + lease if one.id in claims else now) for one in wanting]
    answers = await asyncio.gather(*(ports.deliveries.put(delivery) for delivery in made), return_exceptions=True)
    for answer in answers:
        if answer is not None and not isinstance(answer, Conflict):
            raise answer
    # A conflict says that the event came before: it is delivered once.
    return [delivery for delivery, answer in zip(made, answers, strict=True) if answer is None]


async def subscribed_host(event: CloudEvent, ports: Ports) -> Subscription | None:
    """Return the subscription of the host that the ticket of an event names; the first of its tickets makes it.

    Raises `Rejected` when there are as many subscriptions as there may be.
    """
    known = await subscription(ports.key_values, event.extensions[OWNER])
    if known is not None:
        return known
    url = await _webhook_of_ticket(event.subject or "", ports)
    if url is None:
        return None
    if len(await subscriptions(ports.key_values)) >= MAX_SUBSCRIPTIONS:
        text = f"there are {MAX_SUBSCRIPTIONS} subscriptions: none can be made for {host_of(url)}"
        raise Rejected(text, code="too_many_subscriptions", status=409)
    new = subscription_of_host(url, ports.clock.now())
    try:
        await put_new(ports.key_values, new)
    except Conflict:
        return await subscription(ports.key_values, new.id)
    return new


async def deliver(
    delivery: WebhookDelivery, to: Subscription, ports: Ports, send: Send, chance: float, *, base_url: str
) -> tuple[WebhookDelivery, WebhookAnswer]:
    """Try a delivery once; return what became of it, durable, and the answer.

    `chance`, 0 to 1, spreads repetitions; the api is at `base_url`. Raises `Conflict` when another process has tried
    the same meanwhile.
    """
    message = await _message(delivery, to, ports, base_url)
    if message is None:
        answer = WebhookAnswer(None, "its ticket is not there any more", refused=True)
    else:
        answer = await _sent(message, delivery, to, ports, send)
    now = ports.clock.now()
    tried = attempted(delivery, answer, now, chance)
    if tried.status is DeliveryStatus.FAILED and not answer.gone:
        # The letter first: a crash in between repeats the try, and the letter replaces itself.
        await ports.dead_letters.put(_letter(tried))
    await ports.deliveries.put(tried)
    if answer.gone and not to.config.tickets:  # else it is the URL of one ticket that is gone
        await disable(to, "its webhook answered 410", ports)
    return tried, answer


class _Message(NamedTuple):
    """The body of a delivery, and where it goes; `token` is in it and nowhere else."""

    sink: str
    event: Mapping[str, Any]
    token: str | None = None


async def _message(
    delivery: WebhookDelivery, subscription: Subscription, ports: Ports, base_url: str
) -> _Message | None:
    """Return the message of a delivery; None when it is for the owner of a ticket that is not there any more."""
    event = delivery.event
    if not subscription.config.tickets or OWNER not in event:
        return _Message(subscription.sink, event)
    ticket = await _ticket(event["subject"], ports)
    url = webhook_of(ticket.metadata) if ticket is not None else None
    if ticket is None or url is None:
        return None
    if delivery.event_type != READY:
        return _Message(url, event)
    token = _invitation(ticket, url, event["data"]["attempt"], ports)
    callback = {"status_url": f"{base_url}/api/v1/tickets/{ticket.ticket_id}/status", "token": token}
    return _Message(url, {**event, "data": {**event["data"], "callback": callback}}, token)


def _invitation(ticket: Ticket, url: str, attempt: int, ports: Ports) -> str | None:
    """Return a token for the attempt that begins when the owner claims the ticket; None when that is too late."""
    if ticket.status is not TicketStatus.PENDING or ticket.attempt + 1 != attempt:
        return None
    ends = add_time(add_time(ports.clock.now(), ticket.timeout), TOKEN_GRACE)
    return ports.tokens.mint(ticket_id=ticket.ticket_id, attempt=attempt, worker_id=owner_worker(url), expires_at=ends)


async def _sent(
    message: _Message, delivery: WebhookDelivery, subscription: Subscription, ports: Ports, send: Send
) -> WebhookAnswer:
    content, media = body_of(message.event, subscription.config.body)
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    headers = headers_of(delivery, subscription, ports, body) | ({"content-type": media} if media else {})
    answer = await send(message.sink, headers, body)
    if message.token is None:
        return answer
    # Whoever answers with what it was sent must not get its token kept in the log of deliveries.
    return answer._replace(detail=answer.detail.replace(message.token, "[token]"))


async def _webhook_of_ticket(ticket_id: str, ports: Ports) -> str | None:
    ticket = await _ticket(ticket_id, ports)
    return webhook_of(ticket.metadata) if ticket is not None else None


async def _ticket(ticket_id: str, ports: Ports) -> Ticket | None:
    return (await ports.store.tickets([ticket_id])).get(ticket_id)


async def disable(subscription: Subscription, why: str, ports: Ports) -> None:
    """Send a subscriber nothing any more, until somebody replaces the subscription."""
    now = ports.clock.now()
    await changed(
        ports.key_values,
        subscription.id,
        lambda one: one.but(status=SubscriptionStatus.DISABLED, reason=why, updated_at=now),
    )


def headers_of(delivery: WebhookDelivery, subscription: Subscription, ports: Ports, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery: while a secret is being replaced, both sign."""
    now, number = ports.clock.now(), subscription.secret_number
    secret = ports.tokens.subscription_secret(subscription.id, number)
    until = subscription.previous_secret_until
    others = (
        [ports.tokens.subscription_secret(subscription.id, number - 1)] if until is not None and now < until else []
    )
    headers = {"content-type": CONTENT_TYPE, **signature_headers(secret, delivery.delivery_id, now, body, *others)}
    if subscription.config.x_webhook_signature:
        headers["x-webhook-signature"] = plain_signature(secret, body)
    return headers


def _letter(delivery: WebhookDelivery) -> DeadLetter:
    """Return the dead letter of a delivery that was given up; `reason.where` names its subscription."""
    told = "no answer" if delivery.last_status is None else f"status {delivery.last_status}"
    return DeadLetter(
        letter_id=delivery.delivery_id,
        function=FUNCTION,
        reason=Reason(
            code="webhook_failed",
            message=f"{told} after {delivery.attempts} tries: {delivery.last_detail}",
            where=delivery.subscription_id,
        ),
        attempts=delivery.attempts,
        first_seen=delivery.created_at,
        last_seen=delivery.last_attempt_at or delivery.created_at,
        flow_id=delivery.flow_id,
        event=delivery.event,
    )
