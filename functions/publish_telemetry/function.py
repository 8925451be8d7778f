"""C6: send one event for each step and one frame for the flow, in order, or leave them in the buffer.

Consumes flow.consolidated. Emits flow.step.completed and telemetry.frame to the telemetry sink.
Gives up when the sink does not take them, or has not within 60 s: they wait in the buffer, and the flow ends.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions._core.envelope import CloudEvent
from functions._core.errors import Unavailable
from functions._core.events import FlowConsolidated
from functions._core.letters import letter_of
from functions._core.models import Reason
from functions._core.outcomes import AnyOutcome, Duplicate, TelemetryKept, TelemetryTaken
from functions._core.ports import Ports
from functions._core.situation import Situation
from functions._core.telemetry import telemetry_of
from functions._core.values import FlowStatus


async def publish_telemetry(event: FlowConsolidated, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `TelemetryTaken` or `TelemetryKept`; the flow ends with either."""
    if situation.flow.status is not FlowStatus.PUBLISHING:
        return Duplicate()
    tickets = await ports.store.tickets_of(event.flow_id)
    events = telemetry_of(situation.flow, tickets, situation.now)
    # What waits goes first: a new frame must not overtake it.
    if await ports.telemetry_buffer.size():
        return TelemetryKept(events)
    try:
        await ports.telemetry_sink.send(events)
    except Unavailable:
        return TelemetryKept(events)
    return TelemetryTaken()


FLUSH_PAGE = 100
BUFFERED_AT_MOST = timedelta(hours=1)
"""After this an entry that the sink still refuses becomes a dead letter: counted, kept, out of the way."""


async def flush_telemetry(ports: Ports) -> None:
    """Send what waits in the buffer, the oldest first, until it is empty or the sink refuses."""
    while page := await ports.telemetry_buffer.oldest(FLUSH_PAGE):
        positions = [position for position, _, _ in page]
        try:
            await ports.telemetry_sink.send([event for _, _, event in page])
        except Unavailable as away:
            await _give_up_old(page, str(away), ports)
            return
        await ports.telemetry_buffer.forget(positions)


async def _give_up_old(page: Sequence[tuple[int, datetime, CloudEvent]], why: str, ports: Ports) -> None:
    now = ports.clock.now()
    for position, since, event in page:
        if now - since >= BUFFERED_AT_MOST:
            reason = Reason(code="sink_unavailable", message=why)
            await ports.dead_letters.put(letter_of(event, "publish_telemetry", reason, 1, now))
            await ports.telemetry_buffer.forget([position])
