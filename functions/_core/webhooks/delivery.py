"""One event for one subscriber: a record that is tried until it is delivered or given up. Pure.

answer                          delivery
2xx                             DELIVERED
410                             FAILED, and the subscription is disabled
408, 409, 425, 429, 3xx, 5xx    tried again, `Retry-After` obeyed; FAILED after the last try of `SCHEDULE`
none                            likewise
other 4xx                       FAILED
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from functions._core.events.envelope import CloudEvent
from functions._core.records.dead_letters import members_of
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word, add_time, name_uuid
from functions._core.rules import PASSING

DELIVERIES = "0b1d3c0e-6a52-5c1f-8f0a-3e5d2a7c9b64"
"""Namespace of the ids of deliveries; fixed, as a repetition has to have the same id."""

SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""The pause before each try, as Standard Webhooks has them: ten tries in four days."""

KEPT = timedelta(days=7)
"""How long a delivery is kept after it was made; a try that would come later is not made."""

JITTER = 0.2
"""The share of a pause that is added at random: subscribers that come back are not called all at once."""

LONGEST_RETRY_AFTER = timedelta(days=1)
"""The longest pause that a subscriber may ask for."""

DETAIL_LIMIT = 500
"""Characters kept of an answer's body, or of why there was none."""


class DeliveryStatus(Word):
    """What became of a delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


class WebhookDelivery(Record):
    """An event on its way to a subscriber, and afterwards a line of the log."""

    delivery_id: str
    """Id of the delivery, sent as `webhook-id`: every try has the same."""
    subscription_id: str
    """Id of the subscription."""
    event_id: str
    """Id of the event."""
    event_type: str
    """Type of the event, without prefix and version."""
    flow_id: str | None = None
    """Id of the flow that the event is about; null for none."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    """What became of it."""
    attempts: int = 0
    """How often it was tried."""
    created_at: Timestamp
    """When it was put into the queue of the subscriber."""
    next_attempt_at: Timestamp | None
    """When it is tried next; null when it has ended."""
    last_attempt_at: Timestamp | None = None
    """When it was tried last."""
    last_status: int | None = None
    """The status of the last answer; null when there was none."""
    last_detail: str = ""
    """The beginning of the last answer's body, or why there was none."""
    last_duration_ms: int | None = None
    """How long the last try took, in milliseconds."""
    event: Mapping[str, Any]
    """The event in its JSON form, as it is sent."""
    version: int = 1
    """Number of the stored version."""


class WebhookAnswer(NamedTuple):
    """What a subscriber answered; `status` is None where no answer came, `refused` where it was never asked."""

    status: int | None
    detail: str = ""
    retry_after: timedelta | None = None
    refused: bool = False
    seconds: float = 0.0

    @property
    def delivered(self) -> bool:
        """Whether the subscriber has the event."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def gone(self) -> bool:
        """Whether the subscriber wants no events any more."""
        return self.status == HTTPStatus.GONE

    @property
    def final(self) -> bool:
        """Whether the same request can never succeed."""
        status = self.status or 0
        refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in PASSING
        return self.refused or refusal


class Deliveries(Protocol):
    """The port to the queue of each webhook subscriber, and the log of its deliveries."""

    async def put(self, delivery: WebhookDelivery) -> None:
        """Store a delivery; raise `Conflict` when the stored version is not `version - 1` (absent counts as 0)."""

    async def claim_due(
        self, subscription_ids: Collection[str], now: datetime, limit: int, lease: timedelta
    ) -> Sequence[WebhookDelivery]:
        """Return up to `limit` deliveries of each subscription that are due at `now`, those due first before others.

        They come due again after `lease`; two processes never get the same one in between.
        """

    async def delivery(self, subscription_id: str, delivery_id: str) -> WebhookDelivery | None:
        """Return one delivery."""

    async def page(
        self, subscription_id: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[WebhookDelivery], str | None]:
        """Return the deliveries of a subscription, the newest first; see `ports.Views` for cursors."""

    async def waiting(self, subscription_ids: Collection[str]) -> Mapping[str, int]:
        """Return how many deliveries of each subscription have not ended; absent ones are zero."""


def delivery_id_of(subscription_id: str, event_id: str) -> str:
    """Return the id of the delivery of an event to a subscriber: the same every time."""
    return name_uuid(DELIVERIES, f"{subscription_id} {event_id}")


def delivery_of(event: CloudEvent, subscription_id: str, now: datetime, due: datetime | None = None) -> WebhookDelivery:
    """Return the new delivery of an event to a subscriber; without `due` it is due at once."""
    return WebhookDelivery(
        delivery_id=delivery_id_of(subscription_id, event.id),
        subscription_id=subscription_id,
        event_id=event.id,
        event_type=event.event_type,
        flow_id=event.extensions.get("partitionkey"),
        created_at=now,
        next_attempt_at=due or now,
        event=members_of(event),
    )


def attempted(delivery: WebhookDelivery, answer: WebhookAnswer, now: datetime, chance: float) -> WebhookDelivery:
    """Return a delivery after a try that was answered at `now`; `chance`, 0 to 1, spreads the next one."""
    attempts = delivery.attempts + 1
    tried = delivery.but(
        attempts=attempts,
        last_attempt_at=now,
        last_status=answer.status,
        last_detail=answer.detail[:DETAIL_LIMIT],
        last_duration_ms=round(1000 * answer.seconds),
        version=delivery.version + 1,
    )
    if answer.delivered:
        return tried.but(status=DeliveryStatus.DELIVERED, next_attempt_at=None)
    given_up = tried.but(status=DeliveryStatus.FAILED, next_attempt_at=None)
    if answer.final or attempts >= len(SCHEDULE):
        return given_up
    pause = SCHEDULE[attempts] * (1 + JITTER * chance)
    if answer.retry_after is not None:
        pause = max(pause, min(answer.retry_after, LONGEST_RETRY_AFTER))
    following = add_time(now, pause)
    return tried.but(next_attempt_at=following) if following < add_time(delivery.created_at, KEPT) else given_up


def resent(delivery: WebhookDelivery, now: datetime) -> WebhookDelivery:
    """Return a delivery that begins again from the first try."""
    return delivery.but(status=DeliveryStatus.PENDING, attempts=0, next_attempt_at=now, version=delivery.version + 1)
