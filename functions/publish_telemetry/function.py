"""C6: send one event for each step and one frame for the flow, in order, or leave them in the buffer.

Consumes flow.consolidated. Emits flow.step.completed and telemetry.frame to the telemetry sink.
Gives up when the sink refuses an event: that one becomes a dead letter. When the sink is away, or has not taken
them within 60 s, the events wait in the buffer, and the flow ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from functions._core.engine import FlushResult
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.data import FlowConsolidated
from functions._core.events.envelope import CloudEvent
from functions._core.events.telemetry import telemetry_of
from functions._core.machine.context import Context
from functions._core.machine.flow import TelemetryKept, TelemetryTaken
from functions._core.machine.integrity import findings_of
from functions._core.machine.outcomes import AnyOutcome, Duplicate
from functions._core.machine.related_tickets import all_tickets
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import REFUSED_BY_SINK, SINK_UNAVAILABLE, letter_of
from functions._core.records.models import Flow, Reason
from functions._core.records.values import FlowStatus


async def publish_telemetry(_event: FlowConsolidated, context: Context, ports: Ports) -> AnyOutcome:
    """Return `TelemetryTaken` or `TelemetryKept`; the flow ends with either."""
    if context.flow.status is not FlowStatus.PUBLISHING:
        return Duplicate()
    tickets = await all_tickets(context.flow, ports)
    events = telemetry_of(context.flow, tickets, context.now)
    findings = findings_of(context.flow, tickets)
    # What waits goes first: a new frame must not overtake it.
    if await ports.telemetry_buffer.oldest(1):
        return TelemetryKept(events, findings)
    offered = await offer(events, ports)
    if offered.away is not None:
        return TelemetryKept(events[offered.done :], findings, offered.refused)
    return TelemetryTaken(findings, offered.refused)


@dataclass(frozen=True, slots=True)
class Offered:
    """What the sink has made of events: the first `done` of them it has taken or `refused`; `away` says why no more.

    `refused` are ids, and those of dead letters by now.
    """

    done: int
    refused: tuple[str, ...] = ()
    away: str | None = None


async def offer(events: Sequence[CloudEvent], ports: Ports) -> Offered:
    """Send events in order, and make dead letters of those, and only those, that the sink refuses.

    A sink refuses a whole message. The next one is half as long, until the message is the one event that is refused;
    what follows goes in messages that are twice as long each time.
    """
    done, length, refused = 0, len(events), list[str]()
    while done < len(events):
        message = events[done : done + length]
        try:
            await ports.telemetry_sink.send(message)
        except Unavailable as away:
            return Offered(done, tuple(refused), str(away))
        except Rejected as refusal:
            if len(message) > 1:
                length = len(message) // 2
                continue
            await _dead_letter(message[0], REFUSED_BY_SINK, str(refusal), ports)
            refused.append(message[0].id)
        else:
            length *= 2
        done += len(message)
    return Offered(done, tuple(refused))


FLUSH_PAGE = 100
BUFFERED_AT_MOST = timedelta(hours=1)
"""An entry that the sink has not taken for so long becomes a dead letter: counted, kept, out of the way."""

NOTE_TRIES = 8
"""Reloads of a flow's row that somebody else changes at the same time."""


async def flush_telemetry(ports: Ports, intent_id: str | None = None) -> FlushResult:
    """Send what waits in the buffer, the oldest first, until all is sent or the sink is away; return what moved.

    With an intent's id, what belongs to it overtakes the rest; among itself it keeps its order.
    """
    sent = lost = after = 0
    while page := await ports.telemetry_buffer.oldest(FLUSH_PAGE, after=after):
        after = page[-1][0]
        wanted = [entry for entry in page if intent_id in {None, (entry[2].data or {}).get("intent_id")}]
        if not wanted:
            continue
        offered = await offer([event for _, _, event in wanted], ports)
        gone = wanted[: offered.done]
        await _remove([(position, event) for position, _, event in gone], offered.refused, ports)
        sent += len(gone) - len(offered.refused)
        lost += len(offered.refused)
        if offered.away is not None:
            return FlushResult(sent, lost + await _give_up_old(offered.away, ports), offered.away)
    return FlushResult(sent, lost)


async def replay_telemetry(event: CloudEvent, ports: Ports) -> None:
    """Put the event of a dead letter behind what waits for the sink; its flow counts it as waiting again."""
    flow = await ports.store.flow(event.extensions.get("partitionkey", ""))
    changed = None
    if flow is not None and event.id in flow.telemetry_refused:
        changed = flow.but(
            telemetry_waiting=(*flow.telemetry_waiting, event.id),
            telemetry_refused=tuple(one for one in flow.telemetry_refused if one != event.id),
            version=flow.version + 1,
        )
    flow_id = flow.flow_id if flow is not None else event.subject or ""
    await ports.store.commit(ChangeSet(flow_id=flow_id, flow=changed, telemetry=(event,)))


async def _give_up_old(why: str, ports: Ports) -> int:
    """Make dead letters of everything that has waited too long; return of how many."""
    now, lost = ports.clock.now(), 0
    while page := await ports.telemetry_buffer.oldest(FLUSH_PAGE):
        old = [(position, event) for position, since, event in page if now - since >= BUFFERED_AT_MOST]
        for _, event in old:
            await _dead_letter(event, SINK_UNAVAILABLE, why, ports)
        await _remove(old, [event.id for _, event in old], ports)
        lost += len(old)
        if len(old) < len(page):
            break
    return lost


async def _dead_letter(event: CloudEvent, code: str, why: str, ports: Ports) -> None:
    reason = Reason(code=code, message=why)
    await ports.dead_letters.put(letter_of(event, "publish_telemetry", reason, 1, ports.clock.now()))


async def _remove(entries: Sequence[tuple[int, CloudEvent]], lost: Iterable[str], ports: Ports) -> None:
    """Take entries out of the buffer; their flows know first which of them the sink has and which are `lost`."""
    of_flows: dict[str, set[str]] = {}
    for _, event in entries:
        of_flows.setdefault(event.extensions.get("partitionkey", ""), set()).add(event.id)
    for flow_id, ids in of_flows.items():
        await _note(flow_id, ids, set(lost), ports)
    await ports.telemetry_buffer.forget([position for position, _ in entries])


async def _note(flow_id: str, gone: set[str], lost: set[str], ports: Ports) -> None:
    """Tell a flow that some of its telemetry has left the buffer; what it does not wait for changes nothing."""
    for _ in range(NOTE_TRIES):
        flow = await ports.store.flow(flow_id)
        if flow is None or gone.isdisjoint(flow.telemetry_waiting):
            return
        try:
            await ports.store.commit(ChangeSet(flow_id=flow_id, flow=_without(flow, gone, lost)))
        except Conflict:
            continue
        return


def _without(flow: Flow, gone: set[str], lost: set[str]) -> Flow:
    waiting = tuple(one for one in flow.telemetry_waiting if one not in gone)
    refused = (*flow.telemetry_refused, *(one for one in flow.telemetry_waiting if one in gone & lost))
    return flow.but(
        telemetry_waiting=waiting,
        telemetry_refused=refused,
        telemetry_published=not waiting and not refused,
        version=flow.version + 1,
    )
