"""Telemetry of a program beside that of the platform: events go to a sink, and wait here while it is away."""

import json
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowc.client.calls import Call, Steps
from flowc.client.errors import CircuitOpen, NoAnswer, Refused
from flowc.client.retries import RetryPolicy, passing
from flowc.client.service import AsyncServiceClient, Operation, ServiceClient, SyncServiceClient, http_address
from flowc.client.tracing import CURRENT

TOPIC = "telemetry-flow-c"
KEPT_SECONDS = 3600.0
"""How long an event waits for the sink; then it is dropped and counted."""

KEPT_EVENTS = 10_000
"""Events that wait at most, of all intents; the oldest of the same intent, else the new one, makes room."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that the sink has not taken yet, and until when it is kept."""

    body: bytes
    until: float


class TelemetryOperations(ServiceClient):
    """What both publishers can do. `lost` counts events that were dropped: too old, too many, or refused."""

    def __init__(
        self,
        sink_url: str,
        topic: str = TOPIC,
        *,
        platform_url: str | None = None,
        **settings: Any,  # noqa: ANN401 - those of `ServiceClient`
    ) -> None:
        """Take the address of a sink that takes CloudEvents; `topic` is their source.

        With `platform_url`, flushing sends what the platform has buffered of the intent, too.
        """
        super().__init__(http_address(sink_url), **{"retry": RetryPolicy(attempts=1), **settings})
        self._source = f"/{topic.strip('/')}"
        self._platform = http_address(platform_url) if platform_url else None
        self._waiting: dict[str, deque[Waiting]] = {}
        self.lost = 0

    @property
    def buffered(self) -> int:
        """How many events wait for the sink."""
        return sum(map(len, self._waiting.values()))

    @Operation
    def initialize(self) -> Steps[None]:
        """Do nothing: connections are opened when they are needed."""
        yield from ()

    @Operation
    def publish_event(  # noqa: PLR0913 - the fields of an event
        self,
        event_type: str,
        *,
        intent_id: str,
        plan_id: str | None = None,
        decision_id: str | None = None,
        workflow_id: str | None = None,
        step: str | None = None,
        ticket_ids: Sequence[str] = (),
        duration_ms: int | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Steps[bool]:
        """Publish an event such as `step_completed`; return whether the sink has it.

        False: it waits behind the events of the same intent, and goes with the next one or with `flush_buffer`. Raises
        `Refused` when the sink will never take it.
        """
        data = {
            "event_type": event_type,
            "step": step,
            "intent_id": intent_id,
            "plan_id": plan_id,
            "decision_id": decision_id,
            "workflow_id": workflow_id,
            "ticket_ids": list(ticket_ids),
            "duration_ms": duration_ms,
            "status": status,
            "metadata": dict(metadata or {}),
        }
        self._keep(intent_id, json.dumps(self._event(event_type, data), allow_nan=False).encode())
        yield from self._flushed(intent_id)
        return intent_id not in self._waiting

    @Operation
    def flush_buffer(self, intent_id: str) -> Steps[int]:
        """Send what waits of an intent, in order; return how many events were sent, the platform's included."""
        sent = yield from self._flushed(intent_id)
        if self._platform is not None:
            url = f"{self._platform}/api/v1/telemetry/flush"
            reply = yield from self._call("POST", url, {"intent_id": intent_id}, repeatable=True)
            flushed = reply.document().get("flushed")
            sent += flushed if isinstance(flushed, int) else 0
        return sent

    def _event(self, event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
        trace = CURRENT.get()
        return {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": self._source,
            "type": f"io.neuralhive.telemetry.{event_type.replace('_', '.')}.v1",
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "subject": data["workflow_id"] or data["intent_id"],
            "datacontenttype": "application/json",
            **({"traceparent": trace} if trace else {}),
            "data": data,
        }

    def _keep(self, intent_id: str, body: bytes) -> None:
        line = self._waiting.setdefault(intent_id, deque())
        if self.buffered >= KEPT_EVENTS:
            self.lost += 1
            if not line:
                del self._waiting[intent_id]
                return
            line.popleft()
        line.append(Waiting(body, time.monotonic() + KEPT_SECONDS))

    def _flushed(self, intent_id: str) -> Steps[int]:
        """Send what waits of an intent until the sink is away; return how many it has taken."""
        sent, line = 0, self._waiting.get(intent_id)
        headers = {"content-type": "application/cloudevents+json"}
        while line:
            first = line[0]
            if first.until < time.monotonic():
                self.lost += 1
            else:
                try:
                    yield from self._exchange(Call(method="POST", url="", headers=headers, body=first.body))
                except (NoAnswer, CircuitOpen):
                    return sent
                except Refused as refused:
                    if passing(refused.status):
                        return sent
                    self._drop(intent_id, first)
                    self.lost += 1
                    raise
                sent += 1
            self._drop(intent_id, first)
        return sent

    def _drop(self, intent_id: str, entry: Waiting) -> None:
        """Forget an entry that is done with, unless another call was faster."""
        line = self._waiting.get(intent_id)
        if line and line[0] is entry:
            line.popleft()
        if line is not None and not line:
            del self._waiting[intent_id]


class FlowCTelemetryPublisher(TelemetryOperations, AsyncServiceClient):
    """Telemetry, by coroutines."""


class SyncFlowCTelemetryPublisher(TelemetryOperations, SyncServiceClient):
    """Telemetry, by plain calls."""
