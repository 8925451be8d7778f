"""Bring events to the webhooks that have subscribed to them.

Consumes the transitions, events with the source /flowc. Emits nothing: each delivery is a POST to a subscriber.
Gives up on a delivery that is refused for good or was tried ten times: a dead letter; and on a subscriber that answers
410: its subscription is disabled.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta

from functions._core.errors import Conflict
from functions._core.events.envelope import CloudEvent
from functions._core.events.signatures import plain_signature, signature_headers
from functions._core.ports import Ports
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.models import Reason
from functions._core.webhooks.delivery import (
    DeliveryStatus,
    WebhookAnswer,
    WebhookDelivery,
    attempted,
    delivery_of,
)
from functions._core.webhooks.filters import attributes_of
from functions._core.webhooks.stored import changed
from functions._core.webhooks.subscription import Subscription, SubscriptionStatus

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


async def deliver(
    delivery: WebhookDelivery, subscription: Subscription, ports: Ports, send: Send, chance: float
) -> tuple[WebhookDelivery, WebhookAnswer]:
    """Try a delivery once; return what became of it, durable, and the answer.

    `chance`, 0 to 1, spreads repetitions. Raises `Conflict` when another process has tried the same meanwhile.
    """
    body = json.dumps(delivery.event, separators=(",", ":"), ensure_ascii=False).encode()
    answer = await send(subscription.sink, headers_of(delivery, subscription, ports, body), body)
    now = ports.clock.now()
    tried = attempted(delivery, answer, now, chance)
    if tried.status is DeliveryStatus.FAILED and not answer.gone:
        # The letter first: a crash in between repeats the try, and the letter replaces itself.
        await ports.dead_letters.put(_letter(tried))
    await ports.deliveries.put(tried)
    if answer.gone:
        await disable(subscription, "its webhook answered 410", ports)
    return tried, answer


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
