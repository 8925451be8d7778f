"""Follow workers: who registers, who is alive, who has gone, and what that means for tickets.

Consumes worker.registered, worker.heartbeat, worker.deregistered, how attempts ended, and clock.ticked for workers that
were silent. Emits worker.recovered for tickets that a worker can take now, worker.unhealthy for those it has lost,
worker.suspended for one that gets nothing for a while.
Gives up on a worker after three missed heartbeats (its tickets go elsewhere), forgets it after ten.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import derived_id
from functions._core.placement.breaker import BreakerOrder, Suspension, Trial, WorkerVerdict, judged, ordered, tried
from functions._core.placement.ranking import free_slots, half_open
from functions._core.placement.workers import (
    Deregistration,
    Drain,
    Heartbeat,
    Registration,
    Running,
    WorkerEvent,
    drained,
    heard,
    registered,
    silent,
)
from functions._core.ports import Due, Ports
from functions._core.records.models import Ticket
from functions._core.records.values import NAMESPACE, Health, format_time
from functions._core.records.worker import Worker
from functions._core.rules import TICKETS_PER_EVENT, Rules

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


async def track_workers(event: WorkerEvent, ports: Ports, rules: Rules) -> Tracked:
    """Return what the event means for its worker; a heartbeat of an unknown one means nothing."""
    now = ports.clock.now()
    worker_id = event.record_id if isinstance(event, Due) else event.worker_id
    known = await ports.registry.worker(worker_id)
    if isinstance(event, Registration):
        if known is not None and known.agent_type is not event.agent_type:
            text = f"{worker_id} is registered as {known.agent_type}; it has to deregister before it is something else"
            raise Rejected(text, code="other_agent_type", status=409)
        worker = registered(known, event, now, rules)
        events = (*await _not_held(worker, event.running, ports, rules), *await release(worker, ports))
        return Tracked(worker, known, events)
    if known is None:
        return Tracked(None, None)
    if isinstance(event, Deregistration | Drain):
        return await _leaving(known, event, ports)
    if isinstance(event, WorkerVerdict | Trial | BreakerOrder):
        return await _of_breaker(known, event, ports, rules)
    if isinstance(event, Heartbeat):
        worker = heard(known, event, now, rules)
        back = known.announced is Health.UNHEALTHY and worker.announced is not Health.UNHEALTHY
        released = await release(worker, ports) if back or half_open(worker, now) else ()
        return Tracked(worker, known, (*await _not_held(worker, event.running, ports, rules), *released))
    return await _looked_at(known, ports, rules)


async def _leaving(known: Worker, event: Deregistration | Drain, ports: Ports) -> Tracked:
    """Return what it means that a worker leaves, or that it gets no new tickets from now on, or gets them again."""
    if isinstance(event, Deregistration):
        return Tracked(None, known, await handed_on(event, known.version, ports))
    changed = drained(known, event)
    return Tracked(changed or known, known, await release(changed, ports) if changed else ())


async def _looked_at(known: Worker, ports: Ports, rules: Rules) -> Tracked:
    """Return what the wake-up of a worker finds: one that is silent, or whose circuit breaker is half-open."""
    now = ports.clock.now()
    silence = silent(known, now, rules)
    if silence is not None and silence.announced is not Health.UNHEALTHY:
        return Tracked(silence, known, await release(silence, ports) if half_open(silence, now) else ())
    why = f"has not been heard of since {format_time(known.last_seen)}"
    return Tracked(silence, known, await _lost(known.worker_id, known.version, ports, why))


async def _of_breaker(
    known: Worker, event: WorkerVerdict | Trial | BreakerOrder, ports: Ports, rules: Rules
) -> Tracked:
    """Return the worker after a verdict, a trial or a wish; that its breaker opens is made known, once."""
    now = ports.clock.now()
    if isinstance(event, BreakerOrder):
        worker = ordered(known, event, now, rules)
    else:
        worker = tried(known, event, now) if isinstance(event, Trial) else judged(known, event, now, rules)
    if worker is None or isinstance(event, Trial):
        return Tracked(worker or known, known)
    if worker.suspended_until in {None, known.suspended_until}:
        made_room = known.suspended_until is not None and worker.trial is None
        return Tracked(worker, known, await release(worker, ports) if made_room else ())
    until, why = worker.suspended_until, worker.doubt
    said = Suspension(worker_id=worker.worker_id, failures=worker.failures, until=until, why=why)
    suspension = CloudEvent(
        id=derived_id(str(NAMESPACE), "worker.suspended", f"{worker.worker_id}:{worker.version}"),
        source="/flowc/track_workers",
        type=type_of("worker.suspended"),
        time=now,
        subject=worker.worker_id,
        data=said.model_dump(mode="json"),
    )
    return Tracked(worker, known, (suspension,))


async def release(worker: Worker, ports: Ports) -> tuple[CloudEvent, ...]:
    """Return `worker.recovered` for waiting tickets, as many as the worker has free slots, or one to try it."""
    now = ports.clock.now()
    free = free_slots(worker, (await ports.ticket_counts.active()).get(worker.worker_id, 0), now)
    if not free:
        return ()
    waiting = await ports.wakeups.claim_waiting(worker.offers, now, free, OFFER_LEASE)
    return tuple(_events("worker.recovered", _row(worker.worker_id, worker.version), waiting, ports, {}))


async def handed_on(left: Deregistration, version: int, ports: Ports) -> tuple[CloudEvent, ...]:
    """Return `worker.unhealthy` for the tickets of a worker that leaves; its row, at `version`, may be unreadable."""
    why = f"has left: {left.reason[:REASON_KEPT] or 'no reason given'}"
    return await _lost(left.worker_id, version, ports, why)


async def _lost(worker_id: str, version: int, ports: Ports, why: str) -> tuple[CloudEvent, ...]:
    held = await ports.ticket_counts.held_by(worker_id, HELD_AT_ONCE)
    row = _row(worker_id, version)
    return tuple(_events("worker.unhealthy", row, held, ports, {"worker_id": worker_id, "why": why}))


async def _not_held(
    worker: Worker, running: Sequence[Running] | None, ports: Ports, rules: Rules
) -> tuple[CloudEvent, ...]:
    """Return `worker.unhealthy` for tickets that the worker accepted a while ago and knows nothing of."""
    if running is None:
        return ()
    named = {(entry.ticket_id, entry.attempt) for entry in running}
    # A ticket accepted just now may have crossed with the message that does not name it yet.
    before = ports.clock.now() - rules.redeliver
    held = await ports.ticket_counts.held_by(worker.worker_id, HELD_AT_ONCE)
    lost = [
        ticket
        for ticket in held
        if (ticket.ticket_id, ticket.attempt) not in named
        and ticket.acknowledged_at
        and ticket.acknowledged_at < before
    ]
    why = "says that it is not working on it"
    return tuple(
        _events(
            "worker.unhealthy",
            _row(worker.worker_id, worker.version),
            lost,
            ports,
            {"worker_id": worker.worker_id, "why": why},
        )
    )


def _row(worker_id: str, version: int) -> str:
    """Return what tells one row of a worker from another."""
    return f"{worker_id}:{version}"


def _events(
    event_type: str, row: str, tickets: Iterable[Ticket], ports: Ports, more: dict[str, str]
) -> Iterable[CloudEvent]:
    """Return events about tickets, and a worker as it is in `row`."""
    by_flow: dict[str, list[Ticket]] = {}
    for ticket in tickets:
        by_flow.setdefault(ticket.flow_id, []).append(ticket)
    for flow_id, group in by_flow.items():
        for start in range(0, len(group), TICKETS_PER_EVENT):
            chunk = group[start : start + TICKETS_PER_EVENT]
            key = ",".join(f"{t.ticket_id}:{t.attempt}:{t.emissions}" for t in chunk)
            yield CloudEvent(
                id=derived_id(flow_id, event_type, f"{row}:{key}"),
                source="/flowc/track_workers",
                type=type_of(event_type),
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
