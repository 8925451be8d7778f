"""C6: send one event for each step and one frame for the flow, in order, or leave them in the buffer.

Consumes flow.consolidated. Emits flow.step.completed and telemetry.frame to the telemetry sink.
Gives up when the sink does not take them, or has not within 60 s: they wait in the buffer, and the flow ends.
"""

from datetime import timedelta

from functions._core.errors import Unavailable
from functions._core.event_data import FlowConsolidated
from functions._core.integrity import findings_of
from functions._core.letters import letter_of
from functions._core.models import Reason
from functions._core.outcomes import AnyOutcome, Duplicate, TelemetryKept, TelemetryTaken
from functions._core.ports import Ports
from functions._core.situation import Situation
from functions._core.surroundings import all_tickets
from functions._core.telemetry import telemetry_of
from functions._core.values import FlowStatus


async def publish_telemetry(_event: FlowConsolidated, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `TelemetryTaken` or `TelemetryKept`; the flow ends with either."""
    if situation.flow.status is not FlowStatus.PUBLISHING:
        return Duplicate()
    tickets = await all_tickets(situation.flow, ports)
    events = telemetry_of(situation.flow, tickets, situation.now)
    findings = findings_of(situation.flow, tickets)
    # What waits goes first: a new frame must not overtake it.
    if await ports.telemetry_buffer.oldest(1):
        return TelemetryKept(events, findings)
    try:
        await ports.telemetry_sink.send(events)
    except Unavailable:
        return TelemetryKept(events, findings)
    return TelemetryTaken(findings)


FLUSH_PAGE = 100
BUFFERED_AT_MOST = timedelta(hours=1)
"""After this an entry that the sink still refuses becomes a dead letter: counted, kept, out of the way."""


async def flush_telemetry(ports: Ports, intent_id: str | None = None) -> int:
    """Send what waits in the buffer, the oldest first, until all is sent or the sink refuses; return how many were.

    With an intent's id, what belongs to it overtakes the rest; among itself it keeps its order.
    """
    sent = after = 0
    while page := await ports.telemetry_buffer.oldest(FLUSH_PAGE, after=after):
        after = page[-1][0]
        wanted = [entry for entry in page if intent_id in {None, (entry[2].data or {}).get("intent_id")}]
        if not wanted:
            continue
        try:
            await ports.telemetry_sink.send([event for _, _, event in wanted])
        except Unavailable as away:
            await _give_up_old(str(away), ports)
            break
        await ports.telemetry_buffer.forget([position for position, _, _ in wanted])
        sent += len(wanted)
    return sent


async def _give_up_old(why: str, ports: Ports) -> None:
    """Make dead letters of everything that has waited too long."""
    now = ports.clock.now()
    while page := await ports.telemetry_buffer.oldest(FLUSH_PAGE):
        old = [(position, event) for position, since, event in page if now - since >= BUFFERED_AT_MOST]
        for _, event in old:
            reason = Reason(code="sink_unavailable", message=why)
            await ports.dead_letters.put(letter_of(event, "publish_telemetry", reason, 1, now))
        await ports.telemetry_buffer.forget([position for position, _ in old])
        if len(old) < len(page):
            return
