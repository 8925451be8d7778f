"""Follow workers: who registers, who is alive, who has gone, and what that means for tickets.

Consumes worker.registered, worker.heartbeat, worker.deregistered, how attempts ended, and clock.ticked for workers that
were silent. Emits worker.recovered for tickets that a worker can take now, worker.unhealthy for those it has lost,
worker.suspended for one that gets nothing for a while.
Gives up on a worker after three missed heartbeats (its tickets go elsewhere), forgets it after ten.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions._core.draft import derived_id
from functions._core.envelope import CloudEvent, type_of
from functions._core.models import Ticket
from functions._core.ports import Due, Ports
from functions._core.rules import TICKETS_PER_EVENT, Rules
from functions._core.values import NAMESPACE, Health, format_time
from functions._core.worker_record import Worker
from functions._core.workers import (
    Deregistration,
    Heartbeat,
    Registration,
    Running,
    Suspension,
    Verdict,
    heard,
    judged,
    registered,
    silent,
    suspended,
)

OFFER_LEASE = timedelta(seconds=5)
HELD_AT_ONCE = 1000
"""Tickets taken from a lost worker in one go; its next wake-up takes the rest."""

REASON_KEPT = 500
"""Characters of what a worker says when it leaves: brokers need not take events of any size."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What became of a worker: its new row (None: forgotten), its former one, and the events to send first."""

    worker: Worker | None
    known: Worker | None
    events: tuple[CloudEvent, ...] = ()


Event = Registration | Heartbeat | Deregistration | Verdict | Due


async def track_workers(event: Event, ports: Ports, rules: Rules) -> Tracked:
    """Return what the event means for its worker; a heartbeat of an unknown one means nothing."""
    now = ports.clock.now()
    worker_id = event.record_id if isinstance(event, Due) else event.worker_id
    known = await ports.registry.worker(worker_id)
    if isinstance(event, Registration):
        worker = registered(known, event, now, rules)
        events = (*await _not_held(worker, event.running, ports, rules), *await release(worker, ports))
        return Tracked(worker, known, events)
    if known is None:
        return Tracked(None, None)
    if isinstance(event, Deregistration):
        why = f"has left: {event.reason[:REASON_KEPT] or 'no reason given'}"
        return Tracked(None, known, await _lost(known, ports, why))
    if isinstance(event, Verdict):
        return _judged(known, event, now, rules)
    if isinstance(event, Heartbeat):
        worker = heard(known, event, now, rules)
        back = known.announced is Health.UNHEALTHY and worker.announced is not Health.UNHEALTHY
        released = await release(worker, ports) if back else ()
        return Tracked(worker, known, (*await _not_held(worker, event.running, ports, rules), *released))
    silence = silent(known, now, rules)
    gone = silence is None or silence.announced is Health.UNHEALTHY
    why = f"has not been heard of since {format_time(known.last_seen)}"
    return Tracked(silence, known, await _lost(known, ports, why) if gone else ())


def _judged(known: Worker, verdict: Verdict, now: datetime, rules: Rules) -> Tracked:
    worker = judged(known, verdict, now, rules)
    if worker is None or worker.suspended_until in {None, known.suspended_until}:
        return Tracked(worker or known, known)
    said = Suspension(
        worker_id=worker.worker_id, failures=worker.failures, until=worker.suspended_until, why=verdict.why
    )
    event = CloudEvent(
        id=derived_id(str(NAMESPACE), "worker.suspended", f"{worker.worker_id}:{worker.version}"),
        source="/flowc/track_workers",
        type=type_of("worker.suspended"),
        time=now,
        subject=worker.worker_id,
        data=said.model_dump(mode="json"),
    )
    return Tracked(worker, known, (event,))


async def release(worker: Worker, ports: Ports) -> tuple[CloudEvent, ...]:
    """Return `worker.recovered` for waiting tickets, as many as the worker has free slots."""
    now = ports.clock.now()
    held = (await ports.tally.active()).get(worker.worker_id, 0)
    if held >= worker.slots or worker.announced is Health.UNHEALTHY or suspended(worker, now):
        return ()
    waiting = await ports.wakeups.claim_waiting(worker.offers, now, worker.slots - held, OFFER_LEASE)
    return tuple(_events("worker.recovered", worker, waiting, ports, {}))


async def _lost(worker: Worker, ports: Ports, why: str) -> tuple[CloudEvent, ...]:
    held = await ports.tally.held_by(worker.worker_id, HELD_AT_ONCE)
    return tuple(_events("worker.unhealthy", worker, held, ports, {"worker_id": worker.worker_id, "why": why}))


async def _not_held(
    worker: Worker, running: Sequence[Running] | None, ports: Ports, rules: Rules
) -> tuple[CloudEvent, ...]:
    """Return `worker.unhealthy` for tickets that the worker accepted a while ago and knows nothing of."""
    if running is None:
        return ()
    named = {(entry.ticket_id, entry.attempt) for entry in running}
    # A ticket accepted just now may have crossed with the message that does not name it yet.
    before = ports.clock.now() - rules.redeliver
    held = await ports.tally.held_by(worker.worker_id, HELD_AT_ONCE)
    lost = [
        ticket
        for ticket in held
        if (ticket.ticket_id, ticket.attempt) not in named
        and ticket.acknowledged_at
        and ticket.acknowledged_at < before
    ]
    why = "says that it is not working on it"
    return tuple(_events("worker.unhealthy", worker, lost, ports, {"worker_id": worker.worker_id, "why": why}))


def _events(
    noun: str, worker: Worker, tickets: Iterable[Ticket], ports: Ports, more: dict[str, str]
) -> Iterable[CloudEvent]:
    by_flow: dict[str, list[Ticket]] = {}
    for ticket in tickets:
        by_flow.setdefault(ticket.flow_id, []).append(ticket)
    for flow_id, group in by_flow.items():
        for start in range(0, len(group), TICKETS_PER_EVENT):
            chunk = group[start : start + TICKETS_PER_EVENT]
            key = ",".join(f"{t.ticket_id}:{t.attempt}:{t.emissions}" for t in chunk)
            yield CloudEvent(
                id=derived_id(flow_id, noun, f"{worker.worker_id}:{worker.version}:{key}"),
                source="/flowc/track_workers",
                type=type_of(noun),
                time=ports.clock.now(),
                subject=flow_id,
                data={"flow_id": flow_id, "ticket_ids": [t.ticket_id for t in chunk], **_about(chunk, more)},
                extensions={
                    "partitionkey": flow_id,
                    "correlationid": chunk[0].correlation_id,
                    "traceparent": f"00-{chunk[0].trace_id}-{chunk[0].span_id}-01",
                },
            )


def _about(tickets: Sequence[Ticket], more: dict[str, str]) -> dict[str, object]:
    """Return what an event says beyond its tickets; one about lost tickets names the attempts that are lost."""
    return {**more, "attempts": {t.ticket_id: t.attempt for t in tickets}} if more else {}
