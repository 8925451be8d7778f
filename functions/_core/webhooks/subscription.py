"""A subscription: which events go to which webhook, in the shape of the CloudEvents Subscriptions API."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, field_validator, model_validator

from functions._core.events.catalogue import BY_TYPE, SUBSCRIBERS, WORKER
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.pipelines import RESULTS
from functions._core.events.routes import ROUTES, TRANSITIONS
from functions._core.placement.signals import DEPOSITED
from functions._core.records.values import FIRST_FAULT, JsonObject, Model, Timestamp, WholeNumber, Word
from functions._core.webhooks.filters import check_filters, fits
from functions._core.webhooks.owners import OWNER, SINK, SINK_CHARACTERS, host_of, owner_of

SPACE = "subscription"
"""The space of `KeyValues` that holds subscriptions, by id."""

MAX_SUBSCRIPTIONS = 200
"""Subscriptions of a platform: each event that is told is compared with all of them."""

MAX_CONCURRENCY = 8
"""Deliveries under way to one subscriber at a time."""

MAX_WAITING = 10_000
"""Deliveries that may wait for one subscriber; with more it is disabled, as its queue would only grow."""

GRACE = timedelta(minutes=10)
"""How long a subscription that was made or replaced is not disabled for its queue: it has to get through it first."""

OVERLAP = timedelta(days=1)
"""How long the secret before the newest one still signs."""

TESTED = "subscription.tested"
"""The event that a subscriber gets to try its webhook."""


@cache
def told_types() -> frozenset[str]:
    """Return the types of events that subscriptions may have, without prefix and version.

    They are the transitions of flows and tickets, but not those that are named like an event of the chain between
    functions, as with a broker these are no events of their own; the signals on the trails of workers; and what becomes
    of budgets and freezes.
    """
    entries = (entry for entry in BY_TYPE.values() if SUBSCRIBERS in entry.handled_by.split(", "))
    return frozenset(entry.event_type for entry in entries if entry.subject != WORKER) - ROUTES.keys()


def _known_types() -> Mapping[str, str]:
    """Return the types of `told_types` in full, by each of their two forms."""
    return {form: type_of(name) for name in told_types() for form in (name, type_of(name))}


ToldType = Annotated[str, Field(json_schema_extra=lambda schema: schema.update(enum=sorted(_known_types())))]
"""A type of `told_types`, in full or short."""


class SubscriptionStatus(Word):
    """Whether a subscriber gets events."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class DeliveryBody(Word):
    """What the body of a delivery is; lower case on every wire."""

    EVENT = "event"
    """The CloudEvent."""
    PIPELINE_COMPLETED = "pipeline_completed"
    """Of a result of the code forge the message that `POST /api/v1/webhooks/pipeline-completed` takes."""


class SubscriptionConfig(Model):
    """How events are delivered. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: WholeNumber = Field(default=1, ge=1, le=MAX_CONCURRENCY)
    """Deliveries that are begun together; 1 keeps events in order as long as none has to be repeated."""
    tickets: StrictBool = False
    """Whether it is for the tickets whose `metadata.webhook_url` is on the host of the sink; it gets no other events,
    and they go to that URL."""
    x_webhook_signature: StrictBool = False
    """Whether the header `X-Webhook-Signature: sha256=<hex>` is sent, too: HMAC-SHA256 of the body."""
    body: DeliveryBody = DeliveryBody.EVENT
    """What is sent: `event`; or `pipeline_completed`, of `code-forge.results` alone, and of pipelines with a ticket."""


class ProtocolSettings(Model):
    """Settings of HTTP. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["POST"] = "POST"
    """The method of a delivery."""
    handshake: StrictBool = False
    """Whether the sink has to consent, by the handshake of the CloudEvents webhook, before it gets anything."""


