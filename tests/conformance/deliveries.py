"""What every `Deliveries` must do."""

import asyncio
from datetime import timedelta

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Conflict
from functions._core.webhooks.delivery import DeliveryStatus, WebhookDelivery
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, seconds

LEASE = timedelta(seconds=60)


def make_delivery(number: int = 1, subscription: str = "s1", *, due: float = 0, **fields: object) -> WebhookDelivery:
    delivery = WebhookDelivery(
        delivery_id=f"delivery-{number}",
        subscription_id=subscription,
        event_id=f"event-{number}",
        event_type="flow.completed",
        flow_id="flow-1",
        created_at=T0,
        next_attempt_at=T0 + seconds(due),
        event={"id": f"event-{number}", "data": {"ß": "İstanbul 🏭", "n": number}},
    )
    return delivery.but(**fields)


class DeliveriesSuite(StoresSuite):
    async def test_a_delivery_is_read_back_as_it_was_put(self, stores: Stores) -> None:
        await stores.deliveries.put(make_delivery())
        assert await stores.deliveries.delivery("s1", "delivery-1") == make_delivery()
        assert await stores.deliveries.delivery("s2", "delivery-1") is None

    async def test_the_same_delivery_is_not_added_again(self, stores: Stores) -> None:
        await stores.deliveries.put(make_delivery())
        with pytest.raises(Conflict):
            await stores.deliveries.put(make_delivery(due=9))
        assert await stores.deliveries.delivery("s1", "delivery-1") == make_delivery()

    async def test_subscribers_may_have_the_same_event(self, stores: Stores) -> None:
        for subscription in ("s1", "s2"):
            await stores.deliveries.put(make_delivery(subscription=subscription))
        assert await stores.deliveries.waiting(["s1", "s2", "s3"]) == {"s1": 1, "s2": 1}

    @pytest.mark.parametrize("version", [1, 3])
    async def test_any_other_version_than_the_next_is_a_conflict(self, stores: Stores, version: int) -> None:
        await stores.deliveries.put(make_delivery())
        with pytest.raises(Conflict):
            await stores.deliveries.put(make_delivery(version=version))

    async def test_a_version_of_what_is_not_there_is_a_conflict(self, stores: Stores) -> None:
        with pytest.raises(Conflict):
            await stores.deliveries.put(make_delivery(version=2))
        assert await stores.deliveries.delivery("s1", "delivery-1") is None

    async def test_the_oldest_due_come_first_and_only_those_that_are_due(self, stores: Stores) -> None:
        for number, due in ((1, 0), (2, 0), (3, -5), (4, 5)):
            await stores.deliveries.put(make_delivery(number, due=due))
        claimed = await stores.deliveries.claim_due(["s1"], T0, 10, LEASE)
        assert [delivery.delivery_id for delivery in claimed] == ["delivery-3", "delivery-1", "delivery-2"]

    async def test_each_subscription_has_its_own_limit(self, stores: Stores) -> None:
        for number in range(5):
            await stores.deliveries.put(make_delivery(number))
        await stores.deliveries.put(make_delivery(9, "s2"))
        claimed = await stores.deliveries.claim_due(["s1", "s2", "s3"], T0, 2, LEASE)
        assert sorted(delivery.delivery_id for delivery in claimed) == ["delivery-0", "delivery-1", "delivery-9"]

    async def test_nothing_is_claimed_of_a_subscription_that_is_not_named(self, stores: Stores) -> None:
        await stores.deliveries.put(make_delivery())
        assert await stores.deliveries.claim_due(["s2"], T0, 2, LEASE) == []
        assert await stores.deliveries.claim_due([], T0, 2, LEASE) == []

    async def test_what_was_claimed_comes_again_after_the_lease(self, stores: Stores) -> None:
        await stores.deliveries.put(make_delivery())
        assert len(await stores.deliveries.claim_due(["s1"], T0, 2, LEASE)) == 1
        assert await stores.deliveries.claim_due(["s1"], T0 + LEASE - seconds(1), 2, LEASE) == []
        assert await stores.deliveries.claim_due(["s1"], T0 + LEASE, 2, LEASE) == [make_delivery()]

    async def test_of_concurrent_claims_one_gets_a_delivery(self, stores: Stores) -> None:
        for number in range(20):
            await stores.deliveries.put(make_delivery(number))
        claims = await asyncio.gather(*(stores.deliveries.claim_due(["s1"], T0, 20, LEASE) for _ in range(5)))
        claimed = [delivery.delivery_id for claim in claims for delivery in claim]
        assert len(claimed) == len(set(claimed))

    async def test_an_ended_delivery_is_due_no_more_and_stays_in_the_log(self, stores: Stores) -> None:
        await stores.deliveries.put(make_delivery())
        ended = make_delivery(version=2, status=DeliveryStatus.DELIVERED, next_attempt_at=None, attempts=1)
        await stores.deliveries.put(ended)
        assert await stores.deliveries.claim_due(["s1"], T0 + 9 * LEASE, 2, LEASE) == []
        assert await stores.deliveries.waiting(["s1"]) == {}
        assert await stores.deliveries.page("s1", None, 10) == ([ended], None)

    async def test_a_postponed_delivery_is_due_at_its_new_time(self, stores: Stores) -> None:
        await stores.deliveries.put(make_delivery())
        await stores.deliveries.claim_due(["s1"], T0, 1, LEASE)
        await stores.deliveries.put(postponed := make_delivery(due=5, version=2, attempts=1))
        assert await stores.deliveries.claim_due(["s1"], T0 + seconds(4), 1, LEASE) == []
        assert await stores.deliveries.claim_due(["s1"], T0 + seconds(5), 1, LEASE) == [postponed]

    async def test_the_log_is_read_by_pages_the_newest_first(self, stores: Stores) -> None:
        for number in range(5):
            await stores.deliveries.put(make_delivery(number, created_at=T0 + seconds(number)))
            await stores.deliveries.put(make_delivery(number, "s2"))
        first, cursor = await stores.deliveries.page("s1", None, 3)
        rest, end = await stores.deliveries.page("s1", cursor, 3)
        assert [one.event_id for one in [*first, *rest]] == [f"event-{number}" for number in (4, 3, 2, 1, 0)]
        assert end is None

    async def test_old_deliveries_are_forgotten_a_bounded_number_at_a_time(self, stores: Stores) -> None:
        for number in range(4):
            await stores.deliveries.put(make_delivery(number, created_at=T0 + seconds(number)))
        assert await stores.retention.forget_deliveries(T0 + seconds(3), 2) == 2
        assert await stores.retention.forget_deliveries(T0 + seconds(3), 2) == 1
        assert await stores.retention.forget_deliveries(T0 + seconds(3), 2) == 0
        kept, _ = await stores.deliveries.page("s1", None, 10)
        assert [one.event_id for one in kept] == ["event-3"]
