"""The api over one process of the platform."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

from functions._adapters.cloudevents_http import read_events
from functions._runtime.metrics_http import AsgiApp
from functions._runtime.metrics_queries import QueryMetrics
from functions._runtime.platform import Platform
from functions._runtime.settings import Settings
from functions._runtime.wiring_api import ApiServices, create_app


def api_app(platform: Platform, settings: Settings, check: Callable[[], Awaitable[None]]) -> AsgiApp:
    """Return the api; it is ready while `check` raises nothing."""

    async def ready() -> Mapping[str, object]:
        await check()
        return {"queue": platform.pump.held, "telemetry_buffer": await platform.ports.telemetry_buffer.size()}

    app = create_app(
        ApiServices(
            ports=platform.ports,
            engine=platform,
            rules=platform.rules,
            read_events=read_events,
            metrics=platform.metrics.text,
            ready=ready,
            max_body=settings.max_body_bytes,
            version=version("flowc"),
            api_key=settings.api_key,
            hosts=settings.hosts,
            ended=platform.endings.wait,
            up_since=lambda: platform.dispatcher.up_since,
            queried=QueryMetrics(platform.metrics),
        )
    )
    return platform.instruments.serving(app)
