"""One function over the services of AWS: what it handles, what happens as time passes, and what is left to wait for."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Self

from functions._adapters.aws.claims import Claims
from functions._adapters.aws.client import Clients
from functions._adapters.aws.eventbridge import EventBridgeBroker
from functions._adapters.aws.messages import Queue
from functions._adapters.aws.queues import FunctionQueues
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.dynamodb.client import meaning
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES
from functions._core.ports import Clock, WorkerGateway
from functions._core.records.models import Reason
from functions._engine.clock import SystemClock, fresh_id
from functions._engine.compose import Host, compose
from functions._engine.event_work import EventWork
from functions._engine.outbox_relay import OutboxRelay
from functions._engine.outbox_skipping_store import OutboxSkippingStore
from functions._engine.platform import Platform
from functions._engine.retention_job import RetentionJob
from functions._engine.settings import Settings
from functions._hosts.aws.read_once_store import ReadOnceStore
from functions._hosts.aws.timers import SOURCE, Timers
from functions._observability.http_metrics import AsgiApp, Receive, Scope, Send
from functions._observability.logs import log

if TYPE_CHECKING:  # imported by the functions that call webhooks, and by the api
    from functions._adapters.http.outbound import OutboundClient
    from functions._engine.webhooks import Webhooks
    from functions._hosts.wiring_api import WebhookServices

LONGEST_WAIT = 20.0
"""Seconds that a request may wait for a flow; HTTP APIs give up after 30."""

CALLS_WEBHOOKS = frozenset({"notify", "enforce_sla"})
"""The functions that call webhooks."""

ROUNDS = 10
"""Rounds of retention at one tick."""

Handler = Callable[[CloudEvent], Awaitable[object]]


@dataclass(slots=True, kw_only=True)
class LambdaFunction:
    """A function that takes events; the api also takes requests, by `app`.

    `until` is the time of the event loop up to which an invocation may begin something, or wait for it.
    """

    name: str
    settings: Settings
    platform: Platform
    relay: OutboxRelay
    store: ReadOnceStore
    timers: Timers
    claims: Claims | None
    retention: RetentionJob
    app: AsgiApp | None = None
    _handle: Handler = field(init=False)
    _work: EventWork = field(init=False)
    _webhooks: "Webhooks | None" = field(init=False, default=None)
    _swept: bool = field(init=False, default=False)
    until: float = field(init=False, default=inf)

    @classmethod
    async def made(
        cls,
        name: str,
        settings: Settings,
        clients: Clients,
        clock: Clock | None = None,
        gateway: WorkerGateway | None = None,
    ) -> Self:
        """Put the function `name` together; nothing is called yet. `clock` and `gateway` stand for the real ones."""
        clock = clock or SystemClock()
        table = DynamoStore(clients.of("dynamodb", meaning), str(settings.table), None, clock, name=fresh_id())
        claims = Claims(clients.of("s3"), settings.claims_bucket) if settings.claims_bucket else None
        bus = EventBridgeBroker(clients.of("events"), str(settings.bus), claims)
        urls = dict(one.split("=") for one in (settings.queues or "").split())
        # The queue of timers is that of enforce_sla, to which everybody may send.
        urls |= {"enforce_sla": str(settings.timer_queue)} if settings.timer_queue else {}
        broker = FunctionQueues(clients.of("sqs"), urls, bus, claims, settings.tells)
        timers = Timers(Queue(clients.of("sqs"), str(settings.timer_queue)) if settings.timer_queue else None, clock)
        store = ReadOnceStore(OutboxSkippingStore(table.stores.store))
        composed = compose(
            settings,
            Host(
                stores=replace(table.stores, store=store),
                base_url=str(settings.public_url),
                broker=lambda _client: broker,
                alarm=timers.observe,
                clock=clock,
                gateway=gateway,
                commits_singly=True,  # a write in a transaction costs twice as much
            ),
        )
        platform, relay = composed.platform, composed.relay
        platform.pheromones.thrifty = True
        platform.companions.jobs.check(name)
        made = cls(
            name=name,
            settings=settings,
            platform=platform,
            relay=relay,
            store=store,
            timers=timers,
            claims=claims,
            retention=composed.retention,
        )
        webhooks = made._webhooks = _webhooks(name, platform, settings)
        tick, notify = platform.companions.ticks.get(name, made._tick), webhooks.publish if webhooks else None
        made._handle = made._work = EventWork(name, platform, relay, tick, notify)
        if name == "api":
            made._open_api(table.check)
        return made

    def _open_api(self, check: Callable[[], Awaitable[None]]) -> None:
        from functions._adapters.http.outbound import OutboundClient
        from functions._hosts.api_app import api_services, served
        from functions._hosts.wiring_api import take

        services = api_services(self.platform, self.settings, check)
        calls = OutboundClient(self.settings.networks)
        offered = self._offered(calls)
        services = replace(services, longest_wait=LONGEST_WAIT, fetched=self._fetched, webhooks=offered, calls=calls)
        self.app = self._remembering(served(self.platform, services))

        async def taken(event: CloudEvent) -> None:
            try:
                await take(services, event, None)
            except Rejected as refusal:
                if refusal.code == "unknown_flow":  # an order may come before its decision
                    raise Unavailable(str(refusal)) from refusal
                if refusal.code != "unknown_worker":  # a late word, or one that came twice
                    raise
                log.info("worker.unknown", source=event.source, event_type=event.event_type)

        self._handle = taken

    def _offered(self, calls: "OutboundClient") -> "WebhookServices | None":
        """Return what subscribers need of the api; it delivers nothing itself."""
        from functions._hosts.webhooks import webhook_services

        if not self.settings.webhooks:
            return None
        return webhook_services(self.platform, self.settings, calls, None, self.settings.tells)

    def _remembering(self, app: AsgiApp) -> AsgiApp:
        """Let the report of a worker be one event; all other requests read what they show."""
        from functions._hosts.api_app import is_report

        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            if is_report(scope):
                self.store.remember()
            await app(scope, receive, send)

        return answered

    async def handle(self, event: CloudEvent) -> None:
        """Handle an event; see `EventWork`. To the api it is one from outside: see `POST /`."""
        if event.source == SOURCE and self.app is None:  # what comes from outside may say anything of its source
            self.timers.came(event)
            await self._sweep()
        else:
            if event.event_type in ROUTES:
                self.store.remember()
            await self._handle(await self._fetched(event))

    async def _fetched(self, event: CloudEvent) -> CloudEvent:
        return event if self.claims is None else await self.claims.fetched(event)

    async def dead_letter(
        self, event: CloudEvent, reason: Reason, *, breaks_flow: bool = False, outside: bool = False
    ) -> None:
        """See `EventWork.dead_letter`; all that the api gets by its queue is from outside."""
        await self._work.dead_letter(event, reason, breaks_flow=breaks_flow, outside=outside or self.app is not None)

    async def settle(self) -> None:
        """Wait, up to `until`, for all that was set going; then ask for what is due next."""
        while self.platform.busy and self._in_time():  # noqa: ASYNC110 many things, none of which tells
            await asyncio.sleep(0.002)
        if self._webhooks is not None and self._webhooks.busy:
            await self._webhooks.drain(self._in_time)
            await self._webhooks.close()  # what is cut off comes due again
        if self._in_time():
            await self.platform.pheromones.save()  # nothing runs between invocations
        if self.platform.busy:
            log.warning("invocation.cut_off")
        if self._swept:
            await self.timers.set_next(self.platform.ports.wakeups)
        else:
            await self.timers.set()
        self._swept = False
        self.store.forget()

    async def _tick(self) -> None:
        """Act on what is due, publish what was left, forget what is old."""
        await self._sweep()
        if self._in_time():
            await self.platform.catch_up()
            await self.relay.recover()
            if self._webhooks is not None:
                await self._webhooks.round()
        for _ in range(ROUNDS):
            if not self._in_time() or not await self.retention.round():
                return

    async def _sweep(self) -> None:
        self._swept = True
        await self.platform.sweeper.sweep(self._in_time)

    def _in_time(self) -> bool:
        """Whether the invocation has time for more; what is due then is asked for once more."""
        return asyncio.get_running_loop().time() < self.until


def _webhooks(name: str, platform: Platform, settings: Settings) -> "Webhooks | None":
    """Return the webhooks of a function that calls them: with an event, or at a tick when a repetition is due."""
    if name not in CALLS_WEBHOOKS or not settings.webhooks:
        return None
    from functions._adapters.http.outbound import OutboundClient
    from functions._engine.webhooks import Webhooks

    return Webhooks(platform.ports, OutboundClient(settings.networks), platform.metrics, base_url=platform.base_url)