class SubscriptionForm(Model):
    """What a client sends to subscribe. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sink: str = Field(min_length=1, max_length=SINK_CHARACTERS, pattern=SINK)
    """The URL to which events are POSTed, without name and password."""
    protocol: Literal["HTTP"] = "HTTP"
    """The protocol of deliveries."""
    source: str | None = Field(default=None, max_length=512)
    """Where events have to be from; absent: any source."""
    types: Annotated[tuple[ToldType, ...], FIRST_FAULT] = Field(default=(), max_length=100)
    """Types of events, in full or as `flow.completed`; none: all transitions, and no `pheromone.deposited`."""
    config: SubscriptionConfig = SubscriptionConfig()
    """How events are delivered."""
    filters: Annotated[tuple[JsonObject, ...], FIRST_FAULT] = Field(default=(), max_length=64)
    """Filters of the CloudEvents Subscriptions API that all have to fit."""
    protocolsettings: ProtocolSettings = ProtocolSettings()
    """Settings of the protocol."""

    @model_validator(mode="after")
    def _has_a_body(self) -> Self:
        if self.config.body is DeliveryBody.PIPELINE_COMPLETED and self.types != (type_of(RESULTS),):
            raise ValueError(f"config.body pipeline_completed is for types {RESULTS} alone")
        return self

    @field_validator("types")
    @classmethod
    def _in_full(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = _known_types()
        if unknown := [name for name in value if name not in known]:
            raise ValueError(f"subscribers get no events of type {unknown[0][:100]!r}; a type is flow.completed")
        return tuple(sorted({known[name] for name in value}))

    @field_validator("filters")
    @classmethod
    def _checked_filters(cls, value: tuple[JsonObject, ...]) -> tuple[JsonObject, ...]:
        check_filters(value)
        return value


class Subscription(SubscriptionForm):
    """A subscription as it is stored, and shown: its secrets are not part of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    """Id of the subscription."""
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    """Whether its subscriber gets events."""
    reason: str | None = None
    """Why it is disabled; null while it is active."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When it changed last."""
    secret_number: int = 1
    """Number of the secret that signs; each rotation adds one."""
    previous_secret_until: Timestamp | None = None
    """Until when the secret before signs, too; null: it does not."""
    rate_per_minute: int | None = None
    """Requests per minute to which the sink has consented in its handshake; null: no limit."""

    @property
    def active(self) -> bool:
        """Whether its subscriber gets events."""
        return self.status is SubscriptionStatus.ACTIVE

    def tells(self, event_type: str) -> bool:
        """Whether events of a type, without prefix and version, may be wanted."""
        return type_of(event_type) in self.types if self.types else event_type in told_types() - {DEPOSITED}

    def wants(self, event: CloudEvent, attributes: Mapping[str, str]) -> bool:
        """Whether an event with these attributes (`attributes_of`) goes to the sink."""
        if not self.active or not self.tells(event.event_type) or self.source not in {None, event.source}:
            return False
        if self.config.tickets and event.extensions.get(OWNER) != self.id:
            return False
        if self.config.body is DeliveryBody.PIPELINE_COMPLETED and not event.data["ticket_id"]:
            return False  # it is about no ticket of anybody
        return all(fits(one, attributes) for one in self.filters)


def tested_event(subscription_id: str, who: str, event_id: str, now: datetime) -> CloudEvent:
    """Return the event by which somebody tries the webhook of a subscription."""
    return CloudEvent(
        id=event_id,
        source=TRANSITIONS,
        type=type_of(TESTED),
        time=now,
        subject=subscription_id,
        data={"subscription_id": subscription_id, "requested_by": who},
    )


def subscription_of_host(url: str, now: datetime) -> Subscription:
    """Return the subscription for the tickets that name a URL of this host, as it is made with the first of them."""
    config = SubscriptionConfig(tickets=True, concurrency=MAX_CONCURRENCY, x_webhook_signature=True)
    return Subscription(id=owner_of(url), sink=host_of(url), config=config, created_at=now, updated_at=now)
