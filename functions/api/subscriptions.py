"""Subscriptions to webhooks: who gets which events, what became of each delivery, and trying again."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fastapi import Request, Response
from pydantic import Field

from functions._core.errors import Conflict, Rejected
from functions._core.events.envelope import type_of
from functions._core.records.values import Model
from functions._core.webhooks import stored
from functions._core.webhooks.delivery import DeliveryStatus, WebhookDelivery, delivery_of, resent
from functions._core.webhooks.owners import owner_of
from functions._core.webhooks.subscription import (
    MAX_SUBSCRIPTIONS,
    Subscription,
    SubscriptionForm,
    SubscriptionStatus,
    tested_event,
    told_types,
)
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Cursor, Limit, found, sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services, WebhookServices
from functions.api.webhook_forms import Rotation

router = Routes(prefix="/api/v1/subscriptions", tags=["subscriptions"])

MAX_FORM = 8 * 1024
"""Bytes of a subscription: it is one small record of the store, and all are read and listed together."""

BODY_PROBLEMS = (400, 403, 413, 415, 422)


class SubscriptionWithSecret(Subscription):
    """A subscription with its newest secret, which is shown here and never again."""

    secret: str
    """The secret that signs deliveries, `whsec_…`."""


class SubscriptionList(Model):
    """All subscriptions."""

    items: tuple[Subscription, ...]


class DeliveryPage(Model):
    """Deliveries, the newest first, without their events."""

    items: tuple[WebhookDelivery, ...]
    cursor: str | None = Field(description="Ask for the next page with it; null when there is none")


@router.post("", status_code=201, responses=problems(409, *BODY_PROBLEMS), openapi_extra=json_body(SubscriptionForm))
async def create_subscription(
    services: Services,
    request: Request,
    response: Response,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> SubscriptionWithSecret:
    """Subscribe a webhook to events; the answer has the secret that signs them. Who wants it and why is kept."""
    webhooks = webhooks_of(services)
    form = await read_json(request, SubscriptionForm, limit=MAX_FORM)
    rate = await _checked_sink(webhooks, form)
    await _check_room(services, 1)
    now = services.ports.clock.now()
    id_ = owner_of(form.sink) if form.config.tickets else webhooks.fresh_id()
    new = Subscription(**dict(form), id=id_, created_at=now, updated_at=now, rate_per_minute=rate)
    if form.config.tickets and await stored.subscription(services.ports.key_values, id_) is not None:
        raise _of_host_known(id_)
    await record(services, "create_subscription", new.id, who=acting(request, requested_by), why=why)
    try:
        await stored.put_new(services.ports.key_values, new)
    except Conflict as known:
        raise _of_host_known(id_) from known
    try:
        await _check_room(services)
    except Rejected:  # others have subscribed at the same moment
        await stored.removed(services.ports.key_values, new.id)
        raise
    await webhooks.changed(new.id)
    response.headers["cache-control"] = "no-store"
    return _with_secret(services, new)


@router.get("")
async def list_subscriptions(services: Services) -> SubscriptionList:
    """Return all subscriptions, without their secrets."""
    return SubscriptionList(items=tuple(await stored.subscriptions(services.ports.key_values)))


@router.get("/{subscription_id}", responses=problems(404))
async def get_subscription(services: Services, subscription_id: str) -> Subscription:
    """Return a subscription, without its secrets."""
    return await _subscription(services, subscription_id)


@router.put("/{subscription_id}", responses=problems(404, *BODY_PROBLEMS), openapi_extra=json_body(SubscriptionForm))
async def replace_subscription(
    services: Services,
    request: Request,
    subscription_id: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> Subscription:
    """Replace what is wanted and where it goes; a subscription that was disabled is active again."""
    webhooks = webhooks_of(services)
    known = await _subscription(services, subscription_id)
    form = await read_json(request, SubscriptionForm, limit=MAX_FORM)
    if (known.config.tickets or form.config.tickets) and (
        known.config.tickets != form.config.tickets or owner_of(form.sink) != subscription_id
    ):
        text = "a subscription for tickets is for one host: make another one for another host, or for other events"
        raise Rejected(text, code="other_host", status=422)
    rate = await _checked_sink(webhooks, form)
    now = services.ports.clock.now()
    await record(services, "replace_subscription", subscription_id, who=acting(request, requested_by), why=why)
    active: Mapping[str, Any] = {"status": SubscriptionStatus.ACTIVE, "reason": None}
    changed = await stored.changed(
        services.ports.key_values,
        subscription_id,
        lambda one: one.but(**dict(form), **active, updated_at=now, rate_per_minute=rate),
    )
    await webhooks.changed(subscription_id)
    return _there(changed, subscription_id)


@router.delete("/{subscription_id}", status_code=204, responses=problems(404, 422))
async def delete_subscription(
    services: Services,
    request: Request,
    subscription_id: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> None:
    """Forget a subscription; what waits for it is not delivered any more."""
    webhooks = webhooks_of(services)
    sound("subscription", subscription_id)
    await record(services, "delete_subscription", subscription_id, who=acting(request, requested_by), why=why)
    if not await stored.removed(services.ports.key_values, subscription_id):
        raise not_found("subscription", subscription_id)
    await webhooks.changed(subscription_id)


@router.post(
    "/{subscription_id}/rotate-secret",
    responses=problems(404, *BODY_PROBLEMS),
    openapi_extra=json_body(Rotation, required=False),
)
async def rotate_secret(
    services: Services,
    request: Request,
    response: Response,
    subscription_id: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> SubscriptionWithSecret:
    """Make a new secret, which the answer has. The one before signs, too, until the overlap is over."""
    webhooks = webhooks_of(services)
    await _subscription(services, subscription_id)
    rotation = await read_json(request, Rotation, limit=MAX_FORM)
    now = services.ports.clock.now()
    until = now + timedelta(seconds=rotation.overlap_seconds) if rotation.overlap_seconds else None
    await record(services, "rotate_secret", subscription_id, who=acting(request, requested_by), why=why)
    changed = await stored.changed(
        services.ports.key_values,
        subscription_id,
        lambda one: one.but(secret_number=one.secret_number + 1, previous_secret_until=until, updated_at=now),
    )
    await webhooks.changed(subscription_id)
    response.headers["cache-control"] = "no-store"
    return _with_secret(services, _there(changed, subscription_id))


@router.post("/{subscription_id}/test", status_code=202, responses=problems(404, 409, 422))
async def test_subscription(services: Services, request: Request, subscription_id: str) -> WebhookDelivery:
    """Send a subscriber a `subscription.tested` event, whatever its types and filters are."""
    webhooks = webhooks_of(services)
    subscription = await _subscription(services, subscription_id)
    if not subscription.active:
        text = f"the subscription is disabled: {subscription.reason}; replace it with PUT"
        raise Rejected(text, code="subscription_disabled", status=409)
    now = services.ports.clock.now()
    event = tested_event(subscription_id, acting(request, NOBODY), webhooks.fresh_id(), now)
    delivery = delivery_of(event, subscription_id, now)
    await services.ports.deliveries.put(delivery)
    await webhooks.changed(subscription_id)
    return delivery


@router.get("/{subscription_id}/deliveries", responses=problems(400, 404, 422))
async def list_deliveries(
    services: Services, subscription_id: str, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> DeliveryPage:
    """Return what became of the events for a subscriber, the newest first. Deliveries are kept for 7 days."""
    await _subscription(services, subscription_id)
    page, following = await services.ports.deliveries.page(subscription_id, cursor, limit)
    return DeliveryPage(items=tuple(delivery.but(event={}) for delivery in page), cursor=following)


@router.get("/{subscription_id}/deliveries/{delivery_id}", responses=problems(404))
async def get_delivery(services: Services, subscription_id: str, delivery_id: str) -> WebhookDelivery:
    """Return a delivery with its event."""
    sound("subscription", subscription_id)
    return await found("delivery", delivery_id, lambda one: services.ports.deliveries.delivery(subscription_id, one))


@router.post("/{subscription_id}/deliveries/{delivery_id}/resend", status_code=202, responses=problems(404, 409, 422))
async def resend_delivery(
    services: Services,
    request: Request,
    subscription_id: str,
    delivery_id: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> WebhookDelivery:
    """Deliver an event again, under the same `webhook-id`, beginning with the first try; 409 while it is due anyway."""
    await record(services, "resend_delivery", delivery_id, who=acting(request, requested_by), why=why)
    return await resend(services, subscription_id, delivery_id)


async def resend(services: ApiServices, subscription_id: str, delivery_id: str) -> WebhookDelivery:
    """Let a delivery begin again; raise `Rejected`: 404 where there is none, 409 while it has not ended."""
    webhooks = webhooks_of(services)
    await _subscription(services, subscription_id)
    delivery = await get_delivery(services, subscription_id, delivery_id)
    if delivery.status is DeliveryStatus.PENDING:
        raise _not_ended(delivery)
    again = resent(delivery, services.ports.clock.now())
    try:
        await services.ports.deliveries.put(again)
    except Conflict as moved:
        raise _not_ended(delivery) from moved
    await webhooks.changed(subscription_id)
    return again


def webhooks_of(services: ApiServices) -> WebhookServices:
    """Return what webhooks need; raise `Rejected`, status 503, where the platform has none."""
    if services.webhooks is None:
        raise Rejected("webhooks are switched off on this platform", code="webhooks_off", status=503)
    return services.webhooks


async def _subscription(services: ApiServices, subscription_id: str) -> Subscription:
    return await found("subscription", subscription_id, lambda one: stored.subscription(services.ports.key_values, one))


async def _checked_sink(webhooks: WebhookServices, form: SubscriptionForm) -> int | None:
    """Raise `Rejected` for a sink that may not be called, or does not consent; return the rate that it allows."""
    wanted = {name for name in told_types() if not form.types or type_of(name) in form.types}
    if not any(map(webhooks.told, wanted)):
        text = "this platform tells subscribers none of these types: FLOWC_SUBSCRIBER_EVENTS"
        raise Rejected(text, code="not_told", status=422)
    try:
        webhooks.check(form.sink)
    except Rejected as refusal:
        if refusal.code != "bad_address":
            raise
        raise Rejected(f"sink: {refusal}", code=refusal.code, status=422) from refusal
    return await webhooks.consent(form.sink) if form.protocolsettings.handshake else None


async def _check_room(services: ApiServices, more: int = 0) -> None:
    """Raise `Rejected`, status 409, when there are, with so many `more`, more subscriptions than there may be."""
    if len(await stored.subscriptions(services.ports.key_values)) + more > MAX_SUBSCRIPTIONS:
        text = f"there are {MAX_SUBSCRIPTIONS} subscriptions, which is as many as there may be"
        raise Rejected(text, code="too_many_subscriptions", status=409)


def _there(changed: Subscription | None, subscription_id: str) -> Subscription:
    if changed is None:
        raise not_found("subscription", subscription_id)
    return changed


def _with_secret(services: ApiServices, one: Subscription) -> SubscriptionWithSecret:
    secret = services.ports.tokens.subscription_secret(one.id, one.secret_number)
    return SubscriptionWithSecret(**dict(one), secret=secret)


def _of_host_known(subscription_id: str) -> Rejected:
    text = f"subscription {subscription_id} is for the tickets of this host: rotate its secret, or replace it with PUT"
    return Rejected(text, code="subscription_exists", status=409)


def _not_ended(delivery: WebhookDelivery) -> Rejected:
    text = f"the delivery has not ended: its next try is at {delivery.next_attempt_at}"
    return Rejected(text, code="delivery_pending", status=409)
