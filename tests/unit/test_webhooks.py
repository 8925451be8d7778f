"""The pure part of webhooks: what a filter fits, what an answer means, which headers prove a message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions._adapters.http.reply import Reply
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES
from functions._core.webhooks.delivery import (
    KEPT,
    SCHEDULE,
    DeliveryStatus,
    WebhookAnswer,
    attempted,
    delivery_id_of,
    delivery_of,
    resent,
)
from functions._core.webhooks.filters import MAX_DEPTH, MAX_FILTERS, attributes_of, check_filters, fits
from functions._core.webhooks.subscription import SubscriptionForm, told_types
from functions._engine.webhooks import LATEST_START, LEASE, TIMEOUT_SECONDS

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
EVENT = CloudEvent(
    id="e1",
    source="/flowc",
    type="io.neuralhive.flow.completed.v1",
    time=NOW,
    subject="flow-1",
    data={"n": 1},
    extensions={"partitionkey": "flow-1"},
)


@pytest.mark.parametrize(
    ("one", "fitting"),
    [
        ({"exact": {"type": "io.neuralhive.flow.completed.v1"}}, True),
        ({"exact": {"type": "io.neuralhive.flow.completed.v1", "source": "/other"}}, False),
        ({"prefix": {"type": "io.neuralhive.flow."}}, True),
        ({"suffix": {"type": ".v1", "subject": "1"}}, True),
        ({"suffix": {"type": ".v2"}}, False),
        ({"exact": {"nosuch": "x"}}, False),
        ({"not": {"exact": {"nosuch": "x"}}}, True),
        ({"all": [{"exact": {"source": "/flowc"}}, {"prefix": {"partitionkey": "flow"}}]}, True),
        ({"all": [{"exact": {"source": "/flowc"}}, {"prefix": {"partitionkey": "x"}}]}, False),
        ({"any": [{"exact": {"source": "/x"}}, {"prefix": {"partitionkey": "flow"}}]}, True),
        ({"any": [{"exact": {"source": "/x"}}]}, False),
        ({"exact": {"time": "2026-11-29T12:00:00.000Z", "specversion": "1.0"}}, True),
    ],
)
def test_filters_are_those_of_the_subscriptions_api(one: dict[str, Any], fitting: bool) -> None:
    check_filters([one])
    assert fits(one, attributes_of(EVENT)) is fitting


def deep(depth: int) -> dict[str, Any]:
    return {"exact": {"id": "x"}} if depth == 1 else {"not": deep(depth - 1)}


@pytest.mark.parametrize(
    "filters",
    [
        [{}],
        [{"exact": {"id": "x"}, "prefix": {"id": "x"}}],
        [{"exact": {}}],
        [{"exact": {"id": ""}}],
        [{"exact": {"id": 1}}],
        [{"exact": {"ID": "x"}}],
        [{"exact": {"id": "x" * 513}}],
        [{"all": []}],
        [{"any": {"exact": {"id": "x"}}}],
        [{"not": [{"exact": {"id": "x"}}]}],
        [{"sql": "true"}],
        ["exact"],
        [deep(MAX_DEPTH + 1)],
        [deep(900)],
        [{"exact": {"id": "x"}}] * (MAX_FILTERS + 1),
        [{"any": [{"exact": {"id": "x"}}] * MAX_FILTERS}],
        [{"exact": {f"a{number}": "x" for number in range(MAX_FILTERS // 2 + 1)}}] * 2,
    ],
)
def test_other_filters_are_refused(filters: list[Any]) -> None:
    with pytest.raises(ValueError, match="filter"):
        check_filters(filters)
    with pytest.raises(ValidationError):
        SubscriptionForm(sink="http://x/", filters=tuple(filters))


def test_the_deepest_filter_is_taken() -> None:
    check_filters([deep(MAX_DEPTH)])


leaf = st.dictionaries(
    st.sampled_from(["exact", "prefix", "suffix"]),
    st.dictionaries(
        st.sampled_from(["type", "source", "id", "x"]), st.sampled_from(["e1", "/flowc", "io"]), min_size=1
    ),
    min_size=1,
    max_size=1,
)
filters_ = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda name, some: {name: some}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1)),
    ),
    max_leaves=8,
)


@given(filters_, filters_)
def test_the_laws_of_not_all_and_any(one: dict[str, Any], other: dict[str, Any]) -> None:
    attributes = attributes_of(EVENT)
    yes, also = fits(one, attributes), fits(other, attributes)
    assert fits({"not": one}, attributes) is not yes
    assert fits({"all": [one, other]}, attributes) is (yes and also)
    assert fits({"any": [one, other]}, attributes) is (yes or also)
    assert fits({"not": {"any": [one, other]}}, attributes) is fits({"all": [{"not": one}, {"not": other}]}, attributes)


def test_subscribers_get_transitions_and_nothing_of_the_chain() -> None:
    assert {"flow.completed", "ticket.assigned", "sla.violated", "incident.raised"} <= told_types()
    assert told_types() & (ROUTES.keys() | {"telemetry.frame", "worker.registered", "worker.suspended"}) == set()


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (200, "DELIVERED"),
        (204, "DELIVERED"),
        (400, "FAILED"),
        (401, "FAILED"),
        (404, "FAILED"),
        (410, "FAILED"),
        *((status, "PENDING") for status in (301, 408, 409, 425, 429, 500, 502, 503, 599)),
        (None, "PENDING"),
    ],
)
def test_what_becomes_of_a_delivery(status: int | None, ending: str) -> None:
    tried = attempted(delivery_of(EVENT, "s1", NOW), WebhookAnswer(status), NOW, 0.5)
    assert (tried.status, tried.attempts, tried.version) == (DeliveryStatus(ending), 1, 2)
    assert (tried.next_attempt_at is None) is (ending != "PENDING")


def test_an_address_that_is_never_called_ends_a_delivery() -> None:
    tried = attempted(delivery_of(EVENT, "s1", NOW), WebhookAnswer(None, refused=True), NOW, 0.5)
    assert tried.status is DeliveryStatus.FAILED


def test_the_schedule_is_kept_never_early_and_a_fifth_late_at_most() -> None:
    delivery, now = delivery_of(EVENT, "s1", NOW), NOW
    assert delivery.next_attempt_at == NOW + SCHEDULE[0]
    for pause in SCHEDULE[1:]:
        delivery = attempted(delivery, WebhookAnswer(500), now, 1.0)
        assert delivery.next_attempt_at is not None
        assert now + pause <= delivery.next_attempt_at <= now + 1.2 * pause
        now = delivery.next_attempt_at
    delivery = attempted(delivery, WebhookAnswer(500), now, 1.0)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, 10)
    assert now - NOW < KEPT
    again = resent(delivery, now)
    assert (again.status, again.attempts, again.next_attempt_at) == (DeliveryStatus.PENDING, 0, now)
    assert again.delivery_id == delivery_id_of("s1", "e1")


@pytest.mark.parametrize(
    ("asked", "pause"), [(timedelta(0), 5), (timedelta(seconds=90), 90), (timedelta(days=9), 86_400)]
)
def test_retry_after_makes_a_pause_longer_within_a_day(asked: timedelta, pause: float) -> None:
    tried = attempted(delivery_of(EVENT, "s1", NOW), WebhookAnswer(429, retry_after=asked), NOW, 0)
    assert tried.next_attempt_at == NOW + timedelta(seconds=pause)


def test_a_delivery_that_is_put_off_again_and_again_is_given_up_while_it_is_kept() -> None:
    delivery, now = delivery_of(EVENT, "s1", NOW), NOW
    while delivery.next_attempt_at is not None:
        now = delivery.next_attempt_at
        delivery = attempted(delivery, WebhookAnswer(503, retry_after=timedelta(days=1)), now, 0)
    assert delivery.status is DeliveryStatus.FAILED
    assert now - NOW < KEPT


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("120", 120),
        ("0", 0),
        ("Sun, 29 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 0),
        ("9" * 400, 999_999_999),
        ("", None),
        ("soon", None),
        ("-1", None),
        (f"Sun, 29 Nov {'9' * 30} 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, pause: float | None) -> None:
    assert Reply(503, {"retry-after": value}).retry_after(NOW) == (None if pause is None else timedelta(seconds=pause))


def test_a_call_ends_within_its_lease() -> None:
    assert LEASE.total_seconds() > LATEST_START + TIMEOUT_SECONDS
