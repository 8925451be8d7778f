"""Whatever a running platform sends, to functions, workers, the sink and subscribers, is in the contract."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.state import State
from functions._core.events.catalogue import BY_TYPE
from functions._core.events.commands import ApprovalGrant, PauseRequest, RedriveRequest, ResumeRequest, SkipRequest
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import TRANSITIONS, handler_of
from functions._core.records.models import Ticket
from functions._core.records.worker import Answer, Worker
from tests.contract.schemas import faults_of
from tests.support.world import LocalWorld, decision, running_world, task, until

DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))


@dataclass
class Wire:
    """What went over each wire."""

    queued: list[CloudEvent] = field(default_factory=list)
    to_workers: list[CloudEvent] = field(default_factory=list)

    def faults(self, world: LocalWorld) -> list[str]:
        """Return what is wrong with anything that was sent."""
        return [fault for event in self.all(world) for fault in faults_of(event)]

    def event_types(self, world: LocalWorld) -> set[str]:
        """Return the nouns of everything that was sent."""
        return {event.event_type for event in self.all(world)}

    def all(self, world: LocalWorld) -> list[CloudEvent]:
        """Return everything that was sent."""
        return [*self.queued, *self.to_workers, *world.sink.events]


@asynccontextmanager
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[LocalWorld, Wire]]:
    """Run a world with a subscriber, and listen to its queue and to what its workers get."""
    wire, enqueue = Wire(), State.enqueue

    def listen(state: State, event: CloudEvent) -> None:
        wire.queued.append(event)
        enqueue(state, event)

    monkeypatch.setattr(State, "enqueue", listen)
    async with running_world(tmp_path, joins=False, subscriber_url="http://127.0.0.1:1/") as world:
        deliver = world.workers.deliver

        async def overhear(worker: Worker, event: CloudEvent) -> Answer:
            wire.to_workers.append(event)
            return await deliver(worker, event)

        monkeypatch.setattr(world.workers, "deliver", overhear)
        yield world, wire


def failing(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Report success for all tasks but `b`, which fails for good."""
    if assignment["task_id"] == "b":
        return {"status": "FAILED", "error": {"type": "broken", "message": "it broke", "retryable": False}}
    return {"status": "COMPLETED", "output": {"by": assignment["task_id"]}}


async def test_a_flow_that_completes_sends_what_the_contract_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        started: set[str] = set()

        def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
            first = assignment["task_id"] not in started
            started.add(assignment["task_id"])
            return {"status": "FAILED" if first and assignment["task_id"] == "a" else "COMPLETED"}

        world.workers.behave = behave
        await world.register()
        flow = await world.run(*DIAMOND)
        assert flow.outcome == "COMPLETED"
        assert wire.faults(world) == []
        assert wire.event_types(world) >= {
            "decision.consolidated",
            "plan.validated",
            "tickets.generated",
            "tickets.ready",
            "workers.discovered",
            "ticket.assigned",
            "ticket.retried",
            "ticket.completed",
            "flow.consolidated",
            "flow.step.completed",
            "telemetry.frame",
            "flow.completed",
        }
        assert all(event.data["token"] for event in wire.to_workers)


async def test_a_flow_that_fails_sends_what_the_contract_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        world.workers.behave = failing
        await world.register()
        flow = await world.run(*DIAMOND)
        assert flow.outcome == "FAILED"
        assert wire.faults(world) == []
        assert wire.event_types(world) >= {"ticket.failed", "ticket.cancelled", "flow.failed"}


async def test_a_flow_that_is_cancelled_or_rejected_sends_what_the_contract_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        world.workers.behave = lambda _assignment: {"status": "RUNNING"}
        await world.register()
        flow_id = await world.submit(decision(*DIAMOND))
        await world.ticket(flow_id, started, "has started")
        await world.cancel(flow_id, "a tester", "enough")
        await world.ended(flow_id)
        await world.run(task("a", "b"), task("b", "a"))
        await until(lambda: told(wire), "the worker to be told")
        assert wire.faults(world) == []
        ends = {"flow.cancelled", "flow.rejected", "plan.rejected", "ticket.started", "ticket.cancelled"}
        assert wire.event_types(world) >= ends
        assert {event.event_type for event in wire.to_workers} == {"ticket.assigned", "ticket.cancelled"}


