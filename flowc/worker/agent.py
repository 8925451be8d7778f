"""An agent's place in the registry: it registers, is heard of each 30 s, and leaves.

A `Worker` does this by itself. `AgentClient` is for agents that take no tickets (scouts, guards and others), and for
programs that take tickets in a way of their own.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pydantic import Field

from flowc.client.errors import NotFound, PlatformError
from flowc.client.models import AgentInfo, AgentTelemetry, HealthStatus, HeartbeatTaken, Sent
from flowc.client.registry import ServiceRegistryClient
from functions._observability.logs import log

HEARTBEAT_SECONDS = 30.0
SHORTEST_BEAT = 0.1
"""Seconds between two heartbeats at least, whatever the platform asks for."""


class AgentConfig(Sent):
    """The settings of an agent; `from_environment` reads them."""

    url: str = "http://127.0.0.1:8080"
    """The platform's address: FLOWC_URL."""
    api_key: str = Field(default="", repr=False)
    """The platform's key: FLOWC_API_KEY."""
    agent_id: str = Field(default="", max_length=255)
    """AGENT_ID; without one the registry gives one."""
    agent_type: str = Field(default="WORKER", pattern=r"^[A-Z]+$")
    """AGENT_TYPE: WORKER, SCOUT, GUARD, ANALYST, OPTIMIZER, QUEEN or FORGE."""
    capabilities: tuple[str, ...] = ()
    """AGENT_CAPABILITIES, with commas between."""
    endpoint: str = ""
    """AGENT_ENDPOINT: where it is reached."""
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    """AGENT_METADATA: a JSON object."""
    heartbeat_seconds: float = Field(default=HEARTBEAT_SECONDS, gt=0)
    """AGENT_HEARTBEAT_SECONDS; the registry may want to hear of it more often."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from variables; raises `ValueError` that names all that are wrong."""
        given = os.environ if environment is None else environment
        names = {"url": "FLOWC_URL", "api_key": "FLOWC_API_KEY"}
        names |= {
            field: f"AGENT_{field.removeprefix('agent_').upper()}" for field in cls.model_fields if field not in names
        }
        values: dict[str, Any] = {field: given[name] for field, name in names.items() if given.get(name)}
        if "agent_type" in values:
            values["agent_type"] = values["agent_type"].upper()
        if "capabilities" in values:
            values["capabilities"] = tuple(filter(None, map(str.strip, values["capabilities"].split(","))))
        if "metadata" in values:
            try:
                values["metadata"] = json.loads(values["metadata"])
            except ValueError as error:
                raise ValueError(f"AGENT_METADATA is no JSON: {error}") from error
        return cls.model_validate(values)


class AgentClient:
    """An async context manager: entering registers and starts the heartbeat, leaving stops it and deregisters.

    `telemetry` is what the next heartbeats say; `on_cancel` is called with the tickets that the agent should stop.
    """

    def __init__(
        self,
        config: AgentConfig | None = None,
        *,
        registry: ServiceRegistryClient | None = None,
        on_cancel: Callable[[Sequence[str]], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take the settings, those of the environment without any; `sleep` is the clock of the heartbeat."""
        self.config = config or AgentConfig.from_environment()
        self.telemetry = AgentTelemetry()
        self.status = "HEALTHY"
        self.agent_id = self.config.agent_id
        self._registry = registry or ServiceRegistryClient(self.config.url, api_key=self.config.api_key)
        self._on_cancel = on_cancel
        self._sleep = sleep
        self._capabilities = self.config.capabilities
        self._interval = self.config.heartbeat_seconds
        self._beating: asyncio.Task[None] | None = None

    async def register(self, capabilities: Sequence[str] | None = None) -> str:
        """Register, with other capabilities than the settings name where some are given; return the agent's id."""
        if capabilities is not None:
            self._capabilities = tuple(capabilities)
        info = AgentInfo(
            agent_id=self.agent_id,
            agent_type=self.config.agent_type,
            capabilities=self._capabilities,
            endpoint=self.config.endpoint,
            metadata=self.config.metadata,
        )
        known = await self._registry.register_agent(info)
        self.agent_id = known.agent_id
        asked = max(known.heartbeat_interval_seconds, SHORTEST_BEAT)
        self._interval = min(self.config.heartbeat_seconds, asked)
        return self.agent_id

    async def beat(self) -> HeartbeatTaken:
        """Send one heartbeat; register again when the registry has forgotten the agent."""
        health = HealthStatus(status=self.status, metrics=self.telemetry)
        try:
            taken = await self._registry.update_health(self.agent_id, health)
        except NotFound:
            await self.register()
            return HeartbeatTaken(status=self.status)
        if taken.cancel and self._on_cancel is not None:
            self._on_cancel(taken.cancel)
        return taken

    def start_heartbeat(self) -> None:
        """Send heartbeats in the background, until `stop_heartbeat`."""
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat_for_ever())

    async def stop_heartbeat(self) -> None:
        """Send no more heartbeats."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def deregister(self, reason: str = "the agent stops") -> None:
        """Leave the registry; one that cannot be told finds out by the silence."""
        try:
            await self._registry.deregister_agent(self.agent_id, reason)
        except PlatformError as error:
            log.warning("agent.not_deregistered", reason=str(error))

    async def __aenter__(self) -> Self:
        """Register and start the heartbeat; raises `PlatformError` when the registry does not take it."""
        try:
            await self.register()
        except BaseException:
            await self._registry.close()
            raise
        self.start_heartbeat()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the heartbeat, deregister and close all connections."""
        await self.stop_heartbeat()
        await self.deregister()
        await self._registry.close()

    async def _beat_for_ever(self) -> None:
        while True:
            await self._sleep(self._interval)
            try:
                await self.beat()
            except PlatformError as error:  # the next one makes up for it
                log.warning("agent.heartbeat_lost", reason=str(error))
            except Exception:  # noqa: BLE001 - a callback that fails does not end the heartbeat
                log.exception("agent.callback_failed")
