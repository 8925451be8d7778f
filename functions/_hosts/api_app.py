"""The api over one process of the platform."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from functions._adapters.http.cloudevents import read_events
from functions._core.engine import ProcessState
from functions._core.events.reports import RefusedReport
from functions._engine.api_keys import ApiKeys
from functions._engine.identity import identity_of
from functions._engine.platform import Platform
from functions._engine.rate_limiter import RateLimiter
from functions._engine.read_in_turns import ReadInTurns
from functions._engine.settings import Settings
from functions._engine.version import __version__
from functions._hosts.wiring_api import (
    REPORTS,
    AlertServices,
    AnalystState,
    ApiServices,
    Calls,
    PassportSigner,
    WebhookServices,
    create_app,
)
from functions._observability.http_metrics import AsgiApp, Scope
from functions._observability.learning_metrics import LearningGauges, record_cache, record_load_forecast, record_query
from functions._observability.logs import log
from functions._observability.query_metrics import QueryMetrics

Calculate = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


def api_app(
    platform: Platform,
    settings: Settings,
    check: Callable[[], Awaitable[None]],
    calls: Calls,
    webhooks: WebhookServices | None = None,
    calculate: Calculate | None = None,
) -> AsgiApp:
    """Return the api; it is ready while `check` raises nothing, and calls others by `calls`."""
    services = api_services(platform, settings, check)
    return served(platform, replace(services, webhooks=webhooks, calls=calls, calculate=calculate))


def served(platform: Platform, services: ApiServices) -> AsgiApp:
    """Return the api over `services`, watched by the instruments of the platform."""
    return platform.instruments.serving(create_app(services))


def api_services(platform: Platform, settings: Settings, check: Callable[[], Awaitable[None]]) -> ApiServices:
    """Return what the api needs of the platform."""

    async def ready() -> Mapping[str, object]:
        await check()
        state = {"queue": platform.outbox.held, "telemetry_buffer": await platform.ports.telemetry_buffer.size()}
        lost = platform.secret_leases.lost
        return {**state, "lost_secrets": dict(lost)} if lost else state

    def refused(report: RefusedReport) -> None:
        platform.metrics.count("flowc_reports_refused_total", report.code)
        log.warning("report.refused", **report.model_dump(exclude_none=True))

    keys = ApiKeys(platform.ports.key_values, platform.ports.clock)
    identify, sign_in = identity_of(settings, keys, platform.ports.clock)
    return ApiServices(
        ports=platform.ports,
        engine=platform,
        rules=platform.rules,
        read_events=read_events,
        metrics=partial(_metrics, platform),
        ready=ready,
        max_body=settings.max_body_bytes,
        max_report=min(settings.max_report_bytes, settings.max_body_bytes),
        version=__version__,
        base_url=platform.base_url,
        identify=identify,
        sign_in=sign_in,
        keys=keys,
        # Where access is off only this machine calls, and whoever is on it can do more harm otherwise.
        limiter=_limiter(platform, settings) if identify is not None and settings.client_limits else None,
        hosts=settings.hosts,
        origins=settings.origins,
        ended=platform.flow_waiters.wait,
        up_since=lambda: platform.dispatcher.up_since,
        queried=QueryMetrics(platform.metrics),
        report_refused=refused,
        read_avro=read_avro,
        state=lambda: _state(platform),
        arm=platform.schedules.arm,
        alerting=_alerting(platform, settings),
        freezes_moved=lambda: platform.budgets.freezes_moved,
        passport_key=lambda: _passport_key(settings),
        analysts=_analysts(platform),
        source_asked=partial(record_query, platform.metrics),
        learns={"learn": settings.learning != "off", "analyze": settings.insights},
    )


def _analysts(platform: Platform) -> AnalystState:
    metrics, gauges = platform.metrics, LearningGauges(platform.instruments.gauges, "forecasts")

    def forecasted(mape: float | None) -> None:
        record_load_forecast(metrics, gauges, None if mape is None else mape / 100)

    return AnalystState(partial(record_cache, metrics), ReadInTurns, forecasted)


async def _metrics(platform: Platform) -> bytes:
    await platform.instruments.gauges.fresh()
    return platform.metrics.text()


def _passport_key(settings: Settings) -> PassportSigner | None:
    from functions._engine.passport_key import passport_key  # cold start: few ask for a passport

    return passport_key(settings)


def _alerting(platform: Platform, settings: Settings) -> AlertServices:
    def heard(status: str, slo_id: str, alert: str) -> None:
        platform.metrics.count("sla_alertmanager_webhooks_received_total", status)
        log.info("alert.received", status=status, slo_id=slo_id, alert=alert)

    def refused(code: str) -> None:
        platform.metrics.count("signature_validation_failures_total", code)
        log.warning("alert.refused", code=code)

    return AlertServices(secrets=settings.alert_webhook_secrets, heard=heard, refused=refused)


def _state(platform: Platform) -> ProcessState:
    handles, instruments = platform.outbox.handles, platform.instruments
    return ProcessState(
        consumer="elsewhere" if handles is None else "running" if handles else "stopped",
        lag=None if handles is None else platform.outbox.held,
        last_event_at=instruments.last_event_at,
        last_decision_at=instruments.last_decision_at,
        sink_away=platform.flush_telemetry.away,
    )


def _limiter(platform: Platform, settings: Settings) -> RateLimiter:
    ports, alone = platform.ports, settings.database_url is None and settings.table is None
    return RateLimiter(settings.client_limits, ports.key_values, ports.clock, platform.metrics, alone=alone)


def read_avro(body: bytes, kind: str) -> dict[str, Any]:
    """Return the JSON object of an Avro body."""
    from functions._adapters.http.avro import read_avro as read  # cold start: few bodies are Avro

    return read(body, kind)


def is_report(scope: Scope) -> bool:
    """Whether a request is the report of a worker."""
    return bool(scope.get("method") == "POST" and REPORTS.fullmatch(scope["path"]))