async def test_a_worker_that_comes_and_leaves_sends_what_the_contract_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(*DIAMOND))
        await world.ticket(flow_id, lambda one: one.waiting == "WORKER", "waits for a worker")
        await world.register()
        await world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "a worker has accepted")
        await world.platform.deregister("w1", "it is tired")
        await until(lambda: reassigned(wire), "the ticket to be taken back")
        assert wire.faults(world) == []
        assert wire.event_types(world) >= {"worker.recovered", "worker.unhealthy", "ticket.reassigned"}


async def test_a_deadline_that_passes_sends_what_the_contract_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        flow = await world.run(*DIAMOND, sla_deadline_seconds=0.2)
        assert flow.outcome == "TIMED_OUT"
        assert wire.faults(world) == []
        assert wire.event_types(world) >= {"sla.violated", "flow.timed_out"}


async def test_a_flow_that_is_undone_and_redriven_sends_what_the_contract_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        world.workers.behave = failing
        await world.register()
        flow = await world.run(task("a", compensation=True), task("b", "a"))
        assert flow.outcome == "FAILED"
        assert (await world.tickets(flow.flow_id))["a"].status == "COMPENSATED"
        world.workers.behave = lambda _assignment: {"status": "COMPLETED"}
        await world.platform.order(RedriveRequest(flow_id=flow.flow_id))
        await world.reached(flow.flow_id, "COMPLETED")
        assert wire.faults(world) == []
        assert wire.event_types(world) >= {
            "compensation.requested",
            "compensation.planned",
            "compensation.ended",
            "ticket.compensation_planned",
            "ticket.compensated",
            "incident.raised",
            "flow.redriven",
            "ticket.redriven",
        }
        # All that went wrong is the failure of `b`, in the first run.
        assert [event.event_type for event in wire.queued].count("incident.raised") == 1


async def test_a_flow_that_waits_for_people_sends_what_the_contract_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        world.workers.behave = lambda _assignment: {"status": "RUNNING"}
        await world.register()
        flow_id = await world.submit(decision(task("a"), requires_human_review=True))
        await world.reached(flow_id, "AWAITING_APPROVAL")
        await world.platform.order(ApprovalGrant(flow_id=flow_id))
        await world.ticket(flow_id, started, "has started")
        await world.platform.order(PauseRequest(flow_id=flow_id))
        await world.platform.order(ResumeRequest(flow_id=flow_id))
        ticket_id = (await world.tickets(flow_id))["a"].ticket_id
        await world.platform.order(SkipRequest(flow_id=flow_id, ticket_id=ticket_id))
        await world.ended(flow_id)
        assert wire.faults(world) == []
        assert wire.event_types(world) >= {"flow.approval_requested", "flow.paused", "flow.resumed", "flow.completed"}
        assert "incident.raised" not in wire.event_types(world)


async def test_each_sender_is_one_that_the_catalogue_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, monkeypatch) as (world, wire):
        world.workers.behave = failing
        await world.register()
        await world.run(*DIAMOND)
        senders = {(e.event_type, e.source.removeprefix("/flowc/")) for e in wire.all(world) if e.source != "/flowc"}
        assert [pair for pair in senders if pair[1] not in BY_TYPE[pair[0]].sent_by.split(", ")] == []
        for event in wire.queued:
            if event.source == TRANSITIONS:
                assert handler_of(event) is None, "a function would take a transition for its own event"
            else:
                assert handler_of(event) == BY_TYPE[event.event_type].handled_by, event.event_type


def started(ticket: Ticket) -> bool:
    """Tell whether a ticket is running, or was."""
    return ticket.started_at is not None


async def reassigned(wire: Wire) -> bool | None:
    """Tell whether subscribers have been told that a ticket was taken back."""
    return any(event.event_type == "ticket.reassigned" for event in wire.queued) or None


async def told(wire: Wire) -> bool | None:
    """Tell whether a worker has been told that a ticket is cancelled."""
    return any(event.event_type == "ticket.cancelled" for event in wire.to_workers) or None
