"""The webhooks of a process, and what its api needs of them."""

from collections.abc import Callable
from urllib.parse import urlsplit

from functions._adapters.http.outbound import OutboundClient
from functions._engine.clock import fresh_id
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._engine.webhook_handshake import consent
from functions._engine.webhooks import Wanted, Webhooks
from functions._hosts.wiring_api import WebhookServices
from functions._observability.logs import log


def local_webhooks(platform: Platform, settings: Settings, calls: OutboundClient) -> Webhooks:
    """Return the webhooks of a process that is its own broker; without subscriptions its events cost what they did."""
    also = platform.outbox.subscriber

    def wants(wanted: Wanted | None) -> None:
        platform.dispatcher.subscribed = wanted

    webhooks = Webhooks(
        platform.ports,
        calls,
        platform.metrics,
        base_url=platform.base_url,
        wants=wants,
        also=also,
        also_wanted=settings.tells if also is not None else None,
    )
    platform.outbox.subscriber = webhooks  # there may be events of tickets that name a webhook
    platform.instruments.gauges.more = webhooks.gauges
    return webhooks


def webhook_services(
    platform: Platform,
    settings: Settings,
    calls: OutboundClient,
    webhooks: Webhooks | None,
    told: Callable[[str], bool] = lambda _event_type: True,
) -> WebhookServices:
    """Return what an api needs; `webhooks` are those of its own process, if it delivers."""
    origin = urlsplit(platform.base_url).hostname or "localhost"

    async def changed(subscription_id: str) -> None:
        if webhooks is not None:
            await webhooks.changed(subscription_id)

    def refused(code: str) -> None:
        platform.metrics.count("signature_validation_failures_total", code)
        log.warning("webhook.refused", code=code)

    return WebhookServices(
        check=calls.check,
        consent=lambda sink: consent(calls, sink, origin),
        changed=changed,
        told=told,
        fresh_id=fresh_id,
        pipeline_secrets=settings.webhook_secrets,
        refused=refused,
    )
