"""The webhooks of a process: which events are wanted, the queues of the subscribers, and the calls.

Nothing is done for an event while there is no subscription. Each subscriber has a lane of its own: one that hangs, or
has thousands of events to come, delays no other. What a process does not live to send comes due again for the next.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random

from functions._adapters.http.outbound import OutboundClient
from functions._core.errors import Conflict, FlowcError, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Broker, Ports
from functions._core.webhooks import subscription
from functions._core.webhooks.delivery import DeliveryStatus, WebhookAnswer, WebhookDelivery
from functions._core.webhooks.owners import OWNER
from functions._core.webhooks.stored import subscriptions
from functions._core.webhooks.subscription import Subscription, told_types
from functions._engine.clock import CHANCE
from functions._engine.wiring_webhooks import deliver, disable, notify, subscribed_host
from functions._observability.logs import log
from functions._observability.metrics import Gauge, Metrics

TIMEOUT_SECONDS = 15.0
"""Of a call, to the last byte of the answer."""

ANSWER_BYTES = 4 * 1024
"""Bytes read of an answer: the log of deliveries keeps the beginning."""

CLAIMED = 16
"""Deliveries of one subscriber that a process holds at a time."""

LEASE = timedelta(seconds=60)
"""After this, what was claimed and not sent comes due again."""

LATEST_START = LEASE.total_seconds() - 1.5 * TIMEOUT_SECONDS
"""Seconds after a claim in which a call may begin: it has to end within the lease."""

AT_ONCE = 256
"""Calls under way at the same time; more than subscriptions that may hang in one call each."""

ROUND_SECONDS = 5.0
"""How old the known subscriptions may be, and how late a delivery that another process has left."""

COUNTED_SECONDS = 60.0
"""How often the queues of the subscribers are counted."""

Wanted = Callable[[str], bool]
"""Whether an event of a type is wanted at all."""


class Webhooks:
    """Implements `Broker`: an event that is published goes into the queues of the subscribers that want it."""

    def __init__(  # noqa: PLR0913 the parts of a process
        self,
        ports: Ports,
        calls: OutboundClient,
        metrics: Metrics,
        *,
        base_url: str,
        wants: Callable[[Wanted | None], None] = lambda _wanted: None,
        also: Broker | None = None,
        also_wanted: Wanted | None = None,
        chance: Random = CHANCE,
    ) -> None:
        """Tell `wants` which types are wanted, None for none, each time that changes. The api is at `base_url`.

        `also` gets the events that `also_wanted` wants, whether or not there are subscriptions.
        """
        self._ports, self._calls, self._metrics, self._chance = ports, calls, metrics, chance
        self._base_url = base_url
        self._wants, self._also, self._also_wanted = wants, also, also_wanted
        self._known: Mapping[str, Subscription] = {}
        self._lanes: dict[str, deque[tuple[float, WebhookDelivery]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fresh_until = self._counted_until = 0.0
        self._called_for: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._woken = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether a delivery is under way."""
        return bool(self._tasks)

    async def refresh(self) -> None:
        """Learn which subscriptions there are."""
        self._fresh_until = asyncio.get_running_loop().time() + 2 * ROUND_SECONDS
        found = await subscriptions(self._ports.key_values)
        self._known = {one.id: one for one in found if one.active}
        of_all = [one for one in self._known.values() if not one.config.tickets]
        types = frozenset(name for name in told_types() if any(one.tells(name) for one in of_all))
        also = self._also_wanted
        self._wants((lambda name: name in types or (also is not None and also(name))) if types else also)

    async def changed(self, subscription_id: str) -> None:
        """Take note that a subscription, or one of its deliveries, was changed here."""
        await self.refresh()
        self._wake([subscription_id])

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Put events into the queues of their subscribers, and begin to send where nothing is ahead; see `Broker`."""
        if asyncio.get_running_loop().time() > self._fresh_until:  # where no round does it
            await self.refresh()
        for event in events:
            if self._known:
                await self._notify(event)
            if self._also is not None and (self._also_wanted is None or self._also_wanted(event.event_type)):
                await self._also.publish([event])
            if await self._is_first(event):
                await self._notify(event)

    async def _is_first(self, event: CloudEvent) -> bool:
        """Learn the subscription of the host that the ticket of an event names; tell whether it was not known yet."""
        owner = event.extensions.get(OWNER)
        if owner is None or owner in self._known:
            return False
        found = await subscribed_host(event, self._ports)
        if found is None or not found.active:
            return False
        self._known = {**self._known, found.id: found}
        return True

    async def _notify(self, event: CloudEvent) -> None:
        idle = self._known.keys() - self._lanes.keys()
        new = await notify(event, self._known.values(), self._ports, claims=idle, lease=LEASE)
        self._metrics.count("flowc_webhooks_enqueued_total", by=len(new))
        for delivery in new:
            if delivery.subscription_id in idle:
                self._hand_over(delivery.subscription_id, [delivery])

    async def run(self, *, first: timedelta = timedelta()) -> None:
        """Deliver until cancelled; the `first` round takes also what is due only so much later."""
        loop, next_round = asyncio.get_running_loop(), 0.0
        while True:
            self._woken.clear()
            try:
                if loop.time() < next_round:
                    await self._begin_called_for()
                else:
                    next_round = loop.time() + ROUND_SECONDS
                    await self.round(now=self._ports.clock.now() + first)
                    first = timedelta()
            except Exception:  # noqa: BLE001 the deliveries must not stop, whatever one round runs into
                log.exception("webhooks.failed")
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_round):
                    await self._woken.wait()

    async def _begin_called_for(self) -> None:
        called, self._called_for = self._called_for, set()
        await self._begin(called & self._known.keys())

    async def round(self, *, now: datetime | None = None) -> None:
        """Look for subscriptions, and for deliveries that are due at `now`, of all subscribers."""
        await self.refresh()
        loop_now = asyncio.get_running_loop().time()
        if self._known and loop_now >= self._counted_until:
            self._counted_until = loop_now + COUNTED_SECONDS
            await self._disable_overfull()
        await self._begin(self._known, now=now)

    async def _disable_overfull(self) -> None:
        """Disable subscriptions for which too many deliveries wait."""
        settled = self._ports.clock.now() - subscription.GRACE
        most = subscription.MAX_WAITING
        for subscription_id, waiting in (await self._ports.deliveries.waiting(self._known)).items():
            one = self._known[subscription_id]
            if waiting >= most and one.updated_at <= settled:
                await disable(one, f"{most} events or more wait for it", self._ports)
                self._was_disabled(one)
        await self.refresh()

    def _was_disabled(self, one: Subscription) -> None:
        log.warning("webhook.disabled", subscription_id=one.id, sink=one.sink)
        self._metrics.count("flowc_webhooks_disabled_total")

    async def drain(self, in_time: Callable[[], bool]) -> None:
        """Deliver all that is due now, as long as there is time; for a process that stands still afterwards."""
        await self.round()
        while (self._tasks or self._called_for) and in_time():
            await self._begin_called_for()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Give up what is under way; it comes due again."""
        for lane in self._tasks:
            lane.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def gauges(self) -> Mapping[Gauge, float]:
        """Return how many deliveries wait."""
        waiting = await self._ports.deliveries.waiting(self._known) if self._known else {}
        return {("flowc_webhooks_waiting", ()): float(sum(waiting.values()))}

    def _wake(self, subscription_ids: Collection[str]) -> None:
        self._called_for.update(subscription_ids)
        self._woken.set()

    async def _begin(self, subscription_ids: Collection[str], *, now: datetime | None = None) -> None:
        """Claim what is due of subscribers whose lane is empty, and begin to send it."""
        idle = [one for one in subscription_ids if one not in self._lanes]
        if not idle:
            return
        claimed = await self._ports.deliveries.claim_due(idle, now or self._ports.clock.now(), CLAIMED, LEASE)
        by_subscription: dict[str, list[WebhookDelivery]] = {}
        for delivery in claimed:
            by_subscription.setdefault(delivery.subscription_id, []).append(delivery)
        for subscription_id, deliveries in by_subscription.items():
            self._hand_over(subscription_id, deliveries)

    def _hand_over(self, subscription_id: str, deliveries: Sequence[WebhookDelivery]) -> None:
        """Put claimed deliveries into the lane of their subscriber."""
        to = self._known.get(subscription_id)
        if to is None:
            return  # it was removed meanwhile
        begin_by = asyncio.get_running_loop().time() + LATEST_START
        if subscription_id not in self._lanes:
            self._lanes[subscription_id] = deque()
            task = asyncio.create_task(self._lane(to))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._lanes[subscription_id].extend((begin_by, delivery) for delivery in deliveries)

    async def _lane(self, to: Subscription) -> None:
        """Send claimed deliveries in their order; after one without an answer the others wait for the next claim."""
        loop, width, lane = asyncio.get_running_loop(), to.config.concurrency, self._lanes[to.id]
        answered = True
        try:
            while lane and answered:
                at, some = (
                    loop.time(),
                    [lane.popleft()[1] for _ in range(min(width, len(lane))) if lane[0][0] > loop.time()],
                )
                if not some:
                    break  # what is left was claimed too long ago, and comes due again
                answered = all(await asyncio.gather(*(self._deliver(to, one) for one in some)))
                if to.rate_per_minute:
                    await asyncio.sleep(max(0.0, at + 60 * len(some) / to.rate_per_minute - loop.time()))
        finally:
            del self._lanes[to.id]
        if answered:
            self._wake([to.id])  # there may be more by now

    async def _deliver(self, to: Subscription, delivery: WebhookDelivery) -> bool:
        """Try a delivery; tell whether there was an answer."""
        async with self._slots:
            try:
                chance = self._chance.random()
                tried, answer = await deliver(delivery, to, self._ports, self._send, chance, base_url=self._base_url)
            except Conflict:
                return True  # another process was faster
            except Exception as error:  # noqa: BLE001 one broken delivery must not keep the others waiting
                log.warning("webhook.not_recorded", **_ids(delivery), error=repr(error))
                return False
        self._told(tried, answer)
        if answer.gone and not to.config.tickets:
            self._was_disabled(to)
            await self.refresh()
        if tried.next_attempt_at is not None:
            self._later(to.id, tried.next_attempt_at)
        return answer.status is not None

    def _later(self, subscription_id: str, at: datetime) -> None:
        pause = max(0.0, (at - self._ports.clock.now()).total_seconds())
        if pause <= ROUND_SECONDS:  # what is later is found by a round in time
            asyncio.get_running_loop().call_later(pause, self._wake, [subscription_id])

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            answer = await self._calls.request(
                "POST", url, headers=headers, body=body, timeout=TIMEOUT_SECONDS, limit=ANSWER_BYTES
            )
        except Rejected as refusal:
            return WebhookAnswer(None, str(refusal), refused=True, seconds=loop.time() - begun)
        except FlowcError as failure:
            return WebhookAnswer(None, str(failure), seconds=loop.time() - begun)
        after = answer.retry_after(self._ports.clock.now())
        return WebhookAnswer(answer.status, answer.text, after, seconds=loop.time() - begun)

    def _told(self, tried: WebhookDelivery, answer: WebhookAnswer) -> None:
        self._metrics.time("flowc_webhooks_duration_seconds", answer.seconds)
        if tried.status is DeliveryStatus.DELIVERED:
            self._metrics.count("flowc_webhooks_delivered_total")
            return
        failed = tried.status is DeliveryStatus.FAILED
        self._metrics.count("flowc_webhooks_failed_total" if failed else "flowc_webhooks_repeated_total")
        log.warning(
            "webhook.failed" if failed else "webhook.repeated",
            **_ids(tried),
            attempts=tried.attempts,
            status=answer.status,
            error=tried.last_detail,
        )


def _ids(delivery: WebhookDelivery) -> Mapping[str, object]:
    return {
        "subscription_id": delivery.subscription_id,
        "delivery_id": delivery.delivery_id,
        "event_id": delivery.event_id,
        "flow_id": delivery.flow_id,
    }
